"""Database tables of bookings, with their keys. Times are in seconds since 1970, corners are named.

Databases outlive the code: a column keeps the name under which it was first created.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sql
from sqlalchemy import Boolean, Column, Double, Integer, String, Text

TABLES = sql.MetaData()

_EXACT: dict[str, Any] = {
    f"{dialect}_{option}": value
    for dialect in ("mysql", "mariadb")
    for option, value in {"engine": "InnoDB", "charset": "utf8mb4", "collate": "utf8mb4_bin"}.items()
}
"""MySQL would take ``a1`` and ``A1`` for the same id, and may have tables without transactions."""


def _of_site(name: str, *columns: sql.schema.SchemaItem) -> sql.Table:
    """A table that many sites may share."""
    return sql.Table(name, TABLES, Column("site", String(128), primary_key=True), *columns, **_EXACT)


def _of_duties(name: str, *columns: sql.schema.SchemaItem) -> sql.Table:
    """One that has a row for a duty: a vehicle on one shift."""
    return _of_site(name, Column("duty", String(96), primary_key=True), *columns)


SITES = _of_site(
    "transit_sites",
    Column("revision", Integer, nullable=False),
    Column("clock", Double, nullable=False),
)
BOOKINGS = _of_site(
    "transit_bookings",
    Column("id", String(64), primary_key=True),
    Column("state", String(16), nullable=False, index=True),
    Column("duty", String(96)),
    # As promised at last: after a breakdown a rider may wait elsewhere, and under another promise.
    Column("origin", String(128), nullable=False),
    Column("destination", String(128), nullable=False),
    Column("earliest", Double, nullable=False),
    Column("latest", Double, nullable=False),
    Column("limit_s", Double, nullable=False),
    Column("party", Integer, nullable=False),
    Column("wheelchairs", Integer, nullable=False),
    Column("walk_from_m", Double, nullable=False),
    Column("walk_to_m", Double, nullable=False),
    # As promised at first.
    Column("promised_from", String(128), nullable=False),
    Column("promised_latest", Double, nullable=False),
    Column("promised_limit_s", Double, nullable=False),
    Column("broken_down", Boolean, nullable=False),
    Column("booked_at", Double, nullable=False),
    Column("first_boarded_at", Double),
    Column("boarded_at", Double),
    Column("ended_at", Double),
)
STOPS = _of_site(
    "transit_stops",
    Column("booking", String(64), primary_key=True),
    Column("pick", Boolean, primary_key=True),
    Column("duty", String(96), nullable=False),
    Column("place", Integer, nullable=False),
    Column("floor", Double, nullable=False),
    sql.UniqueConstraint("site", "duty", "place"),
)
DUTIES = _of_duties(
    "transit_duties",
    Column("corner", String(128), nullable=False),
    Column("at", Double, nullable=False),
    Column("seen", Double, nullable=False),
    Column("out", Boolean, nullable=False),
)
BATTERIES = _of_duties(
    "transit_batteries",
    Column("left_m", Double, nullable=False),
    Column("seen_at", String(128), nullable=False),
    Column("seen_m", Double, nullable=False),
    # The stay at a charger that is in the plan, which names it as it names bookings.
    Column("stay", String(64)),
    Column("charger", String(128)),
    Column("begin", Double),
    Column("length_s", Double),
)
HANDOVERS = _of_site(
    "transit_handovers",
    Column("booking", String(64), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("vehicle", String(64)),
    Column("instead_of", String(64), nullable=False),
    Column("why", String(16), nullable=False),
    Column("at", Double, nullable=False),
)
BREAKS = _of_duties(
    "transit_breaks",
    # Where the driver's break is to be taken, or is.
    Column("rest", String(128), nullable=False),
    Column("begin", Double),
    Column("over", Boolean, nullable=False),
)
SENT = _of_duties(
    "transit_sent",
    # Where a vehicle without riders is to stand by.
    Column("node", String(128), nullable=False),
)
URGENCIES = _of_site(
    "transit_urgencies",
    Column("zone", String(128), primary_key=True),
    Column("urgency", Double, nullable=False),
)
ANSWERS = _of_site(
    "transit_answers",
    Column("request_id", String(128), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("status", Integer, nullable=False),
    Column("body", Text, nullable=False),
    Column("at", Double, nullable=False),
)
EVENTS = _of_site(
    "transit_events",
    Column("revision", Integer, primary_key=True, autoincrement=False),
    Column("kind", String(32), nullable=False),
    Column("vehicle", String(64)),
    Column("booking", String(64)),
    Column("corner", String(128)),
    Column("at", Double, nullable=False),
)


def create_tables(engine: sql.Engine) -> None:
    """Create the missing tables, however many processes do so at the same time.

    Raises:
        SQLAlchemyError: if they cannot be created.
    """
    engine.connect().close()
    before: set[str] | None = None
    while True:
        try:
            TABLES.create_all(engine)
        except sql.exc.DatabaseError:
            there = set(sql.inspect(engine).get_table_names())
            if there == before:
                raise
            before = there  # another process has created some meanwhile
        else:
            return


def create_indexes(engine: sql.Engine) -> None:
    """Create the indexes that are missing where a process was killed between a table and its index.

    Raises:
        SQLAlchemyError: if they cannot be created.
    """
    for table in TABLES.sorted_tables:
        for index in table.indexes:
            try:
                index.create(engine, checkfirst=True)
            except sql.exc.DatabaseError:
                if not sql.inspect(engine).has_index(table.name, str(index.name)):
                    raise  # else another process has just created it


def difference_of(engine: sql.Engine) -> str | None:
    """Difference of the tables from those of this version; None if there is none. Other tables may stay."""
    looked = sql.inspect(engine)
    for table in TABLES.sorted_tables:
        columns = {column["name"]: column for column in looked.get_columns(table.name)}
        for name in table.c.keys() - columns.keys():
            return f"its table {table.name} is of another version: it has no column {name}"
        for name, column in columns.items():
            if name not in table.c and not column["nullable"] and column["default"] is None:
                return f"its table {table.name} is of another version: its column {name} must be given"
    return None
