"""Event streams: what happens at the sites, as it happens, to every authorised subscriber, over any protocol.

Events wait in rings, one for the ticks of a site and one for its rare events; a subscriber is only a position in them.
A slow one delays nobody and costs no memory: when the ring has moved on it is told what it missed. An event becomes
text once, when the first subscriber needs it.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import orjson

from envs.core.errors import ReadingError
from serving.alarms.book import Alarm
from serving.core.events import Decision, Event, Shadowed, SiteChange, Structure
from serving.core.refusals import Busy
from serving.core.telemetry import Telemetry

MAX_SUBSCRIBERS = 32
"""Streams open at a time, in one process."""

MAX_EACH = 16
"""Streams that one caller may have open."""

HISTORY = 512
"""Number of events of a site that are kept, in each ring."""

HISTORY_BYTES = 4 << 20
"""Bytes of ticks' bodies that are kept for a site."""

HEARTBEAT_S = 5.0
"""Seconds of silence until a sign of life is sent, so that both ends know that the other is there."""

CHUNK_BYTES = 256 << 10
"""Bytes of events that are sent at once, at most, unless one alone is longer."""

KINDS = {
    Decision: "decision",
    Shadowed: "shadow",
    SiteChange: "change",
    Structure: "structure",
    Alarm: "alarm",
    Telemetry: "telemetry",
}
"""Kind of event → its name in the stream."""


class Frame(NamedTuple):
    """An event as it is sent.

    Attributes:
        id: to resume from; None where that is not possible.
        kind: one of `KINDS`, or ``gap`` where something was missed.
        data: as JSON, without line breaks.
    """

    id: str | None
    kind: str
    data: bytes


_Kept = dict[str, Any] | Shadowed | SiteChange | Structure | Alarm | Telemetry
"""An event as it is kept: of a decision, its fields without the readings' arrays."""

LANES = {Decision: "often", Shadowed: "often", Telemetry: "telemetry"}
"""Kind of event → its ring; all others are rare. Events of one ring do not push out those of another."""


@dataclass(slots=True)
class _Entry:
    """An event in a ring, or its frame instead, once it was needed."""

    number: int
    kind: str
    event: _Kept | None
    size: int
    frame: Frame | None = None


class _Ring:
    """The last events of one kind at one site.

    Args:
        most: of them.

    Attributes:
        gone: number of the newest event that has left it; events that a newer one replaces do not count.
    """

    def __init__(self, most: int = HISTORY) -> None:
        self.entries: deque[_Entry] = deque()
        self.gone = 0
        self._most, self._bytes = most, 0

    def add(self, entry: _Entry) -> None:
        self.entries.append(entry)
        self._bytes += entry.size
        while len(self.entries) > self._most or (self._bytes > HISTORY_BYTES and len(self.entries) > 1):
            old = self.entries.popleft()
            self._bytes -= old.size
            if self._most > 1:
                self.gone = old.number

    def after(self, number: int) -> list[_Entry]:
        """Events newer than a given one, oldest first."""
        found = []
        for entry in reversed(self.entries):
            if entry.number <= number:
                break
            found.append(entry)
        return found[::-1]


class Streams:
    """A sink that hands events to subscribers.

    Args:
        most: subscribers at a time.
        most_each: subscribers of one name at a time.
        heartbeat_s: longest silence.

    Attributes:
        ringing: gives the standing alarms, for new subscribers.
        gauges: gives the gauges of a tick's body at a ``(system, site)``, for the first subscriber.
        gaps: number of times that a subscriber missed something.
    """

    def __init__(self, most: int = MAX_SUBSCRIBERS, most_each: int = MAX_EACH, heartbeat_s: float = HEARTBEAT_S):
        self._most, self._most_each, self.heartbeat_s = most, most_each, heartbeat_s
        # A number says nothing to another process, or to this one after a restart.
        self._era = os.urandom(4).hex()
        self._last = 0
        self._rings: dict[tuple[str, str, str], _Ring] = {}
        self._lock = threading.Lock()
        self._open: set[Subscription] = set()
        self.ringing: Callable[[], Iterable[Alarm]] = lambda: ()
        self.gauges: Callable[[tuple[str, str], bytes], Mapping[str, float | None]] = lambda _place, _body: {}
        self.gaps = 0
        self.closed = False

    def record(self, event: Event) -> None:
        """Take an event."""
        self._take(event)

    def alarm(self, alarm: Alarm) -> None:
        """Take an alarm that changed, as it is now."""
        self._take(alarm.model_copy())

    def telemetry(self, telemetry: Telemetry) -> None:
        """Take a plant's telemetry; only the last is kept."""
        self._take(telemetry)

    def _take(self, event: Event | Alarm | Telemetry) -> None:
        lane = LANES.get(type(event), "rare")
        size = len(event.body) if isinstance(event, Decision) else 0
        kept = event.kept() if isinstance(event, Decision) else event
        with self._lock:
            self._last += 1
            ring = self._rings.setdefault(
                (event.system, event.site, lane), _Ring(1 if lane == "telemetry" else HISTORY)
            )
            ring.add(_Entry(self._last, KINDS[type(event)], kept, size))
            everyone = list(self._open)
        for one in everyone:
            one.ring()

    @property
    def subscribers(self) -> int:
        """Number of open streams."""
        return len(self._open)

    def subscribe(
        self,
        name: str,
        wanted: Callable[[str, str], bool],
        since: str | None = None,
        allowed: Callable[[], bool] = lambda: True,
        last: int = 0,
    ) -> Subscription:
        """Subscribe to the events of wanted sites.

        Args:
            name: of the subscriber.
            wanted: ``(system, site)`` → whether its events are wanted; ``("", "")`` is the service as a whole.
            since: identifier of the last event that was seen (``Last-Event-ID``); None: begin now, with the alarms.
            allowed: called at every heartbeat; the stream ends if it returns false.
            last: number of past decisions of every site that are sent first to a subscriber without ``since``, with the
                last telemetry.

        Raises:
            Busy: if there are too many subscribers, or too many of that name.
            ReadingError: if ``since`` is not an identifier.
        """
        era, number = self._place(since)
        begins = self._last  # ahead of the look at what rings: what changes meanwhile is told, or told twice
        ringing = [] if number is not None else [a for a in self.ringing() if wanted(a.system, a.site)]
        with self._lock:
            if len(self._open) >= self._most or sum(one.name == name for one in self._open) >= self._most_each:
                raise Busy("streams", len(self._open), "close one, or ask again later", retry_after_s=10.0)
            first = []
            if number is None:
                number = begins
                if era is not None:
                    reason = "that event is of another stream, or the service was started again since"
                    first.append(_frame(None, "gap", {"reason": reason}))
                first += [_frame(None, "alarm", _content(alarm)) for alarm in ringing]
                first += self._last_of(wanted, last, number) if last else []
            one = Subscription(self, name, wanted, allowed, number, first)
            self._open.add(one)
        return one

    def _last_of(self, wanted: Callable[[str, str], bool], most: int, number: int) -> list[Frame]:
        """The last decisions of every site up to an event, and its last telemetry; they cannot be resumed from."""
        found = []
        for (system, site, lane), ring in self._rings.items():
            if wanted(system, site) and lane != "rare":
                fit = [e for e in ring.entries if e.kind in ("decision", "telemetry") and e.number <= number]
                found += [self._framed(entry)._replace(id=None) for entry in fit[-most:]]
        return found

    def _place(self, since: str | None) -> tuple[str | None, int | None]:
        """Place of a subscriber: the era, and the number if it is of this one."""
        if not since:
            return None, None
        era, number = read_place(since)
        return era, min(number, self._last) if era == self._era else None

    def place(self, number: int) -> str:
        """The identifier of an event, to go on from."""
        return f"{self._era}-{number}"

    def collect(self, wanted: Callable[[str, str], bool], number: int) -> tuple[list[Frame], int]:
        """Events that a subscriber has not seen, as many as are sent at once, and the number of the last."""
        with self._lock:
            rings = [(place, ring) for place, ring in self._rings.items() if wanted(place[0], place[1])]
            entries = [entry for _, ring in rings for entry in ring.after(number)]
            missed = [(ring.gone, place) for place, ring in rings if ring.gone > number]
            newest = self._last
        for gone, (system, site, _) in missed:
            gap = {"system": system, "site": site, "reason": "this stream is read too slowly, or was away too long"}
            entries.append(_Entry(gone, "gap", None, 0, _frame(None, "gap", gap)))
        entries.sort(key=lambda entry: entry.number)
        frames: list[Frame] = []
        size = 0
        for entry in entries:
            frame = self._framed(entry)
            if size and size + len(frame.data) > CHUNK_BYTES:
                return frames, number
            frames.append(frame)
            self.gaps += entry.kind == "gap"
            size += len(frame.data)
            number = entry.number
        return frames, newest

    def _framed(self, entry: _Entry) -> Frame:
        if entry.frame is None:
            assert entry.event is not None
            entry.frame = _frame(self.place(entry.number), entry.kind, self._as_sent(entry.event))
            entry.event = None
        return entry.frame

    def _as_sent(self, event: _Kept) -> dict[str, Any]:
        """An event as plain data; a tick's body as it was sent, with its gauges."""
        if not isinstance(event, dict):
            return _content(event)
        content = dict(event)
        body = content.pop("body")
        content["gauges"] = self.gauges((event["system"], event["site"]), body)
        # Lines end only outside of JSON's strings, and would end the event's.
        content["request"] = orjson.Fragment(body.replace(b"\n", b" ").replace(b"\r", b" "))
        content["requested"] = content.pop("requests")
        return content

    def leave(self, one: Subscription) -> None:
        """Forget a subscriber."""
        with self._lock:
            self._open.discard(one)

    def close(self) -> None:
        """End all streams."""
        self.closed = True
        with self._lock:
            everyone = list(self._open)
        for one in everyone:
            one.ring()


def read_place(since: str) -> tuple[str, int]:
    """The era of an identifier, and its number in it.

    Raises:
        ReadingError: if it is none.
    """
    era, _, digits = since.partition("-")
    if not digits.isascii() or not digits.isdigit() or len(digits) > 18:
        raise ReadingError("Last-Event-ID", since[:40], "give the id of an event, or none")
    return era, int(digits)


class Events(Protocol):
    """Events as they happen: iterate over it, and close it."""

    @property
    def place(self) -> str:
        """Identifier of the last event that was told, or after which it began."""
        ...

    def __aiter__(self) -> Events: ...

    async def __anext__(self) -> list[Frame]:
        """The next events; an empty list is a sign of life."""
        ...

    def close(self) -> None:
        """Listen no longer. May be called twice."""


class Subscription:
    """One subscriber: iterate over it in the event loop that made it, and close it."""

    def __init__(
        self,
        streams: Streams,
        name: str,
        wanted: Callable[[str, str], bool],
        allowed: Callable[[], bool],
        number: int,
        first: list[Frame],
    ):
        self.name = name
        self._streams, self._wanted, self._allowed = streams, wanted, allowed
        self._number, self._first = number, first
        self._loop, self._thread = asyncio.get_running_loop(), threading.get_ident()
        self._bell = asyncio.Event()
        self._checked = time.monotonic()

    @property
    def place(self) -> str:
        """See `Events`."""
        return self._streams.place(self._number)

    def ring(self) -> None:
        """Wake the subscriber; to be called from any thread."""
        if threading.get_ident() == self._thread:
            self._bell.set()
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._bell.set)

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> list[Frame]:
        """The next events; an empty list when a sign of life is due."""
        if self._first:
            first, self._first = self._first, []
            return first
        every = self._streams.heartbeat_s
        if time.monotonic() - self._checked >= every:
            self._checked = time.monotonic()
            if not self._allowed():
                raise StopAsyncIteration
        while not self._streams.closed:
            frames, self._number = self._streams.collect(self._wanted, self._number)
            if frames:
                return frames
            try:
                async with asyncio.timeout(every):
                    await self._bell.wait()
            except TimeoutError:
                return []
            self._bell.clear()
        raise StopAsyncIteration

    def close(self) -> None:
        """Leave the streams. May be called twice."""
        self._streams.leave(self)


def _content(event: Shadowed | SiteChange | Structure | Alarm | Telemetry) -> dict[str, Any]:
    return event.model_dump() if isinstance(event, (Alarm, Telemetry)) else dict(vars(event))


def _frame(ident: str | None, kind: str, content: Mapping[str, Any]) -> Frame:
    options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    return Frame(ident, kind, orjson.dumps(content, default=_other, option=options))


def _other(value: object) -> Any:
    return dict(value) if isinstance(value, Mapping) else repr(value)
