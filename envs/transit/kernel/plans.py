"""A vehicle's plan: its times and loads, and the insertion and removal of stops; compiled.

A plan is a list of stops, each served as soon as the vehicle is there, so a plan and a start determine one schedule.
The schedule includes the latest time at which each stop must be reached, so that the check of one more stop can end
early.

A vehicle may run late, by its driver's report (`live`) or because streets take longer than was known (`unforeseen`).
Its plan stays: no rider is dropped. A promise that is late already may become no later than it is planned now, so an
insertion neither breaks a promise nor worsens one that streets have broken (`at_latest`).

Which vehicle serves a request is decided in `insertion`; how far a battery lasts, in `battery_range`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.extending import register_jitable

from envs.transit.kernel.fleet import BEGIN, CHARGING, END, NOBODY, PLACES, PLAN, SEATS, Fleet, Riders
from envs.transit.kernel.jit import compiled, within
from envs.transit.kernel.travel_times import TravelTimes, arrive, leave_by

EPS = 1e-6
"""Tolerance of time limits, in seconds: rounding of sums."""


@register_jitable
def is_pause(r: Any, riders: Riders) -> Any:
    """Whether a row of the riders is no party but a driver's break or a stay at a charger; also of many rows."""
    return riders.limit_s[r] == np.inf


@register_jitable
def is_break(r: Any, riders: Riders) -> Any:
    """Whether a row of the riders is a driver's break; also of many rows."""
    return (riders.limit_s[r] == np.inf) & (riders.state[r] != CHARGING)


@compiled
def schedule(v: int, fleet: Fleet, riders: Riders, roads: TravelTimes) -> None:
    """Recompute the times and loads of a vehicle's plan, from its present position."""
    count = fleet.length[v]
    node, now_s = fleet.at[v], fleet.at_s[v]
    seats, places = fleet.aboard[v, SEATS], fleet.aboard[v, PLACES]
    for k in range(count):
        r = fleet.rider[v, k]
        now_s = arrive(now_s, roads.free_s[node, fleet.node[v, k]], roads.speed, roads.slot_s)
        node = fleet.node[v, k]
        fleet.arrive_s[v, k] = now_s
        if fleet.pick[v, k]:
            now_s = max(now_s, fleet.floor_s[v, k])
            riders.begin_s[r] = now_s
            fleet.mate[v, k] = k
            now_s += riders.board_s[r]
            seats += riders.size[r, SEATS]
            places += riders.size[r, PLACES]
        else:
            fleet.mate[v, k] = -1
            for m in range(k):
                if fleet.rider[v, m] == r:
                    fleet.mate[v, k] = m
            now_s += riders.alight_s[r]
            seats -= riders.size[r, SEATS]
            places -= riders.size[r, PLACES]
        fleet.leave_s[v, k] = now_s
        fleet.load[v, k, SEATS], fleet.load[v, k, PLACES] = seats, places
    bound = np.inf
    for k in range(count - 1, -1, -1):
        r = fleet.rider[v, k]
        if k == count - 1:
            bound = at_latest(fleet.shift_s[v, END], fleet.leave_s[v, k])
        else:
            bound = leave_by(bound, roads.free_s[fleet.node[v, k], fleet.node[v, k + 1]], roads.speed, roads.slot_s)
        if fleet.pick[v, k]:
            bound = min(bound - riders.board_s[r], at_latest(riders.latest_s[r], riders.begin_s[r]))
        else:
            bound -= riders.alight_s[r]
            if fleet.mate[v, k] < 0:
                bound = min(bound, at_latest(riders.begin_s[r] + riders.limit_s[r], fleet.arrive_s[v, k]))
        fleet.latest_s[v, k] = bound
    update_due(v, fleet)


@compiled
def at_latest(limit_s: float, planned_s: float) -> float:
    """The latest time that an insertion may cause: the promise's limit, or the planned time if that is later."""
    return planned_s if planned_s > limit_s + EPS else limit_s


@compiled
def reckon(v: int, fleet: Fleet, riders: Riders, roads: TravelTimes) -> None:
    """Recompute a plan whose stops may now be sooner, without making a ride longer than it was planned.

    A rider who is picked up sooner might have to wait aboard for a later pick-up whose earliest time has not come, and
    exceed the promised ride. In that case all pick-ups keep their previous times.
    """
    planned_s, ride_s = np.zeros(PLAN), np.zeros(PLAN)
    for k in range(fleet.length[v]):
        planned_s[k] = riders.begin_s[fleet.rider[v, k]]
        ride_s[k] = fleet.arrive_s[v, k] - planned_s[k]
    schedule(v, fleet, riders, roads)
    for k in range(fleet.length[v]):
        if fleet.pick[v, k]:
            continue
        r = fleet.rider[v, k]
        if fleet.arrive_s[v, k] - riders.begin_s[r] > at_latest(riders.limit_s[r], ride_s[k]) + EPS:
            for m in range(fleet.length[v]):
                if fleet.pick[v, m]:
                    fleet.floor_s[v, m] = planned_s[m]
            schedule(v, fleet, riders, roads)
            return


@within
def put_off(v: int, time_s: float, fleet: Fleet, riders: Riders, roads: TravelTimes) -> None:
    """Delay a vehicle that is not yet where it was expected: it leaves no sooner than ``time_s``."""
    if fleet.at_s[v] < time_s:
        fleet.at_s[v] = time_s
        schedule(v, fleet, riders, roads)


@within
def update_due(v: int, fleet: Fleet) -> None:
    """Set the time at which a vehicle next reaches a node or serves a stop."""
    target = fleet.node[v, 0] if fleet.length[v] > 0 else fleet.heading[v]
    if target == NOBODY:
        fleet.due_s[v] = np.inf
    elif fleet.at[v] != target or fleet.length[v] == 0 or not fleet.pick[v, 0]:
        fleet.due_s[v] = fleet.at_s[v]
    else:
        fleet.due_s[v] = max(fleet.at_s[v], fleet.floor_s[v, 0])


@compiled
def ready_s(v: int, now_s: float, fleet: Fleet) -> float:
    """The earliest time at which a vehicle can leave the node where it is, or that it reaches next."""
    return max(fleet.at_s[v], now_s, fleet.shift_s[v, BEGIN])


@within
def serves(v: int, now_s: float, fleet: Fleet) -> bool:
    """Whether a vehicle is serving its first stop, so that nothing can be put before it: it is there, and it is time.

    A simulated vehicle has moved on by then; a real one serves the stop from its arrival until it reports.
    """
    there = fleet.length[v] > 0 and fleet.at[v] == fleet.node[v, 0]
    return there and fleet.at_s[v] <= now_s and fleet.floor_s[v, 0] <= now_s


@compiled
def insert(
    v: int, r: int, first: int, second: int, now_s: float, fleet: Fleet, riders: Riders, roads: TravelTimes
) -> None:
    """Put a request into a plan, before the stops that `best_place` named."""
    if first == 0:  # else the vehicle goes on with its current leg
        fleet.at_s[v] = ready_s(v, now_s, fleet)
    _open(v, second, fleet)
    fleet.node[v, second], fleet.rider[v, second], fleet.pick[v, second] = riders.destination[r], r, False
    fleet.floor_s[v, second] = 0.0
    _open(v, first, fleet)
    fleet.node[v, first], fleet.rider[v, first], fleet.pick[v, first] = riders.origin[r], r, True
    fleet.floor_s[v, first] = riders.earliest_s[r]
    fleet.heading[v] = NOBODY
    riders.vehicle[r] = v
    schedule(v, fleet, riders, roads)


@within
def _open(v: int, place: int, fleet: Fleet) -> None:
    """Make room for one more stop before ``place``."""
    for k in range(fleet.length[v], place, -1):
        fleet.node[v, k], fleet.rider[v, k] = fleet.node[v, k - 1], fleet.rider[v, k - 1]
        fleet.pick[v, k], fleet.floor_s[v, k] = fleet.pick[v, k - 1], fleet.floor_s[v, k - 1]
    fleet.length[v] += 1


@compiled
def close(v: int, place: int, fleet: Fleet) -> None:
    """Take a stop out of a plan; the caller recomputes the schedule."""
    for k in range(place, fleet.length[v] - 1):
        fleet.node[v, k], fleet.rider[v, k] = fleet.node[v, k + 1], fleet.rider[v, k + 1]
        fleet.pick[v, k], fleet.floor_s[v, k] = fleet.pick[v, k + 1], fleet.floor_s[v, k + 1]
        fleet.arrive_s[v, k], fleet.leave_s[v, k] = fleet.arrive_s[v, k + 1], fleet.leave_s[v, k + 1]
    fleet.length[v] -= 1


@within
def stops_of(v: int, r: int, fleet: Fleet) -> tuple[int, int]:
    """Indices of the stops at which a waiting rider is picked up and dropped off."""
    pick, drop = fleet.length[v], fleet.length[v]
    for k in range(fleet.length[v]):
        if fleet.rider[v, k] == r:
            pick, drop = (k, drop) if fleet.pick[v, k] else (pick, k)
    return pick, drop


@compiled
def remove(v: int, r: int, now_s: float, fleet: Fleet, riders: Riders, roads: TravelTimes) -> None:
    """Take a rider who withdrew, or did not appear, out of a plan. Later stops may become sooner: see `reckon`."""
    if fleet.length[v] == 0 or fleet.rider[v, 0] == r:
        fleet.at_s[v] = ready_s(v, now_s, fleet)
    for k in range(fleet.length[v] - 1, -1, -1):
        if fleet.rider[v, k] == r:
            close(v, k, fleet)
    reckon(v, fleet, riders, roads)
