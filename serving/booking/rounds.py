"""What a dispatch centre does every `timing.decision_s`, whoever asks for what: see `LiveFleet.decide`.

There is no clock that runs by itself: the first message after each such moment brings it about, before it is dealt
with. Of several processes one does it, as the site's revision says: every change before the moment was made without it,
every one after it with it.
"""

from __future__ import annotations

from serving.booking.changes import hand_over, keep
from serving.booking.roster import Roster
from serving.booking.store import Change


def due(roster: Roster, now: float) -> bool:
    """Whether there is something to decide as a whole, and it has not been since the last moment for it."""
    timing = roster.site.timing
    wanted = timing.reassign_s > 0 or roster.live.ranged
    return wanted and now // timing.decision_s > roster.decided // timing.decision_s


def decide(roster: Roster, change: Change, now: float) -> None:
    """Have vehicles that are low charge, and give riders who wait to others where the scenario lets them be."""
    live, rows = roster.live, roster.rows
    before = [_plan(roster, v) for v in range(len(roster.duties))]
    waiting = [row for row in rows.values() if row["state"] == "confirmed" and row["id"] in roster.slots]
    slots = [roster.slots[row["id"]] for row in sorted(waiting, key=lambda row: row["booked_at"])]
    moved, names = live.decide(roster.calendar.to_s(now), slots), roster.names
    for r in moved:
        hand_over(change, rows[names[r]], roster.promise_row(r), "reassigned")
    for v, plan in enumerate(before):
        if _plan(roster, v) != plan:
            keep(roster, change, v)


def _plan(roster: Roster, v: int) -> tuple[list[tuple[int, bool, float]], float]:
    """A vehicle's plan, and from when on it carries it out."""
    return roster.live.plan(v), float(roster.live.fleet.at_s[v])
