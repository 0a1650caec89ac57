"""SWMM through pyswmm: one simulation, opened on explicit temporary files, read by index, in SI units.

SWMM's state is global to a process, so a second simulation in a process is refused while anybody holds the first.
Values are read by the toolkit's index calls, which pyswmm's objects wrap at several times their cost.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from envs.core.errors import CityloopError
from envs.drainage.inp import Inp


def load() -> None:
    """Load SWMM, which otherwise the first simulation of a process does."""
    import_module("pyswmm")


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

        self._toolkit, self._enum, self._inp = solver, shared_enum, inp
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
                self._simulation.start_time = self._simulation.report_start = start
            if seconds is not None:
                self._simulation.end_time = self._simulation.start_time + timedelta(seconds=seconds)
            self._simulation.start()
        except MultiSimulationError:
            raise CityloopError("this process already runs a SWMM simulation: close that environment first") from None
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
        """Make room for the next simulation where nobody closed this one; a forked copy leaves it to its owner."""
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
            raise CityloopError(f"SWMM stopped: {_first_line(error)}") from None
        return bool(elapsed_days > 0.0)

    def save(self, path: Path) -> None:
        """Write a hot start file of this moment."""
        self._simulation.save_hotstart(str(path))

    @property
    def time(self) -> Any:
        """The simulation's clock, as a datetime."""
        return self._simulation.current_time

    def close(self) -> None:
        """End the simulation, and read what only its end tells. May be called twice."""
        if self._simulation is None:
            return
        try:
            self._simulation.__exit__()
        except Exception as error:
            raise CityloopError(f"SWMM did not end in order: {_first_line(error)}") from None
        finally:
            self._simulation = None

    # -- names and values ---------------------------------------------------------------------------------------

    @property
    def inner_nodes(self) -> list[str]:
        """All nodes but the outfalls."""
        return [row[0] for section in ("JUNCTIONS", "STORAGE", "DIVIDERS") for row in self._inp.rows(section)]

    def nodes(self, names: Iterable[str]) -> list[int]:
        """Indices of nodes."""
        return [self._toolkit.project_get_index(self._enum.ObjectType.NODE, name) for name in names]

    def links(self, names: Iterable[str]) -> list[int]:
        """Indices of links."""
        return [self._toolkit.project_get_index(self._enum.ObjectType.LINK, name) for name in names]

    def gauges(self, names: Iterable[str]) -> list[int]:
        """Indices of rain gauges."""
        return [self._toolkit.project_get_index(self._enum.ObjectType.GAGE, name) for name in names]

    def depths_m(self, nodes: Sequence[int]) -> np.ndarray:
        """Depths of water at nodes."""
        return self._metre * self._node(nodes, self._enum.NodeResult.DEPTH)

    def heads_m(self, nodes: Sequence[int]) -> np.ndarray:
        """Levels of water over the datum at nodes."""
        return self._metre * self._node(nodes, self._enum.NodeResult.HEAD)

    def inflows_cms(self, nodes: Sequence[int]) -> np.ndarray:
        """Flows into nodes."""
        return self._cms * self._node(nodes, self._enum.NodeResult.TOTAL_INFLOW)

    def flooding(self, node: int) -> float:
        """Rate of flooding at a node, in the input's unit of flow."""
        return float(self._toolkit.node_get_result(node, self._enum.NodeResult.FLOOD))

    def quality(self, node: int) -> float:
        """Concentration of the input's first pollutant at a node, in its own unit."""
        return float(self._toolkit.node_get_pollutant(node, self._enum.NodePollutant.QUALITY)[0])

    def depth(self, node: int) -> float:
        """Depth at a node, in the input's unit of length."""
        return float(self._toolkit.node_get_result(node, self._enum.NodeResult.DEPTH))

    def flow(self, link: int) -> float:
        """Flow through a link, in the input's unit of flow."""
        return float(self._toolkit.link_get_result(link, self._enum.LinkResult.FLOW))

    def flows_cms(self, links: Sequence[int]) -> np.ndarray:
        """Flows through links."""
        get, kind = self._toolkit.link_get_result, self._enum.LinkResult.FLOW
        return self._cms * np.array([get(link, kind) for link in links])

    def settings(self, links: Sequence[int]) -> np.ndarray:
        """Where gates stand."""
        get, kind = self._toolkit.link_get_result, self._enum.LinkResult.TARGET_SETTING
        return np.array([get(link, kind) for link in links])

    def set_setting(self, link: int, setting: float) -> None:
        """Move a gate."""
        self._toolkit.link_set_target_setting(link, float(setting))

    def set_rain(self, gauge: int, rate_mmh: float) -> None:
        """Let it rain on a gauge until told otherwise."""
        self._toolkit.raingage_set_precipitation(gauge, rate_mmh / self._inp.millimetre)

    def set_stage(self, outfall: int, level_m: float) -> None:
        """Set the level of the receiving water at an outfall."""
        self._toolkit.outfall_set_stage(outfall, level_m / self._metre)

    def flooded(self, nodes: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Volumes that have left the network at nodes since the start, in m³, and for how many hours."""
        stats = [self._toolkit.node_get_stats(node) for node in nodes]
        volume = np.array([one.volFlooded for one in stats]) * self._cubic_metre
        return volume, np.array([one.timeFlooded for one in stats])

    def flooded_m3(self, *groups: Sequence[int]) -> list[float]:
        """Volume that has left the network at the nodes of each group together since the start."""
        get = self._toolkit.node_get_stats
        volume = {node: get(node).volFlooded for node in dict.fromkeys(chain.from_iterable(groups))}
        return [float(self._cubic_metre * sum([volume[node] for node in nodes])) for nodes in groups]

    def inflow_m3(self, nodes: Sequence[int]) -> np.ndarray:
        """Volumes that have come into nodes since the start."""
        return self._cubic_metre * np.array([self._toolkit.node_get_total_inflow(node) for node in nodes])

    def volumes_m3(self, nodes: Sequence[int]) -> np.ndarray:
        """What nodes hold."""
        return self._cubic_metre * self._node(nodes, self._enum.NodeResult.VOLUME)

    def _node(self, nodes: Sequence[int], kind: Any) -> np.ndarray:
        get = self._toolkit.node_get_result
        return np.array([get(node, kind) for node in nodes])


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _simulation(path: Path, folder: Path) -> Any:
    """A simulation of pyswmm's, in place of one that nobody holds any more."""
    from pyswmm import Simulation
    from pyswmm.errors import MultiSimulationError

    files = str(path), str(folder / "model.rpt"), str(folder / "model.out")
    try:
        return Simulation(*files)
    except MultiSimulationError:
        gc.collect()
        return Simulation(*files)


def _reason(error: Exception, folder: Path) -> str:
    """What SWMM's report says is wrong, else what was raised."""
    report = folder / "model.rpt"
    lines = report.read_text(errors="replace").splitlines() if report.is_file() else []
    wrong = [line.strip() for line in lines if line.strip().startswith("ERROR")]
    return wrong[0] if wrong else _first_line(error)
