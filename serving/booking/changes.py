"""Noting on a change what is to be written, and in the arrays what it means."""

from __future__ import annotations

from typing import Any

from serving.booking import views
from serving.booking.roster import Roster
from serving.booking.store import Change, Row


def keep(roster: Roster, change: Change, v: int) -> None:
    """A vehicle's place and plan are to be written."""
    key = roster.duties[v]
    change.duties[key], change.plans[key] = roster.duty_row(v), roster.plan_rows(v)


def note(change: Change, row: Row, columns: Row) -> None:
    """Columns of a booking are to be written."""
    row |= columns
    change.bookings[row["id"]] = change.bookings.get(row["id"], {}) | columns


def over(roster: Roster, change: Change, row: Row, state: str, when: float) -> Any:
    """A booking is over."""
    note(change, row, {"state": state, "ended_at": when})
    if row["id"] in roster.slots:
        roster.forget(row["id"])
    return views.booking(roster, row)
