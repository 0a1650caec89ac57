"""Reading a log over all chains in its folder: the last records that match, or all of them in order."""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from envs.core.errors import CityloopError
from serving.audit.chain import EMPTY, Head, Line, split
from serving.audit.segments import Segment, Unreadable, begun_s, list_segments
from serving.audit.writer import CHAIN

LATE_S = 60.0
"""Records are in the order of answers but have the time of the question, earlier by the longest deadline at most."""

SEARCHED_BYTES = 256_000_000
"""Bytes that are searched backwards for the last records, at most."""


def chains(folder: Path) -> list[Path]:
    """The folders of a log's chains.

    Raises:
        CityloopError: if there are none.
    """
    found = [path for path in folder.glob(f"{CHAIN}*") if path.is_dir()] if folder.is_dir() else []
    if not found:
        raise CityloopError(f"{folder} holds no audit log: give the folder that the service writes its log to")
    return sorted(found, key=lambda path: (len(path.name), path.name))


@dataclass(frozen=True)
class Wanted:
    """Selection of records; None: any.

    Attributes:
        system, site: of the record.
        since, until: wall clock in seconds since 1970.
        what: a kind of record (``decision``, ``change``, ``gap``, …) or of change (``promote``, …).
    """

    system: str | None = None
    site: str | None = None
    since: float | None = None
    until: float | None = None
    what: str | None = None

    def match(self, line: Line) -> dict[str, Any] | None:
        """The record of a line if it matches."""
        # A text within a text has its quotation marks escaped, so that this finds fields alone; most lines end here.
        for name, value in (("system", self.system), ("site", self.site)):
            if value is not None and f'"{name}":"{value}"'.encode() not in line.content:
                return None
        if self.what is not None and f'"{self.what}"'.encode() not in line.content:
            return None
        record = {**line.fields(), "hash": line.hash.hex()}
        if not isinstance(record.get("at_s"), (int, float)):  # altered
            record["at_s"] = 0.0
        return record if self._fits(record) else None

    def _fits(self, record: dict[str, Any]) -> bool:
        at_s = record["at_s"]
        if (self.since is not None and at_s < self.since) or (self.until is not None and at_s > self.until):
            return False
        places = (("system", self.system), ("site", self.site))
        if any(value is not None and record.get(name) != value for name, value in places):
            return False
        return self.what is None or self.what in (record.get("kind"), record.get("what"))


def recent(folder: Path, wanted: Wanted, limit: int = 100) -> list[dict[str, Any]]:
    """The last records that match, up to a limit, oldest first, each with its ``chain`` and ``hash``.

    Files are read from their ends, and no further than needed. Where that is very far, a record of the kind
    ``unsearched`` comes first and has the extent of the search.

    Raises:
        CityloopError: if there is no log.
    """
    each = [_backwards(chain, wanted, SEARCHED_BYTES) for chain in chains(folder)]
    merged = heapq.merge(*each, key=lambda record: -float(record["at_s"]))
    return list(islice(merged, limit))[::-1]


def _backwards(chain: Path, wanted: Wanted, left: float = math.inf) -> Iterator[dict[str, Any]]:
    """Records that match, the last first, of so many bytes."""
    n, segments = None, list_segments(chain)
    for segment, begin_s in reversed(list(zip(segments, begun_s(segments, time.time()), strict=True))):
        for raw in _whole(segment, backwards=True):
            left -= len(raw) + 1
            record = None
            with suppress(ValueError):  # altered: verifying says where
                line = split(raw)
                n, record = line.n, wanted.match(line)
            if record is not None:
                yield {"chain": chain.name, **record}
            if left < 0:
                yield {"chain": chain.name, "n": n, "kind": "unsearched", "at_s": segment.begin_s}
                return
        if wanted.since is not None and begin_s < wanted.since - LATE_S:
            return


def records(folder: Path, wanted: Wanted) -> Iterator[dict[str, Any]]:
    """All records that match, oldest first, each with its ``chain`` and ``hash``.

    Raises:
        CityloopError: if there is no log.
    """
    each = [_forwards(chain, wanted) for chain in chains(folder)]
    yield from heapq.merge(*each, key=lambda record: float(record["at_s"]))


def heads(folder: Path) -> dict[str, Head]:
    """The heads of all chains, for somebody else to keep. Nothing is checked.

    Raises:
        CityloopError: if there is no log.
    """
    found = {}
    for chain in chains(folder):
        last = next(_backwards(chain, Wanted()), None)
        found[chain.name] = EMPTY if last is None else Head(last["n"], bytes.fromhex(last["hash"]))
    return found


def records_of(chain: Path) -> Iterator[tuple[float, dict[str, Any]]]:
    """All records of one chain in their order, each with the share of the chain read so far."""
    last = next((record["n"] for record in _backwards(chain, Wanted())), None)
    first, share = None, 0.0
    for record in _forwards(chain, Wanted()):
        first = record["n"] if first is None else first
        if all(type(n) is int for n in (first, record["n"], last)) and last >= first:  # else it was altered
            share = min(1.0, max(share, (record["n"] - first + 1) / (last - first + 1)))
        yield share, record


def _forwards(chain: Path, wanted: Wanted) -> Iterator[dict[str, Any]]:
    segments = list_segments(chain)
    ends_s = [*begun_s(segments, time.time())[1:], math.inf]
    for segment, end_s in zip(segments, ends_s, strict=False):
        if wanted.since is not None and end_s < wanted.since - LATE_S:
            continue
        for raw in _whole(segment):
            try:
                record = wanted.match(split(raw))
            except ValueError:
                continue
            if record is not None:
                yield {"chain": chain.name, **record}


def _whole(segment: Segment, backwards: bool = False) -> Iterator[bytes]:
    """Lines that have an end, as far as the file can be read."""
    try:
        if backwards:
            yield from segment.backwards()
        else:
            yield from (raw[:-1] for raw in segment.lines() if raw.endswith(b"\n"))
    except Unreadable:
        return
