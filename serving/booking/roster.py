"""Conversion between a site's stored rows and the kernel's arrays: duties, riders' slots, plans.

A duty is a vehicle on one shift: a vehicle with hours has one every day, and begins each where it is stationed; one
that always works has a single one.
"""

from __future__ import annotations

import logging
import math
import uuid
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np

from envs.core.errors import CityloopError
from envs.transit.kernel.charging import battery
from envs.transit.kernel.fleet import ABOARD, NOBODY, WAITING
from envs.transit.live.charging import Gauge, Stay
from envs.transit.live.driver_breaks import Break
from envs.transit.live.fleet import LiveFleet
from envs.transit.live.offers import Trip
from envs.transit.site import TransitSite
from serving.booking.places import Calendar, Places, Unfit
from serving.booking.settings import BookingSettings, Vehicle, hours
from serving.booking.store import OPEN, STRANDED, Row, State

LOGGER = logging.getLogger("cityloop.serving")

ALWAYS_S = 1e7
"""A shift without hours is from so long ago until so far ahead; the calendar begins anew every day."""


MIDNIGHT = "0:00"


def vehicle_of(duty: str | None) -> str | None:
    """Whose duty it is; None: nobody's."""
    return duty.partition("@")[0] if duty else None


def rest_name(duty: str) -> str:
    """What stands for a duty's break in its plan: as long as a booking's name, and always the same."""
    return uuid.uuid5(uuid.NAMESPACE_OID, duty).hex


class Misfit(CityloopError):
    """Stored bookings do not fit the settings, as where a vehicle with riders was taken out."""


class Roster:
    """A site at work.

    Args:
        site: the site.
        settings: its booking.
        state: what is kept of it.
        now: in seconds since 1970.

    Attributes:
        live: the vehicles; rows of its arrays are the duties.
        duties: key of each row.
        vehicles: whose it is.
        rows_of: rows of each vehicle's duties, by its name, in order of time.
        rows: open bookings by id, as kept.
        stranded: bookings that a breakdown left without a vehicle, by id, as long as one may still come in time.
        slots: their slots in the arrays; those of duties long over have none.
        passed: slots of bookings that were withdrawn, and by whose stops a vehicle still passes (`LiveFleet.passes`).
        stays: name of each duty's stay at a charger; none: none is planned.
        planned: duties whose break was put into the plan, or found no room, since then; none of it is kept.
        urgencies: what zones asked for last, see `rounds`; empty: nothing.
        decided: when plans were last looked through as a whole, see `rounds`.
        looked: the moment at which vehicles are where they are now, in seconds since 1970; no earlier one can be.

    Raises:
        CityloopError: if a vehicle that has riders, its shift, or a corner is no longer there.
    """

    def __init__(self, site: TransitSite, settings: BookingSettings, state: State, now: float):
        self.site, self.settings, self.revision = site, settings, state.revision
        self.calendar = Calendar(settings.timezone, now)
        self.places = Places(site, settings.walk_m)
        self.duties: list[str] = []
        self.vehicles: list[Vehicle] = []
        self.rows_of: dict[str, list[int]] = {}
        shifts: list[tuple[float, float]] = []
        for vehicle in settings.vehicles:
            for key, shift in self._duties(vehicle):
                self.duties.append(key)
                self.rows_of.setdefault(vehicle.id, []).append(len(self.vehicles))
                self.vehicles.append(vehicle)
                shifts.append(shift)
        speeds, slot_s = self.calendar.by_clock(settings.speeds, int(settings.ahead_h // 24) + 3)
        self.live = LiveFleet(
            site,
            [self.places.node(vehicle.at, "at") for vehicle in self.vehicles],
            [(vehicle.seats, vehicle.places) for vehicle in self.vehicles],
            shifts,
            speeds,
            slot_s,
            np.array([self._battery(vehicle) for vehicle in self.vehicles]),
            settings.charging,
            np.array([self._break(key, vehicle) for key, vehicle in zip(self.duties, self.vehicles, strict=True)]),
        )
        rows = enumerate(self.live.breaks.row_of.tolist())
        self._rests = {r: rest_name(self.duties[v]) for v, r in rows if r != NOBODY}
        self._stay_rows = {r: v for v, r in enumerate(self.live.batteries.chargers.stay_of.tolist()) if r != NOBODY}
        self._booked: dict[int, str] = {}
        self.seen = [0.0] * len(self.duties)  # when each reported last
        self.rows = {row["id"]: row for row in state.bookings if row["state"] != STRANDED}
        self.stranded = {row["id"]: row for row in state.bookings if row["state"] == STRANDED}
        self.slots: dict[str, int] = {}
        self.passed: dict[str, int] = {}
        self.stays: dict[int, str] = {}
        self.urgencies: dict[str, float] = {}
        self.planned: list[int] = []
        self.decided, self.looked = state.clock, now
        self._restore(state, self.calendar.to_s(now))

    def _duties(self, vehicle: Vehicle) -> list[tuple[str, tuple[float, float]]]:
        if not vehicle.begins:
            return [(vehicle.id, (-ALWAYS_S, ALWAYS_S))]
        calendar = self.calendar
        return [(f"{vehicle.id}@{calendar.date(k)}", calendar.span(k, *vehicle.shift_h)) for k in self._days]

    @property
    def _days(self) -> range:
        """Days whose shifts are known, from yesterday's on."""
        return range(-1, int(self.settings.ahead_h // 24) + 2)

    def is_past(self, duty: str) -> bool:
        """Whether a shift was over before any that is still in the arrays began."""
        day = duty.partition("@")[2]
        return bool(day) and day < str(self.calendar.date(self._days[0]))

    def _break(self, duty: str, vehicle: Vehicle) -> tuple[float, float, float]:
        """From when until when a duty's break begins, and how long it is, in the kernel's seconds; 0: there is none."""
        if not vehicle.rest_min:
            return 0.0, 0.0, 0.0
        day = (date.fromisoformat(duty.rpartition("@")[2]) - self.calendar.day).days
        return *self.calendar.span(day, *vehicle.rest_h), 60.0 * vehicle.rest_min

    def _battery(self, vehicle: Vehicle) -> tuple[float, float, float]:
        return battery(vehicle.range_km, vehicle.kwh_per_km, vehicle.charged, self.settings.charging.kw)

    def _restore(self, state: State, now_s: float) -> None:
        index = {key: v for v, key in enumerate(self.duties)}
        self._check_riders(state, index)
        for row in self.stranded.values():  # a corner that is gone is told now, as for others' bookings
            self.trips_of(row)
        fleet = self.live.fleet
        for key, row in state.duties.items():
            if key in index:
                v = index[key]
                fleet.at[v] = self._corner(row["corner"])
                fleet.at_s[v] = math.inf if row["out"] else self.calendar.to_s(row["at"])
                self.seen[v] = row["seen"]
        for row in state.bookings:
            if row["duty"] in index:
                self._restore_rider(row, index[row["duty"]])
        for key, row in state.batteries.items():
            if key in index and self.live.batteries.has(index[key]):
                picks = {stop["booking"] for stop in state.plans.get(key, ()) if stop["pick"]}
                self._restore_battery(index[key], row, plugged=row["stay"] not in picks)
        self._restore_breaks(state, index)
        self._restore_plans(state, index)
        self._plan_breaks(state, now_s)
        if self.settings.standby:
            self.hurry(state.urgencies)

    def _check_riders(self, state: State, index: Mapping[str, int]) -> None:
        """Whoever is promised a vehicle still has it, unless its shift was over days ago."""
        days = [str(self.calendar.date(k)) for k in self._days]
        for key in sorted({row["duty"] for row in state.bookings if row["state"] in OPEN} - set(index)):
            vehicle, _, day = key.partition("@")
            if self.is_past(key):
                continue
            if vehicle not in self.rows_of:
                raise Misfit(f"vehicle {vehicle!r} has riders and is no longer in the settings: put it back")
            if not day or day in days:
                raise Misfit(
                    f"vehicle {vehicle!r} has riders, and other hours than when they were promised it: put its begins "
                    "and ends back until they are there"
                )

    def _corner(self, name: str) -> int:
        """A corner that is kept."""
        try:
            return self.places.node(name, "corner")
        except Unfit:
            raise CityloopError(
                f"bookings are kept at corner {name!r}, which site {self.site.name!r} no longer has: put it back, or "
                "give a new database"
            ) from None

    def _restore_plans(self, state: State, index: Mapping[str, int]) -> None:
        stays = {name: int(self.live.batteries.chargers.stay_of[v]) for v, name in self.stays.items()}
        names = stays | {name: r for named in (self._rests, self._booked) for r, name in named.items()}
        for key, stops in state.plans.items():
            if key in index:  # of a vehicle that has no range any more, stays are left out
                mine = [stop for stop in stops if stop["booking"] in names]
                rows = [(names[stop["booking"]], stop) for stop in mine]
                self.live.set_plan(index[key], [(r, stop["pick"], self._floor(r, stop)) for r, stop in rows])
        for r in self.passed.values():
            self.live.let_pass(r)
        for v in {int(self.live.riders.vehicle[r]) for r in self.passed.values()}:
            self.live.set_plan(v, self.live.plan(v))
        for key, row in state.sent.items():
            if key in index:
                self.live.fleet.heading[index[key]] = self._corner(row["node"])

    def _floor(self, r: int, stop: Row) -> float:
        """When a stop of a plan may begin; a break as the settings say now."""
        if not stop["pick"]:
            return 0.0
        rests = r in self.live.breaks.row_of
        return float(self.live.riders.earliest_s[r]) if rests else self.calendar.to_s(stop["floor"])

    def _restore_rider(self, row: Row, v: int) -> None:
        r = self.live.take_slot()
        riders, to_s = self.live.riders, self.calendar.to_s  # after that, as a slot more may make new arrays
        ends = self._corner(row["origin"]), self._corner(row["destination"])
        needs = row["party"], row["wheelchairs"]
        self.live.place(r, Trip(*ends, to_s(row["earliest"]), *needs, to_s(row["latest"]), row["limit_s"]))
        riders.state[r], riders.vehicle[r] = WAITING, v
        self._booked[r] = row["id"]
        if row["state"] not in OPEN:
            del self.rows[row["id"]]
            self.passed[row["id"]] = r
            return
        if row["state"] == "aboard":
            riders.state[r], riders.begin_s[r] = ABOARD, to_s(row["boarded_at"])
            self.live.fleet.aboard[v] += riders.size[r]
        self.slots[row["id"]] = r

    def _restore_breaks(self, state: State, index: Mapping[str, int]) -> None:
        for key, row in state.breaks.items():
            if key in index and self.live.breaks.has(index[key]):
                begin_s = None if row["begin"] is None else self.calendar.to_s(row["begin"])
                one = Break(self._corner(row["rest"]), begin_s, row["over"])
                self.live.breaks.restore(index[key], one, self.live.riders)

    def _plan_breaks(self, state: State, now_s: float) -> None:
        """Breaks of which nothing is kept go into plans, unless it is too late for them."""
        live = self.live
        for v, key in enumerate(self.duties):
            r = live.breaks.row_of[v]
            if r == NOBODY or key in state.breaks or live.riders.latest_s[r] < now_s:
                continue
            self.planned.append(v)
            if not live.plan_break(v, now_s):
                LOGGER.warning("%s has riders who leave no room for its driver's break: it has none", key)

    def _restore_battery(self, v: int, row: Row, plugged: bool) -> None:
        live = self.live
        gauge = Gauge(row["left_m"], self._corner(row["seen_at"]), row["seen_m"])
        live.batteries.set_gauge(v, gauge, live.fleet)
        if row["stay"] is not None:
            stay = Stay(self._corner(row["charger"]), self.calendar.to_s(row["begin"]), row["length_s"])
            live.batteries.set_stay(v, stay, plugged, live.fleet, live.riders)
            self.stays[v] = row["stay"]

    # -- finding things -------------------------------------------------------------------------------------------

    def duty(self, vehicle: str, now_s: float) -> int | None:
        """The duty that a vehicle is on: the last that has begun, else its first; None: there is no such vehicle."""
        mine = self.rows_of.get(vehicle, [])
        begun = [v for v in mine if self.live.fleet.shift_s[v, 0] <= now_s]
        return begun[-1] if begun else mine[0] if mine else None

    def next_duty(self, v: int) -> int | None:
        """The duty of the same vehicle after another; None: there is none."""
        mine = self.rows_of[self.vehicles[v].id]
        k = mine.index(v) + 1
        return mine[k] if k < len(mine) else None

    def name(self, r: int) -> str:
        """What stands in a plan for a slot: a booking, a driver's break, or a stay at a charger."""
        if r in self._rests:
            return self._rests[r]
        return self.stays[self._stay_rows[r]] if r in self._stay_rows else self._booked[r]

    def look(self, now: float) -> None:
        """Vehicles are where they should be by now, in seconds since 1970."""
        self.looked = now
        self.live.look(self.calendar.to_s(now))
        for booking, r in list(self.passed.items()):
            if not self.live.passes(r):
                self._give_slot(self.passed.pop(booking))

    def service_day(self, now: float) -> tuple[str, float]:
        """The day of the service, and for how many seconds it has been, as its usual demand is told."""
        return self.calendar.service_day(hours(self.settings.usual_from or MIDNIGHT), now)

    def hurry(self, urgencies: Mapping[str, float]) -> None:
        """What zones ask for from now on; as usual where they ask for nothing."""
        self.urgencies = dict(urgencies)
        self.live.hurry(np.array([urgencies.get(zone, 0.0) for zone in self.site.agents]))

    def origins(self, asked: Mapping[str, Sequence[str]]) -> tuple[list[int], list[int]]:
        """Nodes from which people wanted to go: all of them, and those who were refused."""
        index = {node.id: k for k, node in enumerate(self.site.nodes)}
        booked, refused = ([index[name] for name in asked[kind] if name in index] for kind in ("booked", "refused"))
        return booked + refused, refused

    # -- what is to be kept ---------------------------------------------------------------------------------------

    def duty_row(self, v: int) -> Row:
        """Where a vehicle is."""
        fleet, at_s = self.live.fleet, float(self.live.fleet.at_s[v])
        out = not math.isfinite(at_s)
        at = self.seen[v] if out else self.calendar.to_time(at_s)
        return {"corner": self.site.nodes[fleet.at[v]].id, "at": at, "seen": self.seen[v], "out": out}

    def plan_rows(self, v: int) -> list[Row]:
        """A vehicle's stops."""
        to_time = self.calendar.to_time
        return [
            {"booking": self.name(r), "pick": pick, "floor": to_time(floor_s) if pick else 0.0}
            for r, pick, floor_s in self.live.plan(v)
        ]

    def sent_row(self, v: int) -> Row | None:
        """Where a vehicle is to stand by; None: nowhere but where it is."""
        heading = int(self.live.fleet.heading[v])
        return None if heading == NOBODY else {"node": self.site.nodes[heading].id}

    def break_row(self, v: int) -> Row | None:
        """The driver's break; None: there is none."""
        one, calendar = self.live.breaks.of(v, self.live.riders), self.calendar
        if one is None:
            return None
        begin = None if one.begin_s is None else calendar.to_time(one.begin_s)
        return {"rest": self.site.nodes[one.node].id, "begin": begin, "over": one.over}

    def battery_row(self, v: int) -> Row | None:
        """What a vehicle's battery has left, and its stay at a charger; None: it has no range to be heeded."""
        batteries, nodes = self.live.batteries, self.site.nodes
        if not batteries.has(v):
            return None
        gauge, stay = batteries.gauge(v, self.live.fleet), batteries.stay(v, self.live.riders)
        row = {"left_m": gauge.left_m, "seen_at": nodes[gauge.seen_at].id, "seen_m": gauge.seen_m}
        if stay is None:
            return row | dict.fromkeys(("stay", "charger", "begin", "length_s"))
        begin = self.calendar.to_time(stay.begin_s)
        more = {"charger": nodes[stay.node].id, "begin": begin, "length_s": stay.length_s}
        return row | {"stay": self.stays[v]} | more

    def name_stay(self, v: int) -> None:
        """A vehicle's stay at a charger has a name from when it is planned until it is over."""
        if self.live.batteries.stay(v, self.live.riders) is None:
            self.stays.pop(v, None)
        else:
            self.stays.setdefault(v, uuid.uuid4().hex)

    def trips_of(self, row: Row) -> list[tuple[Trip, bool]]:
        """The trips by which a stranded booking could be served, and whether each has another promise than the first:
        first as promised at first, unless the party was set down elsewhere; then as promised by the breakdown.
        """
        node, to_s = self._corner, self.calendar.to_s
        asked = node(row["origin"]), node(row["destination"]), to_s(row["earliest"]), row["party"], row["wheelchairs"]
        first = Trip(*asked, to_s(row["promised_latest"]), row["promised_limit_s"]), False
        anew = Trip(*asked, to_s(row["latest"]), row["limit_s"]), True
        return [first, anew] if row["first_boarded_at"] is None else [anew]

    def promise_row(self, r: int) -> Row:
        """What a rider is promised now."""
        riders, to_time = self.live.riders, self.calendar.to_time
        latest_s, limit_s = self.live.promised(r)
        v = int(riders.vehicle[r])
        return {
            "duty": self.duties[v] if v >= 0 else None,
            "origin": self.site.nodes[riders.origin[r]].id,
            "destination": self.site.nodes[riders.destination[r]].id,
            "earliest": to_time(float(riders.earliest_s[r])),
            "latest": to_time(latest_s),
            "limit_s": limit_s,
        }

    def forget(self, booking: str) -> None:
        """A booking is over."""
        self.rows.pop(booking)
        r = self.slots.pop(booking)
        if self.live.passes(r):
            self.passed[booking] = r
        else:
            self._give_slot(r)

    def _give_slot(self, r: int) -> None:
        del self._booked[r]
        self.live.give_slot(r)

    def remember(self, row: Row, r: int) -> None:
        """A booking is new."""
        self.rows[row["id"]], self.slots[row["id"]], self._booked[r] = row, r, row["id"]

    def arrivals(self) -> dict[int, float]:
        """Slot → arrival as planned, in the kernel's seconds."""
        fleet = self.live.fleet
        found: dict[int, float] = {}
        for v in np.flatnonzero(fleet.length > 0):
            drops = ~fleet.pick[v, : fleet.length[v]]
            ends = fleet.rider[v, : fleet.length[v]][drops], fleet.arrive_s[v, : fleet.length[v]][drops]
            found |= dict(zip(ends[0].tolist(), ends[1].tolist(), strict=True))
        return found

    def plain(self) -> dict[str, Any]:
        """All plans as plain data: what two rosters of one state have in common."""
        plans = {key: self.plan_rows(v) for v, key in enumerate(self.duties) if self.live.fleet.length[v]}
        promises = {booking: self.promise_row(r) for booking, r in self.slots.items()}
        every = range(len(self.duties))
        kept = {"batteries": self.battery_row, "breaks": self.break_row, "sent": self.sent_row}
        rows = {
            name: {self.duties[v]: row for v in every if (row := row_of(v)) is not None}
            for name, row_of in kept.items()
        }
        return {"plans": plans, "bookings": promises, "urgencies": self.urgencies} | rows
