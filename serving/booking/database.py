"""The location of a database that a configuration names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from envs.core.machine.files import path_in

LITE = "sqlite:///"


def database_of(booking: dict[str, Any]) -> Any:
    """The database URL of a section ``booking``, or the default."""
    return booking.get("database", f"{LITE}bookings.db")


def in_folder(booking: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Booking settings whose SQLite file lies in a folder, unless its path is absolute.

    Raises:
        CityloopError: if it starts at the home of nobody.
    """
    url = database_of(booking)
    if not isinstance(url, str) or not url.startswith(LITE) or not url.removeprefix(LITE):
        return booking
    return booking | {"database": f"{LITE}{path_in(url.removeprefix(LITE), folder)}"}
