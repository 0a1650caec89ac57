"""The booking desk of one site: requests one at a time, decided by the kernel and stored before they are answered.

One request at a time holds the arrays; while one hangs, as its database does, others are refused. A decision is
committed with its answer, from the revision that it was based on. If another process was quicker, the arrays are built
anew and the request is decided again. If anything goes wrong in between, the arrays are built anew before the next
request, so they never know more than the database.
"""

from __future__ import annotations

import hashlib
import math
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from pydantic import BaseModel

from envs.transit.live.offers import Offer
from envs.transit.live.offers import Trip as Way
from envs.transit.live.warm_up import warm_up
from envs.transit.site import TransitSite
from serving.booking import rounds, views
from serving.booking.changes import keep, over
from serving.booking.clock import Clock
from serving.booking.offers import NoOffer, offers_of, why_not
from serving.booking.places import DAY_S, Unfit, Unknown
from serving.booking.reports import VehicleReport, duties_of, duty_of
from serving.booking.roster import Misfit, Roster
from serving.booking.settings import BookingSettings
from serving.booking.store import AGAIN_S, Answer, BookingChange, BookingStore, Row, Stale, StoreUnusable
from serving.booking.wire import BookRequest, EventRequest, QuoteRequest, Trip
from serving.booking.zones import Zones
from serving.core.refusals import Busy, Conflict, Refused, brief
from serving.core.telemetry import MOST_THINGS, Telemetry

TRIES = 20
"""Number of times that a request is decided because another process was quicker."""

WAIT_S = 10.0
"""Seconds for which one request may hold the arrays before waiting ones are refused."""

Decide = Callable[[Roster, BookingChange, float], Any]
"""Decides a request: changes the arrays, notes changes to be written, and returns the answer."""


@dataclass(frozen=True)
class AskedTrip:
    """A requested trip: in the kernel's terms, with the walks to its stops."""

    way: Way
    walks: views.Walks


class Desk:
    """Books trips at one site.

    Args:
        site: the site.
        settings: its booking.

    Attributes:
        zones: decides where idle vehicles stand by; None: they stay where they are.

    Raises:
        CityloopError: if the database cannot be used, or the settings do not fit the site or the stored bookings.
    """

    def __init__(self, site: TransitSite, settings: BookingSettings):
        settings.check(site)
        self.site, self.settings = site, settings
        warm_up()
        self._store = BookingStore(settings.database, site.name)
        self._lock = threading.Lock()
        self._taken: float | None = None
        self._roster: Roster | None = None
        self._failing: str | None = None  # why periodic decisions do
        self._misfit: str | None = None
        self.zones: Zones | None = None
        try:
            self._clock = Clock(settings, self._store.clock())
            self._fresh(self._clock.now(None))
        except StoreUnusable:
            self._store.close()
            raise self._store.refused(str(self._store.fault)) from None
        except BaseException:
            self._store.close()
            raise

    @contextmanager
    def _turn(self, waits: bool = True) -> Iterator[None]:
        """Hold the arrays for one request.

        Args:
            waits: for the present holder; otherwise it is tried once.

        Raises:
            Busy: if the present holder does not finish, or a process with other settings has booked what these lack.
        """
        if not self._lock.acquire(timeout=max(WAIT_S - self._busy_s, 0.0) if waits else 0.0):
            mend = "a request before this one has not come to an end: send the same one again later"
            raise Busy("service", None, mend, retry_after_s=AGAIN_S)
        self._taken = time.monotonic()
        try:
            yield
        except Misfit as error:
            self._misfit = str(error)
            raise Busy("service", None, self._misfit, retry_after_s=AGAIN_S) from None
        finally:
            self._taken = None
            self._lock.release()

    @property
    def _busy_s(self) -> float:
        """Seconds for which the present request has held the arrays."""
        taken = self._taken
        return 0.0 if taken is None else time.monotonic() - taken

    # -- the arrays -----------------------------------------------------------------------------------------------

    def _fresh(self, now: float) -> Roster:
        """The arrays, up to date with the database and the present time; see `rounds`, too."""
        for _ in range(TRIES):
            roster = self._roster
            stale = roster is None or roster.revision != self._store.revision() or now < roster.looked
            if roster is None or stale or not roster.calendar.holds(now):
                roster = self._roster = self._build(now)
            roster.look(now)
            try:
                if rounds.due(roster, now, self.zones):
                    self._decide(roster, now)
            except Stale:
                self._roster = None
                continue
            except StoreUnusable:  # plans stand as they were written, and drivers may still read them
                self._roster = None
                roster = self._roster = self._build(now)
                roster.look(now)
                roster.decided = now
            except BaseException:
                self._roster = None
                raise
            self._misfit = None
            return roster
        raise _busy()

    def _decide(self, roster: Roster, now: float) -> None:
        """Make the periodic decisions; changes are written at once."""
        change = BookingChange(now)
        asked = {} if self.zones is None else self._store.asked(now - self.site.timing.recent_s)
        rounds.decide(roster, change, now, self.zones, asked)
        if change.plans or change.urgencies is not None:
            roster.revision = self._store.commit(roster.revision, change)
        roster.decided = now

    def _build(self, now: float) -> Roster:
        with suppress(StoreUnusable):  # it can wait
            self._forget(now)
        for _ in range(TRIES):
            try:
                state = self._store.load()
            except Stale:
                continue
            return Roster(self.site, self.settings, state, now)
        raise _busy()

    def _forget(self, now: float) -> None:
        """Delete bookings that have long been over; not if the clock has just jumped ahead."""
        if not self._clock.jumped(now):
            self._store.forget(now - self.settings.keep_days * DAY_S, 3600 * self.settings.ahead_h)

    def _write(self, request_id: str | None, asked: Any, at: datetime | None, decide: Decide) -> Answer:
        """Decide a request and store the answer; a repeated request gets its stored answer."""
        digest = _digest(asked)
        with self._turn():
            now = self._clock.now(at)
            for _ in range(TRIES):
                known = self._store.answer(request_id) if request_id is not None else None
                if known is not None:
                    if known.digest != digest:
                        raise Conflict(
                            "request_id", str(request_id).partition(":")[2], "it names another: use a new one"
                        )
                    return known
                roster = self._fresh(now)
                change = BookingChange(now)
                try:
                    answer = self._decided(roster, change, now, digest, decide)
                    roster.revision = self._store.commit(roster.revision, change, request_id, answer)
                except Stale:
                    self._roster = None
                    continue
                except StoreUnusable:
                    self._roster = None
                    raise
                except Refused:
                    raise
                except BaseException:
                    self._roster = None
                    raise
                return answer
        raise _busy()

    @staticmethod
    def _decided(roster: Roster, change: BookingChange, now: float, digest: str, decide: Decide) -> Answer:
        try:
            return Answer(digest, 200, decide(roster, change, now))
        except NoOffer as refusal:  # an answer like others: sent again, it is the same
            return Answer(digest, 409, refusal.body)

    # -- riders' requests -------------------------------------------------------------------------------------------

    def quote(self, request: QuoteRequest) -> Any:
        """Offers for a trip; see `wire.Quote`."""
        self._clock.refuse(request.at)
        with self._turn():
            now = self._clock.now(request.at)
            roster = self._fresh(now)
            asked = self._asked(request, roster, now)
            return offers_of(roster, asked.way, asked.walks, roster.calendar.to_s(now), request.offers)

    def book(self, request: BookRequest) -> Answer:
        """Book a trip; see `wire.Booked`."""
        self._clock.refuse(request.at)

        def decide(roster: Roster, change: BookingChange, now: float) -> Any:
            asked, now_s = self._asked(request, roster, now), roster.calendar.to_s(now)
            mine = None if request.vehicle is None else duties_of(roster, request.vehicle)
            found = roster.live.best(asked.way, now_s, mine)
            if found is None:
                change.event = {"kind": "refused", "corner": self.site.nodes[asked.way.origin].id}
                raise why_not(roster, asked.way, now_s, request.vehicle)
            return self._promise(roster, change, asked, found, now)

        plain = request.model_dump(mode="json", exclude={"at"})
        return self._write(f"book:{request.request_id}", ["book", plain], request.at, decide)

    def _promise(self, roster: Roster, change: BookingChange, asked: AskedTrip, found: Offer, now: float) -> Any:
        r = roster.live.promise(asked.way, found, roster.calendar.to_s(now))
        promise = roster.promise_row(r)
        row: Row = {
            "id": uuid.uuid4().hex,
            "state": "confirmed",
            **promise,
            "party": asked.way.party,
            "wheelchairs": asked.way.wheelchairs,
            "walk_from_m": asked.walks.origin_m,
            "walk_to_m": asked.walks.destination_m,
            "promised_from": promise["origin"],
            "promised_latest": promise["latest"],
            "promised_limit_s": promise["limit_s"],
            "broken_down": False,
            "booked_at": now,
            "first_boarded_at": None,
            "boarded_at": None,
            "ended_at": None,
            "handovers": [],
        }
        roster.remember(row, r)
        change.new.append(row)
        names = {"booking": row["id"], "vehicle": roster.vehicles[found.vehicle].id, "corner": promise["origin"]}
        change.event = {"kind": "booked"} | names
        keep(roster, change, found.vehicle)
        return views.booking(roster, row)

    def cancel(self, booking: str, at: datetime | None) -> Answer:
        """Cancel a booking, also one that is stranded; whoever is aboard stays aboard."""
        self._clock.refuse(at)

        def decide(roster: Roster, change: BookingChange, now: float) -> Any:
            row = self._row(roster, booking)
            if row["state"] not in ("confirmed", "stranded"):
                raise Conflict("booking", booking, f"it is {row['state']}: only who waits can cancel")
            r = roster.slots.get(booking)
            if r is not None:
                v = int(roster.live.riders.vehicle[r])
                roster.live.withdraw(r, roster.calendar.to_s(now))
                keep(roster, change, v)
            return over(roster, change, row, "cancelled", now)

        return self._write(f"cancel:{booking}", ["cancel", booking], at, decide)

    def booking(self, booking: str) -> Any:
        """A booking as it is now; see `wire.Booked`."""
        with self._turn():
            roster = self._fresh(self._clock.now(None))
            return views.booking(roster, self._row(roster, booking))

    # -- vehicles' reports -----------------------------------------------------------------------------------------

    def vehicles(self) -> Any:
        """The fleet; see `wire.Vehicles`."""
        with self._turn():
            now = self._clock.now(None)
            roster = self._fresh(now)
            now_s = roster.calendar.to_s(now)
            rows = [duty_of(roster, vehicle.id, now_s) for vehicle in self.settings.vehicles]
            shown = [views.vehicle(roster, v, now_s) for v in rows]
            return {"time": roster.calendar.iso(now), "vehicles": shown}

    def vehicle(self, vehicle: str) -> Any:
        """One vehicle; see `wire.VehicleState`."""
        with self._turn():
            now = self._clock.now(None)
            roster = self._fresh(now)
            now_s = roster.calendar.to_s(now)
            return views.vehicle(roster, duty_of(roster, vehicle, now_s), now_s)

    def report(self, request: EventRequest) -> Answer:
        """Carry out a vehicle's report; see `wire.Reported`."""

        def decide(roster: Roster, change: BookingChange, now: float) -> Any:
            when = self._clock.happened(request.at, now)
            concerned = VehicleReport(roster, change, request, when, self._row).carry_out()
            now_s = roster.calendar.to_s(now)
            roster.live.look(now_s)
            shown = views.vehicle(roster, duty_of(roster, request.vehicle, now_s), now_s)
            return {"vehicle": shown, "bookings": [views.booking(roster, row) for row in concerned]}

        plain = request.model_dump(mode="json", exclude={"at"})
        # Where a vehicle was last is all that is kept of its positions; one sent twice is passed over by its time.
        key = None if request.kind == "position" else f"event:{request.request_id}"
        return self._write(key, ["event", plain], request.at, decide)

    def decide_due(self) -> None:
        """Make the periodic decisions, where the time has come and no message has brought it about.

        Nothing is done where the clock is the caller's, so that nobody knows what is due, or while others are at it. An
        unexpected failure is a `fault` until such decisions succeed.
        """
        if self.settings.clock != "wall":
            return
        with suppress(Busy), self._turn():
            try:
                self._fresh(self._clock.now(None))
            except (Busy, Misfit, StoreUnusable):
                raise
            except Exception as error:
                self._failing = f"its periodic decisions fail: {type(error).__name__}"
                raise
            self._failing = None

    def telemetry(self) -> Telemetry | None:
        """Where vehicles are, for people who look on; None where the clock is the caller's, or others are at it."""
        if self.settings.clock != "wall":
            return None
        with suppress(Busy), self._turn():
            now = self._clock.now(None)
            roster = self._fresh(now)
            day_s, now_s = roster.service_day(now)[1], roster.calendar.to_s(now)
            rows = [duty_of(roster, vehicle.id, now_s) for vehicle in self.settings.vehicles]
            things = [thing for v in rows if (thing := views.thing(roster, v, now_s)) is not None]
            return Telemetry(
                system=self.site.system,
                site=self.site.name,
                at_s=now,
                time_s=day_s,
                things=things[:MOST_THINGS],
                cost=None,
                twin=None,
            )
        return None

    # -- looking things up ----------------------------------------------------------------------------------------

    def _asked(self, request: Trip, roster: Roster, now: float) -> AskedTrip:
        ends = []
        for name, end in (("from", request.origin), ("to", request.destination)):
            ends.append(roster.places.end(end if isinstance(end, str) else (end.x_m, end.y_m), name))
        (origin, origin_m), (destination, destination_m) = ends
        if origin == destination:
            raise Unfit("to", self.site.nodes[origin].id, "the trip ends at the stop where it begins: walk")
        if not math.isfinite(self.site.matrices.free_s[origin, destination]):
            raise Unfit("to", self.site.nodes[destination].id, "no road leads there from the first stop")
        earliest = self._clock.departs(request.depart, now) + origin_m / self.settings.walk_mps
        way = Way(origin, destination, roster.calendar.to_s(earliest), request.party, request.wheelchairs)
        return AskedTrip(way, views.Walks(origin_m, destination_m))

    def _row(self, roster: Roster, booking: str) -> Row:
        row = roster.rows.get(booking) or self._store.booking(booking)
        if row is None:
            raise Unknown("booking", brief(booking), "there is no such booking, or it was over long ago")
        return row

    @property
    def fault(self) -> str | None:
        """Reason why nothing can be booked; None if none is known."""
        busy_s, why = self._busy_s, self._store.fault or self._misfit or self._failing
        if busy_s > WAIT_S:
            why = f"a request has not come to an end for {busy_s:.0f} s, as where the database hangs"
        return None if why is None else f"nothing can be booked ({why})"

    def check(self) -> str | None:
        """The same after a new check, if there was a fault."""
        if self._store.fault is not None:
            with suppress(Busy), self._turn(waits=False):  # else somebody is at it
                self._store.check()
        return self.fault

    def close(self) -> None:
        """Close the database."""
        self._store.close()


def _busy() -> Busy:
    return Busy("service", None, "too many processes book at once: try again", retry_after_s=1.0)


def _digest(asked: Any) -> str:
    plain = asked.model_dump(mode="json") if isinstance(asked, BaseModel) else asked
    return hashlib.sha256(orjson.dumps(plain, option=orjson.OPT_SORT_KEYS)).hexdigest()
