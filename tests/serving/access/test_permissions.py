"""How things stand at a site, and who may see or change what."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from envs.core.conditions import Condition
from envs.core.site import Site
from serving.access.entry import Access
from serving.access.keys import create_key
from serving.access.principal import AccessSettings, Grant, Principal, Role
from serving.alarms.watch import AlarmWatch
from serving.app import create_app
from serving.cluster.shards import Front
from serving.core.events import SiteChange
from serving.core.refusals import Unauthenticated
from serving.gateway import Gateway
from tests.serving.operators import BASE, HOME, Book, Clock, ask, failing, http
from tests.serving.plants import Stub, body_of, service, tick_of


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

    open, problem, shut = False, None, None

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


def rung(site: Site) -> AlarmWatch:
    """A watch in which alarm 1 was raised, and stands until a tick comes."""
    watch = AlarmWatch([site])
    left = {"from": "new", "to": "old", "role": "canary"}
    watch.take(SiteChange(site.system, site.name, 0.0, "service", "rollback", "it fails", left))
    return watch


@pytest.mark.parametrize(
    ("grant", "status"),
    [
        (Grant(role=Role.OPERATE, system="intersections"), 200),
        (Grant(role=Role.READ, system="intersections"), 403),
        (Grant(role=Role.OPERATE, system="drainage"), 404),
    ],
)
def test_seeing_to_an_alarm_is_one_request_of_somebody_who_may(
    site: Site, tmp_path: Path, grant: Grant, status: int
) -> None:
    key, _ = create_key(tmp_path / "keys.json", "room", [grant], rate_s=0.001, burst=1.0)
    watch = rung(site)
    gateway = Gateway([service(site)], Access(AccessSettings(keys=tmp_path / "keys.json")), alarms=watch)
    with closing(watch), TestClient(create_app(gateway), HOME) as client:
        statuses = [client.post("/v1/alarms/1/acknowledge", headers={"x-api-key": key}).status_code for _ in range(2)]
    assert statuses == [status, 429]


def test_an_alarm_that_was_acknowledged_is_no_change_once_more(site: Site) -> None:
    watch, book = rung(site), Book()
    gateway = Gateway([service(site, sinks=[book])], alarms=watch)
    with closing(watch), TestClient(create_app(gateway), HOME) as client:
        told = [client.post("/v1/alarms/1/acknowledge") for _ in range(2)]
        assert [answer.status_code for answer in told] == [200, 200]
        assert told[0].json() == told[1].json()
        gateway.settle()
    assert book.changes() == [("anonymous", "acknowledge")]


def test_an_alarm_is_shelved_for_a_reason_and_brought_back_without(site: Site) -> None:
    watch = rung(site)
    with closing(watch), TestClient(create_app(Gateway([service(site)], alarms=watch)), HOME) as client:
        told = [
            client.post("/v1/alarms/1/shelve", json={"reason": reason, "seconds": seconds})
            for reason, seconds in ((" ", 60), ("it is being mended", 60), ("", 0))
        ]
    assert [answer.status_code for answer in told] == [422, 200, 200]
    assert told[0].json()["error"]["field"] == "reason"


def test_who_asks_is_looked_at_before_what_they_ask_for(site: Site, tmp_path: Path) -> None:
    key, _ = create_key(tmp_path / "keys.json", "room", [Grant(role=Role.READ)], rate_s=0.001, burst=1.0)
    gateway = Gateway([service(site)], Access(AccessSettings(keys=tmp_path / "keys.json")))
    client = TestClient(create_app(gateway), HOME)
    address = f"/v1/{site.system}/{site.name}/policies/nope"
    assert client.post(address).status_code == 401
    statuses = [client.post(address, headers={"x-api-key": key}).status_code for _ in range(2)]
    assert statuses == [422, 429], "and it counts"


@pytest.mark.parametrize("path", ["act", "overrides/check"])
@pytest.mark.parametrize("name", ["Authorization", "X-API-Key"])
def test_two_keys_in_one_request_are_refused(site: Site, tmp_path: Path, path: str, name: str) -> None:
    """Whichever of them counted, a proxy in between may have let in the other."""
    keys = [create_key(tmp_path / "keys.json", who, [Grant(role=Role.ACT)])[0] for who in ("ana", "ben")]
    gateway = Gateway([service(site)], Access(AccessSettings(keys=tmp_path / "keys.json")))
    client = TestClient(create_app(gateway), HOME)
    told = [(name, key if name == "X-API-Key" else f"Bearer {key}") for key in keys]
    refused = client.post(f"/v1/{site.system}/{site.name}/{path}", headers=told, content=b"{}")
    assert (refused.status_code, refused.json()["error"]["field"]) == (401, name.lower())
    assert "more than once" in refused.json()["error"]["mend"]
    one = client.post(
        f"/v1/{site.system}/{site.name}/{path}", headers=[*told[:1], ("x-a", "1"), ("x-a", "2")], content=b"{}"
    )
    assert one.status_code == 422, "of all other headers there may be several"


def test_health_shows_nothing_of_the_city_to_those_without_a_key(site: Site) -> None:
    client = TestClient(create_app(Gateway([service(site)], Keys())), HOME, raise_server_exceptions=False)  # type: ignore[arg-type]
    assert client.get("/healthz").json() == {"status": "ok", "sites": {}, "audit": "", "access": ""}
    assert "grid2x2" in client.get("/healthz", headers={"authorization": "Bearer read"}).text
    assert client.get("/readyz").status_code == 200
    systems = client.get("/v1/systems", headers={"authorization": "Bearer read@drainage/*"}).json()
    assert systems == {"systems": []}


def test_a_service_that_lets_nobody_in_is_not_ready(site: Site, tmp_path: Path) -> None:
    """A load balancer went on sending plants to one whose file of keys was gone, where each got 401."""
    keys, lost = tmp_path / "keys.json", tmp_path / "lost.json"
    create_key(keys, "plc", (Grant(role=Role.ACT),))
    gateway = Gateway([service(site)], Access(AccessSettings(keys=keys)))
    client = TestClient(create_app(gateway), HOME)
    assert client.get("/readyz").status_code == 200
    keys.rename(lost)
    assert client.get("/readyz").status_code == 503
    front = Front(gateway, {})  # which has no site of its own
    for told in (asyncio.run(gateway.ready()), asyncio.run(front.ready())):
        assert told["faults"] == {"access": f"file of keys {keys} is gone: nobody is let in by it"}
    keys.write_text("spoilt")
    keys.chmod(0o600)
    assert client.get("/readyz").status_code == 503, "it holds nobody's key"
    lost.rename(keys)
    assert client.get("/readyz").status_code == 200
    keys.write_text("spoilt")
    assert client.get("/healthz").json()["status"] == "degraded"
    assert client.get("/readyz").status_code == 200, "the keys before it hold"


def test_ready_means_that_state_can_be_saved_and_every_site_decides(site: Site, monkeypatch: Any) -> None:
    one = service(site)
    client = http(one)
    assert client.get("/readyz").json() == {"status": "ready", "faults": {}}
    monkeypatch.setattr(one.standing.store, "writable", lambda: False)
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["faults"] == {"intersections/grid2x2": "its state cannot be saved"}
    health = client.get("/healthz").json()
    assert (health["status"], health["sites"]) == ("degraded", answer.json()["faults"])
    monkeypatch.undo()
    monkeypatch.setattr(one.guard_for_checks, "check", failing)
    monkeypatch.setattr("serving.tick.sites.EXAMPLE_S", 0.0)
    assert client.get("/readyz").json()["faults"] == {"intersections/grid2x2": "failed with TypeError"}


def test_alarms_that_cannot_be_saved_are_degraded(site: Site, tmp_path: Path) -> None:
    """Their disk was full, and `/healthz` said that all was well."""
    path = tmp_path / "away" / "alarms.json"
    with closing(AlarmWatch([site], path)) as watch:
        gateway = Gateway([service(site)], alarms=watch)
        watch.book.hold(site.system, site.name, {"late": Condition("late", "high", "it is late")}, 1.0)
        watch.check_silence()
        health = asyncio.run(gateway.health())
        told = {"intersections/grid2x2": "its alarms cannot be saved (No such file or directory)"}
        assert (health["status"], health["sites"]) == ("degraded", told)
        path.parent.mkdir()
        watch.check_silence()
        assert asyncio.run(gateway.health())["status"] == "ok"


def test_a_fallback_that_decides_is_degraded_not_unready(site: Site) -> None:
    policy = Stub("policy")
    one = service(site, policy, rollback={"window": 1, "errors": 0})
    client = http(one)
    policy.then = failing
    assert one.act(body_of(tick_of(site)))["fallback"]
    assert client.get("/healthz").json()["status"] == "degraded"
    assert client.get("/readyz").status_code == 200


@pytest.mark.parametrize("front", [False, True], ids=["one", "front"])
def test_health_says_that_keys_cannot_be_used_before_anybody_sends_one(site: Site, tmp_path: Path, front: bool) -> None:
    """Plants whose keys are gone decide by themselves; whoever watches the service was told that all is well."""
    file = tmp_path / "keys.json"
    key, _ = create_key(file, "room", [Grant(role=Role.READ)])
    access = Access(AccessSettings(keys=file))
    gateway = Front(Gateway([], access), {}) if front else Gateway([service(site)], access)
    good = file.read_bytes()
    with TestClient(create_app(gateway), HOME) as client:

        def told(**headers: str) -> tuple[str, str]:
            found = client.get("/healthz", headers=headers).json()
            return found["status"], found["access"]

        assert told(**{"x-api-key": key}) == ("ok", "ok")
        file.write_bytes(good[:-20])
        assert told() == ("degraded", "")
        status, why = told(**{"x-api-key": key})
        assert status == "degraded"
        assert "cannot be used" in why
        file.unlink()
        assert told() == ("degraded", "")
        file.touch(0o600)
        file.write_bytes(good)
        assert told(**{"x-api-key": key}) == ("ok", "ok")
