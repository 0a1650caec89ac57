"""The same body gets the same answer; episodes begin where they should."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import orjson
import pytest

from envs import ReadingError
from envs.core.registry import get_system
from envs.core.site import Site
from serving.charge.episodes import Episodes
from serving.checks.checks import InputChecks
from serving.core.events import Decision
from serving.core.refusals import Busy, Conflict
from serving.core.wire import Tick, parse_tick
from serving.forms import OverrideRequest
from serving.operations import put_override
from serving.tick.repeats import KEPT
from tests.serving.operators import Book
from tests.serving.plants import Stub, body_of, service, tick_of


class Counting(Stub):
    """Counts decisions and beginnings."""

    def __init__(self) -> None:
        super().__init__("counting")
        self.decisions = self.resets = 0

    def reset(self) -> None:
        self.resets += 1

    def act(self, readings: Any, observation: Any) -> Any:
        self.decisions += 1
        return super().act(readings, observation)


def begins(episodes: Episodes, *ticks: tuple[int, str | None]) -> list[bool]:
    return [episodes.follow(Tick(n, 0.0, {}, episode=name), b"%d" % k) for k, (n, name) in enumerate(ticks)]


def test_without_a_name_a_number_that_does_not_rise_begins_an_episode() -> None:
    numbers = (3, 4, 9, 9, 10, 0, 1)
    assert begins(Episodes(), *((n, None) for n in numbers)) == [True, False, False, True, False, True, False]


@pytest.mark.parametrize("name", ["X", ":", r"\u003a", r"a\u003ab"])
def test_a_number_that_is_given_twice_is_refused_whatever_the_episode_is_called(site: Site, name: str) -> None:
    """An escaped colon in the name must not stand for the one that is too many."""
    body = orjson.dumps(tick_of(site) | {"episode": "NAME"}).replace(b"NAME", name.encode())
    system = get_system(site.system)
    assert parse_tick(system, site, body).tick == 0
    with pytest.raises(ReadingError, match="it is given twice"):
        parse_tick(system, site, body.replace(b'"tick":0', b'"tick":7,"tick":0'))


def test_a_new_name_begins_an_episode_and_old_ones_do_not_come_back() -> None:
    episodes = Episodes()
    assert begins(episodes, (0, "a"), (1, "a"), (7, "b"), (8, "b")) == [True, False, True, False]
    with pytest.raises(Conflict, match="is over"):
        episodes.follow(Tick(2, 0.0, {}, episode="a"), b"old")
    with pytest.raises(Conflict, match="tick 8 is decided"):
        episodes.follow(Tick(8, 0.0, {}, episode="b"), b"other")
    assert begins(episodes, (9, "b")) == [False]


def test_an_episode_goes_on_in_a_new_process() -> None:
    assert begins(Episodes("a", begun=True), (7, "a"), (8, "a")) == [False, False]
    assert begins(Episodes("a", begun=True), (7, "b")) == [True]
    assert begins(Episodes(None, begun=True), (7, None), (3, None)) == [False, True]


def test_the_same_body_is_decided_once(site: Site) -> None:
    counting = Counting()
    one = service(site, counting)
    before = counting.decisions
    body = body_of(tick_of(site) | {"tick": 5})
    first = one.act(body)
    assert [one.act(body) for _ in range(3)] == [first] * 3
    assert counting.decisions == before + 1


def test_the_same_body_at_the_same_time_is_decided_once(site: Site) -> None:
    counting = Counting()
    one = service(site, counting)
    before, body = counting.decisions, body_of(tick_of(site))

    async def together() -> list[dict[str, Any]]:
        return await asyncio.gather(*(one.act_async(body) for _ in range(8)))

    answers = asyncio.run(together())
    assert all(answer == answers[0] for answer in answers)
    assert counting.decisions == before + 1


def test_whoever_waits_for_an_answer_that_is_given_up_gets_one(site: Site) -> None:
    stub, release = Stub(), threading.Event()
    one = service(site, stub)
    stub.then = lambda readings, observation: release.wait(30) and observation["action_mask"].argmax(axis=1)
    body = body_of(tick_of(site))

    async def drop() -> dict[str, Any]:
        first = asyncio.ensure_future(one.act_async(body))
        await asyncio.sleep(0)
        second = asyncio.ensure_future(one.act_async(body))
        await asyncio.sleep(0)
        first.cancel()
        release.set()
        return await second

    assert asyncio.run(drop())["tick"] == 0


@pytest.mark.parametrize("episode", [{}, {"episode": "monday"}])
@pytest.mark.parametrize("number", [0, 1])
def test_the_last_body_is_decided_again_in_its_episode_once_its_answer_is_forgotten(
    site: Site, episode: dict[str, str], number: int
) -> None:
    book = Book()
    one = service(site, sinks=[book], checks=InputChecks(get_system(site.system), site))
    bodies = [body_of(tick_of(site) | {"tick": k, "time_s": 5.0 * k} | episode) for k in range(2)]
    first = [one.act(body) for body in bodies[: number + 1]][number]
    asyncio.run(put_override(one, site.agents[0], OverrideRequest(command=0, reason="flood", expires_s=60), "anna"))
    answer = one.act(bodies[number])
    assert list(answer["overridden"]) == [site.agents[0]]
    assert [answer[key] for key in ("source", "findings")] == [first[key] for key in ("source", "findings")]
    assert [event.begins for event in book.of(Decision)][number:] == [number == 0] * 2
    one.close()


def test_whoever_gave_up_asks_again(site: Site) -> None:
    stub, asked, release = Stub(), threading.Event(), threading.Event()
    one = service(site, stub)
    one.act(body_of(tick_of(site) | {"tick": 1, "episode": "monday"}))

    def slowly(readings: Any, observation: Any) -> Any:
        asked.set()
        release.wait(30)
        return observation["action_mask"].argmax(axis=1)

    stub.then, body = slowly, body_of(tick_of(site) | {"tick": 2, "episode": "monday"})

    async def give_up() -> None:
        first = asyncio.ensure_future(one.act_async(body))
        await asyncio.to_thread(asked.wait, 30)
        first.cancel()
        await asyncio.wait([first])

    asyncio.run(give_up())
    release.set()
    assert one.act(body)["tick"] == 2
    one.close()


def test_an_older_tick_of_a_named_episode_is_answered_as_it_was_and_no_other_way(site: Site) -> None:
    one = service(site)
    bodies = [body_of(tick_of(site) | {"tick": k, "episode": "monday"}) for k in range(3)]
    answers = [one.act(body) for body in bodies]
    assert one.act(bodies[0]) == answers[0]
    with pytest.raises(Conflict, match="tick 2 is decided"):
        one.act(body_of(tick_of(site, green_s=[9.0] * len(site.agents)) | {"tick": 1, "episode": "monday"}))


def test_an_older_tick_without_a_name_is_a_plant_that_begins_anew(site: Site) -> None:
    counting = Counting()
    one = service(site, counting)
    bodies = [body_of(tick_of(site) | {"tick": k}) for k in range(3)]
    for body in bodies:
        one.act(body)
    before = counting.decisions, counting.resets
    one.act(bodies[0])
    assert (counting.decisions, counting.resets) == (before[0] + 1, before[1] + 1)


def test_only_so_many_answers_are_kept(site: Site) -> None:
    counting = Counting()
    one = service(site, counting)
    bodies = [body_of(tick_of(site) | {"tick": k, "episode": "long"}) for k in range(KEPT + 2)]
    for body in bodies:
        one.act(body)
    with pytest.raises(Conflict):
        one.act(bodies[0])
    assert one.act(bodies[-KEPT])["tick"] == 2


def test_a_tick_under_way_is_remembered_however_many_are(site: Site) -> None:
    counting, release = Counting(), threading.Event()
    one = service(site, counting, deadline_ms=30_000, queue=2 * KEPT + 2)
    before = counting.decisions
    counting.then = lambda readings, observation: release.wait(30) and observation["action_mask"].argmax(axis=1)
    bodies = [body_of(tick_of(site) | {"tick": k, "episode": "long"}) for k in range(2 * KEPT)]

    async def ask() -> list[dict[str, Any]]:
        asked = [asyncio.ensure_future(one.act_async(body)) for body in bodies]
        await asyncio.sleep(0)
        again = asyncio.ensure_future(one.act_async(bodies[0]))
        await asyncio.sleep(0)
        release.set()
        return await asyncio.gather(again, *asked)

    again, *answers = asyncio.run(ask())
    assert again == answers[0]
    assert [answer["tick"] for answer in answers] == list(range(2 * KEPT))
    assert counting.decisions <= before + len(bodies)
    assert one.act(bodies[-KEPT])["tick"] == KEPT
    with pytest.raises(Conflict):
        one.act(bodies[0])


def test_more_than_the_queue_holds_is_refused_at_once(site: Site) -> None:
    stub, release = Stub(), threading.Event()
    one = service(site, stub, deadline_ms=30_000, queue=4)
    stub.then = lambda readings, observation: release.wait(30) and observation["action_mask"].argmax(axis=1)

    async def burst() -> list[Any]:
        bodies = [body_of(tick_of(site) | {"tick": k}) for k in range(7)]
        asked = [asyncio.ensure_future(one.act_async(body)) for body in bodies]
        await asyncio.wait(asked[4:])
        release.set()
        return await asyncio.gather(*asked, return_exceptions=True)

    found = asyncio.run(burst())
    assert [each["tick"] for each in found[:4]] == [0, 1, 2, 3]
    assert [type(each) for each in found[4:]] == [Busy] * 3
    assert found[4].retry_after_s > 0
