"""The files of the built page, read once; a client that asks again for an unchanged file gets no content."""

from __future__ import annotations

import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "static"
"""Output of ``npm run build``, shipped with the distribution."""

INDEX = "index.html"


@dataclass(frozen=True)
class File:
    """A file of the page.

    Attributes:
        content: its bytes.
        kind: its media type.
        tag: changes with its content.
    """

    content: bytes
    kind: str
    tag: str


def load_files() -> dict[str, File]:
    """The files by name."""
    found = {}
    for path in sorted(FOLDER.iterdir()):
        content = path.read_bytes()
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        if kind.startswith("text/"):
            kind += "; charset=utf-8"
        found[path.name] = File(content, kind, f'"{hashlib.sha256(content).hexdigest()[:16]}"')
    return found
