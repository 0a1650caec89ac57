"""SUMO's route files as SUMO itself takes them: plain or compressed, times as seconds or as a clock."""

from __future__ import annotations

import gzip
import xml.etree.ElementTree as ET
import zlib
from pathlib import Path

from envs.core.errors import CityloopError

GZIP = b"\x1f\x8b"
"""How a compressed file begins."""


def read_root(path: Path) -> ET.Element:
    """The root of a route file.

    Raises:
        CityloopError: if it cannot be read or parsed.
    """
    try:
        content = path.read_bytes()
        return ET.fromstring(gzip.decompress(content) if content.startswith(GZIP) else content)
    except (ET.ParseError, OSError, EOFError, zlib.error, ValueError) as error:
        raise CityloopError(f"route file {path} cannot be read ({error}): give a SUMO .rou.xml file") from None


def seconds(text: str | None) -> float | None:
    """Read SUMO's time: seconds, or [days:]hours:minutes:seconds; None where it is no number, e.g. ``triggered``."""
    try:
        parts = [float(part) for part in (text or "").split(":")]
    except ValueError:
        return None
    return sum(part * unit for part, unit in zip(reversed(parts), (1, 60, 3600, 86400), strict=False))
