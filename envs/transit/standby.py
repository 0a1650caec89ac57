"""Where idle vehicles stand by: the moves that most shorten the expected wait of the next request. Compiled.

The k-th nearest vehicle answers a request if those before it are taken, each with probability ``taken`` independently
(Daskin 1983, MEXCLP, with times in place of a radius). Vehicles are moved one at a time, each to where it helps most,
as in Jagtenberg et al. (2015, dynamic MEXCLP). A vehicle that is still driving, empty or with riders, counts as if it
stood at its destination but were farther away: by a part of the remaining seconds, as the next request is still to
come.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envs.transit.kernel.jit import compiled, within


@dataclass(frozen=True)
class StandbyModel:
    """Parameters of the expected wait of the next request.

    Attributes:
        taken: probability that a vehicle is taken when the request comes.
        moving: seconds by which a vehicle on its way to stand by counts as farther, per second of its way.
        busy: the same for a busy vehicle, per second until it is free.
        least_s: least saving of a move, in seconds.
    """

    taken: float = 0.3
    moving: float = 0.45
    busy: float = 0.4
    least_s: float = 0.1


USUAL_STANDBY = StandbyModel()
"""Chosen by hand on training days of nyc2015 and ingolstadt; a search there, run to its end, changed nothing: see
RESULTS.md. ``cityloop tune transit SCENARIO --what standby`` tries others."""

FAR_S = 3600.0
"""Travel time that an unreachable zone counts as."""

NEAREST = 6
"""Number of vehicles that count for a zone: the next one would answer one request in a thousand."""


def stand_by(
    demand: np.ndarray,
    idle: np.ndarray,
    coming: np.ndarray,
    coming_s: np.ndarray,
    between_s: np.ndarray,
    model: StandbyModel = USUAL_STANDBY,
) -> np.ndarray:
    """Idle vehicles that should stand in every zone, int64 ``(N,)``; their sum is that of ``idle``.

    Args:
        demand: expected requests of every zone, in any unit, ``(N,)``; their sum above 0.
        idle: vehicles that stand there, int64 ``(N,)``.
        coming: vehicles that will be free there later, int64 ``(N,)``.
        coming_s: mean seconds until then, ``(N,)``; read only where there are some.
        between_s: travel times between zones; inf where there is no way or no vehicle may stand, ``(N, N)``.
        model: parameters of the expected wait.
    """
    zones = np.arange(len(demand))
    at = np.concatenate([np.repeat(zones, idle), np.repeat(zones, coming)])
    later_s = np.where(coming > 0, model.busy * coming_s, 0.0)
    late_s = np.concatenate([np.zeros(int(idle.sum())), np.repeat(later_s, coming)])
    way_s, there = np.minimum(between_s, FAR_S), np.isfinite(between_s)
    numbers = model.taken, model.moving, model.least_s
    return _moved(demand / demand.sum(), idle.astype(np.int64), at, late_s, way_s, there, *numbers)


@compiled
def _moved(
    share: np.ndarray,
    idle: np.ndarray,
    at: np.ndarray,
    late_s: np.ndarray,
    way_s: np.ndarray,
    there: np.ndarray,
    taken: float,
    moving: float,
    least_s: float,
) -> np.ndarray:
    """Idle vehicles in every zone after repeating the best single move while it pays. A vehicle moves at most once.

    ``at`` and ``late_s``: zone of every vehicle, the idle ones first, zone by zone, and its seconds until there.
    """
    zones, left, targets = len(share), idle.copy(), idle.copy()
    at, late_s = at.copy(), late_s.copy()
    first = np.zeros(zones, np.int64)  # first vehicle of every zone that has not moved
    first[1:] = np.cumsum(idle)[:-1]
    for _ in range(idle.sum()):
        near_s = _nearest(at, late_s, way_s)
        before_s = _expected_s(share, near_s, np.full(zones, -1.0), np.full(zones, np.inf), taken)
        best, leaves, goes = least_s, -1, -1
        for a in range(zones):
            for b in range(zones):
                if left[a] > 0 and a != b and there[a, b]:
                    saved_s = before_s - _expected_s(share, near_s, way_s[a], moving * way_s[a, b] + way_s[b], taken)
                    if saved_s > best:
                        best, leaves, goes = saved_s, a, b
        if leaves < 0:
            break
        mover = first[leaves]
        at[mover], late_s[mover] = goes, moving * way_s[leaves, goes]
        first[leaves] += 1
        left[leaves] -= 1
        targets[leaves] -= 1
        targets[goes] += 1
    return targets


@within
def _nearest(at: np.ndarray, late_s: np.ndarray, way_s: np.ndarray) -> np.ndarray:
    """Seconds from the nearest vehicles to every zone, ascending, one more than count, ``(N, NEAREST + 1)``."""
    zones = way_s.shape[0]
    near_s = np.full((zones, NEAREST + 1), np.inf)
    for zone in range(zones):
        for v in range(len(at)):
            new_s = late_s[v] + way_s[at[v], zone]
            for k in range(NEAREST + 1):
                if new_s < near_s[zone, k]:
                    near_s[zone, k], new_s = new_s, near_s[zone, k]
    return near_s


@within
def _expected_s(
    share: np.ndarray, near_s: np.ndarray, without_s: np.ndarray, with_s: np.ndarray, taken: float
) -> float:
    """The expected wait, in seconds.

    Args:
        share: probability that the next request comes from a zone, ``(N,)``.
        near_s: see `_nearest`.
        without_s: seconds to every zone of a vehicle that leaves, ``(N,)``; -1: none does.
        with_s: seconds to every zone of a vehicle that comes, ``(N,)``; inf: none does.
        taken: see `StandbyModel`.
    """
    total_s = 0.0
    for zone in range(len(share)):
        there, weight, k = False, 1.0 - taken, 0
        gone = without_s[zone] < 0
        for _ in range(NEAREST):
            if not gone and k <= NEAREST and near_s[zone, k] == without_s[zone]:
                gone, k = True, k + 1
            next_s = near_s[zone, k] if k <= NEAREST else np.inf
            if not there and with_s[zone] <= next_s:
                there, next_s = True, with_s[zone]
            else:
                k += 1
            total_s += share[zone] * weight * min(next_s, FAR_S)
            weight *= taken
    return total_s
