"""The files of one chain: segments of lines, named after their first record and their begin, compressed once closed.

``000000000001-20260101T000000Z.jsonl`` is plain while it grows and may become ``….jsonl.gz`` afterwards. Where both
exist, the plain one counts: the other may be half written.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate, pairwise
from pathlib import Path
from typing import IO, cast

from envs.core.machine.files import DRAFT, sync_folder

NAME = re.compile(r"(?P<n>\d{12})-(?P<begin>\d{8}T\d{6}Z)\.jsonl(?P<gz>\.gz)?")
BEGIN = "%Y%m%dT%H%M%SZ"
BLOCK = 1 << 18

LONGEST_S = 2 * 86_400.0
"""Longest time in seconds that a segment is written to; it ends with its day."""


def segment_name(n: int, at_s: float) -> str:
    """Name of a segment that begins with a given record at a given time."""
    return f"{n:012d}-{datetime.fromtimestamp(at_s, UTC).strftime(BEGIN)}.jsonl"


class Unreadable(Exception):
    """A segment that cannot be read to its end; the text has the reason."""


@dataclass(frozen=True)
class Segment:
    """One file of a chain.

    Attributes:
        path: plain or compressed.
        first: number of its first record, as its name says.
        begin_s: its begin, as its name says, in seconds since 1970.
    """

    path: Path
    first: int
    begin_s: float

    @property
    def name(self) -> str:
        """The name of the plain file."""
        return self.path.name.removesuffix(".gz")

    def _open(self) -> IO[bytes]:
        plain = self.path.with_name(self.name)
        for path in (plain, plain.with_name(f"{plain.name}.gz"), plain):  # it may be compressed at this moment
            with suppress(FileNotFoundError):
                return cast(IO[bytes], gzip.open(path) if path.suffix == ".gz" else path.open("rb"))
        raise Unreadable("it has gone")

    def lines(self) -> Iterator[bytes]:
        """Every line with its end; the last may lack one.

        Raises:
            Unreadable: if the file is damaged below its lines.
        """
        try:
            with self._open() as file:
                yield from file
        except (OSError, EOFError, zlib.error) as error:
            raise Unreadable(str(error) or type(error).__name__) from None

    def backwards(self) -> Iterator[bytes]:
        """Every whole line without its end, the last first; of a plain file no more is read than is asked for.

        Raises:
            Unreadable: as `lines`.
        """
        try:
            with self._open() as file:
                if isinstance(file, gzip.GzipFile):
                    text = file.read()
                    yield from reversed(text.split(b"\n")[:-1])
                else:
                    yield from _backwards(file)
        except (OSError, EOFError, zlib.error) as error:
            raise Unreadable(str(error) or type(error).__name__) from None


def _backwards(file: IO[bytes]) -> Iterator[bytes]:
    at, rest, whole = file.seek(0, os.SEEK_END), b"", False
    while at:
        step = min(BLOCK, at)
        at -= step
        file.seek(at)
        parts = (file.read(step) + rest).split(b"\n")
        rest = parts.pop(0)
        for part in reversed(parts):
            if whole:
                yield part
            whole = True  # text after the last newline is not a whole line
    if whole and rest:
        yield rest


def list_segments(folder: Path) -> list[Segment]:
    """The segments of a chain in their order."""
    found: dict[str, Segment] = {}
    for path in sorted(folder.iterdir(), reverse=True):  # the plain one comes last
        if match := NAME.fullmatch(path.name):
            with suppress(ValueError):  # a name like one, with a date that is none
                begin = datetime.strptime(match["begin"], BEGIN).replace(tzinfo=UTC).timestamp()
                segment = Segment(path, int(match["n"]), begin)
                found[segment.name] = segment
    return sorted(found.values(), key=lambda segment: segment.name)


def begun_s(segments: Sequence[Segment], now_s: float) -> list[float]:
    """Begins of a chain's segments, corrected for wrong clocks: none is before that of the segment before.

    A begin in the future was taken from a clock that ran ahead. A begin before that of the segment before was taken
    from a clock that was behind, as on a machine that starts without knowing the time.
    """
    return list(accumulate((one.begin_s if one.begin_s <= now_s else 0.0 for one in segments), max))


def aged_s(segments: Sequence[Segment], now_s: float) -> list[float]:
    """Age of the end of each segment in seconds, by the running time of the log itself.

    A segment ends where the next begins. While a service runs it begins one a day. A longer time between two begins
    means that a clock was wrong, or that nothing ran meanwhile; `LONGEST_S` of it count at most.
    """
    begins = [*(one.begin_s for one in segments), now_s]
    steps = [min(max(then - first, 0.0), LONGEST_S) for first, then in pairwise(begins)]
    return list(accumulate(reversed([*steps[1:], 0.0])))[::-1]


def compress(path: Path) -> None:
    """Replace a closed segment by its compressed form; whole or not at all.

    Raises:
        OSError: if it cannot be written; the plain file stays.
    """
    target = path.with_name(f"{path.name}.gz")
    work = path.with_name(f"{path.name}{DRAFT}")
    try:
        with (
            path.open("rb") as plain,
            os.fdopen(os.open(work, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o640), "wb") as raw,
        ):
            with gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=6, mtime=0) as packed:
                shutil.copyfileobj(plain, packed, BLOCK)
            raw.flush()
            os.fsync(raw.fileno())
        os.replace(work, target)
        sync_folder(path.parent)
        try:
            path.unlink()
        except FileNotFoundError:  # it was old enough to be deleted meanwhile
            target.unlink(missing_ok=True)
            raise
    finally:
        work.unlink(missing_ok=True)
