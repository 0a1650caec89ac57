"""The plant: a road network simulated by SUMO through libsumo, in this process.

SUMO is stepped once a decision: transitions are SUMO programs that it carries out itself (see `signals.py`), and
vehicles are read once a decision (see `detection.py`). libsumo allows one simulation a process; a second world in the
same process is refused until the first is closed or garbage-collected.
"""

from __future__ import annotations

import gc
import os
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from envs.core.errors import CityloopError, first_line
from envs.core.readings import Readings
from envs.core.scene import Thing
from envs.core.sumo.programs import load_libsumo
from envs.core.world import Commands, World
from envs.intersections.demand import route_files
from envs.intersections.detection import Detection
from envs.intersections.kpis import GridlockWatch, read_kpis
from envs.intersections.loops import FailedLoops
from envs.intersections.routes import names_junctions, quiet_files
from envs.intersections.scenarios import SignalScenario
from envs.intersections.sensing import EpisodeFaults
from envs.intersections.signals import START, LocalProgram, SignalController, local_id, program_id, sumo_programs
from envs.intersections.site import SignalSite

STDERR = 2
"""The file descriptor, which SUMO writes to; `sys.stderr` is Python's own."""


def _nobody() -> SumoWorld | None:
    return None


class SumoWorld(World):
    """Signals of one network in SUMO.

    Args:
        scenario: where, when and how.
        site: the scenario's site.
    """

    _running: ClassVar[Callable[[], SumoWorld | None]] = _nobody
    """Weak reference to the world with this process's only simulation."""

    _owner = 0  # the process that opened it

    def __init__(self, scenario: SignalScenario, site: SignalSite):
        self.scenario, self.site = scenario, site
        self._detection = Detection(site)
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._sumo: Any = None
        self._truth: dict[str, Any] = {}
        self._kpis: dict[str, float] = {}
        self._failed_loops: FailedLoops | None = None

    def prepare(self) -> None:
        """Load SUMO; see `World.prepare`."""
        load_libsumo()

    def reset(self, seed: int, program: LocalProgram | None = None) -> Readings:
        """Start SUMO afresh; see `World.reset`.

        Raises:
            CityloopError: if the program is none, SUMO refuses the network or the demand, or another world is open in
                this process.
        """
        if program is not None and not isinstance(program, LocalProgram):
            raise CityloopError(
                f"program is a {type(program).__name__}: give a LocalProgram, or a controller without one"
            )
        self.close()
        if SumoWorld._running() is not None:
            gc.collect()  # closes a world that was dropped without being closed
        if SumoWorld._running() is not None:
            raise CityloopError(
                "this process already runs a SUMO simulation: close that environment first, or give each a process"
            )
        SumoWorld._running, self._owner = weakref.ref(self), os.getpid()
        self._folder = tempfile.TemporaryDirectory(prefix="cityloop-")
        folder = Path(self._folder.name)
        self._seed, self._local, self._failed_loops = seed, program, None
        self._time_s = float(self.scenario.begin_s)
        self._end_s = self._time_s + self.scenario.decisions * self.scenario.decision_s
        self._kpis = {}
        self._stops_early = self.scenario.training_stops_when_locked and seed in self.scenario.seeds.train
        try:
            self._start(folder, seed)
        except BaseException:
            self.close()
            raise
        sensors, approaches = self.scenario.sensors_of(seed), len(self.site.approaches)
        self._faults = EpisodeFaults(sensors, self.scenario.decision_s, seed, approaches)
        if program is not None and program.kind == "actuated":
            self._failed_loops = FailedLoops(self.site, self._sumo, self._faults.dead)
        self._gridlock = GridlockWatch()
        return self._observe()

    @property
    def _junction_ends(self) -> bool:
        return names_junctions((*self.scenario.routes, *self.scenario.additional))

    def _start(self, folder: Path, seed: int) -> None:
        libsumo = load_libsumo()
        (folder / "signals.add.xml").write_text(sumo_programs(self.site, self._local))
        routes = self._routes = route_files(self.scenario, seed, folder)
        additional = [*quiet_files(self.scenario.additional, folder), folder / "signals.add.xml"]
        command = ["sumo", "--net-file", str(self.scenario.net), "--route-files", ",".join(map(str, routes))]
        command += ["--additional-files", ",".join(map(str, additional)), "--seed", str(seed)]
        command += ["--begin", f"{self._time_s:.2f}", "--time-to-teleport", str(self.scenario.teleport_s)]
        command += ["--tripinfo-output", str(folder / "trips.xml"), "--tripinfo-output.write-unfinished"]
        command += ["--tripinfo-output.write-undeparted", "--statistic-output", str(folder / "statistics.xml")]
        command += ["--no-step-log", "--no-warnings", "--duration-log.disable", "--xml-validation", "never"]
        command += ["--message-log", os.devnull, "--device.ssm.file", "NUL"]  # else a file for each that has the device
        command += ["--junction-taz"] if self._junction_ends else []
        if self.scenario.lateral_resolution_m is not None:
            command += ["--lateral-resolution", str(self.scenario.lateral_resolution_m)]
        self._sumo = libsumo
        try:
            with _errors_into(folder / "errors.log"):
                libsumo.start(command)
        except Exception as error:  # libsumo raises its own exception classes
            why = _reported(folder / "errors.log") or first_line(error)
            raise CityloopError(f"SUMO cannot start scenario {self.scenario.ref}: {why}") from None
        if self._local is None:
            for junction in self.site.junctions:
                self._switch(junction.id, START)
        else:
            for junction in self.site.junctions:
                libsumo.trafficlight.setProgram(junction.id, local_id(self._local))
        self._controller = SignalController(self.site, self._time_s)
        self._detection.start(libsumo)

    def _switch(self, light: str, program: str) -> None:
        """Make a junction run a program from its first phase."""
        self._sumo.trafficlight.setProgram(light, program)
        self._sumo.trafficlight.setPhase(light, 0)

    def step(self, commands: Commands | None) -> Readings:
        """Advance one decision; see `World.step`."""
        if commands is not None:
            for j, old, new in self._controller.command(self._time_s, commands):
                self._switch(self.site.agents[j], program_id(old, new))
        self._time_s += self.scenario.decision_s
        try:
            self._sumo.simulationStep(self._time_s)
        except Exception as error:  # libsumo raises its own exception classes
            raise CityloopError(f"SUMO stopped at {self._time_s:g} s: {first_line(error)}") from None
        readings = self._observe()
        if self.done:
            self._finish()
        return readings

    def _observe(self) -> Readings:
        vehicles = self._detection.vehicles(self._sumo)
        true = self._detection.measure(vehicles) | {"inside_veh": self._detection.inside(vehicles)}
        self._gridlock.see(vehicles)
        self._truth = {
            **true,
            **self._detection.delay(vehicles, self._sumo),
            "running_veh": len(vehicles.piece),
            "standing_veh": vehicles.standing_veh,
        }
        if self._local is None:
            signals = self._controller.status(self._time_s)
        else:
            signals = self._detection.shown(self._sumo, self._time_s)
        if self._failed_loops is not None:
            self._failed_loops.call(signals)
        return self._faults.apply(true) | signals

    @property
    def truth(self) -> Mapping[str, Any]:
        """Undamaged readings of approaches and exits, `Detection.delay`, and the network's totals ``*_veh``."""
        return self._truth

    @property
    def time_s(self) -> float:
        """SUMO's clock."""
        return self._time_s

    @property
    def done(self) -> bool:
        """Whether the scenario's time is up or, in training, the network is locked: nothing more can be learned."""
        return self._time_s >= self._end_s or self.locked

    @property
    def locked(self) -> bool:
        """See `World.locked`; only on training seeds, if ``training_stops_when_locked`` is set."""
        return self._stops_early and self._gridlock.locked

    def trace(self) -> dict[str, float]:
        """Vehicles running, standing and waiting to enter at this moment."""
        return {key: float(self._truth[key]) for key in ("running_veh", "standing_veh", "backlog_veh")}

    def things(self) -> list[Thing]:
        """The vehicles on the road; none once the episode is over."""
        if self._sumo is None:
            return []
        vehicle = self._sumo.vehicle
        return [Thing(name, *vehicle.getPosition(name)) for name in vehicle.getIDList()]

    def _finish(self) -> None:
        """Close SUMO, which writes its reports, and read them."""
        assert self._folder is not None
        self._sumo.close()
        self._sumo = None
        additional = self.scenario.additional
        self._kpis = read_kpis(Path(self._folder.name), self._routes, additional, self._time_s, self._gridlock)
        self.close()
        if self._kpis["due_veh"] == 0:
            raise CityloopError(
                f"scenario {self.scenario.ref} has no vehicle due from {self.scenario.begin_s:g} s "
                f"to {self._end_s:g} s: set begin_s and duration_s to when its route files have traffic"
            )

    def kpis(self) -> dict[str, float]:
        """The finished episode's indicators; see `kpis.KPIS`."""
        return dict(self._kpis)

    def close(self) -> None:
        """Stop SUMO and remove its files."""
        if self._sumo is not None:
            self._sumo.close()
            self._sumo = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None
        if SumoWorld._running() is self:
            SumoWorld._running = _nobody

    def __del__(self) -> None:
        """Close a simulation that was left open, so that another may begin; a forked copy leaves it to its owner."""
        if not sys.is_finalizing() and self._owner == os.getpid():
            self.close()

    def __getstate__(self) -> dict[str, Any]:
        """State for a copy.

        Raises:
            CityloopError: while SUMO runs, as it cannot be copied.
        """
        if self._sumo is not None:
            raise CityloopError("a SUMO simulation that runs cannot be copied: copy the environment before its reset()")
        return self.__dict__.copy()


@contextmanager
def _errors_into(log: Path) -> Iterator[None]:
    """Redirect standard error into a file meanwhile: SUMO writes its ``--error-log`` only as it ends."""
    try:
        usual = os.dup(STDERR)
    except OSError:  # it is closed
        yield
        return
    try:
        with log.open("wb") as file:
            os.dup2(file.fileno(), STDERR)
            yield
    finally:
        os.dup2(usual, STDERR)
        os.close(usual)


def _reported(log: Path) -> str:
    """The first error in SUMO's log; its exceptions often carry no reason."""
    lines = log.read_text(errors="replace").splitlines() if log.is_file() else []
    return next((line.removeprefix("Error: ").strip() for line in lines if line.startswith("Error: ")), "")
