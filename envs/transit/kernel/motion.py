"""The fleet over time: vehicles drive their plans from node to node, riders board and alight, requests are answered.

Compiled. `insertion` decides what can be promised; here time passes and every event is recorded. A vehicle between two
nodes can be given another plan, or another place to stand by, from the next node on.
"""

from __future__ import annotations

import numpy as np

from envs.transit.kernel import (
    battery_range,
    breakdowns,
    charging,
    driver_breaks,
    events,
    insertion,
    plans,
    unforeseen,
)
from envs.transit.kernel.events import Log
from envs.transit.kernel.fleet import (
    ABOARD,
    ABSENT,
    ARRIVED,
    BEGIN,
    CANCELLED,
    CHARGING,
    END,
    LEFT,
    NOBODY,
    PLACES,
    REFUSED,
    SEATS,
    UNKNOWN,
    WAITING,
    Fleet,
    Riders,
)
from envs.transit.kernel.jit import compiled, within
from envs.transit.kernel.journal import note_drive, write
from envs.transit.kernel.travel_times import TravelTimes, arrive
from envs.transit.kernel.unforeseen import Unforeseen

EVENT_ROWS = 12
"""Upper bound of a rider's rows in the log, from request to arrival."""


@within
def move(
    v: int, until_s: float, fleet: Fleet, riders: Riders, roads: TravelTimes, log: Log, actual: Unforeseen | None
) -> None:
    """Let one vehicle drive and serve stops until a given time; where no road leads to its next stop, it stays."""
    while _is_due(v, until_s, fleet, riders, roads, log, actual):
        target = fleet.node[v, 0] if fleet.length[v] > 0 else fleet.heading[v]
        at = fleet.at[v]
        if at != target:
            following = roads.hop[at, target]
            if following == at:
                return
            if actual is not None:
                unforeseen.enter(v, at, following, fleet.at_s[v], roads, actual)
            fleet.metres[v] += roads.metres[at, following]
            fleet.battery[v, LEFT] -= roads.metres[at, following]
            fleet.at_s[v] = arrive(fleet.at_s[v], roads.free_s[at, following], roads.speed, roads.slot_s)
            fleet.at[v] = following
            if actual is None:
                _come(v, fleet, log)
        elif fleet.length[v] > 0:
            _serve(v, fleet, riders, roads, log, actual)
        else:
            _stand(v, fleet, log)
        plans.update_due(v, fleet)


@within
def _is_due(
    v: int, until_s: float, fleet: Fleet, riders: Riders, roads: TravelTimes, log: Log, actual: Unforeseen | None
) -> bool:
    """Whether a vehicle reaches a node by a given time, and has something to do there by then."""
    if actual is not None:
        if not unforeseen.reach(v, until_s, fleet, riders, roads, actual):
            return False
        _come(v, fleet, log)
    return fleet.due_s[v] <= until_s


@within
def _come(v: int, fleet: Fleet, log: Log) -> None:
    """A vehicle with a break to come reaches a node; if it was sent there, it stands by."""
    if fleet.length[v] > 0 and fleet.heading[v] == fleet.at[v]:
        _stand(v, fleet, log)


@within
def _stand(v: int, fleet: Fleet, log: Log) -> None:
    """Record that an idle vehicle has arrived where it was sent."""
    note_drive(v, fleet.at_s[v], fleet, log)
    write(log, fleet.at_s[v], events.STOOD, v, NOBODY, fleet.at[v], 0.0, 0)
    fleet.heading[v] = NOBODY


@within
def _pause(v: int, fleet: Fleet, riders: Riders, roads: TravelTimes, log: Log, actual: Unforeseen | None) -> None:
    """Begin or end a driver's break or a stay at a charger."""
    r, sign, begin_s, gained_m = fleet.rider[v, 0], 1, fleet.at_s[v], 0.0
    charges = riders.state[r] == CHARGING
    if actual is not None:
        if charges and fleet.pick[v, 0] and not unforeseen.takes_its_turn(v, fleet, riders, roads, actual):
            return
        if fleet.pick[v, 0]:
            unforeseen.excuse(v, False, max(begin_s, fleet.floor_s[v, 0]), fleet, riders, actual, log)
    if fleet.pick[v, 0]:
        kind = events.PLUGGED_IN if charges else events.RESTED
        begin_s = max(begin_s, fleet.floor_s[v, 0])
        note_drive(v, begin_s, fleet, log)
        fleet.at_s[v], riders.begin_s[r] = begin_s + riders.board_s[r], begin_s
    else:
        sign, kind = -1, events.UNPLUGGED if charges else events.WENT_ON
        if charges:
            gained_m = charging.end_stay(v, np.int64(r), fleet, riders)
    write(log, begin_s, kind, v, NOBODY, fleet.at[v], gained_m, 0)
    fleet.aboard[v, SEATS] += sign * riders.size[r, SEATS]
    fleet.aboard[v, PLACES] += sign * riders.size[r, PLACES]
    plans.close(v, 0, fleet)
    plans.schedule(v, fleet, riders, roads)


@within
def _serve(v: int, fleet: Fleet, riders: Riders, roads: TravelTimes, log: Log, actual: Unforeseen | None) -> None:
    """Serve the first stop of a plan: the vehicle is there, and it is time."""
    r, at = np.int64(fleet.rider[v, 0]), fleet.at[v]
    if plans.is_pause(r, riders):
        _pause(v, fleet, riders, roads, log, actual)
        return
    if riders.state[r] == CANCELLED or riders.state[r] == ABSENT:
        _pass(v, fleet, riders, roads, log)
        return
    if actual is not None:
        unforeseen.excuse(v, True, fleet.due_s[v], fleet, riders, actual, log)
    if fleet.pick[v, 0]:
        begin_s = max(fleet.at_s[v], fleet.floor_s[v, 0])
        note_drive(v, begin_s, fleet, log)
        fleet.at_s[v] = begin_s + riders.board_s[r]
        plans.close(v, 0, fleet)
        if riders.absent[r]:
            riders.state[r] = ABSENT
            write(log, begin_s, events.ABSENT, v, r, at, 0.0, 0)
            leave_out(v, r, fleet.at_s[v], fleet, riders, roads)
            return
        riders.state[r], riders.begin_s[r] = ABOARD, begin_s
        fleet.aboard[v, SEATS] += riders.size[r, SEATS]
        fleet.aboard[v, PLACES] += riders.size[r, PLACES]
        write(log, begin_s, events.PICKED_UP, v, r, at, 0.0, 0)
    else:
        note_drive(v, fleet.at_s[v], fleet, log)
        write(log, fleet.at_s[v], events.DROPPED_OFF, v, r, at, 0.0, 0)
        riders.state[r] = ARRIVED
        fleet.aboard[v, SEATS] -= riders.size[r, SEATS]
        fleet.aboard[v, PLACES] -= riders.size[r, PLACES]
        fleet.at_s[v] += riders.alight_s[r]
        plans.close(v, 0, fleet)
    plans.schedule(v, fleet, riders, roads)


@within
def _pass(v: int, fleet: Fleet, riders: Riders, roads: TravelTimes, log: Log) -> None:
    """Pass a stop of a rider who is gone, taking the time that was planned for it."""
    r, pick = fleet.rider[v, 0], fleet.pick[v, 0]
    begin_s = max(fleet.at_s[v], fleet.floor_s[v, 0])
    note_drive(v, begin_s, fleet, log)
    fleet.at_s[v] = begin_s + (riders.board_s[r] if pick else riders.alight_s[r])
    plans.close(v, 0, fleet)
    plans.schedule(v, fleet, riders, roads)


@within
def leave_out(v: int, r: int, now_s: float, fleet: Fleet, riders: Riders, roads: TravelTimes) -> None:
    """Take a rider who withdrew, or did not appear, out of a plan, or only out of the vehicle's load.

    If the battery would not last for the rest of the plan without the rider's stops (see
    `battery_range.lasts_without`), the vehicle still drives by them as planned.
    """
    if battery_range.lasts_without(v, r, fleet, riders, roads):
        plans.remove(v, r, now_s, fleet, riders, roads)
        return
    riders.size[r] = 0
    plans.schedule(v, fleet, riders, roads)


@compiled
def move_all(
    until_s: float, fleet: Fleet, riders: Riders, roads: TravelTimes, log: Log, actual: Unforeseen | None
) -> None:
    """Let all vehicles drive and serve stops until a given time."""
    for v in range(len(fleet.at)):
        if actual is not None or fleet.due_s[v] <= until_s:
            move(v, until_s, fleet, riders, roads, log, actual)


@compiled
def answer(
    r: int,
    now_s: float,
    fleet: Fleet,
    riders: Riders,
    roads: TravelTimes,
    weights: np.ndarray,
    mode: int,
    log: Log,
) -> bool:
    """Promise a request to a vehicle, or refuse it. All vehicles must have been moved up to ``now_s``."""
    write(log, now_s, events.REQUESTED, NOBODY, r, riders.origin[r], 0.0, 0)
    _, v, first, second = insertion.best_insertion(r, now_s, fleet, riders, roads, weights, mode)
    if v == NOBODY:
        riders.state[r] = REFUSED
        reason = events.TOO_LATE if fits_somewhere(r, fleet, riders) else events.TOO_LARGE
        write(log, now_s, events.REFUSED, NOBODY, r, riders.origin[r], 0.0, reason)
        return False
    note_drive(v, now_s, fleet, log)
    plans.insert(v, r, first, second, now_s, fleet, riders, roads)
    driver_breaks.settle(v, fleet, riders, roads)
    riders.state[r] = WAITING
    write(log, now_s, events.PROMISED, v, r, riders.origin[r], 0.0, 0)
    return True


@compiled
def fits_somewhere(r: int, fleet: Fleet, riders: Riders) -> bool:
    """Whether a vehicle that is on shift at the wanted time has room for the party."""
    for v in range(len(fleet.at)):
        large = fleet.room[v, SEATS] >= riders.size[r, SEATS] and fleet.room[v, PLACES] >= riders.size[r, PLACES]
        if large and fleet.shift_s[v, BEGIN] <= riders.latest_s[r] and fleet.shift_s[v, END] > riders.earliest_s[r]:
            return True
    return False


@compiled
def withdraw(r: int, now_s: float, fleet: Fleet, riders: Riders, roads: TravelTimes, log: Log) -> None:
    """Cancel a rider's request, unless aboard by now."""
    if riders.state[r] == UNKNOWN or riders.state[r] == WAITING:
        v = riders.vehicle[r]
        if v != NOBODY:
            note_drive(v, now_s, fleet, log)
            leave_out(v, r, now_s, fleet, riders, roads)
            driver_breaks.settle(v, fleet, riders, roads)
        riders.state[r] = CANCELLED
        write(log, now_s, events.CANCELLED, v, r, riders.origin[r], 0.0, 0)


@compiled
def run(
    agenda_s: np.ndarray,
    agenda: np.ndarray,
    until_s: float,
    fleet: Fleet,
    riders: Riders,
    roads: TravelTimes,
    weights: np.ndarray,
    urgency: np.ndarray,
    mode: int,
    anew: np.ndarray,
    log: Log,
    actual: Unforeseen | None,
) -> None:
    """Advance time, and process requests, cancellations and breakdowns on the way.

    Args:
        agenda_s: times of the agenda, ascending, ``(A,)``.
        agenda: entries as codes, with ``R`` riders and ``V`` vehicles: rider ``r`` asks (``r``) or cancels
            (``-1 - r``), vehicle ``v`` breaks down (``R + v``) or is back (``R + V + v``), ``(A,)``.
        until_s: end time; finite.
        fleet: the state of all vehicles.
        riders: the state of all riders.
        roads: travel times.
        weights: of an insertion's cost, ``(4,)``.
        urgency: factor on the weight of a wait, by origin, ``(N,)``.
        mode: `insertion.EVERYWHERE` or `insertion.AT_THE_END`.
        anew: terms of a new promise after a breakdown; see `breakdowns`.
        log: with room for `EVENT_ROWS` rows a rider concerned, two a vehicle, and those of `breakdowns`.
        actual: actual travel times; None: those that the dispatcher knows.
    """
    mine = weights.copy()
    count, vehicles = len(riders.origin), len(fleet.at)
    for k in range(len(agenda)):
        now_s = agenda_s[k]
        move_all(now_s, fleet, riders, roads, log, actual)
        r = agenda[k]
        if r >= count + vehicles:
            v = r - count - vehicles
            breakdowns.repair(v, fleet.at[v], now_s, fleet, log)
        elif r >= count:
            if actual is not None:  # the driver reports when it will be at the next corner
                unforeseen.reach(r - count, np.inf, fleet, riders, roads, actual)
            breakdowns.break_down(r - count, now_s, fleet, riders, roads, weights, anew, log)
        elif r >= 0:
            mine[insertion.WAIT] = weights[insertion.WAIT] * urgency[riders.origin[r]]
            answer(r, now_s, fleet, riders, roads, mine, mode, log)
        else:
            withdraw(-1 - r, now_s, fleet, riders, roads, log)
    move_all(until_s, fleet, riders, roads, log, actual)


@compiled
def reassign(
    who: np.ndarray,
    lock_s: float,
    now_s: float,
    fleet: Fleet,
    riders: Riders,
    roads: TravelTimes,
    weights: np.ndarray,
    urgency: np.ndarray,
    log: Log,
) -> None:
    """Reinsert riders whose pick-up is planned later than ``lock_s`` from now.

    Riders stay where they are if the battery would not last for the plan without their stops, unless it does not last
    for the present plan either. A rider who is taken out fits in again at the old place, so no promise is at risk and
    no insertion gets costlier.

    Args:
        who: riders who wait, in the order in which they are inserted.
        lock_s: riders with an earlier pick-up stay.
        now_s: the present.
        fleet: the state of all vehicles.
        riders: the state of all riders.
        roads: travel times.
        weights: of an insertion's cost, ``(4,)``.
        urgency: factor on the weight of a wait, by origin, ``(N,)``.
        log: with room for three rows a rider.
    """
    mine = weights.copy()
    for r in who:
        v = riders.vehicle[r]
        if riders.begin_s[r] <= now_s + lock_s or _needs(v, r, fleet, riders, roads):
            continue
        pick, drop = plans.stops_of(v, r, fleet)
        floor_s = fleet.floor_s[v, pick]
        note_drive(v, now_s, fleet, log)
        plans.remove(v, r, now_s, fleet, riders, roads)
        mine[insertion.WAIT] = weights[insertion.WAIT] * urgency[riders.origin[r]]
        _, other, first, second = insertion.best_insertion(r, now_s, fleet, riders, roads, mine, insertion.EVERYWHERE)
        if other == NOBODY:  # through rounding, or because the old pick-up had to be later than wanted
            plans.insert(v, r, pick, drop - 1, now_s, fleet, riders, roads)
            fleet.floor_s[v, pick] = floor_s
            plans.schedule(v, fleet, riders, roads)
            continue
        if other != v:
            note_drive(other, now_s, fleet, log)
            write(log, now_s, events.HANDED_OVER, other, r, riders.origin[r], 0.0, 0)
        plans.insert(other, r, first, second, now_s, fleet, riders, roads)
        driver_breaks.settle(other, fleet, riders, roads)


@within
def _needs(v: int, r: int, fleet: Fleet, riders: Riders, roads: TravelTimes) -> bool:
    """Whether a vehicle's battery lasts for its plan, but would not without a rider's stops."""
    if battery_range.lasts_without(v, r, fleet, riders, roads):
        return False
    return battery_range.lasts_without(v, NOBODY, fleet, riders, roads)


@compiled
def send(v: int, node: int, now_s: float, fleet: Fleet, riders: Riders, roads: TravelTimes, log: Log) -> None:
    """Send an idle vehicle to a node; it can be redirected, or given a rider, at any node on the way.

    It stays if no road leads there, its driver's break would begin too late there, or the battery would not last from
    there to a charger.
    """
    if not driver_breaks.can_go(v, node, now_s, fleet, riders, roads):
        return
    note_drive(v, now_s, fleet, log)
    fleet.at_s[v] = plans.ready_s(v, now_s, fleet)
    if fleet.length[v] > 0:
        driver_breaks.place(v, 0, node, fleet, riders)
        plans.schedule(v, fleet, riders, roads)
    fleet.heading[v] = node
    write(log, now_s, events.SENT, v, NOBODY, node, 0.0, 0)
    plans.update_due(v, fleet)
