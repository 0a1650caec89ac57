"""A client against a service that misbehaves, on a clock that nobody waits for."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import orjson
import pytest

from agents import make_controller
from envs import CityloopError, get_system
from envs.core.readings import Readings
from envs.core.site import Site
from serving.client import AsyncSiteClient, Decided, Late, SiteClient, Unusable
from serving.client.takeover import LocalControl, Takeover
from serving.client.transport import Reply, Unreachable
from tests.serving.plants import body_of, tick_of

DEADLINE_S = 1.0


@pytest.fixture(scope="module")
def readings(site: Site) -> Readings:
    tick = tick_of(site)
    return get_system(site.system).readings.validate(tick["readings"], site.axes)


class Clock:
    """Time passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds

    async def asleep(self, seconds: float) -> None:
        self.sleep(seconds)


Answer = Callable[[dict[str, Any]], Reply]


class Script:
    """A transport that plays a script, then answers properly; each entry takes so many seconds."""

    def __init__(self, clock: Clock, site: Site, steps: Iterable[tuple[float, Any]] = ()):
        self.clock, self.site, self.steps = clock, site, list(steps)
        self.bodies: list[dict[str, Any]] = []

    def ask(self, body: bytes, tick: int, left_s: float) -> Reply:
        asked = orjson.loads(body)
        self.bodies.append(asked)
        took_s, what = self.steps.pop(0) if self.steps else (0.01, good(self.site))
        if took_s > left_s:
            self.clock.now += left_s
            raise Late("no answer in time")
        self.clock.now += took_s
        if isinstance(what, Exception):
            raise what
        return what(asked)

    def close(self) -> None:
        pass


class AsyncScript(Script):
    async def ask(self, body: bytes, tick: int) -> Reply:  # type: ignore[override]
        try:
            return super().ask(body, tick, DEADLINE_S)
        except Late:
            raise TimeoutError from None

    async def close(self) -> None:  # type: ignore[override]
        pass


def good(site: Site, stage: int = 0, **changes: Any) -> Answer:
    def answer(asked: dict[str, Any]) -> Reply:
        commands = {agent: {"stage": stage} for agent in site.agents}
        content = {"tick": asked["tick"], "time_s": asked["time_s"], "commands": commands} | changes
        return Reply(200, orjson.dumps(content))

    return answer


def status(code: int, **headers: str) -> Answer:
    content = orjson.dumps({"error": {"field": "queue", "value": 9, "mend": "wait"}})
    return lambda asked: Reply(code, content, {key.replace("_", "-"): value for key, value in headers.items()})


class Both:
    """The same questions to the client for threads and to the one for asyncio."""

    def __init__(self, kind: str, site: Site, readings: Readings, steps: Iterable[tuple[float, Any]] = (), **more: Any):
        self.clock, self.readings, self.tick = Clock(), readings, 0
        settings = {"clock": self.clock, "rng": random.Random(0), "fallback": "max-pressure"} | more
        self.script = (Script if kind == "sync" else AsyncScript)(self.clock, site, steps)
        if kind == "sync":
            self.client: Any = SiteClient(
                site, "http://x", DEADLINE_S * 1e3, sleep=self.clock.sleep, transport=self.script, **settings
            )
        else:
            self.client = AsyncSiteClient(
                site,
                "http://x",
                DEADLINE_S * 1e3,
                sleep=self.clock.asleep,
                transport=self.script,
                **settings,  # type: ignore[arg-type]
            )

    def run(self, name: str, *arguments: Any) -> Any:
        found = getattr(self.client, name)(*arguments)
        return asyncio.run(found) if asyncio.iscoroutine(found) else found

    def next(self, readings: Readings | None = None) -> Decided:
        self.tick += 1
        self.clock.now += 5.0
        found = self.run("decide", self.tick, 5.0 * self.tick, readings or self.readings)
        assert isinstance(found, Decided)
        return found


KINDS = pytest.mark.parametrize("kind", ["sync", "async"])


@KINDS
def test_answers_are_carried_out(kind: str, site: Site, readings: Readings) -> None:
    both = Both(kind, site, readings)
    found = both.next()
    assert (found.source, found.reason, found.latency_ms) == ("service", None, pytest.approx(10.0))
    assert np.array_equal(found.commands, np.zeros(len(site.agents)))
    body = both.script.bodies[0]
    assert (body["tick"], body["time_s"], body["deadline_ms"]) == (1, 5.0, 1000.0)
    assert body["episode"] == both.client.episode


BAD: dict[str, tuple[float, Any]] = {
    "late": (2.0, None),
    "dead": (0.3, Unreachable("connection refused")),
    "garbage": (0.01, lambda asked: Reply(200, b"\x00\xff")),
    "no object": (0.01, lambda asked: Reply(200, b"[1]")),
    "an error": (0.01, status(500)),
    "refused": (0.01, status(422)),
    "busy": (0.01, status(503, retry_after="3")),
}


@KINDS
@pytest.mark.parametrize("what", BAD)
def test_a_first_miss_holds_the_last_safe_command(kind: str, what: str, site: Site, readings: Readings) -> None:
    both = Both(kind, site, readings, [(0.01, good(site)), *[BAD[what]] * 8])
    first = both.next()
    held = both.next()
    assert (held.source, held.latency_ms) == ("held", None)
    assert held.reason
    assert held.late == (what == "late")
    assert np.array_equal(held.commands, first.commands)
    assert both.next().source == "fallback"


@KINDS
@pytest.mark.parametrize(
    "change",
    [{"tick": 1}, {"tick": None}, {"time_s": 0.0}, {"episode": "another"}, {"commands": {}}, {"commands": None}],
)
def test_an_answer_to_another_question_is_none(
    kind: str, change: dict[str, Any], site: Site, readings: Readings
) -> None:
    both = Both(kind, site, readings, [(0.01, good(site)), (0.01, good(site, **change))])
    both.next()
    assert both.next().source == "held"


@KINDS
def test_the_fallback_takes_over_and_gives_back_after_hysteresis(kind: str, site: Site, readings: Readings) -> None:
    dead = (0.001, Unreachable("refused"))
    steps = [(0.01, good(site)), *[dead] * 12, (0.01, good(site)), *[dead] * 4, *[(0.01, good(site))] * 4]
    both = Both(kind, site, readings, steps, after=2, back=3)
    sources = [both.next().source for _ in range(10)]
    # Each dead tick is asked four times. One answer among misses does not bring the service back.
    assert sources == [
        "service",
        "held",
        "fallback",
        "fallback",
        "fallback",
        "fallback",
        *["fallback"] * 2,
        "service",
        "service",
    ]


@KINDS
def test_an_unsafe_answer_is_not_carried_out(kind: str, site: Site, readings: Readings) -> None:
    both = Both(kind, site, readings, [(0.01, good(site)), (0.01, good(site, stage=99))])
    both.next()
    found = both.next()
    assert (found.source, found.unsafe) == ("held", True)
    assert "local guard" in str(found.reason)


@KINDS
def test_a_held_command_passes_the_guard_of_its_own_tick(kind: str, site: Site, readings: Readings) -> None:
    """What was safe then need not be now: a movement has been red for too long meanwhile."""
    both = Both(kind, site, readings, [(0.01, good(site)), *[BAD["late"]] * 3])
    both.next()
    waiting = readings | {"red_s": np.full_like(readings["red_s"], 1e4)}
    guard = get_system(site.system).make_guard(site)
    held = both.next(waiting)
    assert held.source == "held"
    assert np.array_equal(held.commands, guard.check(waiting, np.zeros(len(site.agents)))[0])
    assert guard.check(waiting, held.commands)[1] == []


@KINDS
def test_the_first_tick_has_a_command_even_if_nobody_answers(kind: str, site: Site, readings: Readings) -> None:
    found = Both(kind, site, readings, [BAD["dead"]] * 8).next()
    assert found.source == "fallback"
    guard = get_system(site.system).make_guard(site)
    assert guard.check(readings, found.commands)[1] == []


@KINDS
def test_a_fallback_that_fails_leaves_it_to_the_guard(kind: str, site: Site, readings: Readings) -> None:
    class Broken:
        name, program, timed = "broken", None, False

        def reset(self) -> None: ...

        def act(self, readings: Readings, observation: Any) -> Any:
            raise ZeroDivisionError

    found = Both(kind, site, readings, [BAD["dead"]] * 8, fallback=Broken()).next()
    assert found.source == "fallback"
    assert get_system(site.system).make_guard(site).check(readings, found.commands)[1] == []


@KINDS
def test_a_question_is_asked_again_while_there_is_time(kind: str, site: Site, readings: Readings) -> None:
    both = Both(kind, site, readings, [(0.01, Unreachable("reset")), (0.01, status(503)), (0.01, good(site))])
    assert both.next().source == "service"
    assert len(both.script.bodies) == 3
    assert both.script.bodies[0] == both.script.bodies[2]
    assert 0.01 <= both.clock.waits[0] <= 0.03 < both.clock.waits[1] * 1.5 <= 0.09


@KINDS
def test_no_question_is_asked_again_without_time_for_it(kind: str, site: Site, readings: Readings) -> None:
    both = Both(kind, site, readings, [(0.01, good(site)), (0.995, Unreachable("reset")), (0.01, good(site))])
    both.next()
    assert both.next().source == "held"
    assert both.clock.waits == []
    assert len(both.script.bodies) == 2


@KINDS
def test_retry_after_is_honoured_over_ticks(kind: str, site: Site, readings: Readings) -> None:
    both = Both(kind, site, readings, [(0.01, good(site)), (0.01, status(429, retry_after="12"))])
    assert both.next().source == "service"
    assert [both.next().source for _ in range(3)] == ["held", "fallback", "fallback"]
    assert len(both.script.bodies) == 2  # asked 5 s ago, told to wait 12 s
    sources = [both.next().source for _ in range(3)]
    assert sources == ["fallback", "fallback", "service"]
    assert len(both.script.bodies) == 5


@KINDS
def test_a_short_retry_after_is_waited_for(kind: str, site: Site, readings: Readings) -> None:
    both = Both(kind, site, readings, [(0.01, status(503, retry_after="0.2")), (0.01, good(site))])
    assert both.next().source == "service"
    assert both.clock.waits == [pytest.approx(0.2)]


@KINDS
def test_a_new_episode_begins_with_the_service_in_charge(kind: str, site: Site, readings: Readings) -> None:
    both = Both(kind, site, readings, [BAD["late"]] * 3)
    assert [both.next().source for _ in range(3)] == ["fallback"] * 3
    before = both.client.episode
    both.run("begin")
    assert both.next().source == "service"
    assert both.client.episode != before
    both.run("begin", "monday")
    assert both.client.episode == "monday"


@KINDS
def test_two_services_are_one_to_the_plant(kind: str, site: Site, readings: Readings) -> None:
    """What is held is what was carried out last, whosever it was; misses count where neither answers, in a row."""
    dead, late = (0.001, Unreachable("refused")), BAD["late"]
    second = Both(kind, site, readings, [(0.01, good(site)), late, (0.01, good(site)), late, late])
    steps = [
        *[dead] * 4,  # the second answers
        (0.01, good(site, stage=99)),  # which the local guard does not let through: neither does
        (0.01, good(site)),
        late,  # the second answers
        (0.01, good(site)),
        *[late] * 2,
    ]
    first = Both(kind, site, readings, steps, also=second.client)
    assert first.client.episode == second.client.episode
    found = [first.next() for _ in range(7)]
    sources = ["service", "held", "service", "service", "service", "held", "fallback"]
    assert [one.source for one in found] == sources
    assert (found[1].unsafe, found[5].late) == (True, True)
    assert len(second.script.bodies) == 5, "asked only where the first has no answer"
    first.run("begin", "monday")
    assert second.client.episode == "monday"
    assert first.next().source == "service"


@KINDS
def test_a_second_client_is_of_the_same_site_and_the_last(kind: str, site: Site, readings: Readings) -> None:
    second = Both(kind, site, readings, [])
    with pytest.raises(CityloopError, match="also asks of site 'elsewhere', not of this 'grid2x2'"):
        Both(
            kind,
            site,
            readings,
            [],
            also=Both(kind, site.model_copy(update={"name": "elsewhere"}), readings, []).client,
        )
    with pytest.raises(CityloopError, match="also has another client beside it"):
        Both(kind, site, readings, [], also=Both(kind, site, readings, [], also=second.client).client)


def test_where_the_first_service_is_down_the_second_describes_the_site_and_hears_of_programs(
    site: Site, readings: Readings, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = Both("sync", site, readings, [(0.01, good(site))])
    first = Both("sync", site, readings, [BAD["late"]], also=second.client)
    monkeypatch.setattr(second.client, "_info", lambda: {"site": "as the second says"})
    assert first.client.info() == {"site": "as the second says"}, "nobody listens at the first's address"
    assert first.client.report(1, 5.0, readings)["tick"] == 1
    assert len(second.script.bodies) == 1


@KINDS
def test_one_miss_of_both_holds_what_was_carried_out_and_not_an_old_command(
    kind: str, site: Site, readings: Readings
) -> None:
    second = Both(kind, site, readings, [(0.01, good(site)), BAD["late"]])
    steps = [BAD["late"], *[(0.01, good(site, stage=1))] * 3, BAD["late"]]
    first = Both(kind, site, readings, steps, also=second.client)
    found = [first.next() for _ in range(5)]
    assert [one.source for one in found] == ["service"] * 4 + ["held"]
    assert [one.commands[0] for one in found] == [0, 1, 1, 1, 1]


@KINDS
def test_act_tells_what_went_wrong(kind: str, site: Site, readings: Readings) -> None:
    both = Both(kind, site, readings, [BAD["late"], BAD["refused"]])
    with pytest.raises(Late, match="within 1000 ms"):
        both.run("act", 0, 0.0, readings)
    with pytest.raises(Unusable, match="status 422: queue is 9: wait"):
        both.run("act", 1, 5.0, readings)


def test_settings_that_cannot_be_are_one_sentence(site: Site) -> None:
    for settings, field in (
        ({"url": "cologne8"}, "url"),
        ({"deadline_ms": 0}, "deadline_ms"),
        ({"after": 0}, "after"),
        ({"back": 0}, "back"),
    ):
        arguments: dict[str, Any] = {"url": "http://x"} | settings
        with pytest.raises(CityloopError, match=field):
            SiteClient(site, **arguments)
    with pytest.raises(CityloopError, match="program inside the plant"):
        LocalControl(site, "fixed")
    searching = make_controller("greedy", site)
    searching.timed = True
    with pytest.raises(CityloopError, match="searches for as long as its time allows and cannot take over"):
        LocalControl(site, searching)


@pytest.mark.parametrize(("status", "wanted"), [(503, "may be starting still"), (404, "does not serve")])
def test_a_service_that_is_not_ready_says_so_instead_of_refusing_the_site(status: int, wanted: str, site: Site) -> None:
    client = SiteClient(site, "http://127.0.0.1:1")
    with pytest.raises(CityloopError, match=wanted):
        client.described(status, b'{"error": {"field": "service", "value": null, "mend": "ask again"}}')


def test_a_key_is_sent_and_never_shown(site: Site) -> None:
    client = SiteClient(site, "ws://x", key="secret")
    assert client._headers == {"authorization": "Bearer secret"}
    assert (client.address, client.info_address) == (
        "ws://x/v1/intersections/grid2x2/loop",
        "http://x/v1/intersections/grid2x2",
    )
    assert "secret" not in repr(client)


def test_takeover_counts() -> None:
    one = Takeover(after=1, back=1)
    assert one.missed()
    assert one.answered()
    three = Takeover(after=3, back=2)
    assert [three.missed() for _ in range(4)] == [False, False, True, True]
    assert not three.answered()
    assert three.missed()
    assert [three.answered() for _ in range(3)] == [False, True, True]


def test_a_client_needs_neither_ray_nor_torch() -> None:
    heavy = ("ray", "torch", "fastapi", "onnxruntime", "scipy.signal", "scipy.stats")
    code = f"import sys, serving.client; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_fallback_of_the_rules_is_the_systems(site: Site, readings: Readings) -> None:
    local = LocalControl(site)
    rule = make_controller("max-pressure", site)
    system = get_system(site.system)
    guard, features = system.make_guard(site), system.make_features(site)
    wanted = guard.check(readings, rule.act(readings, features.encode(readings, guard.mask(readings))))[0]
    assert np.array_equal(local.decide(readings), wanted)
    assert body_of({}) == b"{}"
