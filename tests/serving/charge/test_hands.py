"""Commands by hand: they win over everybody but the guard, and end."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from envs.core.registry import get_system, load_scenario
from envs.core.site import Site
from serving.charge.overrides import Overrides
from serving.core.events import Decision
from tests.serving.operators import BASE, HAND, Book, Clock, ask, failing, http, put
from tests.serving.plants import Stub, body_of, service, tick_of


def test_a_hand_wins_over_the_policy_until_it_expires(site: Site) -> None:
    book, clock, agent = Book(), Clock(), site.agents[1]
    one = service(site, Stub(), clock=clock, sinks=[book])
    client = http(one)
    free = ask(client, site, 0)["commands"]
    assert free[agent] == {"stage": 0}
    answer = put(client, agent).json()
    assert answer["overrides"][agent]["until_s"] == 1060.0
    assert answer["guard"] == {"tick": 0, "commands": {agent: {"stage": 1}}, "interventions": []}
    held = ask(client, site, 0)
    assert held["commands"] == free | {agent: {"stage": 1}}
    assert (held["overridden"], held["source"]) == ({agent: "roadworks"}, "champion")
    clock.now_s = 1060.0
    assert ask(client, site, 1)["overridden"] == {}
    assert client.get(f"{BASE}/overrides").json()["overrides"] == {}
    assert book.changes() == [("anonymous", "override")]


@pytest.mark.parametrize("before_a_restart", [False, True])
def test_a_hand_holds_no_longer_than_was_asked_for_where_the_clock_is_put_back(before_a_restart: bool) -> None:
    clock, steady = Clock(), Clock()
    hands = Overrides(["a"], 0, clock, steady=steady)
    hands.put(hands.make("a", 1, "roadworks", "ana", 60.0))
    clock.now_s -= 3600.0
    if before_a_restart:
        hands = Overrides(["a"], 0, clock, hands.held, steady)
    assert set(hands.now()) == {"a"}
    clock.now_s, steady.now_s = clock.now_s + 59.0, steady.now_s + 59.0
    assert set(hands.now()) == {"a"}
    clock.now_s, steady.now_s = clock.now_s + 1.0, steady.now_s + 1.0
    assert hands.now() == {}


def test_a_hand_that_is_renewed_again_and_again_takes_no_more_memory() -> None:
    clock = Clock()
    hands = Overrides(["a", "b"], 0, clock, steady=Clock())
    for _ in range(50):
        clock.now_s += 1.0
        hands.put(hands.make(None, 1, "roadworks", "ana", 60.0))
    assert len(hands._ends_s) <= 2


def test_what_a_hand_asked_for_is_told(site: Site) -> None:
    book, agent = Book(), site.agents[1]
    one = service(site, Stub(), sinks=[book])
    put(http(one), agent)
    one.act(body_of(tick_of(site)))
    (decision,) = book.of(Decision)
    assert (decision.manual, decision.overridden) == ({agent: 1.0}, {agent: "roadworks"})
    assert decision.requests[1] == 1.0


def test_an_agents_name_may_hold_a_slash(site: Site) -> None:
    """SUMO and SWMM allow it: junctions of a grid may be called 0/0."""
    content = site.model_dump()
    content["junctions"][0]["id"] = "0/0"
    named = type(site).model_validate(content)
    client = http(service(named, Stub()))
    assert list(put(client, "0%2F0").json()["overrides"]) == ["0/0"]
    assert ask(client, named, 0)["commands"]["0/0"] == {"stage": 1}
    assert client.delete(f"{BASE}/overrides/0%2F0").status_code == 200


@pytest.mark.parametrize("command", [{"stage": 1}, None, ["a"]])
def test_what_is_no_command_is_named_as_it_was_sent(site: Site, command: Any) -> None:
    client = http(service(site, Stub()))
    for answer in (
        put(client, None, command=command),
        client.post(f"{BASE}/overrides/check", json={"command": command}),
    ):
        assert answer.status_code == 422
        problem = answer.json()["error"]
        assert problem["field"].partition(".")[0] == "command"
        assert problem["mend"] == "give one number, or a list of as many as the agent sets"
        assert "float" not in problem["field"]


def test_the_guard_wins_over_a_hand_and_says_so_beforehand(site: Site) -> None:
    client, agent = http(service(site, Stub())), site.agents[0]
    young = {"green_s": [1.0] * len(site.agents)}
    ask(client, site, 0, **young)
    asked = client.post(f"{BASE}/overrides/check", json={"agent": agent, "command": 1}).json()
    change = {"agent": agent, "requested": 1.0, "commanded": 0.0, "reason": "min_green"}
    assert asked == {"tick": 0, "commands": {agent: {"stage": 0}}, "interventions": [change]}
    assert client.get(f"{BASE}/overrides").json()["overrides"] == {}
    put(client, agent)
    held = ask(client, site, 1, **young)
    assert held["commands"][agent] == {"stage": 0}
    assert held["interventions"][0]["reason"] == "min_green"
    assert ask(client, site, 2)["commands"][agent] == {"stage": 1}


def test_a_whole_site_is_overridden_and_released(site: Site) -> None:
    book = Book()
    client = http(service(site, Stub(), sinks=[book]))
    assert list(put(client, None).json()["overrides"]) == list(site.agents)
    answer = ask(client, site, 0)
    assert answer["source"] == "manual"
    assert {command["stage"] for command in answer["commands"].values()} == {1}
    client.delete(f"{BASE}/overrides/{site.agents[0]}")
    assert ask(client, site, 1)["source"] == "champion"
    client.delete(f"{BASE}/overrides")
    assert ask(client, site, 2)["overridden"] == {}
    assert client.delete(f"{BASE}/overrides").status_code == 409
    assert [what for _, what in book.changes()] == ["override", "release", "release"]


@pytest.mark.parametrize("source", ["failing", "out of charge"])
def test_a_hand_wins_whoever_decides(site: Site, source: str) -> None:
    policy, agent = Stub("policy"), site.agents[2]
    one = service(site, policy, rollback={"window": 1, "errors": 0} if source == "out of charge" else {})
    client = http(one)
    put(client, agent)
    policy.then = failing
    for tick in range(3):
        answer = one.act(body_of(tick_of(site) | {"tick": tick}))
        assert answer["fallback"]
        assert answer["commands"][agent] == {"stage": 1}


@pytest.mark.parametrize(
    ("agent", "body", "status", "field"),
    [
        ("nobody", {}, 404, "agent"),
        (None, {"command": "open"}, 422, "command"),
        (None, {"command": [1, 2]}, 422, "command"),
        (None, {"command": True}, 422, "command"),
        (None, {"command": "1"}, 422, "command"),
        (None, {"command": 99}, 422, "command"),
        (None, {"command": -1}, 422, "command"),
        (None, {"command": 0.5}, 422, "command"),
        (None, {"expires_s": "60"}, 422, "expires_s"),
        (None, {"expires_s": 0}, 422, "expires_s"),
        (None, {"expires_s": 1e9}, 422, "expires_s"),
        (None, {"reason": ""}, 422, "reason"),
        (None, {"colour": 1}, 422, "colour"),
    ],
)
def test_what_cannot_be_a_command_by_hand_is_named(
    site: Site, agent: str | None, body: Any, status: int, field: str
) -> None:
    client = http(service(site))
    answer = put(client, agent, **body)
    assert (answer.status_code, answer.json()["error"]["field"]) == (status, field), answer.text
    assert client.get(f"{BASE}/overrides").json()["overrides"] == {}


@pytest.mark.parametrize(
    "before",
    [b'"command":0', b'"expires_s":6000', b'"comm\\u0061nd":0', b'"command":' + b"[" * 1000 + b"]" * 1000],
    ids=["command", "time", "escaped", "deep"],
)
def test_a_key_that_is_given_twice_is_refused(site: Site, before: bytes) -> None:
    """Of two commands, or two times, the reader would take the last without a word."""
    client = http(service(site))
    answer = client.put(f"{BASE}/overrides", content=b"{" + before + b"," + orjson.dumps(HAND)[1:])
    assert answer.status_code == 422
    assert answer.json()["error"]["mend"].endswith("twice: give it once")
    assert client.get(f"{BASE}/overrides").json()["overrides"] == {}


def test_a_number_beyond_what_gear_can_do_is_named() -> None:
    jansen = get_system("dampers").load_site(load_scenario("dampers/jansen"))
    answer = http(service(jansen)).put("/v1/dampers/jansen/overrides/d1", json=HAND | {"command": 1.5})
    assert answer.json() == {"error": {"field": "command", "value": 1.5, "mend": "give from 0 to 1"}}


@pytest.mark.parametrize("body", [[], "x", 1])
def test_a_form_that_is_no_object_is_named(site: Site, body: Any) -> None:
    answer = http(service(site)).put(f"{BASE}/overrides", json=body)
    mend = "give an object with the keys command, reason, expires_s"
    assert answer.json() == {"error": {"field": "body", "value": body, "mend": mend}}
