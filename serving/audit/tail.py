"""The end of a chain when a process starts: its head, and what a crash left behind it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from serving.audit.chain import EMPTY, Head, NotARecord, split
from serving.audit.segments import Segment, Unreadable, list_segments


@dataclass(frozen=True)
class Tail:
    """The end of a chain.

    Attributes:
        head: its last whole record.
        segment: name of the file with that record, or of a later one that is damaged; None if there is none.
        torn: bytes after it without an end: the line at which the process died. They are cut off.
        damage: another fault of the file; None if there is none.
    """

    head: Head = EMPTY
    segment: str | None = None
    torn: bytes = b""
    damage: str | None = None


def recover(folder: Path) -> Tail:
    """Find the end of a chain; cut off a line without an end, and delete an empty file at which the process died.

    Nothing else is mended: an altered file stays as it is, for an investigation.

    Raises:
        OSError: if a file cannot be cut.
    """
    torn, damaged, least = b"", None, 0
    for segment in reversed(list_segments(folder)):
        tail, size = _walk(segment)
        torn = tail.torn or torn
        if tail.torn or (_is_empty(segment.path) and not damaged):
            _cut(segment.path, size)
        damaged = damaged or (tail if tail.damage else None)
        if tail.head.n:
            where, head = damaged or tail, Head(max(tail.head.n, least), tail.head.hash)
            return Tail(head, where.segment, torn, where.damage)
        if tail.damage:  # without a record that can be read it tells no head, but from which number on it has some
            least = max(least, segment.first)
    return replace(damaged or Tail(torn=torn), head=Head(least, EMPTY.hash))


def _walk(segment: Segment) -> tuple[Tail, int]:
    head, size, damage = EMPTY, 0, None
    try:
        for raw in segment.lines():
            if not raw.endswith(b"\n"):
                return Tail(head, segment.name, raw, damage), size
            size += len(raw)
            try:
                line = split(raw[:-1])
            except NotARecord as error:
                damage = damage or f"after record {head.n}: {error}"
                continue
            if head.n and not (line.n == head.n + 1 and line.follows(head.hash)):
                damage = damage or f"record {line.n} does not follow from record {head.n}"
            head = Head(line.n, line.hash)
    except Unreadable as error:
        damage = f"it cannot be read: {error}"
    return Tail(head, segment.name, b"", damage), size


def _is_empty(path: Path) -> bool:
    return path.suffix != ".gz" and not path.stat().st_size


def _cut(path: Path, size: int) -> None:
    if size:
        with path.open("r+b") as file:
            file.truncate(size)
    else:
        path.unlink()
