"""Reading of SUMO's route and additional files: plain or compressed, with times in seconds or clock notation."""

from __future__ import annotations

import gzip
import xml.etree.ElementTree as ET
import zlib
from pathlib import Path

from envs.core.errors import CityloopError

GZIP = b"\x1f\x8b"
"""Leading bytes of a gzip file."""


def read_root(path: Path, kind: str = "route file", ending: str = ".rou.xml") -> ET.Element:
    """The root element of a SUMO file.

    Args:
        path: path of the file.
        kind: name of the kind of file in error messages.
        ending: usual suffix of the kind in error messages.

    Raises:
        CityloopError: if the file cannot be read or parsed, or includes another file, which only SUMO would read.
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
    """Seconds of a SUMO time: a number, or [days:]hours:minutes:seconds. None if it is neither, e.g. ``triggered``."""
    try:
        parts = [float(part) for part in (text or "").split(":")]
    except ValueError:
        return None
    return sum(part * unit for part, unit in zip(reversed(parts), (1, 60, 3600, 86400), strict=False))
