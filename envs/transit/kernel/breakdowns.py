"""Riders of a vehicle that breaks down, compiled: other vehicles take them over, or they are stranded.

Each rider is first offered to other vehicles under the promise that was made. If no vehicle can keep it, a new promise
is made from the present on, and the resulting lateness is attributed to the breakdown. No other rider's promise is
touched.
"""

from __future__ import annotations

import numpy as np

from envs.transit.kernel import driver_breaks, events, insertion, plans
from envs.transit.kernel.events import Log
from envs.transit.kernel.fleet import ABOARD, CHARGING, FULL, LEFT, NOBODY, STRANDED, WAITING, Fleet, Riders
from envs.transit.kernel.jit import compiled, within
from envs.transit.kernel.journal import note_drive, write
from envs.transit.kernel.travel_times import TravelTimes, arrive

WINDOW, FACTOR, ALLOWANCE = range(3)
"""Terms of a new promise: longest wait for the pick-up in seconds, and the longest ride as a factor on the direct one
plus an allowance in seconds."""

EVENT_ROWS = 3
"""Upper bound of rows of the log for each stop of the plan of a vehicle that breaks down; two more for the vehicle."""


@compiled
def break_down(
    v: int,
    now_s: float,
    fleet: Fleet,
    riders: Riders,
    roads: TravelTimes,
    weights: np.ndarray,
    anew: np.ndarray,
    log: Log,
) -> None:
    """Take a vehicle out of service at the node that it reaches next, and give its riders to others.

    Args:
        v: the vehicle.
        now_s: the present.
        fleet: the state of all vehicles.
        riders: the state of all riders; origins, windows and longest rides of its riders may change.
        roads: travel times.
        weights: of an insertion's cost, ``(4,)``.
        anew: terms of a new promise, ``(3,)``.
        log: with room for `EVENT_ROWS` rows a stop of the plan, and three.
    """
    if not np.isfinite(fleet.at_s[v]):
        return
    count, out_s = fleet.length[v], max(fleet.at_s[v], now_s)
    note_drive(v, now_s, fleet, log)
    write(log, now_s, events.BROKE_DOWN, v, NOBODY, fleet.at[v], 0.0, 0)
    fleet.length[v], fleet.heading[v], fleet.aboard[v] = 0, NOBODY, 0
    fleet.at_s[v] = fleet.due_s[v] = np.inf
    for state in (ABOARD, WAITING):  # riders who are set down at the roadside come first
        for k in range(count):
            r = np.int64(fleet.rider[v, k])
            if riders.state[r] == CHARGING:  # the place is free for others
                riders.vehicle[r] = NOBODY
            # Each rider of a plan has one drop-off; a rider who waits now may have been aboard a moment ago.
            if fleet.pick[v, k] or riders.vehicle[r] != v or riders.state[r] != state:
                continue
            if state == ABOARD:
                write(log, out_s, events.SET_DOWN, v, r, fleet.at[v], 0.0, 0)
                riders.origin[r] = fleet.at[v]
            _hand_over(r, now_s, out_s, fleet, riders, roads, weights, anew, log)


@within
def _hand_over(
    r: int,
    now_s: float,
    out_s: float,
    fleet: Fleet,
    riders: Riders,
    roads: TravelTimes,
    weights: np.ndarray,
    anew: np.ndarray,
    log: Log,
) -> None:
    """Find another vehicle for a rider: under the old promise, else under a new one."""
    direct_s = riders.direct_s[r]
    if riders.state[r] == ABOARD:
        free_s = roads.free_s[riders.origin[r], riders.destination[r]]
        direct_s = arrive(out_s, free_s, roads.speed, roads.slot_s) - out_s
        # The promise says when the ride ends at the latest. Half of the slack is for waiting, half for a detour.
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
        _, v, first, second = insertion.best_insertion(r, now_s, fleet, riders, roads, weights, insertion.EVERYWHERE)
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
    """Return a vehicle to service, at a node, with a full battery."""
    if np.isfinite(fleet.at_s[v]):
        return
    fleet.at[v], fleet.at_s[v], fleet.battery[v, LEFT] = node, now_s, fleet.battery[v, FULL]
    write(log, now_s, events.REPAIRED, v, NOBODY, node, 0.0, 0)
