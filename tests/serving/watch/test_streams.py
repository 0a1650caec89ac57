"""Server-sent events: what is sent, to whom, and what happens to those who read too slowly."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
import pytest

from envs.core.errors import CityloopError
from serving.alarms.book import Alarm
from serving.core.events import Decision, Shadowed, SiteChange
from serving.core.refusals import Busy
from serving.watch import streams as module
from serving.watch.streams import Streams, Subscription

pytestmark = pytest.mark.anyio

ESTUARY, HARBOUR = ("drainage", "estuary"), ("drainage", "harbour")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def decision(tick: int = 0, place: tuple[str, str] = ESTUARY, **more: Any) -> Decision:
    content: dict[str, Any] = {
        "system": place[0],
        "site": place[1],
        "site_hash": "0" * 16,
        "tick": tick,
        "time_s": 60.0 * tick,
        "at_s": 1e9 + tick,
        "who": "plc",
        "body": orjson.dumps({"tick": tick, "time_s": 60.0 * tick, "readings": {"depth_m": [1.5, None]}}),
        "readings_hash": "ab" * 32,
        "source": "champion",
        "controller": "gate-policy",
        "bundle": "cd" * 32,
        "requests": [0.5],
        "commands": {"gate": {"setting": 0.5}},
        "interventions": [],
        "fallback_reason": None,
        "latency_ms": 1.25,
        "deadline_ms": 100.0,
    }
    return Decision(**(content | more))


def change(what: str = "promote", place: tuple[str, str] = ESTUARY) -> SiteChange:
    return SiteChange(*place, 1e9, "ada", what, "a test", {"of": "roles"})


def alarm(state: Any = "raised") -> Alarm:
    return Alarm(
        id=1,
        system="drainage",
        site="estuary",
        key="full:T1",
        priority="high",
        text="T1 is full",
        state=state,
        incident=1,
        raised_s=1e9,
    )


@dataclass
class Heard:
    id: str | None
    kind: str
    data: dict[str, Any]


def everything(system: str, site: str) -> bool:
    return True


def subscribe(
    streams: Streams, wanted: Callable[[str, str], bool] = everything, since: str | None = None, **more: Any
) -> Subscription:
    return streams.subscribe("console", wanted, since, **more)


async def read(one: Subscription) -> list[Heard]:
    """What is there now, without waiting."""
    found: list[Heard] = []
    while True:
        try:
            async with asyncio.timeout(0):
                found += [Heard(f.id, f.kind, orjson.loads(f.data)) for f in await anext(one)]
        except TimeoutError:
            return found


async def test_a_tick_tells_what_a_control_room_needs() -> None:
    streams = Streams()
    one = subscribe(streams)
    streams.record(decision(7, findings=("depth_m[1] is silent",), interventions=[{"agent": "gate", "reason": "rate"}]))
    (tick,) = await read(one)
    assert tick.kind == "decision"
    data = tick.data
    assert data["request"]["readings"] == {"depth_m": [1.5, None]}
    assert (data["commands"], data["source"], data["latency_ms"]) == ({"gate": {"setting": 0.5}}, "champion", 1.25)
    assert (data["findings"], data["interventions"][0]["reason"]) == (["depth_m[1] is silent"], "rate")
    assert "body" not in data


async def test_an_alarm_that_returns_while_somebody_begins_to_listen_is_not_missed() -> None:
    streams = Streams()
    streams.record(decision(0))

    def ringing() -> list[Alarm]:
        streams.alarm(alarm("returned"))
        streams.record(decision(1))
        return [alarm("raised")]

    streams.ringing = ringing
    told = [(one.kind, one.data.get("state", one.data.get("tick"))) for one in await read(subscribe(streams, last=2))]
    assert told == [("alarm", "raised"), ("decision", 0), ("alarm", "returned"), ("decision", 1)]


async def test_lines_in_a_body_do_not_end_the_event() -> None:
    streams = Streams()
    one = subscribe(streams)
    streams.record(decision(body=b'{\r\n "tick": 0,\n\n "episode": "a\\nb"\n}'))
    (frame,) = await anext(one)
    assert b"\n" not in frame.data
    assert b"\r" not in frame.data
    assert orjson.loads(frame.data)["request"] == {"tick": 0, "episode": "a\nb"}


async def test_kinds_come_in_the_order_in_which_they_happened() -> None:
    streams = Streams()
    one = subscribe(streams)
    shadow = Shadowed(*ESTUARY, 0, 1e9, "new", None, {}, 0.5, None, 1.0)
    for event in (change("override"), decision(0), shadow, decision(1, HARBOUR), change("rollback")):
        streams.record(event)
    streams.alarm(alarm())
    found = await read(one)
    assert [frame.kind for frame in found] == ["change", "decision", "shadow", "decision", "change", "alarm"]
    assert sorted({frame.id for frame in found}) == [frame.id for frame in found]


async def test_only_what_is_wanted_is_sent() -> None:
    streams = Streams()
    one = subscribe(streams, lambda system, site: site == "harbour")
    for event in (decision(0), decision(1, HARBOUR), change(), change("rollback")):
        streams.record(event)
    assert [(f.kind, f.data["site"]) for f in await read(one)] == [("decision", "harbour")]


async def test_who_begins_may_be_told_the_last_decisions_and_goes_on_without_them() -> None:
    streams = Streams()
    for event in (*map(decision, range(3)), change(), decision(0, HARBOUR)):
        streams.record(event)
    one = streams.subscribe("ada", lambda system, site: site == "estuary", last=2)
    streams.record(decision(3))
    found = await read(one)
    assert [(frame.kind, frame.data["tick"]) for frame in found] == [("decision", tick) for tick in (1, 2, 3)]
    assert [frame.id is None for frame in found] == [True, True, False]
    again = streams.subscribe("ada", lambda *_: True, since=found[-1].id, last=2)
    assert await read(again) == []


async def test_a_subscriber_goes_on_where_it_left_off() -> None:
    streams = Streams()
    first = subscribe(streams)
    streams.record(decision(0))
    (seen,) = await read(first)
    first.close()
    streams.record(decision(1))
    streams.record(change())
    again = subscribe(streams, since=seen.id)
    assert [f.kind for f in await read(again)] == ["decision", "change"]


async def test_another_era_begins_with_a_gap_and_with_what_rings() -> None:
    streams = Streams()
    streams.ringing = lambda: [alarm()]
    fresh = await read(subscribe(streams))
    assert [(f.kind, f.id) for f in fresh] == [("alarm", None)]
    restarted = await read(subscribe(streams, since="00000000-17"))
    assert [f.kind for f in restarted] == ["gap", "alarm"]
    assert await read(subscribe(streams, lambda system, site: site == "harbour")) == []


async def test_an_alarm_is_told_as_it_was() -> None:
    streams = Streams()
    one, standing = subscribe(streams), alarm()
    streams.alarm(standing)
    standing.state = "returned"
    streams.alarm(standing)
    assert [f.data["state"] for f in await read(one)] == ["raised", "returned"]


@pytest.mark.parametrize("since", ["x", "a-", "a-b", "a-²", "a-" + "9" * 30, "a-1-2"])
async def test_what_is_no_identifier_is_refused(since: str) -> None:
    with pytest.raises(CityloopError, match="Last-Event-ID"):
        subscribe(Streams(), since=since)


async def test_a_slow_subscriber_is_told_what_it_missed_and_rare_events_outlive_ticks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "HISTORY", 8)
    streams = Streams()
    one = subscribe(streams)
    assert await read(one) == []
    streams.record(change())
    for tick in range(100):
        streams.record(decision(tick))
    found = await read(one)
    assert [f.kind for f in found] == ["change", "gap", *["decision"] * 8]
    assert [f.data["tick"] for f in found if f.kind == "decision"] == list(range(92, 100))
    assert streams.gaps == 1
    assert await read(one) == []


async def test_bodies_that_are_kept_are_bounded_and_long_backlogs_come_in_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "HISTORY_BYTES", 100_000)
    monkeypatch.setattr(module, "CHUNK_BYTES", 20_000)
    streams = Streams()
    one = subscribe(streams)
    for tick in range(50):
        streams.record(decision(tick, body=b'{"x": "' + b"y" * 10_000 + b'"}'))
    chunks = [await anext(one) for _ in range(3)]
    assert all(sum(len(frame.data) for frame in chunk) < 25_000 for chunk in chunks)
    assert len([f for f in await read(one) if f.kind == "decision"]) < 10


async def test_a_gap_is_counted_once_though_it_comes_after_several_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HISTORY", 8)
    monkeypatch.setattr(module, "CHUNK_BYTES", 20_000)
    streams = Streams()
    one = subscribe(streams)
    for tick in range(8):
        streams.record(decision(tick, place=HARBOUR, body=b'{"x": "' + b"y" * 10_000 + b'"}'))
    for tick in range(20):
        streams.record(decision(tick))
    found = await read(one)
    assert [f.kind for f in found] == [*["decision"] * 8, "gap", *["decision"] * 8]
    assert streams.gaps == 1


async def test_text_is_made_once_and_only_if_somebody_reads() -> None:
    made: list[tuple[str, str]] = []

    def gauges(place: tuple[str, str], _: bytes) -> dict[str, float | None]:
        made.append(place)
        return {"fullest": 0.5}

    streams = Streams()
    streams.gauges = gauges
    streams.record(decision(0))
    assert made == []
    several = [subscribe(streams) for _ in range(3)]
    streams.record(decision(1))
    for one in several:
        (tick,) = await read(one)
        assert tick.data["gauges"] == {"fullest": 0.5}
    assert made == [ESTUARY]


async def test_subscribers_are_bounded_and_give_their_places_back() -> None:
    streams = Streams(most=3, most_each=2)
    open_ = [subscribe(streams), subscribe(streams)]
    with pytest.raises(Busy):
        subscribe(streams)
    other = streams.subscribe("other", everything)
    with pytest.raises(Busy) as caught:
        streams.subscribe("third", everything)
    assert (caught.value.status, caught.value.retry_after_s) == (503, 10.0)
    other.close()
    other.close()
    open_.append(streams.subscribe("third", everything))
    assert streams.subscribers == 3


async def test_a_heartbeat_breaks_the_silence_and_a_key_that_is_revoked_ends_the_stream() -> None:
    allowed = True
    streams = Streams(heartbeat_s=0.001)
    one = subscribe(streams, allowed=lambda: allowed)
    assert await anext(one) == []
    allowed = False
    assert len([chunk async for chunk in one]) <= 1  # whatever was under way


async def test_events_of_other_threads_wake_a_subscriber() -> None:
    streams = Streams(heartbeat_s=60.0)
    one = subscribe(streams)
    waiting = asyncio.ensure_future(anext(one))
    await asyncio.sleep(0)
    await asyncio.to_thread(streams.record, decision(3))
    (frame,) = await asyncio.wait_for(waiting, 10)
    assert orjson.loads(frame.data)["tick"] == 3


async def test_closing_ends_all() -> None:
    streams = Streams(heartbeat_s=60.0)
    one = subscribe(streams)
    waiting = asyncio.ensure_future(anext(one))
    await asyncio.sleep(0)
    streams.close()
    with pytest.raises(StopAsyncIteration):
        await asyncio.wait_for(waiting, 10)


def test_recording_costs_little_while_nobody_reads() -> None:
    """No text is made and no loop is needed; what is kept is bounded."""
    streams = Streams()
    for tick in range(3 * module.HISTORY):
        streams.record(decision(tick))
    gc.collect()
    assert sum(len(ring.entries) for ring in streams._rings.values()) == module.HISTORY
