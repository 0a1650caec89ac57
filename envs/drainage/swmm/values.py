"""SWMM's values, many at a time: compiled code (numba) that calls SWMM's own C interface.

The toolkit gives Python one value a call, at a microsecond or two each: after SWMM itself that took most of the time of
a decision. Importing this loads SWMM's library. Places are SWMM's indices, int32 ``(n,)``; values are in its units.
"""

from __future__ import annotations

from pathlib import Path

import llvmlite.binding as llvm
import numpy as np
import swmm.toolkit
from numba import float64 as real
from numba import int32, types

from envs.core.errors import CityloopError
from envs.drainage.jit import compiled


def _library() -> Path:
    """SWMM's shared library, which the toolkit brings along; the one that Python's calls go to, too."""
    found = sorted(Path(swmm.toolkit.__file__).parent.glob("*swmm5*"))
    if not found:
        raise CityloopError("swmm-toolkit has no library swmm5: install it anew")
    return found[0]


llvm.load_library_permanently(str(_library()))  # before anything below is compiled, or read from numba's cache

_stride = types.ExternalFunction("swmm_stride", int32(int32, types.voidptr))  # seconds, where to put elapsed days
_get = int32(int32, int32, types.voidptr)  # place, kind, where to
_node = types.ExternalFunction("swmm_getNodeResult", _get)
_link = types.ExternalFunction("swmm_getLinkResult", _get)
_stats = types.ExternalFunction("swmm_getNodeStats", int32(int32, types.voidptr))
_inflow = types.ExternalFunction("swmm_getNodeTotalInflow", int32(int32, types.voidptr))
_set = int32(int32, real)
_setting = types.ExternalFunction("swmm_setLinkSetting", _set)
_rain = types.ExternalFunction("swmm_setGagePrecip", _set)
_stage = types.ExternalFunction("swmm_setOutfallStage", _set)

NODE_STATS = 16
"""Size of SWMM's ``SM_NodeStats`` in doubles: fifteen, and an integer."""

FLOODED, FLOODED_H = 4, 5
"""Indices of the volume that left the network, and of the hours of flooding."""

_places, _factors = types.Array(int32, 1, "C", readonly=True), types.Array(real, 1, "C", readonly=True)
_values = real[::1]


NODE, LINK, FLOODING, INFLOW = 0, 1000, 2000, 3000
"""Kinds of values for `advance_and_read`: offsets of a ``NodeResult`` and a ``LinkResult``, volumes that left the
network at nodes, and volumes that came into them."""


@compiled(real(int32, _places, _places, _factors, _values))
def advance_and_read(
    seconds: int, places: np.ndarray, kinds: np.ndarray, factors: np.ndarray, out: np.ndarray
) -> float:
    """Advance by seconds, if any, and read values of any kinds, each times its factor.

    Returns:
        Days since the start; 0 at the end, and if there was nothing to advance; NaN if SWMM stopped, and nothing is
        read; the negative of SWMM's error code if a value cannot be read.
    """
    wrong, days, stats = 0, np.zeros(1), np.zeros(NODE_STATS)
    if seconds > 0 and _stride(seconds, days.ctypes):
        return np.nan
    for k in range(len(places)):
        if kinds[k] >= INFLOW:
            wrong |= _inflow(places[k], out[k:].ctypes)
        elif kinds[k] >= FLOODING:
            wrong |= _stats(places[k], stats.ctypes)
            out[k] = stats[FLOODED]
        elif kinds[k] >= LINK:
            wrong |= _link(places[k], kinds[k] - LINK, out[k:].ctypes)
        else:
            wrong |= _node(places[k], kinds[k] - NODE, out[k:].ctypes)
        out[k] *= factors[k]
    return float(-wrong) if wrong else days[0]


@compiled(int32(_places, int32, _values))
def node_results(nodes: np.ndarray, kind: int, out: np.ndarray) -> int:
    """Read one kind of ``NodeResult`` at nodes; SWMM's error code, or 0."""
    wrong = 0
    for k in range(len(nodes)):
        wrong |= _node(nodes[k], kind, out[k:].ctypes)
    return wrong


@compiled(int32(_places, int32, _values))
def link_results(links: np.ndarray, kind: int, out: np.ndarray) -> int:
    """Read one kind of ``LinkResult`` at links; SWMM's error code, or 0."""
    wrong = 0
    for k in range(len(links)):
        wrong |= _link(links[k], kind, out[k:].ctypes)
    return wrong


@compiled(int32(_places, _values))
def node_inflows(nodes: np.ndarray, out: np.ndarray) -> int:
    """Volumes that came into nodes since the start; SWMM's error code, or 0."""
    wrong = 0
    for k in range(len(nodes)):
        wrong |= _inflow(nodes[k], out[k:].ctypes)
    return wrong


@compiled(int32(_places, _values, _values))
def node_flooding(nodes: np.ndarray, volume: np.ndarray, hours: np.ndarray) -> int:
    """Volumes that left the network at nodes since the start, and for how long; SWMM's error code, or 0."""
    wrong, stats = 0, np.zeros(NODE_STATS)
    for k in range(len(nodes)):
        wrong |= _stats(nodes[k], stats.ctypes)
        volume[k], hours[k] = stats[FLOODED], stats[FLOODED_H]
    return wrong


@compiled(int32(_places, _values))
def set_links(links: np.ndarray, settings: np.ndarray) -> int:
    """Move gates, weirs and pumps; SWMM's error code, or 0."""
    wrong = 0
    for k in range(len(links)):
        wrong |= _setting(links[k], settings[k])
    return wrong


@compiled(int32(_places, _values))
def set_gauges(gauges: np.ndarray, rates: np.ndarray) -> int:
    """Let it rain; SWMM's error code, or 0."""
    wrong = 0
    for k in range(len(gauges)):
        wrong |= _rain(gauges[k], rates[k])
    return wrong


@compiled(int32(_places, _values))
def set_stages(outfalls: np.ndarray, levels: np.ndarray) -> int:
    """Set levels of receiving waters; SWMM's error code, or 0."""
    wrong = 0
    for k in range(len(outfalls)):
        wrong |= _stage(outfalls[k], levels[k])
    return wrong
