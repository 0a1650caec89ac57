"""Where tests keep bookings: in SQLite's files, or on a server that the environment names.

``CITYLOOP_BOOKINGS=postgresql+psycopg://me:secret@localhost/postgres`` is where a database is made for every folder of
a test, and dropped when all are done; ``me`` must be allowed to do so.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

import pytest
import sqlalchemy as sql

SERVER = os.environ.get("CITYLOOP_BOOKINGS")

of_sqlite = pytest.mark.skipif(SERVER is not None, reason="what is done here to the file of SQLite")

_MADE: set[str] = set()


def database_of(folder: Path) -> str:
    """The URL of a folder's database."""
    if SERVER is None:
        return f"sqlite:///{folder / 'b.db'}"
    name = f"cityloop_{hashlib.sha256(str(folder).encode()).hexdigest()[:16]}"
    if name not in _MADE:
        with suppress(sql.exc.ProgrammingError):  # another process has made it
            _carry_out(f"CREATE DATABASE {name}")
        _MADE.add(name)
    return sql.make_url(SERVER).set(database=name).render_as_string(hide_password=False)


def drop_all() -> None:
    """Drop what was made."""
    while _MADE:
        _carry_out(f"DROP DATABASE {_MADE.pop()}")


def _carry_out(words: str) -> None:
    assert SERVER is not None
    engine = sql.create_engine(SERVER, isolation_level="AUTOCOMMIT")
    with engine.connect() as db:
        db.execute(sql.text(words))
    engine.dispose()
