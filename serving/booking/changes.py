"""Helpers that record on a `BookingChange` what is to be written, and apply it to the arrays where needed."""

from __future__ import annotations

from typing import Any

from serving.booking import views
from serving.booking.roster import Roster, vehicle_of
from serving.booking.store import BookingChange, Row


def keep(roster: Roster, change: BookingChange, v: int) -> None:
    """Mark a vehicle's place, plan, battery, break and stand-by position for writing."""
    key = roster.duties[v]
    roster.name_stay(v)
    change.duties[key], change.plans[key] = roster.duty_row(v), roster.plan_rows(v)
    for kept, row in (
        (change.batteries, roster.battery_row(v)),
        (change.breaks, roster.break_row(v)),
        (change.sent, roster.sent_row(v)),
    ):
        kept.pop(key, None)
        if row is not None:
            kept[key] = row


def note(change: BookingChange, row: Row, columns: Row) -> None:
    """Mark columns of a booking for writing."""
    row |= columns
    change.bookings[row["id"]] = change.bookings.get(row["id"], {}) | columns


def hand_over(change: BookingChange, row: Row, columns: Row, why: str) -> None:
    """As `note`, where a booking may have another vehicle now, or none: the rider is told which, and why."""
    before, now = (vehicle_of(duty) for duty in (row["duty"], columns["duty"]))
    note(change, row, columns)
    if now == before:
        return
    number = len(row["handovers"])
    if before is None:  # it was stranded by a vehicle
        before = row["handovers"][-1]["instead_of"]
    told = {"booking": row["id"], "number": number, "vehicle": now, "instead_of": before, "why": why, "at": change.at}
    row["handovers"].append(told)
    change.handovers.append(told)


def over(roster: Roster, change: BookingChange, row: Row, state: str, when: float) -> Any:
    """End a booking."""
    note(change, row, {"state": state, "ended_at": when})
    roster.stranded.pop(row["id"], None)
    if row["id"] in roster.slots:
        roster.forget(row["id"])
    elif row["duty"] is not None and roster.is_past(row["duty"]):
        change.plans.setdefault(row["duty"], [])  # nobody drives by it any more
    return views.booking(roster, row)
