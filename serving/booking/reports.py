"""Carrying out vehicles' reports: positions, boarding, alighting, no-shows, charging stays, breaks, breakdowns."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from envs.transit.kernel import plans
from envs.transit.kernel.fleet import ABOARD, END, WAITING
from serving.booking.changes import hand_over, keep, note, over
from serving.booking.places import Unfit, Unknown
from serving.booking.roster import Roster, vehicle_of
from serving.booking.store import STRANDED, BookingChange, Row
from serving.booking.wire import EventRequest
from serving.core.refusals import Conflict, brief

PLACED = ("position", "back", "break-began", "breakdown")
"""Reports that may say where the vehicle is."""

STATES = {WAITING: "confirmed", ABOARD: "aboard"}
"""State of a rider → of the booking."""


def duty_of(roster: Roster, vehicle: str, now_s: float) -> int:
    """The duty that a vehicle is on.

    Raises:
        Unknown: if there is no such vehicle.
    """
    v = roster.duty(vehicle, now_s)
    if v is None:
        raise _unknown(vehicle)
    return v


def duties_of(roster: Roster, vehicle: str) -> list[int]:
    """All duties of a vehicle, the past day's and those to come.

    Raises:
        Unknown: if there is no such vehicle.
    """
    if vehicle not in roster.rows_of:
        raise _unknown(vehicle)
    return roster.rows_of[vehicle]


def _unknown(vehicle: str) -> Unknown:
    return Unknown("vehicle", brief(vehicle), "there is no such vehicle: GET vehicles lists them")


class VehicleReport:
    """One report of a vehicle, carried out on the arrays.

    Args:
        roster: the site.
        change: collects the rows to write.
        request: the report.
        when: time of the event, in seconds since 1970.
        find: a booking's row, open or over.

    Raises:
        Unknown: if there is no such vehicle.
    """

    def __init__(
        self,
        roster: Roster,
        change: BookingChange,
        request: EventRequest,
        when: float,
        find: Callable[[Roster, str], Row],
    ):
        self.roster, self.change, self.request, self.when, self._find = roster, change, request, when, find
        self.when_s = roster.calendar.to_s(when)
        self.v = duty_of(roster, request.vehicle, self.when_s)

    def carry_out(self) -> list[Row]:
        """Carry out the report; returns the changed bookings.

        Raises:
            Refused: if it contradicts the plan; nothing is changed then.
        """
        request, roster = self.request, self.roster
        if request.charge is not None and not roster.live.batteries.has(self.v):
            raise Unfit("charge", request.charge, f"{request.vehicle} has no range_km in the settings: leave it out")
        if self._told_where() and request.kind not in PLACED:
            name = "corner" if request.corner is not None else "x_m, y_m"
            value = [request.x_m, request.y_m] if request.corner is None else request.corner
            raise Unfit(name, value, f"{request.kind} says nothing of a place: report the position before")
        found = self._kind()()
        if request.charge is not None and self._newest():
            roster.live.read(self.v, request.charge, self.when_s)
        roster.seen[self.v] = max(roster.seen[self.v], self.when)
        keep(roster, self.change, self.v)
        if request.kind != "position":
            corner = roster.site.nodes[roster.live.fleet.at[self.v]].id
            names = {"kind": request.kind, "vehicle": request.vehicle, "booking": request.booking, "corner": corner}
            self.change.event = names
        return found

    def _kind(self) -> Callable[[], list[Row]]:
        """The method for the report's kind."""
        kind, booking = self.request.kind, self.request.booking
        riders = {"boarded": self._boarded, "alighted": self._alighted, "no-show": self._no_show}
        if kind in riders:
            return riders[kind]
        if booking is not None:
            raise Unfit("booking", booking, f"{kind} concerns the whole vehicle: leave it out")
        return {
            "position": self._position,
            "plugged-in": self._plugged_in,
            "unplugged": self._unplugged,
            "break-began": self._break_began,
            "break-ended": self._break_ended,
            "breakdown": self._breakdown,
            "back": self._back,
        }[kind]

    def _not_before(self, moment: float) -> None:
        """Move the event after those that it follows from, if the vehicle's clock is slow."""
        if self.when < moment:
            self.when, self.when_s = moment, self.roster.calendar.to_s(moment)

    def _newest(self) -> bool:
        """Whether nothing later was reported: a report that was held up does not take the vehicle back."""
        return self.when >= self.roster.seen[self.v]

    def _duties(self) -> list[int]:
        """The duties of a breakdown: once a shift is over and has no riders left, also that of the next shift."""
        live, v = self.roster.live, self.v
        left = live.fleet.rider[v, : live.fleet.length[v]]
        later = self.roster.next_duty(v)
        if later is None or live.fleet.shift_s[v, END] > self.when_s or not plans.is_pause(left, live.riders).all():
            return [v]
        return [v, later]

    def _told_where(self) -> bool:
        request = self.request
        return request.corner is not None or math.isfinite(request.x_m) or math.isfinite(request.y_m)

    def _where(self) -> int:
        """The corner of the report, from which a road leads to the vehicle's next stop.

        A point is that of the nearest corner that is also no dead end, and from which a battery can be charged.
        """
        request, places, live = self.request, self.roster.places, self.roster.live
        ways_on = live.ways_on(self.v)
        if request.corner is not None:
            node = places.node(request.corner, "corner")
            if not ways_on[node]:
                mend = (
                    f"no road leads from there to the next stop of {request.vehicle}: name a corner from which one does"
                )
                raise Unfit("corner", request.corner, mend)
            return node
        if math.isfinite(request.x_m) and math.isfinite(request.y_m):
            fit = ways_on & places.around(places.node(self.roster.vehicles[self.v].at, "at"))
            if live.batteries.has(self.v):
                fit &= np.isfinite(live.roads.charger_m)
            return places.nearest(request.x_m, request.y_m, fit if fit.any() else ways_on)
        raise Unfit("corner", None, f"say where the vehicle is: {request.kind} needs corner, or x_m and y_m")

    def _position(self) -> list[Row]:
        node = self._where()
        if self._newest():
            self.roster.live.report(self.v, node, self.when_s)
        return []

    def _rider(self, state: int, needed: str) -> tuple[Row, int | None]:
        """The booking of the report, if it is in this vehicle's plan and in the state that the report needs; and its
        slot, None: the shift was over days ago, and the report that ends the ride was never made.
        """
        name, roster = self.request.booking, self.roster
        if name is None:
            raise Unfit("booking", None, f"say whose: {self.request.kind} needs a booking")
        row = self._find(roster, name)
        r = roster.slots.get(name)
        if row["state"] != STATES[state]:
            raise Conflict("booking", name, f"it is {row['state']}, and {self.request.kind} needs one that {needed}")
        if vehicle_of(row["duty"]) != self.request.vehicle:
            raise Conflict("vehicle", self.request.vehicle, f"the booking is with {vehicle_of(row['duty'])}: tell that")
        if r is not None:
            self.v = int(roster.live.riders.vehicle[r])
        return row, r

    def _boarded(self) -> list[Row]:
        row, r = self._rider(WAITING, "waits")
        if r is None:
            raise Conflict("booking", row["id"], "that shift was over days ago: report no-show, or cancel it")
        self._not_before(row["booked_at"])
        begun = max(self.when - self.roster.site.timing.board_s, row["booked_at"])
        self.roster.live.board(r, self.when_s, self.roster.calendar.to_s(begun), moves=self._newest())
        first = row["first_boarded_at"] if row["first_boarded_at"] is not None else begun
        note(self.change, row, {"state": "aboard", "boarded_at": begun, "first_boarded_at": first})
        return [row]

    def _alighted(self) -> list[Row]:
        row, r = self._rider(ABOARD, "is aboard")
        self._not_before(row["boarded_at"])
        if r is not None:
            self.roster.live.alight(r, self.when_s, moves=self._newest())
        over(self.roster, self.change, row, "completed", self.when)
        return [row]

    def _no_show(self) -> list[Row]:
        row, r = self._rider(WAITING, "waits")
        if round(self.when, 1) < round(row["earliest"], 1):  # as it was told, see `Calendar.iso`
            iso = self.roster.calendar.iso(row["earliest"])
            raise Conflict("booking", row["id"], f"the party may come until {iso}: wait")
        if r is not None:
            self.roster.live.withdraw(r, self.when_s)
        over(self.roster, self.change, row, "no-show", self.when)
        return [row]

    def _plugged_in(self) -> list[Row]:
        live = self.roster.live
        if live.batteries.plugged(self.v, live.fleet):
            raise Conflict("vehicle", self.request.vehicle, "it charges already: report unplugged before")
        if live.batteries.stay(self.v, live.riders) is None:
            mend = "its plan holds no stay at a charger: report its position and charge instead"
            raise Conflict("vehicle", self.request.vehicle, mend)
        if live.fleet.aboard[self.v].any() and not live.breaks.under_way(self.v):  # which takes all places
            raise Conflict("vehicle", self.request.vehicle, "a party is aboard: report first that it has got off")
        live.plug_in(self.v, self.when_s)
        return []

    def _unplugged(self) -> list[Row]:
        live = self.roster.live
        mine = self.roster.rows_of[self.request.vehicle]
        plugged = [v for v in mine if live.batteries.plugged(v, live.fleet)]  # maybe since the shift before
        if not plugged:
            raise Conflict("vehicle", self.request.vehicle, "it does not charge: report plugged-in before")
        self.v = plugged[0]
        live.unplug(self.v, self.when_s)
        return []

    def _break_began(self) -> list[Row]:
        live, vehicle = self.roster.live, self.request.vehicle
        if live.breaks.under_way(self.v):
            raise Conflict("vehicle", vehicle, "its driver has a break already: report break-ended before")
        if not live.breaks.to_come(self.v):
            raise Conflict("vehicle", vehicle, "its plan holds no break: report its position instead")
        if live.batteries.plugged(self.v, live.fleet):
            raise Conflict("vehicle", vehicle, "it charges: report unplugged before")
        if live.fleet.aboard[self.v].any():
            raise Conflict("vehicle", vehicle, "a party is aboard: report first that it has got off")
        first_s = float(live.riders.earliest_s[live.breaks.row_of[self.v]])
        if self.when_s < first_s:
            iso = self.roster.calendar.iso(self.roster.calendar.to_time(first_s))
            raise Conflict("vehicle", vehicle, f"the break begins at {iso} at the earliest: wait")
        live.begin_break(self.v, self._where() if self._told_where() else int(live.fleet.at[self.v]), self.when_s)
        return []

    def _break_ended(self) -> list[Row]:
        live = self.roster.live
        mine = self.roster.rows_of[self.request.vehicle]
        resting = [v for v in mine if live.breaks.under_way(v)]  # maybe since the shift before
        if not resting:
            raise Conflict("vehicle", self.request.vehicle, "its driver has no break: report break-began before")
        self.v = resting[0]
        live.end_break(self.v, self.when_s)
        return []

    def _breakdown(self) -> list[Row]:
        roster, found = self.roster, []
        if self._told_where():  # who was aboard waits there
            self._position()
        names = {r: name for name, r in roster.slots.items()}
        # Others set out now, however late it is heard of.
        now_s = roster.calendar.to_s(self.change.at)
        outcomes: dict[int, str] = {}
        for v in self._duties():
            outcomes |= roster.live.break_down(v, now_s)
            keep(roster, self.change, v)
        for r, outcome in outcomes.items():
            row = roster.rows[names[r]]
            found.append(row)
            columns = roster.promise_row(r) | {"broken_down": row["broken_down"] or outcome != "kept"}
            if outcome == "stranded":
                hand_over(self.change, row, columns, "breakdown")
                over(roster, self.change, row, STRANDED, self.when)
                roster.stranded[row["id"]] = row
                continue
            hand_over(self.change, row, columns | {"state": "confirmed", "boarded_at": None}, "breakdown")
            keep(roster, self.change, int(roster.live.riders.vehicle[r]))
        return found

    def _back(self) -> list[Row]:
        live = self.roster.live
        out = [v for v in self._duties() if not math.isfinite(live.fleet.at_s[v])]
        if not out:  # it was never heard of that it was
            return self._position()
        node = self._where()
        for v in out:
            later = v != self.v  # a shift that begins where the vehicle is stationed, with its break still to come
            live.repair(v, int(live.fleet.at[v]) if later else node, self.when_s)
            if later and live.breaks.has(v):
                live.plan_break(v, self.when_s)
            keep(self.roster, self.change, v)
        return []
