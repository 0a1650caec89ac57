"""Arrival times: travel times that depend on the time of day, compiled.

Speeds are piecewise constant over the day, and a vehicle always drives at the speed of the moment (Ichoua, Gendreau and
Potvin 2003). So a later departure never arrives earlier, which the search in `insertion` relies on. Plans and riders
are not known here.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from envs.transit.kernel.jit import compiled
from envs.transit.matrices import Matrices


class TravelTimes(NamedTuple):
    """Travel times of a road graph: matrices over its ``N`` nodes; `travel_times_of` makes them.

    Attributes:
        free_s: seconds from row to column at speed 1, float64 ``(N, N)``, shortest paths: no detour is quicker.
        free_to_s: the same transposed, so that the times to one node are contiguous in memory.
        metres: length of those paths, float64 ``(N, N)``.
        hop: the next node on the path from row to column, int32 ``(N, N)``.
        charger_m: length of the path from each node to the charger with the shortest one, float64 ``(N,)``; inf: no
            charger can be reached. Empty if no vehicle has a limited range.
        speed: relative speed in every slot of the day, float64 ``(T,)``; the last applies from then on.
        slot_s: seconds of a slot.
        fastest: the highest of all speeds.
    """

    free_s: np.ndarray
    free_to_s: np.ndarray
    metres: np.ndarray
    hop: np.ndarray
    charger_m: np.ndarray
    speed: np.ndarray
    slot_s: float
    fastest: float


def travel_times_of(
    matrices: Matrices, speed: np.ndarray, slot_s: float, chargers: np.ndarray | None = None
) -> TravelTimes:
    """Shortest paths under the speeds of a day, each of which holds for ``slot_s`` seconds.

    Args:
        matrices: the paths.
        speed: relative speeds, ``(T,)``.
        slot_s: seconds of a slot.
        chargers: nodes with a charger, ``(C,)``; None: no vehicle needs one.
    """
    to_charger_m = np.zeros(0) if chargers is None else charger_m(matrices, chargers)
    speed = np.ascontiguousarray(speed, dtype=np.float64)
    to_s = np.ascontiguousarray(matrices.free_s.T)
    paths = matrices.free_s, to_s, matrices.metres, matrices.hop
    return TravelTimes(*paths, to_charger_m, speed, float(slot_s), float(speed.max()))


def charger_m(matrices: Matrices, chargers: np.ndarray) -> np.ndarray:
    """Length of the path from each node to the charger with the shortest one, ``(N,)``; inf: none can be reached."""
    return np.where(np.isfinite(matrices.free_s), matrices.metres, np.inf)[:, chargers].min(axis=1)


@compiled
def arrive(start_s: float, free_s: float, speed: np.ndarray, slot_s: float) -> float:
    """Arrival time of a vehicle that starts at ``start_s`` on a way that takes ``free_s`` at speed 1."""
    last = len(speed) - 1
    slot = int(start_s // slot_s)
    slot = max(slot, 0)
    while slot < last:
        end_s = (slot + 1) * slot_s
        can_s = (end_s - start_s) * speed[slot]
        if free_s <= can_s:
            return start_s + free_s / speed[slot]
        free_s -= can_s
        start_s = end_s
        slot += 1
    return start_s + free_s / speed[last]


@compiled
def leave_by(end_s: float, free_s: float, speed: np.ndarray, slot_s: float) -> float:
    """The latest start with which `arrive` returns at most ``end_s``."""
    last = len(speed) - 1
    slot = min(int(end_s // slot_s), last)
    while slot > 0:
        begin_s = slot * slot_s
        can_s = (end_s - begin_s) * speed[slot]
        if free_s <= can_s:
            return end_s - free_s / speed[slot]
        free_s -= can_s
        end_s = begin_s
        slot -= 1
    return end_s - free_s / speed[0]
