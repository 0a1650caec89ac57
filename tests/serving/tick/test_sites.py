"""One served site, without HTTP: what it answers, what it refuses, and who decides when the policy does not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from agents import make_controller
from agents.policy import Policy
from envs import CityloopError, ReadingError
from envs.core.site import Site
from serving.core.events import Decision
from serving.site_files import load_site
from serving.tick.sites import SiteService
from tests.serving.audit.written import until
from tests.serving.bundles import bundle
from tests.serving.operators import Book
from tests.serving.plants import Stub, body_of, grid, service, tick_of, wish


@pytest.fixture(scope="module")
def site() -> Site:
    return grid()


def answer(service: SiteService, tick: Any) -> dict[str, Any]:
    """The answer, and the same when asked again."""
    out = service.act(body_of(tick))
    assert service.act(body_of(tick)) == out
    assert out["latency_ms"] >= 0
    return out


def test_answers_with_a_command_for_every_agent(site: Site) -> None:
    out = answer(service(site), tick_of(site) | {"tick": 7, "time_s": 35.5})
    assert (out["tick"], out["time_s"]) == (7, 35.5)
    assert list(out["commands"]) == list(site.agents)
    assert all(set(command) == {"stage"} for command in out["commands"].values())
    assert (out["controller"], out["bundle"]) == ("max-pressure", None)
    assert (out["fallback"], out["fallback_reason"], out["interventions"]) == (False, None, [])


def test_a_bundle_decides_and_is_named(site: Site, tmp_path: Path) -> None:
    policy = Policy.load(bundle(tmp_path / "tiny"))
    out = answer(service(site, policy), tick_of(site))
    assert (out["controller"], out["bundle"]) == ("tiny", policy.card.sha256[:12])


def test_commands_are_guarded(site: Site) -> None:
    stub = Stub()
    one = service(site, stub)
    stub.then = wish(site, 1)
    out = answer(one, tick_of(site, green_s=[1.0] * len(site.agents)))
    assert all(command == {"stage": 0} for command in out["commands"].values())
    first = {"agent": site.agents[0], "requested": 1.0, "commanded": 0, "reason": "min_green"}
    assert out["interventions"][0] == first
    assert not out["fallback"]


@pytest.mark.parametrize("requests", [np.nan, 99, -1, 0.5])
def test_nonsense_is_an_intervention(site: Site, requests: float) -> None:
    stub = Stub()
    one = service(site, stub)
    stub.then = wish(site, requests)
    out = answer(one, tick_of(site))
    assert {change["reason"] for change in out["interventions"]} == {"invalid"}


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (lambda readings, observation: 1 / 0, "failed with ZeroDivisionError"),
        (lambda readings, observation: None, "not one an agent"),
        (lambda readings, observation: np.zeros(3), "not one an agent"),
        (lambda readings, observation: "stage 1", "not one an agent"),
    ],
)
def test_the_fallback_answers_for_a_policy_that_fails(site: Site, act: Callable[..., Any], reason: str) -> None:
    stub = Stub("broken")
    one = service(site, stub)
    stub.then = act
    out = answer(one, tick_of(site))
    assert out["fallback"]
    assert out["controller"] == "max-pressure"
    assert reason in out["fallback_reason"]
    assert out["commands"] == answer(service(site), tick_of(site))["commands"]


def test_a_policy_that_hangs_is_replaced_at_once_until_it_returns(site: Site) -> None:
    stub, release, returned = Stub("slow"), threading.Event(), threading.Event()
    one = service(site, stub, deadline_ms=20)

    def hang(readings: Any, observation: Any) -> Any:
        release.wait(30)
        returned.set()
        return observation["action_mask"].argmax(axis=1)

    stub.then = hang

    def ask(tick: int) -> dict[str, Any]:
        return one.act(body_of(tick_of(site) | {"tick": tick}))

    assert ask(0)["fallback_reason"] == "slow: no answer within 20 ms"
    assert one.degraded == "slow: still busy with an earlier tick"
    assert ask(1)["fallback_reason"] == "slow: still busy with an earlier tick"
    release.set()
    assert returned.wait(5)
    until(lambda: not one.degraded)
    stub.then = None
    while ask(2)["fallback"]:  # as soon as the machine grants it 20 ms
        one.forget_answers()


def test_ticks_that_arrive_together_are_all_answered_by_the_policy(site: Site) -> None:
    one = service(site, Stub())

    async def burst() -> list[dict[str, Any]]:
        return await asyncio.gather(*(one.act_async(body_of(tick_of(site) | {"tick": k})) for k in range(16)))

    answers = asyncio.run(burst())
    assert [out["tick"] for out in answers] == list(range(16))
    assert not any(out["fallback"] for out in answers)


def test_where_the_fallback_fails_too_the_guard_holds(site: Site) -> None:
    stub, second = Stub("first"), Stub("second")
    one = service(site, stub, second)
    stub.then = second.then = lambda readings, observation: 1 / 0  # type: ignore[assignment, return-value]
    out = answer(one, tick_of(site))
    assert all(command == {"stage": 0} for command in out["commands"].values())
    assert "first: failed" in out["fallback_reason"]
    assert "second: failed" in out["fallback_reason"]


def test_a_program_inside_the_plant_is_named_to_every_agent(site: Site) -> None:
    one = service(site, make_controller("fixed", site))
    out = answer(one, tick_of(site))
    assert out["commands"] == {agent: {"program": "fixed"} for agent in site.agents}
    assert one.in_charge.program


def test_a_program_cannot_be_the_fallback(site: Site) -> None:
    with pytest.raises(CityloopError, match="cannot take over"):
        service(site, fallback=make_controller("fixed", site))


def test_a_policy_cannot_be_the_fallback(site: Site) -> None:
    with pytest.raises(CityloopError, match="choose a rule such as"):
        service(site, fallback=make_controller("generalist", site))


def test_a_controller_that_cannot_decide_is_refused_before_it_serves(site: Site) -> None:
    stub = Stub()
    stub.then = lambda readings, observation: 1 / 0  # type: ignore[assignment, return-value]
    with pytest.raises(CityloopError, match="'stub' cannot decide"):
        service(site, stub)


def learned(site: Site) -> tuple[SiteService, list[int]]:
    """A service whose policy decides in its thread, and the ticks that it has been asked."""
    policy, asked = Stub("policy"), list[int]()
    policy.card = SimpleNamespace(sha256="0" * 64)
    one = service(site, policy)
    one.standing.crew.champion.at_once = False

    def decide(readings: Any, observation: Any) -> Any:
        asked.append(len(asked))
        return observation["action_mask"].argmax(axis=1)

    policy.then = decide
    return one, asked


def test_one_example_does_for_all_who_ask_whether_a_site_decides(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    one, asked = learned(site)

    async def ask(times: int) -> list[str | None]:
        return await asyncio.gather(*(one.cannot_decide() for _ in range(times)))

    assert asyncio.run(ask(8)) == [None] * 8
    assert asyncio.run(ask(1)) == [None]
    assert len(asked) == 1
    monkeypatch.setattr("serving.tick.sites.EXAMPLE_S", 0.0)
    assert asyncio.run(ask(1)) == [None]
    assert len(asked) == 2
    one.close()


def test_no_example_waits_in_front_of_a_policys_next_tick(site: Site) -> None:
    one, asked = learned(site)
    go_on, held = threading.Event(), list[bool]()
    assert one.standing.crew.champion.post(lambda: held.append(go_on.wait(10)))
    assert asyncio.run(one.cannot_decide()) is None
    assert asked == []
    go_on.set()
    one.close()


def test_the_same_tick_gives_the_same_answer(site: Site) -> None:
    one, rng = service(site), np.random.default_rng(0)
    for _ in range(5):
        counts = rng.integers(0, 9, len(site.axes["approach"])).astype(float).tolist()
        tick = tick_of(site, count_veh=counts, near_veh=counts)
        assert answer(one, tick)["commands"] == answer(one, tick)["commands"]


def bad(site: Site, column: str, value: Any, at: int = 0) -> dict[str, Any]:
    tick = tick_of(site)
    tick["readings"][column][at] = value
    return tick


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda s: b"", "body"),
        (lambda s: b"{", "body"),
        (lambda s: b"\xff\xfe", "body"),
        (lambda s: b'{"tick": NaN}', "body"),
        (lambda s: b'{"tick": 1e999}', "body"),
        (lambda s: b"[" * 5000, "body"),
        (lambda s: [], "body"),
        (lambda s: tick_of(s) | {"colour": "red"}, "colour"),
        (lambda s: body_of(tick_of(s)).replace(b"{", b'{"tick":0,', 1), "tick"),
        (lambda s: body_of(tick_of(s)).replace(b'"readings":{', b'"readings":{"queue_veh":[],'), "queue_veh"),
        (lambda s: {"time_s": 0, "readings": {}}, "tick"),
        (lambda s: tick_of(s) | {"tick": True}, "tick"),
        (lambda s: tick_of(s) | {"tick": 1.5}, "tick"),
        (lambda s: tick_of(s) | {"tick": -1}, "tick"),
        (lambda s: tick_of(s) | {"tick": 2**60}, "tick"),
        (lambda s: tick_of(s) | {"time_s": "noon"}, "time_s"),
        (lambda s: tick_of(s) | {"time_s": None}, "time_s"),
        (lambda s: tick_of(s) | {"time_s": False}, "time_s"),
        (lambda s: tick_of(s) | {"readings": None}, "readings"),
        (lambda s: tick_of(s, blue_s=[]), "readings.blue_s"),
        (lambda s: tick_of(s, count_veh=[]), "readings.count_veh"),
        (lambda s: tick_of(s, count_veh={"a": 1}), "readings.count_veh"),
        (lambda s: tick_of(s, count_veh="12345678"), "readings.count_veh"),
        (lambda s: bad(s, "count_veh", -1), "readings.count_veh[0]"),
        (lambda s: bad(s, "count_veh", 2**63), "readings.count_veh[0]"),
        (lambda s: bad(s, "count_veh", True), "readings.count_veh[0]"),
        (lambda s: bad(s, "count_veh", "3"), "readings.count_veh[0]"),
        (lambda s: bad(s, "occupancy", 1.01, 2), "readings.occupancy[2]"),
        (lambda s: bad(s, "red_s", None), "readings.red_s[0]"),
        (lambda s: bad(s, "stage", 0.5), "readings.stage[0]"),
        (lambda s: bad(s, "stage", 50, 1), "readings.stage[1]"),
        (lambda s: bad(s, "queue_veh", 1), "readings.queue_veh[0]"),
        (lambda s: bad(s, "exit_queue_veh", 3, 1), "readings.exit_queue_veh[1]"),
    ],
)
def test_what_cannot_be_is_refused_by_name(site: Site, change: Callable[[Site], Any], field: str) -> None:
    tick = change(site)
    with pytest.raises(ReadingError) as error:
        service(site).act(tick if isinstance(tick, bytes) else body_of(tick))
    assert error.value.field.startswith(field)
    assert error.value.mend


def test_a_name_of_an_episode_may_look_like_keys(site: Site) -> None:
    assert not answer(service(site), tick_of(site) | {"episode": '2026-11-26T18:00:00 "tick":0'})["fallback"]


def test_silent_sensors_are_accepted(site: Site) -> None:
    silent = [None] * len(site.axes["approach"])
    columns = ("count_veh", "queue_veh", "near_veh", "arrivals_veh", "speed_mps", "occupancy", "waiting_s")
    assert not answer(service(site), tick_of(site, **dict.fromkeys(columns, silent)))["fallback"]


def test_sites_are_loaded_by_reference_yaml_and_json(site: Site, tmp_path: Path) -> None:
    site.save(tmp_path / "site.json")
    assert load_site(str(tmp_path / "site.json")).hash == site.hash
    assert load_site("intersections/grid2x2").hash == site.hash


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.json", "{", "is not JSON"),
        ("a.json", "[]", "no key 'system'"),
        ("a.json", '{"system": "tides"}', "system 'tides' is unknown"),
        ("a.json", '{"system": "intersections"}', "is missing"),
        ("a.yaml", "system: tides", "system 'tides' is unknown"),
    ],
)
def test_a_site_that_cannot_be_read_is_one_sentence(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(CityloopError, match=words):
        load_site(str(tmp_path / name))
    with pytest.raises(CityloopError, match="cannot be read"):
        load_site(str(tmp_path / f"no{name}"))


def test_a_name_that_is_no_address_is_refused(site: Site, tmp_path: Path) -> None:
    site.model_copy(update={"name": "../up"}).save(tmp_path / "site.json")
    with pytest.raises(CityloopError, match="cannot be an address"):
        load_site(str(tmp_path / "site.json"))


def test_ctrl_c_after_an_answer_costs_no_later_records(site: Site) -> None:
    """As in a notebook that asks a site: nothing was recorded from then on, and all of it kept in memory."""

    class Interrupted(Book):
        def record(self, event: Any) -> None:
            super().record(event)
            if len(self.events) == 1:
                raise KeyboardInterrupt

    book = Interrupted()
    one = service(site, sinks=[book])
    with pytest.raises(KeyboardInterrupt):
        one.act(body_of(tick_of(site)))
    one.act(body_of(tick_of(site) | {"tick": 1}))
    assert [event.tick for event in book.of(Decision)] == [0, 1]
    one.close()
