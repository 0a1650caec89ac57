"""Where a database lies that a configuration names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

LITE = "sqlite:///"


def in_folder(booking: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Booking settings whose SQLite file lies in a folder, unless its path is absolute."""
    url = booking.get("database", f"{LITE}bookings.db")
    if not isinstance(url, str) or not url.startswith(LITE) or not url.removeprefix(LITE):
        return booking
    return booking | {"database": f"{LITE}{folder / url.removeprefix(LITE)}"}
