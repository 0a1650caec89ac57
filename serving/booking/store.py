"""The database of bookings, and the one transaction in which everything that belongs together is written.

Every change of a site increments its revision, and only from the revision that it was decided on: two processes cannot
both write what they decided on the same state. A stop of a plan has the booking in its key, so that no booking can
stand in two plans, whatever went wrong before.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import orjson
import sqlalchemy as sql

from envs.core.errors import CityloopError
from serving.booking.connection import durable, file_of, identity, make_private, patience, reason_of
from serving.booking.tables import (
    ANSWERS,
    BATTERIES,
    BOOKINGS,
    BREAKS,
    DUTIES,
    EVENTS,
    HANDOVERS,
    SENT,
    SITES,
    STOPS,
    TABLES,
    URGENCIES,
    create_indexes,
    create_tables,
    difference_of,
)
from serving.core.refusals import Busy

LOGGER = logging.getLogger("cityloop.serving")

OPEN = ("confirmed", "aboard")
"""States of a booking that is not over."""

STRANDED = "stranded"
"""State of one that a breakdown left without a vehicle."""

AGAIN_S = 5.0
"""Seconds until a request may be sent again after the database could not be used."""

CHECK_BYTES = 65_535
"""Bytes of a trial write; a booking takes a few thousand. MySQL's `Text` holds no more."""

NUL = "\0"
"""A character of no id; PostgreSQL refuses to look for it."""

Row = dict[str, Any]

# Statements that every message needs are made once: to make one takes longer than to carry it out.

OF_SITE = sql.bindparam("of_site", type_=sql.String)

OF_BOOKING = sql.bindparam("of_booking", type_=sql.String)

OF_DUTY = sql.bindparam("of_duty", type_=sql.String)

REVISION = sql.select(SITES.c.revision).where(SITES.c.site == OF_SITE)

ANSWERED = sql.select(ANSWERS).where(ANSWERS.c.site == OF_SITE, ANSWERS.c.request_id == sql.bindparam("request_id"))

ASKED = sql.select(EVENTS.c.kind, EVENTS.c.corner).where(
    EVENTS.c.site == OF_SITE,
    EVENTS.c.kind.in_(("booked", "refused")),
    EVENTS.c.at >= sql.bindparam("since"),
    EVENTS.c.corner.is_not(None),
)

COUNT_UP = sql.update(SITES).where(SITES.c.site == OF_SITE, SITES.c.revision == sql.bindparam("seen"))

CHANGE_BOOKING = sql.update(BOOKINGS).where(BOOKINGS.c.site == OF_SITE, BOOKINGS.c.id == OF_BOOKING)

CLEAR_DUTY = {
    table: sql.delete(table).where(table.c.site == OF_SITE, table.c.duty == OF_DUTY)
    for table in (DUTIES, BATTERIES, BREAKS, SENT, STOPS)
}

CLEAR_URGENCIES = sql.delete(URGENCIES).where(URGENCIES.c.site == OF_SITE)

INSERT = {table: sql.insert(table) for table in TABLES.sorted_tables}


class Stale(Exception):
    """Another process has written since the state was read."""


@dataclass(frozen=True)
class Answer:
    """The stored answer to a request.

    Attributes:
        digest: of the request.
        status: HTTP status.
        body: the answer.
    """

    digest: str
    status: int
    body: Any


@dataclass
class BookingChange:
    """Changes by one request; all of them are written, or none.

    Attributes:
        at: time of the change, in seconds since 1970.
        new: rows of new bookings.
        bookings: id → changed columns.
        plans: duty → stops (``booking``, ``pick``, ``floor``), in order; a stay at a charger, or a break, stands for a
            booking. Of these duties, and of no others, all of the following is written.
        duties: duty → its position (``corner``, ``at``, ``seen``, ``out``).
        batteries: duty → charge of its battery, and its stay at a charger; for vehicles with a range.
        breaks: duty → place of its driver's break (``rest``), its begin (``begin``) and whether it is ``over``.
        sent: duty → stand-by position (``node``); for vehicles that were sent somewhere.
        urgencies: zone → last request of its controller, if that has changed; None: it has not.
        handovers: bookings that were given to another vehicle.
        event: a row of the events.
    """

    at: float
    new: list[Row] = field(default_factory=list)
    bookings: dict[str, Row] = field(default_factory=dict)
    duties: dict[str, Row] = field(default_factory=dict)
    plans: dict[str, list[Row]] = field(default_factory=dict)
    batteries: dict[str, Row] = field(default_factory=dict)
    breaks: dict[str, Row] = field(default_factory=dict)
    sent: dict[str, Row] = field(default_factory=dict)
    urgencies: dict[str, float] | None = None
    handovers: list[Row] = field(default_factory=list)
    event: Row = field(default_factory=dict)


@dataclass(frozen=True)
class State:
    """The state of a site without past bookings.

    Attributes:
        revision: number of changes so far.
        clock: time of the last one, in seconds since 1970.
        bookings: open ones, stranded ones whose time has not passed, and others by whose stops a vehicle still passes;
            see `BookingStore.booking`.
        duties, plans, batteries, breaks, sent: by duty, as `BookingChange` has them.
        urgencies: zone → last request of its controller; empty: none.
    """

    revision: int
    clock: float
    bookings: list[Row]
    duties: dict[str, Row]
    plans: dict[str, list[Row]]
    batteries: dict[str, Row]
    breaks: dict[str, Row]
    sent: dict[str, Row]
    urgencies: dict[str, float]


class StoreUnusable(Busy):
    """The database cannot be read or written now: its disk is full, its server is away. The log has the reason."""

    def __init__(self) -> None:
        super().__init__(
            "database", None, "it cannot be used now: send the same request again later", retry_after_s=AGAIN_S
        )


class BookingStore:
    """One site's bookings in a database. Everything but opening it may raise `StoreUnusable`.

    Args:
        url: SQLAlchemy URL.
        site: the site's name.

    Attributes:
        fault: reason why the database could not be used; None once something was written again.

    Raises:
        CityloopError: if the database cannot be opened.
    """

    def __init__(self, url: str, site: str):
        self.site = site
        self.fault: str | None = None
        where = sql.engine.make_url(url)
        self._shown = where.set(query={}).render_as_string(hide_password=True)  # a query may hold a secret, too
        self._file = file_of(where)
        try:
            self._engine = sql.create_engine(where, connect_args=patience(where), pool_pre_ping=self._file is None)
            if self._file is not None:
                make_private(self._file)
                sql.event.listen(self._engine, "connect", durable)
            create_tables(self._engine)
            self._opened = identity(self._file)
            unlike = difference_of(self._engine)
            if unlike is None:
                create_indexes(self._engine)
                self._begin()
        except (sql.exc.SQLAlchemyError, ModuleNotFoundError) as error:
            raise self.refused(reason_of(error)) from None
        except (ValueError, TypeError, AttributeError, OSError) as error:  # of the driver, which may quote a secret
            raise self.refused(f"its driver does not take the URL's options, {type(error).__name__}") from None
        if unlike is not None:
            self.close()
            raise self.refused(unlike)

    def _begin(self) -> None:
        """Insert the site's row if it is missing."""
        with suppress(sql.exc.IntegrityError), self._engine.begin() as db:  # another process has just begun with it
            if db.execute(self._mine(SITES)).first() is None:
                db.execute(sql.insert(SITES).values(site=self.site, revision=0, clock=0.0))

    def refused(self, why: str) -> CityloopError:
        """The error for a configured database that cannot be used."""
        return CityloopError(f"database {self._shown} cannot be used ({why}): give the URL of one that can")

    @contextmanager
    def _using(self, begin: Callable[[], AbstractContextManager[sql.Connection]]) -> Iterator[sql.Connection]:
        if identity(self._file) != self._opened:  # SQLite would go on writing to a file that has been removed
            self._fail(f"{self._file} was moved, removed or replaced: put it back, or start the service anew")
            raise StoreUnusable
        try:
            with begin() as db:
                yield db
        except (sql.exc.IntegrityError, sql.exc.DataError):
            raise  # the data are wrong, and trying again would not help
        except (sql.exc.DatabaseError, sql.exc.InterfaceError, sql.exc.TimeoutError) as error:
            self._fail(reason_of(error))
            raise StoreUnusable from None

    def _fail(self, why: str) -> None:
        if self.fault is None:
            LOGGER.error("bookings at %s: the database cannot be used (%s)", self.site, why)
        self.fault = why

    def _reading(self) -> AbstractContextManager[sql.Connection]:
        return self._using(self._engine.connect)

    @contextmanager
    def _writing(self) -> Iterator[sql.Connection]:
        """A transaction, written as a whole or not at all."""
        with self._using(self._engine.begin) as db:
            yield db
        if self.fault is not None:
            LOGGER.warning("bookings at %s: the database can be used again", self.site)
            self.fault = None

    def check(self) -> None:
        """Write as much as some bookings need, and delete it again: if that works, `fault` ends.

        A smaller trial would not do: a single page may still fit into a file's reserve on a full disk.
        """
        row = {"site": self.site, "request_id": f"check:{uuid.uuid4().hex}", "at": 0.0, "digest": "", "status": 0}
        with self._writing() as db:
            db.execute(sql.insert(ANSWERS).values(**row, body="x" * CHECK_BYTES))
        with self._writing() as db:
            db.execute(sql.delete(ANSWERS).where(ANSWERS.c.request_id == row["request_id"]))

    def _mine(self, table: sql.Table) -> sql.Select[Any]:
        return sql.select(table).where(table.c.site == self.site)

    def revision(self) -> int:
        """Number of changes so far."""
        with self._reading() as db:
            return int(db.execute(REVISION, {"of_site": self.site}).scalar_one())

    def clock(self) -> float:
        """Time of the last change, in seconds since 1970."""
        with self._reading() as db:
            return float(db.execute(sql.select(SITES.c.clock).where(SITES.c.site == self.site)).scalar_one())

    def load(self) -> State:
        """The state without past bookings, as of one revision.

        Raises:
            Stale: if another process wrote in between.
        """
        with self._reading() as db:
            head = db.execute(self._mine(SITES)).mappings().one()
            planned = sql.select(STOPS.c.booking).where(STOPS.c.site == self.site)
            stranded = sql.and_(BOOKINGS.c.state == STRANDED, BOOKINGS.c.latest >= head["clock"])
            current = sql.or_(BOOKINGS.c.state.in_(OPEN), stranded, BOOKINGS.c.id.in_(planned))
            bookings = self._bookings(db, current)
            tables = DUTIES, BATTERIES, BREAKS, SENT
            by_duty = [{row["duty"]: dict(row) for row in db.execute(self._mine(table)).mappings()} for table in tables]
            urgencies = {row["zone"]: row["urgency"] for row in db.execute(self._mine(URGENCIES)).mappings()}
            stops = db.execute(self._mine(STOPS).order_by(STOPS.c.duty, STOPS.c.place)).mappings().all()
        if self.revision() != head["revision"]:
            raise Stale
        plans: dict[str, list[Row]] = {}
        for stop in stops:
            plans.setdefault(stop["duty"], []).append(dict(stop))
        duties, batteries, breaks, sent = by_duty
        return State(head["revision"], head["clock"], bookings, duties, plans, batteries, breaks, sent, urgencies)

    def _bookings(self, db: sql.Connection, which: sql.ColumnElement[bool]) -> list[Row]:
        """Rows of bookings, and as ``handovers`` in each, in order, when it was given to another vehicle."""
        found: dict[str, Row] = {}
        for row in db.execute(self._mine(BOOKINGS).where(which)).mappings():
            found[row["id"]] = dict(row) | {"handovers": []}
        mine = sql.select(BOOKINGS.c.id).where(BOOKINGS.c.site == self.site, which)
        query = self._mine(HANDOVERS).where(HANDOVERS.c.booking.in_(mine)).order_by(HANDOVERS.c.number)
        for row in db.execute(query).mappings():
            found[row["booking"]]["handovers"].append(dict(row))
        return list(found.values())

    def answer(self, request_id: str) -> Answer | None:
        """The stored answer to a request; None if it is new."""
        if NUL in request_id:
            return None
        with self._reading() as db:
            row = db.execute(ANSWERED, {"of_site": self.site, "request_id": request_id}).mappings().first()
        return None if row is None else Answer(row["digest"], row["status"], orjson.loads(row["body"]))

    def booking(self, booking: str) -> Row | None:
        """A booking's row, with its ``handovers``; None: there is no such booking."""
        if NUL in booking:
            return None
        with self._reading() as db:
            found = self._bookings(db, BOOKINGS.c.id == booking)
        return found[0] if found else None

    def commit(
        self, seen: int, change: BookingChange, request_id: str | None = None, answer: Answer | None = None
    ) -> int:
        """Write a change and the answer to its request, if that has an id; returns the new revision.

        Raises:
            Stale: if the site is no longer at the revision that was seen. Nothing is written then.
        """
        with self._writing() as db:
            # First of all, as it takes the lock: a second process finds another revision.
            mine = {"of_site": self.site}
            if db.execute(COUNT_UP, mine | {"seen": seen, "revision": seen + 1, "clock": change.at}).rowcount != 1:
                raise Stale
            new = [{name: value for name, value in row.items() if name in BOOKINGS.c} for row in change.new]
            self._insert(db, BOOKINGS, new)
            for booking, columns in change.bookings.items():
                db.execute(CHANGE_BOOKING, mine | {"of_booking": booking} | columns)
            self._write_duties(db, change)
            if change.urgencies is not None:
                db.execute(CLEAR_URGENCIES, mine)
                self._insert(db, URGENCIES, [{"zone": zone, "urgency": u} for zone, u in change.urgencies.items()])
            self._insert(db, HANDOVERS, change.handovers)
            if change.event:
                self._insert(db, EVENTS, [{"revision": seen + 1, "at": change.at, **change.event}])
            if request_id is not None and answer is not None:
                kept = {"digest": answer.digest, "status": answer.status, "body": orjson.dumps(answer.body).decode()}
                self._insert(db, ANSWERS, [{"request_id": request_id, "at": change.at, **kept}])
        return seen + 1

    def _insert(self, db: sql.Connection, table: sql.Table, rows: list[Row]) -> None:
        """Insert rows, all of which have the same columns."""
        if rows:
            db.execute(INSERT[table], [{"site": self.site, **row} for row in rows])

    def _write_duties(self, db: sql.Connection, change: BookingChange) -> None:
        """Replace the rows of vehicles: positions, plans, batteries, breaks and stand-by positions."""
        rows = {DUTIES: change.duties, BATTERIES: change.batteries, BREAKS: change.breaks, SENT: change.sent}
        if change.plans:
            duties = [{"of_site": self.site, "of_duty": duty} for duty in change.plans]
            for clear in CLEAR_DUTY.values():
                db.execute(clear, duties)
        for table, mine in rows.items():
            self._insert(db, table, [{"duty": duty, **columns} for duty, columns in mine.items()])
        stops = ((duty, place, stop) for duty, plan in change.plans.items() for place, stop in enumerate(plan))
        self._insert(db, STOPS, [{"duty": duty, "place": place, **stop} for duty, place, stop in stops])

    def asked(self, since: float) -> dict[str, list[str]]:
        """Origins of the requests since a moment: ``booked`` and ``refused``."""
        found: dict[str, list[str]] = {"booked": [], "refused": []}
        with self._reading() as db:
            for kind, corner in db.execute(ASKED, {"of_site": self.site, "since": since}):
                found[kind].append(corner)
        return found

    def events(self) -> list[Row]:
        """Everything that was reported, in order."""
        with self._reading() as db:
            return [dict(row) for row in db.execute(self._mine(EVENTS).order_by(EVENTS.c.revision)).mappings()]

    def forget(self, before: float, ahead_s: float) -> None:
        """Delete bookings that were over before a moment, and answers that are older by ``ahead_s``, too."""
        with self._using(self._engine.begin) as db:  # where nothing is over this writes nothing, and shows nothing
            over = sql.delete(BOOKINGS).where(BOOKINGS.c.site == self.site, BOOKINGS.c.ended_at < before)
            planned = sql.select(STOPS.c.booking).where(STOPS.c.site == self.site)
            db.execute(over.where(BOOKINGS.c.state.not_in(OPEN), BOOKINGS.c.id.not_in(planned)))
            kept = sql.select(BOOKINGS.c.id).where(BOOKINGS.c.site == self.site)
            gone = sql.delete(HANDOVERS).where(HANDOVERS.c.site == self.site, HANDOVERS.c.booking.not_in(kept))
            db.execute(gone)
            for table, until in ((ANSWERS, before - ahead_s), (EVENTS, before)):
                db.execute(sql.delete(table).where(table.c.site == self.site, table.c.at < until))

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()
