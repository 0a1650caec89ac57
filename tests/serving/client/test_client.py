"""A client against a service that misbehaves, on a clock that nobody waits for."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from agents import make_controller
from envs import CityloopError, get_system
from envs.core.readings import Readings
from envs.core.site import Site
from serving.client import Late, SiteClient, Unusable
from serving.client.takeover import LocalControl, Takeover
from serving.client.transport import Unreachable
from tests.serving.client.script import BAD, KINDS, Both, good, status
from tests.serving.plants import body_of


@KINDS
def test_answers_are_carried_out(kind: str, site: Site, readings: Readings) -> None:
    both = Both(kind, site, readings)
    found = both.next()
    assert (found.source, found.reason, found.latency_ms) == ("service", None, pytest.approx(10.0))
    assert np.array_equal(found.commands, np.zeros(len(site.agents)))
    body = both.script.bodies[0]
    assert (body["tick"], body["time_s"], body["deadline_ms"]) == (1, 5.0, 1000.0)
    assert body["episode"] == both.client.episode


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


@pytest.mark.parametrize("key", ["secret\n", "secr\u00e9t"])
def test_a_key_that_can_be_none_is_refused_and_never_shown(site: Site, key: str) -> None:
    with pytest.raises(CityloopError, match=r"^key has characters that no key has: copy it once more$"):
        SiteClient(site, "http://127.0.0.1:1", key=key)


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
