"""Drivers' breaks: a break is a stop of the plan that takes all seats and places, so the kernel keeps it as a promise.

It may begin within a window, at a stop, and nobody can be aboard. Until it is due it hinders nobody: a vehicle with
nothing else in its plan is idle, and may be sent elsewhere as far as the break allows. It is taken where the last rider
before it got off, or where the vehicle was sent.
"""

from __future__ import annotations

import numpy as np

from envs.transit.kernel import battery_range, plans
from envs.transit.kernel.fleet import END, LEFT, NOBODY, Fleet, Riders, new_riders
from envs.transit.kernel.jit import compiled, within
from envs.transit.kernel.travel_times import Roads, arrive

FROM, UNTIL, LENGTH = range(3)
"""Columns of the breaks, ``(V, 3)``: begins from when until when, and how long it is; 0: none."""


def with_breaks(riders: Riders, fleet: Fleet, breaks: np.ndarray) -> Riders:
    """The same riders, and a row more for every vehicle whose driver has a break."""
    who = np.flatnonzero(breaks[:, LENGTH] > 0)
    if not len(who):
        return riders
    mine, at, never = breaks[who], fleet.at[who], np.full(len(who), np.inf)
    window = mine[:, FROM], mine[:, UNTIL]
    more = new_riders(at, at, never, *window, np.zeros(len(who)), never, fleet.room[who], mine[:, LENGTH])
    return Riders(*(np.concatenate(pair) for pair in zip(riders, more, strict=True)))


def plan_breaks(fleet: Fleet, riders: Riders, roads: Roads, breaks: np.ndarray) -> None:
    """Put every break into its vehicle's plan, in which there is nothing else yet."""
    rows = np.flatnonzero(plans.is_break(np.arange(len(riders.origin)), riders))
    for v, r in zip(np.flatnonzero(breaks[:, LENGTH] > 0), rows, strict=True):
        plans.insert(v, r, 0, 0, 0.0, fleet, riders, roads)


def free(fleet: Fleet, riders: Riders, now_s: float) -> np.ndarray:
    """Which vehicles have nothing to do: no plan, or one that holds a break alone that is not due; bool ``(V,)``."""
    to_come = (fleet.length == 2) & _breaks_at(0, fleet, riders) & fleet.pick[:, 0]
    return (fleet.length == 0) | (to_come & (fleet.floor_s[:, 0] > now_s))


def last_stop(fleet: Fleet, riders: Riders) -> np.ndarray:
    """The last stop of each plan, but for a break at its end that has not begun; int ``(V,)``, -1: there is none."""
    last = fleet.length - 1
    at_end = _breaks_at(np.maximum(last, 0), fleet, riders) & (fleet.length > 2)
    return last - 2 * at_end


def _breaks_at(stop: int | np.ndarray, fleet: Fleet, riders: Riders) -> np.ndarray:
    """Whether a stop of each plan is of a driver's break, bool ``(V,)``.

    Args:
        stop: its place in all plans, or in each, ``(V,)``; what is beyond a plan's end means nothing.
        fleet: the state of all vehicles.
        riders: the state of all riders.
    """
    if not len(riders.limit_s):  # nobody asks for anything
        return np.zeros(len(fleet.at), dtype=bool)
    found: np.ndarray = plans.is_break(fleet.rider[np.arange(len(fleet.at)), stop], riders)
    return found


@compiled
def settle(v: int, fleet: Fleet, riders: Riders, roads: Roads) -> None:
    """Let a break at the end of a plan be taken where the last rider gets off: it is no later there, nor farther."""
    k = fleet.length[v] - 2
    if k < 1 or not plans.is_break(fleet.rider[v, k], riders) or not fleet.pick[v, k]:
        return
    before, after = np.int64(fleet.node[v, k]), np.int64(fleet.node[v, k - 1])
    place(v, k, after, fleet, riders)
    if not battery_range.lasts_without(v, NOBODY, fleet, riders, roads):  # there a charger may be farther
        place(v, k, before, fleet, riders)
    plans.schedule(v, fleet, riders, roads)


@within
def place(v: int, k: int, node: int, fleet: Fleet, riders: Riders) -> None:
    """Move a break, whose stops are ``k`` and the next, to a node."""
    r = fleet.rider[v, k]
    riders.origin[r] = riders.destination[r] = node
    fleet.node[v, k] = fleet.node[v, k + 1] = node


@within
def can_go(v: int, node: int, now_s: float, fleet: Fleet, riders: Riders, roads: Roads) -> bool:
    """Whether an idle vehicle can be sent to a node, still begin its break in time there, and get to a charger."""
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
