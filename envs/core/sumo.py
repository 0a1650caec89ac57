"""SUMO's route and additional files as SUMO itself takes them: plain or compressed, times as seconds or as a clock."""

from __future__ import annotations

import gzip
import xml.etree.ElementTree as ET
import zlib
from pathlib import Path

from envs.core.errors import CityloopError

GZIP = b"\x1f\x8b"
"""How a compressed file begins."""


def read_root(path: Path, kind: str = "route file", ending: str = ".rou.xml") -> ET.Element:
    """The root of a file of a kind.

    Raises:
        CityloopError: if it cannot be read or parsed, or includes another, which nobody would read but SUMO.
    """
    try:
        content = path.read_bytes()
        root = ET.fromstring(gzip.decompress(content) if content.startswith(GZIP) else content)
    except (ET.ParseError, OSError, EOFError, zlib.error, ValueError) as error:
        raise CityloopError(f"{kind} {path} cannot be read ({error}): give a SUMO {ending} file") from None
    included = root.find("include")
    if included is not None:
        raise CityloopError(f"{kind} {path} includes {included.get('href')!r}: name that file itself in the scenario")
    return root


def seconds(text: str | None) -> float | None:
    """Read SUMO's time: seconds, or [days:]hours:minutes:seconds; None where it is no number, e.g. ``triggered``."""
    try:
        parts = [float(part) for part in (text or "").split(":")]
    except ValueError:
        return None
    return sum(part * unit for part, unit in zip(reversed(parts), (1, 60, 3600, 86400), strict=False))
