"""Events of several processes as one stream, each resumed where it was left."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from serving.watch.streams import HEARTBEAT_S, Frame, read_place

LOGGER = logging.getLogger("cityloop.serving")

SEPARATOR = ","
"""Between the places of several streams in one identifier."""

ELSEWHERE = "0-0"
"""A place in no stream: a stream that is resumed from it reports a gap."""

BEGINS = "begins"
"""Kind of the first frame of a process's stream, which is told to nobody: its identifier is the place to go on from."""

WAITING = 8
"""Batches that wait for a slow reader, over all processes; beyond this number processes wait, and report a gap."""

OPENS_S = 1.0
"""Seconds for all processes to begin listening, before events of those that do are sent."""

AGAIN_S = 2.0
"""Seconds until a stream that has ended, as its process is replaced, is opened again."""


class JoinedEvents:
    """Several streams as one; see `Events`. A stream that ends is opened again, and continues where it was.

    Args:
        name: of the listener.
        open_: number of a stream, and its place to go on from → its events.
        count: of the streams.
        since: identifier of the last event that was seen; None: begin now.
        allowed: called at every sign of life; the stream ends if it returns false.

    Raises:
        ReadingError: if `since` is no identifier.
    """

    def __init__(
        self,
        name: str,
        open_: Callable[[int, str | None], Any],
        count: int,
        since: str | None,
        allowed: Callable[[], bool],
    ):
        self.name, self.closed = name, False
        self._open, self._allowed = open_, allowed
        self._places = places_of(since, count)
        self._queue: asyncio.Queue[tuple[int, list[Frame]]] = asyncio.Queue(WAITING)
        self._opened = [asyncio.Event() for _ in range(count)]
        self._tasks = [asyncio.create_task(self._read(k)) for k in range(count)]
        self._checked = asyncio.get_running_loop().time()

    async def _read(self, k: int) -> None:
        place = self._places[k]
        while True:
            source = None
            try:
                source = self._open(k, place)
                async for frames in source:
                    if frames and frames[0].kind == BEGINS:
                        place = place or frames[0].id
                        self._places[k] = self._places[k] or place
                    self._opened[k].set()
                    told = [frame for frame in frames if frame.kind != BEGINS]
                    if told:  # signs of life are the joined stream's own
                        await self._queue.put((k, told))
                        place = next((frame.id for frame in reversed(told) if frame.id is not None), place)
            except Exception as error:
                LOGGER.info("events: a process's stream ended (%s); it is asked again", type(error).__name__)
            finally:
                if source is not None:
                    source.cancel()
            if self._opened[k].is_set():  # without a place, events before it is opened again are missed
                place = place or ELSEWHERE
            await asyncio.sleep(AGAIN_S)

    async def opened(self) -> None:
        """Wait until every process listens, and nothing is missed from now on; not for long, as one may be replaced."""
        with suppress(TimeoutError):
            async with asyncio.timeout(OPENS_S):
                for one in self._opened:
                    await one.wait()

    def __aiter__(self) -> JoinedEvents:
        return self

    async def __anext__(self) -> list[Frame]:
        """The next events; none as a sign of life."""
        now = asyncio.get_running_loop().time()
        if now - self._checked >= HEARTBEAT_S:
            self._checked = now
            if not self._allowed():
                raise StopAsyncIteration
        try:
            async with asyncio.timeout(HEARTBEAT_S):
                k, frames = await self._queue.get()
        except TimeoutError:
            return []
        return [self._placed(k, frame) for frame in frames]

    def _placed(self, k: int, frame: Frame) -> Frame:
        """A frame with the places of all streams in its identifier."""
        if frame.id is None:
            return frame
        self._places[k] = frame.id
        return frame._replace(id=self.place)

    @property
    def place(self) -> str:
        """See `Events`; empty for a process that has not begun to tell anything."""
        return SEPARATOR.join(place or "" for place in self._places)

    def close(self) -> None:
        """Listen no longer. May be called twice."""
        self.closed = True
        for task in self._tasks:
            task.cancel()


def places_of(since: str | None, count: int) -> list[str | None]:
    """Places from which streams are resumed; None: the stream begins now. An empty place counts as missed events.

    Raises:
        ReadingError: if it is no identifier.
    """
    if not since:
        return [None] * count
    places = since.split(SEPARATOR)
    for place in places:
        if place:
            read_place(place)
    return [place or ELSEWHERE for place in places] if len(places) == count else [ELSEWHERE] * count
