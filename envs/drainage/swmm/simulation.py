"""SWMM through pyswmm: one simulation, opened on explicit temporary files, read by index, in SI units.

SWMM's state is global to a process, so a second simulation in a process is refused while anybody holds the first.
Values are read and set many at a time, by index (`values.py`).
"""

from __future__ import annotations

import gc
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from importlib import import_module
from itertools import pairwise
from math import isnan
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from envs.core.errors import CityloopError, first_line
from envs.drainage.swmm.inp import Inp

Places = np.ndarray
"""SWMM's indices of nodes, links or gauges, int32 ``(n,)``."""

PLACED = re.compile(r"(ERROR .*) at line \d+ of (.*):")
"""Error of SWMM's report on a row that it does not understand; the row is in the next line."""


def load() -> None:
    """Load SWMM, which otherwise the first simulation of a process does."""
    import_module("pyswmm")
    import_module("envs.drainage.swmm.values")


class Swmm:
    """One running simulation.

    Args:
        inp: the input, as it is to be run.
        folder: where its report and binary output go; nothing is written beside the input.
        hot: a hot start file (`save`) to begin from.
        start: when it begins; None: when the input does.
        seconds: how long it may run; None: as long as the input says.

    Raises:
        CityloopError: if SWMM refuses the input, or this process already runs a simulation.
    """

    _owner = 0  # the process that opened it

    def __init__(
        self,
        inp: Inp,
        folder: Path,
        hot: Path | None = None,
        start: datetime | None = None,
        seconds: float | None = None,
    ):
        from pyswmm.errors import MultiSimulationError
        from swmm.toolkit import shared_enum, solver

        from envs.drainage.swmm import values

        self._toolkit, self._enum, self._values, self._inp = solver, shared_enum, values, inp
        self._metre, self._cms, self._cubic_metre = inp.metre, inp.cms, inp.cubic_metre
        self._simulation: Any = None
        self._owner = os.getpid()
        path = folder / "model.inp"
        inp.write(path)
        try:
            self._simulation = _simulation(path, folder)
            self._simulation.__enter__()
            self._simulation.add_after_end(self._balance)
            if hot is not None:
                self._simulation.use_hotstart(str(hot))
            if start is not None:
                self._simulation.start_time = start
            self._simulation.report_start = self._simulation.start_time  # flooding counts from there on
            if seconds is not None:
                self._simulation.end_time = self._simulation.start_time + timedelta(seconds=seconds)
            self._simulation.start()
        except MultiSimulationError:
            raise CityloopError(
                "this process already runs a SWMM simulation: close that environment first, or give each a process"
            ) from None
        except Exception as error:  # pyswmm raises its own classes, and RuntimeError
            self._release()
            raise CityloopError(f"SWMM cannot start {inp.path.name}: {_reason(error, folder)}") from None
        self.continuity_pct = self.runoff_continuity_pct = 0.0

    def _balance(self) -> None:
        """Read the mass balance errors, which SWMM computes only when a simulation ends."""
        self.continuity_pct = float(self._simulation.flow_routing_error)
        self.runoff_continuity_pct = float(self._simulation.runoff_error)

    def _release(self) -> None:
        """Leave nothing open: SWMM would refuse the next simulation of this process."""
        if self._simulation is not None:
            with suppress(Exception):
                self._simulation.__exit__()
            self._simulation = None

    def __del__(self) -> None:
        """Close a simulation that is still open, for the next one's sake; a forked copy leaves it to its owner."""
        if not sys.is_finalizing() and self._owner == os.getpid():
            self._release()

    def __reduce__(self) -> NoReturn:
        """Refuse to be copied: SWMM is not.

        Raises:
            CityloopError: always.
        """
        raise CityloopError("a SWMM simulation that runs cannot be copied: copy the environment before its reset()")

    # -- running ------------------------------------------------------------------------------------------------

    def advance(self, seconds: float | None) -> bool:
        """Advance by seconds, or by one routing step (None); False at the end.

        Raises:
            CityloopError: if SWMM stops.
        """
        toolkit = self._toolkit
        try:
            elapsed_days = toolkit.swmm_step() if seconds is None else toolkit.swmm_stride(int(seconds))
        except Exception as error:  # the toolkit raises a class of its own for every error
            raise CityloopError(f"SWMM stopped: {first_line(error)}") from None
        return bool(elapsed_days > 0.0)

    def save(self, path: Path) -> None:
        """Write a hot start file of this moment."""
        self._simulation.save_hotstart(str(path))

    @property
    def time(self) -> Any:
        """The simulation's clock, as a datetime."""
        return self._simulation.current_time

    def close(self) -> None:
        """End the simulation, and read the mass balance, which is known only then. May be called twice."""
        if self._simulation is None:
            return
        try:
            self._simulation.__exit__()
        except Exception as error:
            raise CityloopError(f"SWMM did not end in order: {first_line(error)}") from None
        finally:
            self._simulation = None

    # -- names and values ---------------------------------------------------------------------------------------

    @property
    def inner_nodes(self) -> list[str]:
        """All nodes but the outfalls."""
        return [row[0] for section in ("JUNCTIONS", "STORAGE", "DIVIDERS") for row in self._inp.rows(section)]

    def nodes(self, names: Iterable[str]) -> Places:
        """Indices of nodes."""
        return self._indices(self._enum.ObjectType.NODE, names)

    def links(self, names: Iterable[str]) -> Places:
        """Indices of links."""
        return self._indices(self._enum.ObjectType.LINK, names)

    def gauges(self, names: Iterable[str]) -> Places:
        """Indices of rain gauges."""
        return self._indices(self._enum.ObjectType.GAGE, names)

    def _indices(self, kind: Any, names: Iterable[str]) -> Places:
        return np.array([self._toolkit.project_get_index(kind, name) for name in names], dtype=np.int32)

    def depths_m(self, nodes: Places) -> np.ndarray:
        """Depths of water at nodes."""
        return self._metre * self.depths(nodes)

    def depths(self, nodes: Places) -> np.ndarray:
        """Depths in the input's unit of length."""
        return self._node(nodes, self._enum.NodeResult.DEPTH)

    def volumes_m3(self, nodes: Places) -> np.ndarray:
        """What nodes hold."""
        return self._cubic_metre * self._node(nodes, self._enum.NodeResult.VOLUME)

    def flooding(self, nodes: Places) -> np.ndarray:
        """Rates of flooding at nodes, in the input's unit of flow."""
        return self._node(nodes, self._enum.NodeResult.FLOOD)

    def quality(self, node: int) -> float:
        """Concentration of the input's first pollutant at a node, in its own unit."""
        return float(self._toolkit.node_get_pollutant(int(node), self._enum.NodePollutant.QUALITY)[0])

    def flooded(self, nodes: Places) -> tuple[np.ndarray, np.ndarray]:
        """Volumes that have left the network at nodes since the start, in m³, and for how many hours."""
        volume, hours = np.empty(len(nodes)), np.empty(len(nodes))
        _understood(self._values.node_flooding(nodes, volume, hours))
        return self._cubic_metre * volume, hours

    def inflow_m3(self, nodes: Places) -> np.ndarray:
        """Volumes that have come into nodes since the start."""
        volume = np.empty(len(nodes))
        _understood(self._values.node_inflows(nodes, volume))
        return self._cubic_metre * volume

    def _node(self, nodes: Places, kind: Any) -> np.ndarray:
        found = np.empty(len(nodes))
        _understood(self._values.node_results(nodes, kind.value, found))
        return found

    def flows(self, links: Places) -> np.ndarray:
        """Flows through links, in the input's unit of flow."""
        found = np.empty(len(links))
        _understood(self._values.link_results(links, self._enum.LinkResult.FLOW.value, found))
        return found

    def flows_cms(self, links: Places) -> np.ndarray:
        """Flows through links."""
        return self._cms * self.flows(links)

    def meter(
        self,
        depths_m: Places,
        heads_m: Places,
        inflows_cms: Places,
        flooded_m3: Places,
        spilt_m3: Places,
        flows_cms: Places,
    ) -> Meter:
        """A meter of all of these values, in this order: five of nodes, one of links.

        Heads are over the datum; volumes since the start: what has left the network at nodes, and what came to others.
        """
        values, node, link = self._values, self._enum.NodeResult, self._enum.LinkResult
        return Meter(
            self,
            values,
            (
                (depths_m, values.NODE + node.DEPTH.value, self._metre),
                (heads_m, values.NODE + node.HEAD.value, self._metre),
                (inflows_cms, values.NODE + node.TOTAL_INFLOW.value, self._cms),
                (flooded_m3, values.FLOODING, self._cubic_metre),
                (spilt_m3, values.INFLOW, self._cubic_metre),
                (flows_cms, values.LINK + link.FLOW.value, self._cms),
            ),
        )

    def set_settings(self, links: Places, settings: np.ndarray) -> None:
        """Move gates."""
        self._set(self._values.set_links, links, settings)

    def set_rain(self, gauges: Places, rates_mmh: np.ndarray) -> None:
        """Set the rain on gauges, until it is set again."""
        self._set(self._values.set_gauges, gauges, rates_mmh / self._inp.millimetre)

    def set_stages(self, outfalls: Places, levels_m: np.ndarray) -> None:
        """Set levels of the receiving waters at outfalls."""
        self._set(self._values.set_stages, outfalls, levels_m / self._metre)

    def _set(self, function: Callable[[Places, np.ndarray], int], places: Places, values: np.ndarray) -> None:
        if len(values) != len(places):
            raise ValueError(f"{len(values)} values for {len(places)} places")
        _understood(function(places, values))


class Meter:
    """Values of one simulation that are read together at every decision, in one call that goes on to it, too.

    Args:
        swmm: the simulation.
        values: the module that calls SWMM.
        rows: places, their kind as `values.advance_and_read` has them, and factors to units of ours.

    Attributes:
        ended: whether the simulation has come to its end.
    """

    def __init__(self, swmm: Swmm, values: Any, rows: Sequence[tuple[Places, int, float]]):
        self._swmm, self._read, self.ended = swmm, values.advance_and_read, False
        ends = np.cumsum([0, *(len(places) for places, _, _ in rows)]).tolist()
        self._spans = [slice(*span) for span in pairwise(ends)]
        self._places = np.concatenate([places for places, _, _ in rows])
        self._kinds = np.concatenate([np.full(len(places), kind, dtype=np.int32) for places, kind, _ in rows])
        self._factors = np.concatenate([np.full(len(places), factor) for places, _, factor in rows])

    def __call__(self, seconds: float = 0.0) -> list[np.ndarray]:
        """Advance by some seconds, and read the values, an array for each row.

        Raises:
            CityloopError: if SWMM stops.
        """
        found = np.empty(len(self._places))
        days = self._read(int(seconds), self._places, self._kinds, self._factors, found)
        if isnan(days):
            self._swmm.advance(seconds)  # once it has stopped it does not go on, and says why
            raise CityloopError("SWMM stopped")
        _understood(int(max(-days, 0.0)))
        if seconds > 0.0:
            self.ended = days == 0.0
        return [found[span] for span in self._spans]


def _understood(code: int) -> None:
    """Raise an error if SWMM refused a value that was read or set."""
    if code:
        raise CityloopError(f"SWMM does not know a node, link or gauge any more, or what was set there (error {code})")


def _simulation(path: Path, folder: Path) -> Any:
    """A simulation of pyswmm, after collecting one that is no longer referenced."""
    from pyswmm import Simulation
    from pyswmm.errors import MultiSimulationError

    files = str(path), str(folder / "model.rpt"), str(folder / "model.out")
    try:
        return Simulation(*files)
    except MultiSimulationError:
        gc.collect()
        return Simulation(*files)


def _reason(error: Exception, folder: Path) -> str:
    """The error of SWMM's report, else the message of the exception.

    The report counts lines of the input as it is run, not of the user's, so the row itself is given instead.
    """
    report = folder / "model.rpt"
    lines = report.read_text(errors="replace").splitlines() if report.is_file() else []
    for line, row in pairwise([*lines, ""]):
        if line.strip().startswith("ERROR"):
            placed = PLACED.fullmatch(" ".join(line.split()))
            return f"{placed[1]} in {placed[2]}, row {' '.join(row.split())!r}" if placed else line.strip()
    return first_line(error)
