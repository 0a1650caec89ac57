"""What becomes of riders whose vehicle breaks down, compiled: others take them over, or they are stranded.

First everybody is given to another vehicle under the promise that was made. Where nobody can keep that, the promise is
made anew from now on, and whatever is then late is the breakdown's fault. No other rider's promise is touched.
"""

from __future__ import annotations

import numpy as np

from envs.transit.kernel import driver_breaks, insertion, plans
from envs.transit.kernel.fleet import ABOARD, CHARGING, FULL, LEFT, NOBODY, STRANDED, WAITING, Fleet, Riders
from envs.transit.kernel.jit import compiled, within
from envs.transit.kernel.journal import note_drive, write
from envs.transit.kernel.travel_times import Roads, arrive
from envs.transit.record import events
from envs.transit.record.events import Log

WINDOW, FACTOR, ALLOWANCE = range(3)
"""A promise that is made anew: seconds until the pick-up, and the longest ride as a multiple of the direct one, plus
so many seconds."""

EVENT_ROWS = 3
"""Rows of the log that a breakdown causes for each stop of the plan at most; and two for the vehicle."""


@compiled
def break_down(
    v: int,
    now_s: float,
    fleet: Fleet,
    riders: Riders,
    roads: Roads,
    weights: np.ndarray,
    anew: np.ndarray,
    begins: np.ndarray,
    bounds: np.ndarray,
    log: Log,
) -> None:
    """A vehicle goes out of service at the node that it reaches next, and others take its riders over.

    Args:
        v: the vehicle.
        now_s: the present.
        fleet: the state of all vehicles.
        riders: the state of all riders; origins, windows and longest rides of those concerned may be others afterwards.
        roads: travel times.
        weights: of an insertion's cost, ``(4,)``.
        anew: the promise that is made anew, ``(3,)``.
        begins: ``(PLAN,)``, to be overwritten.
        bounds: ``(V,)``, likewise.
        log: with room for `EVENT_ROWS` rows a stop of the plan, and three.
    """
    if not np.isfinite(fleet.at_s[v]):
        return
    count, out_s = fleet.length[v], max(fleet.at_s[v], now_s)
    note_drive(v, now_s, fleet, log)
    write(log, now_s, events.BROKE_DOWN, v, NOBODY, fleet.at[v], 0.0, 0)
    fleet.length[v], fleet.heading[v], fleet.aboard[v] = 0, NOBODY, 0
    fleet.at_s[v] = fleet.due_s[v] = np.inf
    for state in (ABOARD, WAITING):  # who sits in it by the roadside goes first
        for k in range(count):
            r = np.int64(fleet.rider[v, k])
            if riders.state[r] == CHARGING:  # the place is free for others
                riders.vehicle[r] = NOBODY
            # Everybody in a plan gets off once; who is waiting now may have been aboard a moment ago.
            if fleet.pick[v, k] or riders.vehicle[r] != v or riders.state[r] != state:
                continue
            if state == ABOARD:
                write(log, out_s, events.SET_DOWN, v, r, fleet.at[v], 0.0, 0)
                riders.origin[r] = fleet.at[v]
            _hand_over(r, now_s, out_s, fleet, riders, roads, weights, anew, begins, bounds, log)


@within
def _hand_over(
    r: int,
    now_s: float,
    out_s: float,
    fleet: Fleet,
    riders: Riders,
    roads: Roads,
    weights: np.ndarray,
    anew: np.ndarray,
    begins: np.ndarray,
    bounds: np.ndarray,
    log: Log,
) -> None:
    """Find another vehicle for a rider: under the old promise, else under a new one."""
    direct_s = riders.direct_s[r]
    if riders.state[r] == ABOARD:
        free_s = roads.free_s[riders.origin[r], riders.destination[r]]
        direct_s = arrive(out_s, free_s, roads.speed, roads.slot_s) - out_s
        # The ride was to end by then. Half of what is left to spare is for waiting, half for a detour.
        end_s = riders.begin_s[r] + riders.limit_s[r]
        spare_s = end_s - out_s - direct_s
        riders.earliest_s[r], riders.direct_s[r] = out_s, direct_s
        riders.latest_s[r] = out_s + spare_s / 2
        riders.limit_s[r] = end_s - riders.latest_s[r]
    riders.state[r], riders.vehicle[r] = WAITING, NOBODY
    for how in (events.KEPT, events.ANEW):
        if how == events.ANEW:
            riders.latest_s[r] = max(now_s, riders.earliest_s[r]) + anew[WINDOW]
            riders.limit_s[r] = anew[FACTOR] * direct_s + anew[ALLOWANCE]
        _, v, first, second = insertion.best_insertion(
            r, now_s, fleet, riders, roads, weights, insertion.EVERYWHERE, begins, bounds
        )
        if v != NOBODY:
            note_drive(v, now_s, fleet, log)
            plans.insert(v, r, first, second, now_s, fleet, riders, roads)
            driver_breaks.settle(v, fleet, riders, roads)
            write(log, now_s, events.HANDED_OVER, v, r, riders.origin[r], 0.0, how)
            return
    riders.state[r] = STRANDED
    write(log, now_s, events.STRANDED, NOBODY, r, riders.origin[r], 0.0, 0)


@compiled
def repair(v: int, node: int, now_s: float, fleet: Fleet, log: Log) -> None:
    """A vehicle that was out of service is back, at a node, with a full battery."""
    if np.isfinite(fleet.at_s[v]):
        return
    fleet.at[v], fleet.at_s[v], fleet.battery[v, LEFT] = node, now_s, fleet.battery[v, FULL]
    write(log, now_s, events.REPAIRED, v, NOBODY, node, 0.0, 0)
