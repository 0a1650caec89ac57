"""The plant: a drainage network simulated by EPA SWMM, in this process."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from envs.core.errors import CityloopError
from envs.core.readings import Readings
from envs.core.world import Commands, World
from envs.drainage.kpis import Account
from envs.drainage.scenarios import DrainageScenario
from envs.drainage.sensing import EpisodeFaults, Forecaster
from envs.drainage.site import DrainageSite
from envs.drainage.swmm.inp import Inp
from envs.drainage.swmm.simulation import Swmm, load
from envs.drainage.weather import Setup, Weather, set_up


class SwmmWorld(World):
    """Gates of one network in SWMM.

    Args:
        scenario: where, when and how.
        site: the scenario's site.
    """

    def __init__(self, scenario: DrainageScenario, site: DrainageSite):
        self.scenario, self.site = scenario, site
        self._step_s, self._decisions = scenario.decision_s, scenario.decisions
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._swmm: Swmm | None = None
        self._setup: Setup | None = None
        self._truth: dict[str, Any] = {}
        self._kpis: dict[str, float] = {}
        self._places: dict[str, dict[str, float]] = {}

    @property
    def setup(self) -> Setup:
        """Setup that all episodes share."""
        if self._setup is None:
            self._setup = set_up(self.scenario, self.site)
        return self._setup

    def prepare(self) -> None:
        """Load SWMM, read the input, and draw a weather, which loads its libraries; see `World.prepare`."""
        load()
        import_module("envs.drainage.actuators")
        Weather(self.scenario, self.site, self.setup, seed=0)

    @property
    def input(self) -> Inp:
        """The SWMM input as it is run; rain and tide may be set at run time."""
        return self.setup.inp

    def reset(self, seed: int, program: Any = None) -> Readings:
        """Start SWMM afresh; see `World.reset`. Gates begin at their static settings.

        Raises:
            CityloopError: if SWMM refuses the input, or another simulation is open in this process; or if a program is
                given: there is no local control that could run one.
        """
        if program is not None:
            raise CityloopError("a drainage network has no local programs: give a controller that decides by itself")
        from envs.drainage.actuators import Actuators  # compiles, which a process that only decides does not need

        self.close()
        scenario, site = self.scenario, self.site
        self._weather = Weather(scenario, site, self.setup, seed)
        self._event_m3 = self._weather.event_m3(site)
        self._faults = EpisodeFaults(scenario, len(site.tanks), len(site.gates), seed)
        self._forecaster = Forecaster(scenario.forecast, self._weather.rain_mm, scenario.decision_s, seed)
        static = np.array([gate.static for gate in site.gates])
        self._actuators = Actuators(static, self._faults.stuck_gate)
        self._decision, self._last, self._kpis = 0, False, {}
        self._folder = tempfile.TemporaryDirectory(prefix="cityloop-")
        try:
            self._start(Path(self._folder.name))
        except BaseException:
            self.close()
            raise
        return self._observe(self._meter(), np.zeros(len(site.gates)))

    def _start(self, folder: Path) -> None:
        swmm = self._swmm = Swmm(self.setup.inp, folder)
        self._gates = swmm.links(self.site.agents)
        self._gauges, self._tides = swmm.gauges(self.site.gauges), swmm.nodes(self.site.tides)
        self._account = Account(swmm, self.scenario, self.site)
        tanks = swmm.nodes(tank.id for tank in self.site.tanks)
        account = self._account
        self._meter = swmm.meter(tanks, self._tides, account.outfalls, account.flooding, account.spilling, self._gates)
        self._set_gates()
        self._weather.apply(swmm, 0, self._gauges, self._tides)

    def _set_gates(self) -> None:
        assert self._swmm is not None
        self._swmm.set_settings(self._gates, self._actuators.settings)

    def step(self, commands: Commands | None) -> Readings:
        """Move the gates, let it rain, advance one decision; see `World.step`."""
        assert self._swmm is not None
        moved = self._actuators.move(np.asarray(commands, dtype=np.float64).reshape(-1), self.time_s)
        if self._actuators.moving:
            self._set_gates()
        self._weather.apply(self._swmm, self._decision, self._gauges, self._tides)
        seen = self._advance(self._swmm)
        self._decision += 1
        readings = self._observe(seen, moved)
        if self.done:
            self._finish(self._swmm)
        return readings

    def _advance(self, swmm: Swmm) -> list[np.ndarray]:
        """Advance to the next decision, by routing steps where an objective counts them; the values there."""
        if not self._account.fine:
            seen = self._meter(self._step_s)
            self._last = self._meter.ended
            return seen
        until = self.setup.start + timedelta(seconds=(self._decision + 1) * self._step_s)
        while not self._last and swmm.time < until:
            self._last = not swmm.advance(None)
            self._account.routed(self._last)
        return self._meter()

    def _observe(self, seen: list[np.ndarray], moved: np.ndarray) -> Readings:
        depth_m, head_m, inflows_cms, flooded_m3, spilt_m3, flow_cms = seen
        self._truth = self._account.since_last(flooded_m3, spilt_m3, inflows_cms)
        self._truth |= {"event_m3": self._event_m3, "moved": moved}
        return self._faults.apply(
            {
                "depth_m": depth_m,
                "flow_cms": flow_cms,
                **self._actuators.readings(self.time_s),
                "rain_mmh": self._weather.rates_mmh(self._decision - 1),
                "forecast_mm": self._forecaster(self._decision),
                "tide_m": self._weather.tide_m(self._decision) if self._weather.tidal else head_m,
            }
        )

    @property
    def rain_mm(self) -> np.ndarray:
        """All rain of this episode, ``(decisions, gauges)``: known only to a simulator."""
        return self._weather.rain_mm

    @property
    def tides_m(self) -> np.ndarray:
        """All levels of tidal waters of this episode, ``(decisions, tides)``: known only to a simulator."""
        return np.array([self._weather.tide_m(k + 0.5) for k in range(self.scenario.decisions)])

    @property
    def truth(self) -> Mapping[str, Any]:
        """Overflow since the last decision ``*_m3``, the event's rain ``event_m3``, and ``moved`` ``(N,)``."""
        return self._truth

    @property
    def time_s(self) -> float:
        """Seconds since the start."""
        return self._decision * self._step_s

    @property
    def done(self) -> bool:
        """Whether the scenario's time is up."""
        return self._last or self._decision >= self._decisions

    def trace(self) -> dict[str, float]:
        """Rain, volume in all tanks, and controllable overflow since the last decision; empty once SWMM is closed."""
        if self._swmm is None:
            return {}
        rain = self._weather.rates_mmh(self._decision - 1)
        return {
            "rain_mmh": float(rain.mean()) if len(rain) else 0.0,
            "stored_m3": self._account.stored_m3,
            "overflow_m3": self._truth["controllable_m3"],
        }

    def _finish(self, swmm: Swmm) -> None:
        """Close the account, and SWMM with it."""
        end = self.setup.start + timedelta(seconds=self.time_s + 2 * self.scenario.decision_s)
        while self._account.fine and not self._last and end > self.setup.end:  # a published sum goes to the very end
            self._last = not swmm.advance(None)
            self._account.routed(self._last)
        kpis, self._places = self._account.close()
        rain_mm = self._weather.rain_mm
        self._kpis = kpis | {
            "movement": self._actuators.movement,
            "moves": float(self._actuators.moves),
            "rain_mm": float(rain_mm.sum(axis=0).mean()) if rain_mm.size else 0.0,
        }
        self.close()

    def kpis(self) -> dict[str, float]:
        """The finished episode's indicators; see `kpis.KPIS`."""
        return dict(self._kpis)

    def places(self) -> dict[str, dict[str, float]]:
        """Overflow of every node in m³, and for how many hours."""
        return {indicator: dict(values) for indicator, values in self._places.items()}

    def close(self) -> None:
        """Stop SWMM and remove its files."""
        swmm, folder, self._swmm, self._folder = self._swmm, self._folder, None, None
        try:
            if swmm is not None:
                swmm.close()
        finally:
            if folder is not None:
                folder.cleanup()

    def __getstate__(self) -> dict[str, Any]:
        """State of a copy, without the parts that read from a simulation, as none is open.

        Raises:
            CityloopError: while SWMM runs, which nobody can copy.
        """
        if self._swmm is not None:
            raise CityloopError("a SWMM simulation that runs cannot be copied: copy the environment before its reset()")
        return {name: value for name, value in self.__dict__.items() if name not in ("_account", "_meter")}
