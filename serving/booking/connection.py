"""Connections to a database of bookings: patience with its server, and what a file of SQLite needs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sql

BUSY_S = 10
"""Seconds that one process waits for another to finish writing, and for a server to answer."""

_LIBPQ = {"connect_timeout": BUSY_S, "tcp_user_timeout": 1000 * BUSY_S}

PATIENCE: Mapping[str, Mapping[str, Any]] = {
    "pysqlite": {"timeout": BUSY_S},
    "psycopg": _LIBPQ,
    "psycopg2": _LIBPQ,
    "pymysql": {"connect_timeout": BUSY_S, "read_timeout": BUSY_S, "write_timeout": BUSY_S},
}
"""Options of database drivers for `BUSY_S`, where a URL does not set them; other drivers use their own defaults."""


def file_of(url: sql.URL) -> Path | None:
    """File of a database; None if a server keeps it."""
    return Path(url.database).absolute() if url.get_backend_name() == "sqlite" and url.database else None


def make_private(file: Path) -> None:
    """Create a database's file if it is missing, for its owner and group alone, as the audit log is."""
    if not file.name.startswith("file:"):  # a URI, which SQLite reads itself
        with suppress(OSError):  # SQLite tells why
            os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o640))


def patience(url: sql.URL) -> dict[str, Any]:
    """Options of a driver for waiting times."""
    return {name: value for name, value in PATIENCE.get(url.get_driver_name(), {}).items() if name not in url.query}


def reason_of(error: Exception) -> str:
    """The database's own error, in a line."""
    return str(getattr(error, "orig", None) or error).splitlines()[0]


def identity(file: Path | None) -> tuple[int, int] | None:
    """Identity of the file at a path, independent of its name; None: there is none."""
    try:
        found = None if file is None else file.stat()
    except OSError:
        return None
    return None if found is None else (found.st_dev, found.st_ino)


def durable(connection: Any, _: Any) -> None:
    """SQLite settings: commits are on the disk, and readers do not wait for the writer."""
    cursor = connection.cursor()
    for setting in ("journal_mode=WAL", "synchronous=FULL"):
        cursor.execute(f"PRAGMA {setting}")
    cursor.close()
