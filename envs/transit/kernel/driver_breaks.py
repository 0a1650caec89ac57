"""Drivers' breaks: a break is a stop of the plan that takes all seats and places, so insertions keep it like a promise.

It may begin within a window, at a stop, with nobody aboard. Until it is due it blocks nothing: a vehicle with nothing
else in its plan is idle, and may be sent elsewhere if the break can still begin in time there. It is taken where the
last rider before it got off, or where the vehicle was sent.
"""

from __future__ import annotations

import numpy as np

from envs.transit.kernel import battery_range, plans
from envs.transit.kernel.fleet import END, LEFT, NOBODY, Fleet, Riders, new_riders
from envs.transit.kernel.jit import compiled, within
from envs.transit.kernel.travel_times import TravelTimes, arrive

FROM, UNTIL, LENGTH = range(3)
"""Columns of the breaks, ``(V, 3)``, in seconds: earliest and latest beginning, and length; length 0: no break."""


def with_breaks(riders: Riders, fleet: Fleet, breaks: np.ndarray) -> Riders:
    """The same riders, with one more row for every vehicle whose driver has a break."""
    who = np.flatnonzero(breaks[:, LENGTH] > 0)
    if not len(who):
        return riders
    mine, at, never = breaks[who], fleet.at[who], np.full(len(who), np.inf)
    window = mine[:, FROM], mine[:, UNTIL]
    more = new_riders(at, at, never, *window, np.zeros(len(who)), never, fleet.room[who], mine[:, LENGTH])
    return Riders(*(np.concatenate(pair) for pair in zip(riders, more, strict=True)))


def plan_breaks(fleet: Fleet, riders: Riders, roads: TravelTimes, breaks: np.ndarray) -> None:
    """Put every break into its vehicle's plan, which is still empty."""
    rows = np.flatnonzero(plans.is_break(np.arange(len(riders.origin)), riders))
    for v, r in zip(np.flatnonzero(breaks[:, LENGTH] > 0), rows, strict=True):
        plans.insert(v, r, 0, 0, 0.0, fleet, riders, roads)


def free(fleet: Fleet, riders: Riders, now_s: float) -> np.ndarray:
    """Vehicles that have nothing to do: their plan is empty, or holds only a break that is not due; bool ``(V,)``."""
    to_come = (fleet.length == 2) & _breaks_at(0, fleet, riders) & fleet.pick[:, 0]
    return (fleet.length == 0) | (to_come & (fleet.floor_s[:, 0] > now_s))


def last_stop(fleet: Fleet, riders: Riders) -> np.ndarray:
    """Index of each plan's last stop, apart from a break at its end that has not begun; int ``(V,)``, -1: none."""
    last = fleet.length - 1
    at_end = _breaks_at(np.maximum(last, 0), fleet, riders) & (fleet.length > 2)
    return last - 2 * at_end


def _breaks_at(stop: int | np.ndarray, fleet: Fleet, riders: Riders) -> np.ndarray:
    """Whether a stop of each plan is of a driver's break, bool ``(V,)``.

    Args:
        stop: its index, one for all plans or one each, ``(V,)``; beyond a plan's end the answer has no meaning.
        fleet: the state of all vehicles.
        riders: the state of all riders.
    """
    if not len(riders.limit_s):  # no requests, so nothing to index
        return np.zeros(len(fleet.at), dtype=bool)
    found: np.ndarray = plans.is_break(fleet.rider[np.arange(len(fleet.at)), stop], riders)
    return found


@compiled
def settle(v: int, fleet: Fleet, riders: Riders, roads: TravelTimes) -> None:
    """Move a break at the end of a plan to where the last rider gets off: no later there, and no extra driving."""
    k = fleet.length[v] - 2
    if k < 1 or not plans.is_break(fleet.rider[v, k], riders) or not fleet.pick[v, k]:
        return
    before, after = np.int64(fleet.node[v, k]), np.int64(fleet.node[v, k - 1])
    place(v, k, after, fleet, riders)
    if not battery_range.lasts_without(v, NOBODY, fleet, riders, roads):  # a charger may be farther from there
        place(v, k, before, fleet, riders)
    plans.schedule(v, fleet, riders, roads)


@within
def place(v: int, k: int, node: int, fleet: Fleet, riders: Riders) -> None:
    """Move a break, whose stops are ``k`` and the next, to a node."""
    r = fleet.rider[v, k]
    riders.origin[r] = riders.destination[r] = node
    fleet.node[v, k] = fleet.node[v, k + 1] = node


@within
def can_go(v: int, node: int, now_s: float, fleet: Fleet, riders: Riders, roads: TravelTimes) -> bool:
    """Whether a road leads an idle vehicle to a node, where it can begin its break in time and get to a charger."""
    if not np.isfinite(roads.free_s[fleet.at[v], node]):
        return False
    left_m = fleet.battery[v, LEFT] - roads.metres[fleet.at[v], node]
    if left_m < np.inf and left_m < roads.charger_m[node] - battery_range.EPS_M:
        return False
    if fleet.length[v] == 0:
        return True
    start_s = plans.ready_s(v, now_s, fleet)
    there_s = arrive(start_s, roads.free_s[fleet.at[v], node], roads.speed, roads.slot_s)
    r = fleet.rider[v, 0]
    return (
        there_s <= riders.latest_s[r] and max(there_s, fleet.floor_s[v, 0]) + riders.board_s[r] <= fleet.shift_s[v, END]
    )
