"""What a vehicle reports, carried out: where it is, who boarded or got off or was not there, breakdowns and repairs."""

from __future__ import annotations

import math
from collections.abc import Callable

from envs.transit.fleet import ABOARD, WAITING
from serving.booking.changes import keep, note, over
from serving.booking.places import Unfit, Unknown
from serving.booking.roster import Roster
from serving.booking.store import Change, Row
from serving.booking.wire import EventRequest
from serving.refusals import Conflict


def duty_of(roster: Roster, vehicle: str, now_s: float) -> int:
    """The duty that a vehicle is on.

    Raises:
        Unknown: if there is no such vehicle.
    """
    v = roster.duty(vehicle, now_s)
    if v is None:
        raise Unknown("vehicle", vehicle, "there is no such vehicle: GET vehicles lists them")
    return v


class Report:
    """One report of a vehicle, carried out on the arrays.

    Args:
        roster: the site.
        change: where it is noted what is to be written.
        request: the report.
        when: it happened, in seconds since 1970.
        find: a booking's row, open or over.

    Raises:
        Unknown: if there is no such vehicle.
    """

    def __init__(
        self,
        roster: Roster,
        change: Change,
        request: EventRequest,
        when: float,
        find: Callable[[Roster, str], Row],
    ):
        self.roster, self.change, self.request, self.when, self._find = roster, change, request, when, find
        self.when_s = roster.calendar.to_s(when)
        self.v = duty_of(roster, request.vehicle, self.when_s)

    def carry_out(self) -> list[Row]:
        """Do it; the bookings that it changed.

        Raises:
            Refused: if it cannot be so; nothing is changed then.
        """
        request, roster = self.request, self.roster
        what = {"boarded": self._boarded, "alighted": self._alighted, "no-show": self._no_show}
        if request.kind in what:
            found = what[request.kind]()
        elif request.booking is not None:
            raise Unfit("booking", request.booking, f"{request.kind} concerns the whole vehicle: leave it out")
        else:
            found = {"position": self._position, "breakdown": self._breakdown, "back": self._back}[request.kind]()
        roster.seen[self.v] = max(roster.seen[self.v], self.when)
        keep(roster, self.change, self.v)
        if request.kind != "position":
            corner = roster.site.nodes[roster.live.fleet.at[self.v]].id
            names = {"kind": request.kind, "vehicle": request.vehicle, "booking": request.booking, "corner": corner}
            self.change.event = names
        return found

    def _where(self) -> int:
        request, places = self.request, self.roster.places
        if request.corner is not None:
            return places.node(request.corner, "corner")
        if math.isfinite(request.x_m) and math.isfinite(request.y_m):
            return places.nearest(request.x_m, request.y_m)
        raise Unfit("corner", None, f"say where the vehicle is: {request.kind} needs corner, or x_m and y_m")

    def _position(self) -> list[Row]:
        node = self._where()
        if self.when >= self.roster.seen[self.v]:  # a report that was held up says nothing new
            self.roster.live.report(self.v, node, self.when_s)
        return []

    def _rider(self, state: int, needed: str) -> tuple[Row, int]:
        """The booking of the report, if it is in this vehicle's plan and in the state that the report needs."""
        name, roster = self.request.booking, self.roster
        if name is None:
            raise Unfit("booking", None, f"say whose: {self.request.kind} needs a booking")
        row = self._find(roster, name)
        r = roster.slots.get(name)
        if r is None or roster.live.riders.state[r] != state:
            raise Conflict("booking", name, f"it is {row['state']}, and {self.request.kind} needs one that {needed}")
        v = int(roster.live.riders.vehicle[r])
        if roster.vehicles[v].id != self.request.vehicle:
            raise Conflict("vehicle", self.request.vehicle, f"the booking is with {roster.vehicles[v].id}: tell that")
        self.v = v
        return row, r

    def _boarded(self) -> list[Row]:
        row, r = self._rider(WAITING, "waits")
        self.roster.live.board(r, self.when_s)
        begun = self.when - self.roster.site.timing.board_s
        first = row["first_boarded_at"] if row["first_boarded_at"] is not None else begun
        note(self.change, row, {"state": "aboard", "boarded_at": begun, "first_boarded_at": first})
        return [row]

    def _alighted(self) -> list[Row]:
        row, r = self._rider(ABOARD, "is aboard")
        self.roster.live.alight(r, self.when_s)
        over(self.roster, self.change, row, "completed", self.when)
        return [row]

    def _no_show(self) -> list[Row]:
        row, r = self._rider(WAITING, "waits")
        if self.when < row["earliest"]:
            iso = self.roster.calendar.iso(row["earliest"])
            raise Conflict("booking", row["id"], f"the party may come until {iso}: wait")
        self.roster.live.withdraw(r, self.when_s)
        over(self.roster, self.change, row, "no-show", self.when)
        return [row]

    def _breakdown(self) -> list[Row]:
        roster, found = self.roster, []
        names = {r: name for name, r in roster.slots.items()}
        for r, outcome in roster.live.break_down(self.v, self.when_s).items():
            row = roster.rows[names[r]]
            found.append(row)
            columns = roster.promise_row(r) | {"broken_down": row["broken_down"] or outcome != "kept"}
            if outcome == "stranded":
                note(self.change, row, columns)
                over(roster, self.change, row, "stranded", self.when)
                continue
            note(self.change, row, columns | {"state": "confirmed", "boarded_at": None})
            keep(roster, self.change, int(roster.live.riders.vehicle[r]))
        return found

    def _back(self) -> list[Row]:
        self.roster.live.repair(self.v, self._where(), self.when_s)
        return []
