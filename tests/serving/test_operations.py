"""What operators do to a running site, over HTTP: roles, commands by hand, and what becomes of both."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from envs import CityloopError
from envs.core.registry import get_system, load_scenario
from envs.core.site import Site
from serving.access.principal import Grant, Principal, Role
from serving.charge.state import Store
from serving.events import Change, Decision, Shadowed
from serving.refusals import Unauthenticated
from serving.tick.sites import SiteService
from tests.serving.bundles import bundle
from tests.serving.plants import Stub, app_of, body_of, grid, service, tick_of, wish

BASE = "/v1/intersections/grid2x2"

HOME = "http://127.0.0.1"
"""An open service answers to names of loopback alone."""


@pytest.fixture(scope="module")
def site() -> Site:
    return grid()


class Book:
    """A sink that keeps everything."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def record(self, event: Any) -> None:
        self.events.append(event)

    def close(self) -> None:
        pass

    def changes(self) -> list[tuple[str, str]]:
        return [(event.who, event.what) for event in self.events if isinstance(event, Change)]

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def http(one: SiteService) -> TestClient:
    return TestClient(app_of(one), HOME, raise_server_exceptions=False)


def ask(client: TestClient, site: Site, tick: int, **readings: Any) -> dict[str, Any]:
    response = client.post(f"{BASE}/act", content=body_of(tick_of(site, **readings) | {"tick": tick}))
    assert response.status_code == 200, response.text
    return response.json()


def change(client: TestClient, verb: str, **body: Any) -> Any:
    return client.post(f"{BASE}/policies/{verb}", json={"reason": "test"} | body)


# Roles.


def test_a_policy_is_promoted_and_rolled_back_between_two_ticks(site: Site, tmp_path: Path) -> None:
    book = Book()
    client = http(service(site, sinks=[book]))
    path = str(bundle(tmp_path / "tiny"))
    assert ask(client, site, 0)["controller"] == "max-pressure"
    answer = change(client, "promote", policy=path)
    assert answer.status_code == 200, answer.text
    assert answer.json()["roles"]["former"] == ["max-pressure"]
    assert ask(client, site, 1)["controller"] == "tiny"
    assert change(client, "rollback").json()["in_charge"]["controller"] == "max-pressure"
    assert ask(client, site, 2)["controller"] == "max-pressure"
    assert book.changes() == [("anonymous", "promote"), ("anonymous", "rollback")]
    assert book.of(Change)[0].reason == "test"


def test_an_answer_is_not_repeated_once_another_is_in_charge(site: Site) -> None:
    client = http(service(site))
    assert ask(client, site, 0)["controller"] == "max-pressure"
    change(client, "promote", policy="greedy")
    assert ask(client, site, 0)["controller"] == "greedy"


@pytest.mark.parametrize(
    ("verb", "body", "status", "field"),
    [
        ("promote", {}, 409, "policy"),
        ("demote", {}, 409, "policy"),
        ("rollback", {}, 409, "policy"),
        ("shadow", {"policy": "max-pressure"}, 409, "policy"),
        ("promote", {"policy": "no/such/bundle"}, 422, "body"),
        ("promote", {"policy": "oracle"}, 422, "body"),
        ("promote", {"policy": "o" * 500}, 422, "body"),
        ("promote", {"policy": "a\u0000b"}, 422, "body"),
        ("promote", {"policy": "fixed"}, 409, "policy"),
        ("promote", {"policy": "greedy", "reason": ""}, 422, "reason"),
        ("canary", {"policy": "greedy", "share": 2}, 422, "share"),
        ("canary", {"policy": "greedy", "colour": 2}, 422, "colour"),
        ("dismiss", {}, 422, "verb"),
    ],
)
def test_what_cannot_be_changed_is_named(site: Site, verb: str, body: Any, status: int, field: str) -> None:
    client = http(service(site))
    answer = change(client, verb, **body)
    assert (answer.status_code, answer.json()["error"]["field"]) == (status, field), answer.text
    assert ask(client, site, 0)["controller"] == "max-pressure"


def test_a_shadow_is_asked_after_the_answer_and_never_obeyed(site: Site) -> None:
    book, champion, challenger = Book(), Stub("champion"), Stub("challenger")
    one = service(site, champion, challenger=challenger, sinks=[book])
    champion.then, challenger.then = wish(site, 0), wish(site, 1)

    async def some() -> list[dict[str, Any]]:
        answers = []
        for tick in range(3):
            answers.append(await one.act_async(body_of(tick_of(site) | {"tick": tick})))
            while len(book.of(Shadowed)) <= tick:
                await asyncio.sleep(0.001)
        return answers

    answers = asyncio.run(some())
    assert {answer["controller"] for answer in answers} == {"champion"}
    shadowed = book.of(Shadowed)
    assert [(event.tick, event.controller, event.differs, event.error) for event in shadowed] == [
        (tick, "challenger", 1.0, None) for tick in range(3)
    ]
    assert [event.controller for event in book.of(Decision)] == ["champion"] * 3


def test_a_shadow_that_fails_is_told_and_harms_nobody(site: Site) -> None:
    book, challenger = Book(), Stub("challenger")
    one = service(site, challenger=challenger, sinks=[book])
    challenger.then = lambda readings, observation: 1 / 0  # type: ignore[assignment, return-value]

    async def once() -> dict[str, Any]:
        answer = await one.act_async(body_of(tick_of(site)))
        while not book.of(Shadowed):
            await asyncio.sleep(0.001)
        return answer

    assert not asyncio.run(once())["fallback"]
    assert book.of(Shadowed)[0].error == "failed with ZeroDivisionError"
    assert book.of(Shadowed)[0].commands == {}


def test_a_canary_waits_for_the_next_episode_and_leaves_at_once(site: Site) -> None:
    client = http(service(site))
    assert ask(client, site, 4)["source"] == "champion"
    answer = change(client, "canary", policy="greedy").json()
    assert answer["waiting"]
    assert ask(client, site, 5)["source"] == "champion"
    begun = ask(client, site, 0)
    assert (begun["source"], begun["controller"]) == ("canary", "greedy")
    assert change(client, "demote").json()["in_charge"]["controller"] == "max-pressure"
    assert ask(client, site, 1)["source"] == "champion"


def test_a_canary_may_be_told_not_to_wait(site: Site) -> None:
    client = http(service(site))
    ask(client, site, 4)
    change(client, "canary", policy="greedy", now=True)
    assert ask(client, site, 5)["source"] == "canary"
    assert change(client, "promote").json()["roles"]["champion"] == "greedy"
    assert ask(client, site, 6)["source"] == "champion"


# Rollback.


def failing(readings: Any, observation: Any) -> Any:
    raise ZeroDivisionError


def drive(one: SiteService, site: Site, ticks: range, book: Book) -> list[str]:
    """Ask tick after tick, each once the last has had its consequences; says who decided."""

    async def all_of_them() -> list[str]:
        sources = []
        for tick in ticks:
            tripped = one.standing.watch.tripped is not None
            seen = len(book.of(Shadowed))
            sources.append((await one.act_async(body_of(tick_of(site) | {"tick": tick})))["source"])
            while len(book.of(Decision)) <= tick or (tripped and len(book.of(Shadowed)) == seen):
                await asyncio.sleep(0.001)
        return sources

    return asyncio.run(all_of_them())


RATES = {"window": 10, "errors": 0.2, "return_after": 5}


def test_a_policy_that_keeps_failing_is_out_of_charge_until_it_has_been_well(site: Site, tmp_path: Path) -> None:
    book, policy, store = Book(), Stub("policy"), Store(tmp_path, site)
    one = service(site, policy, sinks=[book], rollback=RATES, store=store)
    policy.then = failing
    assert drive(one, site, range(4), book) == ["fallback"] * 4
    assert one.degraded == "the controller fails: 0.3 over 10 ticks, 0.2 is allowed"
    assert book.changes() == [("service", "rollback")]
    assert asyncio.run(one.save())
    saved = store.load()
    assert saved is not None
    assert saved.tripped == one.degraded
    policy.then = None
    assert drive(one, site, range(4, 9), book) == ["fallback"] * 5
    assert book.changes() == [("service", "rollback"), ("service", "return")]
    assert drive(one, site, range(9, 12), book) == ["champion"] * 3
    assert one.degraded is None


def test_a_canary_that_fails_gives_way_to_the_champion(site: Site) -> None:
    book, champion, canary = Book(), Stub("champion"), Stub("canary")
    one = service(site, champion, challenger=canary, roles={"mode": "canary"}, sinks=[book], rollback=RATES)
    canary.then = failing
    assert drive(one, site, range(3), book) == ["fallback"] * 3
    assert drive(one, site, range(3, 5), book) == ["champion"] * 2
    assert one.standing.crew.roles.challenger is None
    assert book.of(Change)[0].detail["role"] == "canary"


def test_a_guard_that_changes_too_much_takes_the_policy_out_of_charge(site: Site) -> None:
    book, policy = Book(), Stub("policy")
    one = service(site, policy, sinks=[book], rollback={"window": 10, "guarded": 0.3, "return_after": 5})
    policy.then = wish(site, 99)
    assert drive(one, site, range(5), book) == ["champion"] * 4 + ["fallback"]
    assert one.degraded is not None
    assert one.degraded.startswith("the guard changes its requests")


def test_everyday_limits_say_nothing_against_a_policy(site: Site) -> None:
    book, policy = Book(), Stub("policy")
    rates = {"window": 10, "guarded": 0.3, "return_after": 5, "everyday": ["invalid"]}
    one = service(site, policy, sinks=[book], rollback=rates)
    policy.then = wish(site, 99)
    assert drive(one, site, range(12), book) == ["champion"] * 12


# Commands by hand.


HAND = {"command": 1, "reason": "roadworks", "expires_s": 60}


def put(client: TestClient, agent: str | None, **body: Any) -> Any:
    where = f"{BASE}/overrides" + (f"/{agent}" if agent else "")
    return client.put(where, json=HAND | body)


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


def test_a_number_beyond_what_gear_can_do_is_named() -> None:
    jansen = get_system("dampers").load_site(load_scenario("dampers/jansen"))
    answer = http(service(jansen)).put("/v1/dampers/jansen/overrides/d1", json=HAND | {"command": 1.5})
    assert answer.json() == {"error": {"field": "command", "value": 1.5, "mend": "give from 0 to 1"}}


@pytest.mark.parametrize("body", [[], "x", 1])
def test_a_form_that_is_no_object_is_named(site: Site, body: Any) -> None:
    answer = http(service(site)).put(f"{BASE}/overrides", json=body)
    mend = "give an object with the keys command, reason, expires_s"
    assert answer.json() == {"error": {"field": "body", "value": body, "mend": mend}}


# What outlives the process.


def test_roles_and_hands_outlive_the_process(site: Site, tmp_path: Path) -> None:
    clock, agent = Clock(), site.agents[0]

    def start() -> TestClient:
        return http(service(site, store=Store(tmp_path, site), clock=clock))

    client = start()
    assert change(client, "promote", policy="greedy").json()["saved"]
    assert put(client, agent).json()["saved"]
    client = start()
    answer = ask(client, site, 0)
    assert (answer["controller"], answer["overridden"]) == ("greedy", {agent: "roadworks"})
    assert change(client, "rollback").json()["roles"]["champion"] == "max-pressure"


def test_the_configuration_holds_again_once_it_changes(site: Site, tmp_path: Path) -> None:
    change(http(service(site, store=Store(tmp_path, site))), "promote", policy="greedy")
    other = service(site, Stub("other"), store=Store(tmp_path, site))
    assert other.standing.crew.roles.champion == "other"
    assert other.standing.crew.roles.former == ("max-pressure", "greedy")


def test_a_policy_that_is_gone_does_not_keep_the_service_from_starting(site: Site, tmp_path: Path) -> None:
    path = bundle(tmp_path / "tiny")
    change(http(service(site, store=Store(tmp_path / "state", site))), "promote", policy=str(path))
    (path / "policy.onnx").write_bytes(b"altered")
    one = service(site, store=Store(tmp_path / "state", site))
    assert one.in_charge.controller == "max-pressure"


def test_a_state_file_that_is_none_is_one_sentence(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "sites" / "intersections" / "grid2x2.json"
    file.parent.mkdir(parents=True)
    file.write_text("{")
    with pytest.raises(CityloopError, match="move the file away"):
        service(site, store=Store(tmp_path, site))


def test_a_disk_that_refuses_is_said_and_the_hand_holds(site: Site, tmp_path: Path, monkeypatch: Any) -> None:
    client = http(service(site, store=Store(tmp_path, site)))

    def refuse(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("serving.charge.state.os.replace", refuse)
    assert put(client, site.agents[0]).json()["saved"] is False
    assert ask(client, site, 0)["overridden"] == {site.agents[0]: "roadworks"}
    assert list((tmp_path / "sites" / "intersections").iterdir()) == []


# How things stand, and who may.


def test_the_state_tells_the_last_answer_and_how_old_it_is(site: Site) -> None:
    clock = Clock()
    client = http(service(site, clock=clock))
    assert client.get(f"{BASE}/state").json()["last"] is None
    answer = ask(client, site, 3)
    clock.now_s += 2.5
    state = client.get(f"{BASE}/state").json()
    assert (state["last"], state["age_s"]) == (answer, 2.5)
    assert state["roles"]["champion"] == "max-pressure"


class Keys:
    """A key names its role, and the place where it holds: ``operate@drainage/*``."""

    open = False

    def authenticate(self, headers: Any) -> Principal:
        found = headers.get("authorization", "").removeprefix("Bearer ")
        if not found:
            raise Unauthenticated("key", None, "send one")
        role, _, place = found.partition("@")
        system, _, site = (place or "*/*").partition("/")
        return Principal(found, (Grant(role=Role[role.upper()], system=system, site=site),))


ROUTES: list[tuple[str, str, Role, Any]] = [
    ("GET", "", Role.READ, None),
    ("GET", "/state", Role.READ, None),
    ("GET", "/overrides", Role.READ, None),
    ("GET", "/policies", Role.READ, None),
    ("POST", "/overrides/check", Role.READ, {"command": 1}),
    ("POST", "/act", Role.ACT, "tick"),
    ("PUT", "/overrides", Role.OPERATE, {"command": 1, "reason": "x", "expires_s": 9}),
    ("DELETE", "/overrides", Role.OPERATE, None),
    ("POST", "/policies/promote", Role.ADMINISTER, {"policy": "greedy", "reason": "x"}),
]


@pytest.mark.parametrize(("method", "path", "needed", "body"), ROUTES, ids=[f"{m} {p}" for m, p, _, _ in ROUTES])
def test_every_address_asks_for_its_role_and_no_less(
    site: Site, method: str, path: str, needed: Role, body: Any
) -> None:
    from serving.app import create_app
    from serving.gateway import Gateway

    client = TestClient(create_app(Gateway([service(site)], Keys())), HOME, raise_server_exceptions=False)  # type: ignore[arg-type]

    def status(key: str | None) -> int:
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        content = body_of(tick_of(site)) if body == "tick" else None
        more: dict[str, Any] = {"content": content} if content else {} if body is None else {"json": body}
        return client.request(method, BASE + path, headers=headers, **more).status_code

    assert status(None) == 401
    for role in Role:
        expected = status(role.name.lower())
        assert (expected == 403) == (role < needed), role
    assert status("administer@drainage/*") == 403
    assert status("administer@intersections/other") == 403
    assert status("administer@intersections/grid2x2") != 403


def test_health_shows_nothing_of_the_city_to_those_without_a_key(site: Site) -> None:
    from serving.app import create_app
    from serving.gateway import Gateway

    client = TestClient(create_app(Gateway([service(site)], Keys())), HOME, raise_server_exceptions=False)  # type: ignore[arg-type]
    assert client.get("/healthz").json() == {"status": "ok", "sites": {}, "audit": ""}
    assert "grid2x2" in client.get("/healthz", headers={"authorization": "Bearer read"}).text
    assert client.get("/readyz").status_code == 200
    systems = client.get("/v1/systems", headers={"authorization": "Bearer read@drainage/*"}).json()
    assert systems == {"systems": []}


def test_ready_means_that_state_can_be_saved_and_every_site_decides(site: Site, monkeypatch: Any) -> None:
    one = service(site)
    client = http(one)
    assert client.get("/readyz").json() == {"status": "ready", "faults": {}}
    monkeypatch.setattr(one.standing.store, "writable", lambda: False)
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["faults"] == {"intersections/grid2x2": "its state cannot be saved"}
    monkeypatch.undo()
    monkeypatch.setattr(one.guard_for_checks, "check", failing)
    assert client.get("/readyz").json()["faults"] == {"intersections/grid2x2": "failed with TypeError"}


def test_a_fallback_that_decides_is_degraded_not_unready(site: Site) -> None:
    policy = Stub("policy")
    one = service(site, policy, rollback={"window": 1, "errors": 0})
    client = http(one)
    policy.then = failing
    assert one.act(body_of(tick_of(site)))["fallback"]
    assert client.get("/healthz").json()["status"] == "degraded"
    assert client.get("/readyz").status_code == 200
