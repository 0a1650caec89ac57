"""Periodic dispatch decisions, every `timing.decision_s`: charging, stand-by positions, reassignment of riders, and
vehicles for those whom a breakdown left without one.

The first message after each such moment triggers them, before it is dealt with itself. Where the clock is the wall's
and no message comes, the process triggers them within seconds. Of several processes one does it, as the site's revision
says: every change before the moment was made without it, every one after it with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from envs.transit.guard import SCORE, URGENCY
from serving.booking.changes import hand_over, keep
from serving.booking.roster import Roster
from serving.booking.store import BookingChange
from serving.booking.zones import Unasked, Zones

Origins = Mapping[str, Sequence[str]]
"""Origins of the requests of the past ``timing.recent_s``: those ``booked`` and those ``refused``."""


def due(roster: Roster, now: float, zones: Zones | None) -> bool:
    """Whether periodic decisions are due: there are some, and none was made since their last moment."""
    timing = roster.site.timing
    wanted = timing.reassign_s > 0 or roster.live.ranged or zones is not None or bool(roster.live.breaks)
    wanted = wanted or bool(roster.stranded)
    passed = now // timing.decision_s - roster.decided // timing.decision_s
    # Another process may be a moment ahead; more than one was told by a clock that has since been put back.
    return wanted and (passed > 0 or passed < -1)


def decide(roster: Roster, change: BookingChange, now: float, zones: Zones | None, asked: Origins) -> None:
    """Send vehicles with low batteries to charge and idle ones to stand by as zones request; reassign waiting riders
    where the scenario allows it; and find vehicles for stranded ones.
    """
    live, rows, now_s = roster.live, roster.rows, roster.calendar.to_s(now)
    before = [_plan(roster, v) for v in range(len(roster.duties))]
    live.end_shifts(now_s)
    live.see_to_batteries(now_s)
    if zones is not None:
        _stand_by(roster, change, now, zones, asked)
    waiting = [row for row in rows.values() if row["state"] == "confirmed" and row["id"] in roster.slots]
    slots = [roster.slots[row["id"]] for row in sorted(waiting, key=lambda row: row["booked_at"])]
    for r in live.reassign(now_s, slots):
        hand_over(change, rows[roster.name(r)], roster.promise_row(r), "reassigned")
    _take_up_stranded(roster, change, now)
    begun = {v for v in roster.planned if live.fleet.shift_s[v, 0] <= now_s}
    roster.planned = [v for v in roster.planned if v not in begun]
    for v, plan in enumerate(before):
        if _plan(roster, v) != plan or v in begun:
            keep(roster, change, v)


def _stand_by(roster: Roster, change: BookingChange, now: float, zones: Zones, asked: Origins) -> None:
    """Ask the zones' controller, and carry out its commands."""
    live, now_s = roster.live, roster.calendar.to_s(now)
    day, time_s = roster.service_day(now)
    readings = live.idle.census(now_s, time_s, live.riders, *roster.origins(asked))
    try:
        commands = zones.ask(day, time_s, int(now // roster.site.timing.decision_s), readings)
    except Unasked:  # nothing changes: no promise depends on it
        return
    urgencies: dict[str, float] = {}
    if commands is not None:
        live.idle.send(now_s, live.riders, readings, commands[:, SCORE])
        urgencies = dict(zip(roster.site.agents, commands[:, URGENCY].tolist(), strict=True))
    if urgencies != roster.urgencies:
        change.urgencies = urgencies
        roster.hurry(urgencies)


def _take_up_stranded(roster: Roster, change: BookingChange, now: float) -> None:
    """Bookings that are stranded are confirmed again where a vehicle can come within what was promised, as one is back,
    or others have time. Once that time has passed, they are left to a person.
    """
    live, now_s = roster.live, roster.calendar.to_s(now)
    for row in sorted(roster.stranded.values(), key=lambda row: row["booked_at"]):
        if row["latest"] < now:
            del roster.stranded[row["id"]]
            continue
        for trip, anew in roster.trips_of(row):
            found = live.best(trip, now_s)
            if found is None:
                continue
            r = live.promise(trip, found, now_s)
            del roster.stranded[row["id"]]
            roster.remember(row, r)
            again = {"state": "confirmed", "boarded_at": None, "ended_at": None, "broken_down": anew}
            hand_over(change, row, roster.promise_row(r) | again, "recovered")
            break


def _plan(roster: Roster, v: int) -> tuple[list[tuple[int, bool, float]], float, int]:
    """A vehicle's plan, its begin, and the stand-by position."""
    fleet = roster.live.fleet
    return roster.live.plan(v), float(fleet.at_s[v]), int(fleet.heading[v])
