"""The state of a fleet and of its riders as arrays, which the compiled functions read and write in place.

Operations on them are in `plans` and `insertion`, movement is in `motion`. A plan is a vehicle's list of stops; a
vehicle starts each leg as soon as it can, so a plan and a start determine one schedule.

Only columns that compiled functions need belong here: every column that is passed makes each call slower.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import numpy as np

PLAN = 48
"""Capacity of a plan, in stops. A vehicle whose plan is full is offered no more riders."""

UNKNOWN, WAITING, ABOARD, ARRIVED, REFUSED, CANCELLED, ABSENT, STRANDED, CHARGING = range(9)
"""States of a rider: request not yet known; promised and waiting; in a vehicle; arrived; refused; withdrawn; not at the
stop; stranded by a breakdown, as no other vehicle could come. `CHARGING` marks a row that is no party but a vehicle's
stay at a charger, see `charging`."""

LEFT, FULL, RATE = range(3)
"""Columns of a battery: range left and range when full, in metres; range gained per second at a charger, in m/s."""

SEATS, PLACES = range(2)
"""Columns of a vehicle's room, of its load, and of a party's size: seats and wheelchair places."""

BEGIN, END = range(2)
"""Columns of a shift, in seconds."""

NOBODY = cast(int, np.int64(-1))
"""No rider, no vehicle, no node. Not a plain -1: numba would compile functions for the literal, and again for int64."""


class Fleet(NamedTuple):
    """``V`` vehicles. Times are seconds from the start of the episode.

    Attributes:
        at: node at which the vehicle stands, or that it reaches next; int64 ``(V,)``.
        at_s: when it can leave that node, float64 ``(V,)``; inf: it is out of service.
        room: `SEATS` and `PLACES`, int32 ``(V, 2)``.
        aboard: seats and places taken now, int32 ``(V, 2)``.
        shift_s: `BEGIN` and `END` of its work, float64 ``(V, 2)``: all stops of a plan lie within.
        length: stops in the plan, int64 ``(V,)``.
        node, rider: of each stop, int32 ``(V, PLAN)``.
        pick: whether it is a pick-up, bool ``(V, PLAN)``.
        floor_s: earliest beginning of a pick-up, float64 ``(V, PLAN)``.
        mate: for a drop-off the index of its pick-up in the plan, -1: the rider is aboard; int32 ``(V, PLAN)``.
        arrive_s, leave_s: the schedule, float64 ``(V, PLAN)``.
        latest_s: the latest arrival that breaks no later pick-up window, no ride of a rider aboard, and not the shift;
            a promise that is late already counts as kept if it gets no later than planned; float64 ``(V, PLAN)``.
        load: seats and places taken after each stop, int32 ``(V, PLAN, 2)``.
        battery: float64 ``(V, 3)``: `LEFT` at the node ``at``, inf: unlimited range; `FULL`; `RATE`.
        heading: where an idle vehicle was sent, -1: nowhere; int64 ``(V,)``.
        metres: distance driven since the last event, float64 ``(V,)``.
        due_s: when it next reaches a node or serves a stop, float64 ``(V,)``.
    """

    at: np.ndarray
    at_s: np.ndarray
    room: np.ndarray
    aboard: np.ndarray
    shift_s: np.ndarray
    length: np.ndarray
    node: np.ndarray
    rider: np.ndarray
    pick: np.ndarray
    floor_s: np.ndarray
    mate: np.ndarray
    arrive_s: np.ndarray
    leave_s: np.ndarray
    latest_s: np.ndarray
    load: np.ndarray
    battery: np.ndarray
    heading: np.ndarray
    metres: np.ndarray
    due_s: np.ndarray


class Riders(NamedTuple):
    """``R`` requests, in the order in which they become known.

    Attributes:
        origin, destination: nodes, int64 ``(R,)``.
        known_s: when the request comes in.
        earliest_s: when the rider wants to be picked up; later than ``known_s`` if booked beforehand.
        latest_s: end of the pick-up window that plans must keep: the promised one, less a margin.
        direct_s: duration of a direct ride that begins at ``earliest_s``.
        limit_s: longest ride that plans must keep, from the beginning of boarding to the arrival; inf: this is no
            party but a driver's break or a stay at a charger, see `plans.is_pause`.
        size: `SEATS` and `PLACES` that the party needs, int32 ``(R, 2)``.
        board_s, alight_s: dwell times of the vehicle.
        cancel_s: when the rider withdraws unless aboard by then; inf: never.
        absent: whether nobody will be there, bool ``(R,)``.
        state: int8 ``(R,)``.
        vehicle: the vehicle that is promised, int64 ``(R,)``; `NOBODY`: none.
        begin_s: when boarding begins, as planned or as it was, float64 ``(R,)``.
    """

    origin: np.ndarray
    destination: np.ndarray
    known_s: np.ndarray
    earliest_s: np.ndarray
    latest_s: np.ndarray
    direct_s: np.ndarray
    limit_s: np.ndarray
    size: np.ndarray
    board_s: np.ndarray
    alight_s: np.ndarray
    cancel_s: np.ndarray
    absent: np.ndarray
    state: np.ndarray
    vehicle: np.ndarray
    begin_s: np.ndarray


def new_fleet(at: np.ndarray, room: np.ndarray, shift_s: np.ndarray, battery: np.ndarray | None = None) -> Fleet:
    """Idle vehicles.

    Args:
        at: node of each, ``(V,)``.
        room: seats and wheelchair places, ``(V, 2)``.
        shift_s: `BEGIN` and `END` of each one's work, ``(V, 2)``.
        battery: see `Fleet`, ``(V, 3)``; None: unlimited range.
    """
    count = len(at)
    plan = (count, PLAN)
    return Fleet(
        at=np.asarray(at, np.int64).copy(),
        at_s=np.zeros(count),
        room=np.asarray(room, np.int32).copy(),
        aboard=np.zeros((count, 2), np.int32),
        shift_s=np.asarray(shift_s, np.float64).copy(),
        length=np.zeros(count, np.int64),
        node=np.zeros(plan, np.int32),
        rider=np.zeros(plan, np.int32),
        pick=np.zeros(plan, np.bool_),
        floor_s=np.zeros(plan),
        mate=np.full(plan, -1, np.int32),
        arrive_s=np.zeros(plan),
        leave_s=np.zeros(plan),
        latest_s=np.zeros(plan),
        load=np.zeros((*plan, 2), np.int32),
        battery=np.full((count, 3), np.inf) if battery is None else np.asarray(battery, np.float64).copy(),
        heading=np.full(count, NOBODY, np.int64),
        metres=np.zeros(count),
        due_s=np.full(count, np.inf),
    )


def new_riders(
    origin: np.ndarray,
    destination: np.ndarray,
    known_s: np.ndarray,
    earliest_s: np.ndarray,
    latest_s: np.ndarray,
    direct_s: np.ndarray,
    limit_s: np.ndarray,
    size: np.ndarray,
    board_s: float | np.ndarray = 0.0,
    alight_s: float | np.ndarray = 0.0,
    cancel_s: np.ndarray | None = None,
    absent: np.ndarray | None = None,
) -> Riders:
    """Requests that have not come in yet; arguments as in `Riders`, the last four optional."""
    count = len(origin)

    def times(values: float | np.ndarray) -> np.ndarray:
        return np.broadcast_to(np.asarray(values, np.float64), (count,)).copy()

    return Riders(
        origin=np.asarray(origin, np.int64).copy(),
        destination=np.asarray(destination, np.int64).copy(),
        known_s=times(known_s),
        earliest_s=times(earliest_s),
        latest_s=times(latest_s),
        direct_s=times(direct_s),
        limit_s=times(limit_s),
        size=np.asarray(size, np.int32).reshape(count, 2).copy(),
        board_s=times(board_s),
        alight_s=times(alight_s),
        cancel_s=times(np.inf if cancel_s is None else cancel_s),
        absent=np.zeros(count, np.bool_) if absent is None else np.asarray(absent, np.bool_).copy(),
        state=np.full(count, UNKNOWN, np.int8),
        vehicle=np.full(count, NOBODY, np.int64),
        begin_s=np.full(count, np.nan),
    )
