"""Which vehicle serves a request, and when: exact insertion into all plans, compiled.

Hard constraints are enforced here: pick-up windows, longest rides, seats, wheelchair places, shifts, and battery range.
No caller can get a plan that violates one. `best_insertion` is exact: its result is that of trying every place of every
plan, and it skips only what cannot be better. Plans are defined in `plans`; vehicles move in `motion`.

The search is pruned by two facts: travel times are shortest paths (no detour is quicker), and a later departure never
arrives earlier. So a pick-up that is too late at one place of a plan is too late at all later ones, and likewise a
ride. Distances have no such property. Whether the battery lasts (`battery_range`) is therefore checked only for an
insertion that would otherwise be the best so far. The check is outside the innermost search: anything that makes
`_best_drop` longer makes it slower, for vehicles without a range as well.
"""

from __future__ import annotations

import numpy as np

from envs.transit.kernel.battery_range import lasts_with
from envs.transit.kernel.fleet import END, LEFT, NOBODY, PLACES, PLAN, SEATS, Fleet, Riders
from envs.transit.kernel.jit import compiled, inlined, within
from envs.transit.kernel.plans import EPS, at_latest, is_pause, ready_s, serves
from envs.transit.kernel.travel_times import TravelTimes, arrive

VEHICLE, WAIT, RIDE, OTHERS = range(4)
"""Weights of a cost: added driving (in seconds at speed 1, so that no detour is ever negative), the rider's wait, the
rider's ride, and the delay of other riders' arrivals."""

EVERYWHERE, AT_THE_END = 0, 1
"""Allowed places in a plan: any two; or only after all other stops, so that no two parties share a vehicle."""

SORTED = 32
"""How many vehicles are searched in the order of their bounds, so that a low cost is found early; then any order."""


@compiled
def best_insertion(
    r: int, now_s: float, fleet: Fleet, riders: Riders, roads: TravelTimes, weights: np.ndarray, mode: int
) -> tuple[float, int, int, int]:
    """The cheapest feasible insertion of a request into all plans.

    Args:
        r: the rider.
        now_s: the present.
        fleet: the state of all vehicles.
        riders: the state of all riders.
        roads: travel times.
        weights: of the cost, ``(4,)``, none negative.
        mode: `EVERYWHERE` or `AT_THE_END`.

    Returns:
        Cost, vehicle, and the stops before which to pick up and to drop off; vehicle -1 if there is none.
    """
    origin = riders.origin[r]
    column, speed, slot_s = roads.free_to_s[origin], roads.speed, roads.slot_s
    free_s = roads.free_s[origin, riders.destination[r]]
    direct_s = free_s / roads.fastest
    # A lower bound of every vehicle's cost: no vehicle is there sooner than by driving straight to the rider.
    who, bounds, count = np.empty(len(fleet.at), np.int64), np.empty(len(fleet.at)), 0
    for v in range(len(fleet.at)):
        if fleet.room[v, SEATS] < riders.size[r, SEATS] or fleet.room[v, PLACES] < riders.size[r, PLACES]:
            continue
        start_s = ready_s(v, now_s, fleet)
        if start_s + column[fleet.at[v]] / roads.fastest > riders.latest_s[r] + EPS:
            continue
        to_s = arrive(start_s, column[fleet.at[v]], speed, slot_s)
        if to_s > riders.latest_s[r] + EPS:
            continue
        bound = weights[WAIT] * max(0.0, to_s - riders.earliest_s[r]) + weights[RIDE] * direct_s
        if fleet.length[v] == 0:
            bound += weights[VEHICLE] * (column[fleet.at[v]] + free_s)
        who[count], bounds[count] = v, bound
        count += 1
    return _cheapest(who[:count], bounds, r, now_s, fleet, riders, roads, weights, mode)


@compiled
def best_place(
    v: int, r: int, now_s: float, fleet: Fleet, riders: Riders, roads: TravelTimes, weights: np.ndarray, mode: int
) -> tuple[float, int, int]:
    """The cheapest feasible insertion of a request into the plan of vehicle ``v``.

    Arguments and returned values as in `best_insertion`, but for the vehicle; stops -1 if there is none.
    """
    who, bounds = np.full(1, v, np.int64), np.full(1, -np.inf)
    cost, _, first, second = _cheapest(who, bounds, r, now_s, fleet, riders, roads, weights, mode)
    return cost, first, second


@within
def _cheapest(  # noqa: PLR0912, PLR0915 (one search, its pruning conditions in order)
    who: np.ndarray,
    bounds: np.ndarray,
    r: int,
    now_s: float,
    fleet: Fleet,
    riders: Riders,
    roads: TravelTimes,
    weights: np.ndarray,
    mode: int,
) -> tuple[float, int, int, int]:
    """The cheapest insertion into the plans of some vehicles; ``bounds`` of their costs are not above these.

    Both are reordered. At equal cost the most promising vehicle is taken, else the first of the fleet.

    One function searches all plans, and what it calls is inlined: passing all columns costs as much as a short search.
    """
    best, vehicle, first, second = np.inf, NOBODY, -1, -1
    begins = np.empty(PLAN)
    row, column = roads.free_s[riders.origin[r]], roads.free_to_s[riders.origin[r]]
    direct_s = row[riders.destination[r]]
    for n in range(len(who)):
        if n < SORTED:
            _bring_forward(n, who, bounds)
        v = who[n]
        limit = best
        if v < vehicle and vehicle != who[0]:
            limit = np.nextafter(best, np.inf)  # equal cost will do, as it comes earlier in the fleet
        count, ranged = fleet.length[v], fleet.battery[v, LEFT] < np.inf
        if bounds[n] >= limit or count + 2 > PLAN:
            continue
        seats, places = fleet.room[v, SEATS] - riders.size[r, SEATS], fleet.room[v, PLACES] - riders.size[r, PLACES]
        start = count if mode == AT_THE_END else 0
        if mode == AT_THE_END and count >= 2 and is_pause(fleet.rider[v, count - 1], riders):
            start -= 2  # before a break that is still to come
        for i in range(max(start, 0), count + 1):
            if i == 0:
                if serves(v, now_s, fleet):
                    continue
                node, start_s = fleet.at[v], ready_s(v, now_s, fleet)
                taken, wheeled = fleet.aboard[v, SEATS], fleet.aboard[v, PLACES]
            else:
                node, start_s = fleet.node[v, i - 1], fleet.leave_s[v, i - 1]
                taken, wheeled = fleet.load[v, i - 1, SEATS], fleet.load[v, i - 1, PLACES]
            soonest_s = start_s + column[node] / roads.fastest
            wait_s = max(0.0, soonest_s - riders.earliest_s[r])
            if soonest_s > riders.latest_s[r] + EPS or weights[WAIT] * wait_s >= limit:
                break  # at later places it would only be later
            if taken > seats or wheeled > places:
                continue
            detour_s = column[node]  # driving added by the pick-up, if the plan goes on from there
            if i < count:
                detour_s += row[fleet.node[v, i]] - roads.free_s[node, fleet.node[v, i]]
            least = weights[VEHICLE] * detour_s + weights[RIDE] * direct_s / roads.fastest
            if least + weights[WAIT] * wait_s >= limit:
                continue
            to_s = arrive(start_s, column[node], roads.speed, roads.slot_s)
            waited = weights[WAIT] * max(0.0, to_s - riders.earliest_s[r])
            if to_s > riders.latest_s[r] + EPS:
                break
            if least + waited >= limit:
                continue
            begin_s = max(to_s, riders.earliest_s[r])
            refused = np.int64(0)  # places of the drop-off for which the battery does not last, a bit each
            while True:
                cost, j = _best_drop(
                    v, r, i, node, begin_s, waited, detour_s, fleet, riders, roads, weights, limit, begins, refused
                )
                if j < 0 or not ranged or lasts_with(v, r, i, j, fleet, riders, roads):
                    break
                refused |= 1 << j
            if j >= 0:
                limit = best = cost
                vehicle, first, second = v, i, j
    return best, vehicle, first, second


@inlined
def _bring_forward(n: int, who: np.ndarray, bounds: np.ndarray) -> None:
    """Exchange the vehicle at place ``n`` for that with the lowest bound from there on."""
    lowest = n
    for m in range(n + 1, len(who)):
        if bounds[m] < bounds[lowest]:
            lowest = m
    who[n], who[lowest] = who[lowest], who[n]
    bounds[n], bounds[lowest] = bounds[lowest], bounds[n]


@inlined
def _best_drop(
    v: int,
    r: int,
    i: int,
    node: int,
    begin_s: float,
    waited: float,
    detour_s: float,
    fleet: Fleet,
    riders: Riders,
    roads: TravelTimes,
    weights: np.ndarray,
    best: float,
    begins: np.ndarray,
    refused: int,
) -> tuple[float, int]:
    """Cost and place of the cheapest drop-off, if boarding begins at ``begin_s`` before stop ``i``; place -1: none.

    ``node``: where the vehicle comes from; ``waited``: cost of the wait; ``detour_s``: driving added by the pick-up;
    ``refused``: places that are excluded, a bit each.
    """
    count, found = fleet.length[v], -1
    free, destination, place = roads.free_s, riders.destination[r], riders.origin[r]
    seats, places = fleet.room[v, SEATS] - riders.size[r, SEATS], fleet.room[v, PLACES] - riders.size[r, PLACES]
    time_s, late_s = begin_s + riders.board_s[r], 0.0
    for j in range(i, count + 1):
        end_s = arrive(time_s, free[place, destination], roads.speed, roads.slot_s)
        cost = waited + weights[RIDE] * (end_s - begin_s) + weights[OTHERS] * late_s
        if end_s - begin_s > riders.limit_s[r] + EPS or cost >= best:
            break  # both grow with j
        added_s = free[place, destination] + (free[node, place] if j == i else detour_s)
        if j < count:
            added_s += free[destination, fleet.node[v, j]]
            added_s -= free[node if j == i else place, fleet.node[v, j]]
        cost += weights[VEHICLE] * added_s
        if cost < best:
            cost += weights[OTHERS] * _delay(v, r, i, j, end_s, fleet, riders, roads, begins)
            if cost < best and not (refused >> j) & 1:
                best, found = cost, j
        if j == count:
            break
        # The vehicle goes on to stop j with the rider aboard, if that violates no constraint.
        arrive_s = arrive(time_s, free[place, fleet.node[v, j]], roads.speed, roads.slot_s)
        full = fleet.load[v, j, SEATS] > seats or fleet.load[v, j, PLACES] > places
        if full or arrive_s > fleet.latest_s[v, j] + EPS:
            break
        if not fleet.pick[v, j]:
            if _too_long(v, j, i, arrive_s, fleet, riders, begins):
                break
            late_s += arrive_s - fleet.arrive_s[v, j]
        time_s, place = _leave(v, j, arrive_s, fleet, riders, begins), fleet.node[v, j]
    return best, found


@inlined
def _leave(v: int, k: int, arrive_s: float, fleet: Fleet, riders: Riders, begins: np.ndarray) -> float:
    """Time at which a vehicle that arrives at ``arrive_s`` leaves stop ``k``; sets ``begins[k]`` of a pick-up."""
    other = fleet.rider[v, k]
    if not fleet.pick[v, k]:
        return arrive_s + riders.alight_s[other]
    begins[k] = max(arrive_s, fleet.floor_s[v, k])
    return begins[k] + riders.board_s[other]


@inlined
def _too_long(v: int, k: int, first: int, arrive_s: float, fleet: Fleet, riders: Riders, begins: np.ndarray) -> bool:
    """Whether a ride that ends at stop ``k`` breaks its promise; pick-ups from ``first`` on begin at ``begins``."""
    other, mate = fleet.rider[v, k], fleet.mate[v, k]
    begin_s = begins[mate] if mate >= first else riders.begin_s[other]
    if arrive_s - begin_s <= riders.limit_s[other] + EPS:
        return False
    planned_s = fleet.arrive_s[v, k] - riders.begin_s[other]
    return arrive_s - begin_s > at_latest(riders.limit_s[other], planned_s) + EPS


@inlined
def _delay(
    v: int,
    r: int,
    i: int,
    j: int,
    end_s: float,
    fleet: Fleet,
    riders: Riders,
    roads: TravelTimes,
    begins: np.ndarray,
) -> float:
    """Seconds by which others arrive later from stop ``j`` on, if the request's drop-off before it begins at ``end_s``.

    Infinite if a promise or the shift would be broken. The request is picked up before stop ``i``.
    """
    count = fleet.length[v]
    time_s, place = end_s + riders.alight_s[r], riders.destination[r]
    if j == count:
        return np.inf if time_s > fleet.shift_s[v, END] + EPS else 0.0
    late_s = 0.0
    for k in range(j, count):
        arrive_s = arrive(time_s, roads.free_s[place, fleet.node[v, k]], roads.speed, roads.slot_s)
        if arrive_s > fleet.latest_s[v, k] + EPS:
            return np.inf
        if arrive_s <= fleet.arrive_s[v, k]:
            break  # as early as planned: nothing changes from here on
        if not fleet.pick[v, k]:
            if _too_long(v, k, i, arrive_s, fleet, riders, begins):
                return np.inf
            late_s += arrive_s - fleet.arrive_s[v, k]
        time_s = _leave(v, k, arrive_s, fleet, riders, begins)
        place = fleet.node[v, k]
    return late_s
