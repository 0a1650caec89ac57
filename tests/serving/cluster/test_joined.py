"""What several processes tell as one: their events, each going on from its own place, and their alarms."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from envs.core.conditions import Condition
from envs.core.errors import ReadingError
from serving.alarms.book import AlarmBook
from serving.alarms.told import AlarmsTold
from serving.cluster import joined
from serving.cluster.joined import BEGINS, ELSEWHERE, JoinedEvents, places_of
from serving.watch.streams import Frame


class Source:
    """A process's stream, which ends after what it has."""

    def __init__(self, *frames: list[Frame]):
        self._frames, self.cancelled = frames, False

    async def __aiter__(self) -> AsyncIterator[list[Frame]]:
        for frames in self._frames:
            yield frames

    def cancel(self) -> None:
        self.cancelled = True


def frame(name: str | None) -> Frame:
    return Frame(name, "change", b"{}")


async def heard(events: JoinedEvents, count: int) -> list[Frame]:
    found: list[Frame] = []
    while len(found) < count:
        found += await anext(events)
    return found


def test_every_stream_goes_on_from_its_own_place_and_is_opened_again_when_it_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(joined, "AGAIN_S", 0.0)
    asked: list[tuple[int, str | None]] = []
    sources = {0: [Source([frame("a-1")], [frame(None)]), Source([frame("a-2")])], 1: [Source([], [frame("b-8")])]}

    def open_(k: int, place: str | None) -> Source:
        asked.append((k, place))
        if not sources[k]:
            raise ConnectionError
        return sources[k].pop(0)

    async def listen() -> list[Frame]:
        events = JoinedEvents("ana", open_, 2, "a-0,b-7", lambda: True)
        try:
            return await heard(events, 4)
        finally:
            events.close()
            assert events.closed

    found = asyncio.run(listen())
    assert asked[:2] == [(0, "a-0"), (1, "b-7")]
    assert (0, "a-1") in asked
    assert [one.id for one in found if one.id is None] == [None]
    assert {one.id for one in found} >= {"a-2,b-8"}


def test_a_process_that_is_replaced_before_it_told_anything_says_that_something_was_missed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(joined, "AGAIN_S", 0.0)
    asked: list[str | None] = []
    sources = [Source(), Source([]), Source([frame("b-1")])]

    def open_(k: int, place: str | None) -> Source:
        asked.append(place)
        return sources.pop(0)

    async def listen() -> None:
        events = JoinedEvents("ana", open_, 1, None, lambda: True)
        try:
            await heard(events, 1)
        finally:
            events.close()

    asyncio.run(listen())
    assert asked[:3] == [None, None, ELSEWHERE]


def test_who_may_listen_no_longer_is_told_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joined, "HEARTBEAT_S", 0.0)

    async def listen() -> list[list[Frame]]:
        events = JoinedEvents("ana", lambda k, place: Source([frame("a-1")]), 1, None, lambda: False)
        try:
            return [frames async for frames in events]
        finally:
            events.close()

    assert asyncio.run(listen()) == []


def test_a_place_of_another_arrangement_is_nobodys() -> None:
    assert places_of(None, 2) == [None, None]
    assert places_of("a-1,", 2) == ["a-1", ELSEWHERE]
    assert places_of("a-1", 2) == [ELSEWHERE, ELSEWHERE]


@pytest.mark.parametrize("since", ["bogus", "a,b,c", "a-1,b", "a-1,b-x"])
def test_what_is_no_place_is_refused(since: str) -> None:
    with pytest.raises(ReadingError, match="Last-Event-ID"):
        places_of(since, 2)


def test_a_process_that_has_told_nothing_yet_has_a_place_to_go_on_from() -> None:
    asked: list[tuple[int, str | None]] = []
    told = {0: [[Frame("a-4", BEGINS, b"")], [frame("a-5")]], 1: [[Frame("b-7", BEGINS, b"")]]}

    def open_(k: int, place: str | None) -> Source:
        asked.append((k, place))
        return Source(*told[k])

    async def listen(since: str | None) -> str:
        events = JoinedEvents("ana", open_, 2, since, lambda: True)
        try:
            await events.opened()
            (found,) = await heard(events, 1)
            assert found.id is not None
            return found.id
        finally:
            events.close()

    since = asyncio.run(listen(None))
    assert since == "a-5,b-7"
    asyncio.run(listen(since))
    assert asked == [(0, None), (1, None), (0, "a-5"), (1, "b-7")]


def test_alarms_of_two_processes_have_numbers_of_their_own_and_one_order() -> None:
    books = [AlarmBook(first=1, step=2), AlarmBook(first=2, step=2)]
    for now_s, book, (key, priority) in (
        (10.0, books[0], ("a", "low")),
        (20.0, books[1], ("b", "high")),
        (700.0, books[1], ("c", "low")),
        (800.0, books[0], ("d", "low")),
    ):
        held = {alarm.key: Condition(alarm.key, alarm.priority, "") for alarm in book.all(now_s)}
        book.hold("drainage", "town", held | {key: Condition(key, priority, "")}, now_s)  # type: ignore[arg-type]
    told = [AlarmsTold(book.all(800.0), book.rate(800.0), book.course(0.0, 800.0)) for book in books]
    both = AlarmsTold.joined(told)
    assert [(alarm.key, alarm.id) for alarm in both.alarms] == [("b", 2), ("d", 3), ("c", 4), ("a", 1)]
    assert (both.rate, both.course) == (2, [2, 2])
