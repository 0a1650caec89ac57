"""SWMM in a process of its own, for a controller that looks ahead.

The plant may hold this process's only simulation, so a controller starts this one. It keeps no simulation open: every
run starts from a hot start file, and ends. Messages are pickles, each with its length before it, on standard input
and output; only the controller that started the process talks to it.
"""

from __future__ import annotations

import os
import pickle
import select
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import numpy as np

from envs.core.errors import CityloopError
from envs.core.machine.children import deaf_to_interrupts
from envs.drainage.swmm.inp import Inp, dry_gauges, free_pumps, rain_elsewhere, strip
from envs.drainage.swmm.times import moment

LENGTH = struct.Struct("<Q")

ANSWER_S = 60.0
"""Time limit of an answer, and again for each run; a sound run takes less than a second."""


@dataclass(frozen=True)
class Run:
    """Task of a run of the network.

    Attributes:
        start: the hot start file to begin from; None: an empty network.
        time: when it begins; None: when the input does.
        settings: of all gates at every decision, ``(T, N)``.
        rain_mmh: of all gauges, ``(T, gauges)``.
        tide_m: level of all tidal waters at every decision, ``(T, tides)``; None: as the input says.
        save: where to leave a hot start file at the end, if anywhere.
    """

    start: Path | None
    time: datetime | None
    settings: np.ndarray
    rain_mmh: np.ndarray
    tide_m: np.ndarray | None = None
    save: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """Result of a run.

    Attributes:
        time: when it ended.
        overflow_m3: at the nodes that gates can influence, over the run.
        stored_m3: volume in tanks at the end.
    """

    time: datetime
    overflow_m3: float
    stored_m3: float


class Branch:
    """The process, from the controller's side.

    Args:
        site: a drainage site with its ``input``.

    Raises:
        CityloopError: if the site's SWMM input is missing, or rain set at run time would miss some of its effects.
    """

    def __init__(self, site: Any):
        if not site.input or not Path(site.input).is_file():
            raise CityloopError("this site's SWMM input is not here, and looking ahead needs it: name a scenario")
        what = rain_elsewhere(Inp(Path(site.input)))
        if what is not None:
            raise CityloopError(
                f"{Path(site.input).name} has {what}: looking ahead would miss it; choose a controller that does not"
            )
        self.folder = tempfile.TemporaryDirectory(prefix="cityloop-")
        script = f"from {__name__} import main; main()"
        path = os.pathsep.join(entry or "." for entry in sys.path)
        with deaf_to_interrupts():
            self._process = subprocess.Popen(
                [sys.executable, "-c", script, self.folder.name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": path},
                bufsize=0,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout
        _send(self._in, site.model_dump_json())

    def run(self, runs: list[Run]) -> list[Outcome]:
        """What each of several runs leads to.

        Raises:
            CityloopError: if SWMM refuses one, or the process is gone or does not answer in time.
        """
        try:
            _send(self._in, runs)
            answer = _receive(self._out, time.monotonic() + ANSWER_S * (1 + len(runs)))
        except TimeoutError:
            self._kill()
            raise CityloopError("the process that looks ahead does not answer") from None
        except (OSError, EOFError):
            raise CityloopError("the process that looks ahead has ended") from None
        except BaseException:  # Ctrl-C: its answer, or the rest of it, would be taken for that of the next question
            self._kill()
            raise
        if isinstance(answer, str):
            raise CityloopError(answer)
        return answer

    @property
    def ended(self) -> bool:
        """Whether the process is gone, so that nothing can be asked any more."""
        return self._process.poll() is not None

    def _kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End the process. May be called twice."""
        self._in.close()
        try:
            self._process.wait(timeout=ANSWER_S)
        except subprocess.TimeoutExpired:
            self._kill()
        self._out.close()
        self.folder.cleanup()


def _send(pipe: IO[bytes], message: Any) -> None:
    data = pickle.dumps(message)
    rest = memoryview(LENGTH.pack(len(data)) + data)
    while rest:
        rest = rest[pipe.write(rest) :]
    pipe.flush()


def _receive(pipe: IO[bytes], until: float | None = None) -> Any:
    """A message; EOFError where there is none any more, TimeoutError where it does not come until then."""
    (length,) = LENGTH.unpack(_read(pipe, LENGTH.size, until))
    return pickle.loads(_read(pipe, length, until))


def _read(pipe: IO[bytes], length: int, until: float | None) -> bytes:
    data = b""
    while len(data) < length:
        if until is not None and not select.select([pipe], [], [], max(0.0, until - time.monotonic()))[0]:
            raise TimeoutError
        more = pipe.read(length - len(data))
        if not more:
            raise EOFError
        data += more
    return data


class _Model:
    """Runs a site's network, again and again."""

    def __init__(self, site: Any, folder: Path):
        from envs.drainage.rain import look_often

        self._site, self._folder = site, folder
        self._inp = Inp(Path(site.input))
        dry_gauges(self._inp)
        start = site.start or moment(self._inp, "START_DATE", "START_TIME")
        look_often(self._inp, start, site.timing.decision_s)
        strip(self._inp, site.agents)
        free_pumps(self._inp, site.agents)

    def run(self, task: Run) -> Outcome:
        """Carry out one run."""
        from envs.drainage.swmm.simulation import Swmm

        step_s = self._site.timing.decision_s
        seconds = step_s * (len(task.settings) + 1)
        swmm = Swmm(self._inp, self._folder, task.start, task.time, seconds)
        try:
            site = self._site
            gates, gauges = swmm.links(site.agents), swmm.gauges(site.gauges)
            tanks, tides = swmm.nodes(tank.id for tank in site.tanks), swmm.nodes(site.tides)
            nodes = swmm.nodes(name for name in site.controllable if name not in site.outfalls)
            spills = swmm.nodes(name for name in site.controllable if name in site.outfalls)
            levels = [()] * len(task.settings) if task.tide_m is None else task.tide_m
            for settings, rain, sea in zip(task.settings, task.rain_mmh, levels, strict=True):
                swmm.set_settings(gates, np.array(settings, dtype=np.float64))
                swmm.set_rain(gauges, np.array(rain, dtype=np.float64))
                if len(sea):
                    swmm.set_stages(tides, np.array(sea, dtype=np.float64))
                swmm.advance(step_s)
            if task.save is not None:
                swmm.save(task.save)
            overflow = float(swmm.flooded(nodes)[0].sum() + swmm.inflow_m3(spills).sum())
            return Outcome(swmm.time, overflow, float(swmm.volumes_m3(tanks).sum()))
        finally:
            swmm.close()


def main() -> None:
    """Answer until the other end is closed."""
    from envs.drainage.site import DrainageSite

    pipe_in, pipe_out = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # whatever a library prints must not end up among the answers
    site = DrainageSite.model_validate_json(_receive(pipe_in))
    model = _Model(site, Path(sys.argv[1]))
    while True:
        try:
            runs = _receive(pipe_in)
        except EOFError:
            return
        try:
            answer: Any = [model.run(task) for task in runs]
        except CityloopError as error:
            answer = str(error)
        _send(pipe_out, answer)
