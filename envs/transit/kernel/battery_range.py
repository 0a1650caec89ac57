"""How far batteries last: over a whole plan and then to a charger; compiled.

Distances cannot prune a search (the quickest path may be a longer one), so the battery is computed along the whole
plan, stop by stop.
"""

from __future__ import annotations

import numpy as np

from envs.transit.kernel.fleet import CHARGING, FULL, LEFT, RATE, Fleet, Riders
from envs.transit.kernel.jit import compiled, within
from envs.transit.kernel.travel_times import TravelTimes

EPS_M = 1e-3
"""Tolerance of a battery's range, in metres: rounding of sums."""


@within
def lasts_with(v: int, r: int, i: int, j: int, fleet: Fleet, riders: Riders, roads: TravelTimes) -> bool:
    """Whether the battery lasts for a plan with a request inserted before stops ``i`` and ``j``, then to a charger."""
    left_m, node = fleet.battery[v, LEFT], fleet.at[v]
    for k in range(fleet.length[v] + 1):
        if k == i:
            left_m -= roads.metres[node, riders.origin[r]]
            node = riders.origin[r]
        if k == j:
            left_m -= roads.metres[node, riders.destination[r]]
            node = riders.destination[r]
            if riders.state[r] == CHARGING:
                left_m = charged(v, riders.board_s[r], left_m, fleet)
        if k < fleet.length[v]:
            left_m -= roads.metres[node, fleet.node[v, k]]
            node, other = fleet.node[v, k], fleet.rider[v, k]
            if riders.state[other] == CHARGING and not fleet.pick[v, k]:
                left_m = charged(v, riders.board_s[other], left_m, fleet)
    return left_m >= roads.charger_m[node] - EPS_M


@within
def charged(v: int, stays_s: float, left_m: float, fleet: Fleet) -> float:
    """Metres that a battery lasts after a stay at a charger; minus infinity if it does not last to the charger."""
    if left_m < -EPS_M:
        return -np.inf
    return min(fleet.battery[v, FULL], left_m + fleet.battery[v, RATE] * stays_s)


@compiled
def lasts_without(v: int, r: int, fleet: Fleet, riders: Riders, roads: TravelTimes) -> bool:
    """Whether the battery lasts for a plan without a rider's stops (`NOBODY`: for the whole plan), then to a charger.

    A plan with fewer stops can be longer in metres: the quickest path between the remaining stops may be.
    """
    left_m, node = fleet.battery[v, LEFT], fleet.at[v]
    if left_m == np.inf:
        return True
    for k in range(fleet.length[v]):
        other = fleet.rider[v, k]
        if other == r:
            continue
        left_m -= roads.metres[node, fleet.node[v, k]]
        node = fleet.node[v, k]
        if riders.state[other] == CHARGING and not fleet.pick[v, k]:
            left_m = charged(v, riders.board_s[other], left_m, fleet)
    return left_m >= roads.charger_m[node] - EPS_M
