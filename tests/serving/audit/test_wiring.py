"""The log in the service: opened by its configuration, told everything, asked over HTTP, loud if it cannot write."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from envs import CityloopError
from serving.access.principal import Grant, Principal, Role
from serving.app import create_app
from serving.audit import AuditLog, log
from serving.audit.replay import replay
from serving.audit.verify import verify
from serving.build import Plan
from serving.config import ServiceConfig
from serving.gateway import Gateway
from tests.serving.audit.written import until
from tests.serving.bundles import bundle
from tests.serving.plants import GRID, app_of, body_of, client_of, grid, service, tick_of

SITE = "/v1/intersections/grid2x2"


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    site = {"site": GRID, "champion": "max-pressure", "deadline_ms": 5000}
    config = ServiceConfig.make({"audit": {"folder": tmp_path / "audit"}, "sites": [site]})
    one = Plan.make(config).gateway()
    yield one
    one.close()


def audited(client: TestClient, query: str = "") -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = client.get(f"/v1/audit{query}").json()["records"]
    return records


def test_everything_that_is_done_over_http_is_in_the_log_and_replayed(gateway: Gateway, tmp_path: Path) -> None:
    site = grid()
    tiny = bundle(tmp_path / "bundles" / "tiny")
    with client_of(create_app(gateway)) as client:

        def tick(k: int) -> None:
            assert client.post(f"{SITE}/act", content=body_of(tick_of(site) | {"tick": k})).status_code == 200

        tick(0)
        assert client.post(f"{SITE}/policies/shadow", json={"policy": str(tiny), "reason": "try"}).status_code == 200
        tick(1)
        until(lambda: audited(client)[-1]["kind"] == "shadow")  # it is asked beside the service
        assert client.post(f"{SITE}/policies/promote", json={"reason": "good"}).status_code == 200
        shutil.rmtree(tiny)  # what it did can be replayed all the same
        tick(2)
        by_hand = {"command": 1, "reason": "works", "expires_s": 60}
        assert client.put(f"{SITE}/overrides/{site.agents[0]}", json=by_hand).status_code == 200
        tick(3)
        records = audited(client)
    what = [
        record.get("what") or record.get("tick", record["kind"]) for record in records if record["kind"] != "shadow"
    ]
    assert what == ["segment", "site", 0, "bundle", "shadow", 1, "promote", 2, "override", 3]
    shadow = next(record for record in records if record["kind"] == "shadow")
    assert shadow["tick"] == 1
    assert records[-1]["overridden"] == {site.agents[0]: "works"}
    gateway.close()
    assert verify(tmp_path / "audit").ok
    found = replay(tmp_path / "audit")
    assert found.ok
    assert not found.partly
    assert (found.decisions, found.shadows) == (4, {"reproduced": 1})


def test_a_repeated_question_is_recorded_once(gateway: Gateway) -> None:
    body = body_of(tick_of(grid()))
    with client_of(create_app(gateway)) as client:
        for _ in range(3):
            assert client.post(f"{SITE}/act", content=body).status_code == 200
        records = audited(client, "?site=grid2x2")
    assert [record["kind"] for record in records] == ["site", "decision"]


class Keys:
    """Lets everybody in as somebody who may operate one site."""

    open = False

    def authenticate(self, headers: Any) -> Principal:
        return Principal("one-site", (Grant(role=Role.OPERATE, system="intersections", site="grid2x2"),))


def test_a_key_sees_what_it_may_see(gateway: Gateway) -> None:
    gateway.access = Keys()
    with client_of(create_app(gateway)) as client:
        assert client.post(f"{SITE}/act", content=body_of(tick_of(grid()))).status_code == 200
        assert client.get("/v1/audit").status_code == 403
        assert client.get("/v1/audit?system=drainage&site=grid2x2").status_code == 403
        (_, decision) = audited(client, "?system=intersections&site=grid2x2")
    assert decision["who"] == "one-site"


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "limit=1.5", "since=noon", "since=nan"])
def test_a_question_that_cannot_be_answered_is_refused(gateway: Gateway, query: str) -> None:
    answer = client_of(create_app(gateway)).get(f"/v1/audit?{query}")
    assert answer.status_code == 422
    assert answer.json()["error"]["field"] == query.partition("=")[0]


def test_without_a_log_there_is_no_such_address() -> None:
    assert client_of(app_of(service(grid()))).get("/v1/audit").status_code == 404


def test_a_log_that_cannot_write_makes_the_service_unready(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    with client_of(create_app(gateway)) as client:
        assert client.get("/readyz").status_code == 200
        monkeypatch.setattr(log.Writer, "append", _full)
        monkeypatch.setattr(log, "RETRY_S", 0.01)
        answer = client.post(f"{SITE}/act", content=body_of(tick_of(grid())))
        assert answer.status_code == 200  # the plant is not to suffer
        until(lambda: gateway.audit is not None and gateway.audit.degraded is not None)
        assert client.get("/readyz").status_code == 503
        assert "No space left" in client.get("/healthz").json()["audit"]
        monkeypatch.undo()
        assert isinstance(gateway.audit, AuditLog)
        assert gateway.audit.flush()
        assert gateway.audit.healthy
        assert client.get("/readyz").status_code == 200


def _full(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_folder_that_cannot_be_used_is_refused_before_anything_is_served(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    config = ServiceConfig.make({"audit": {"folder": tmp_path / "file"}, "sites": [GRID]})
    with pytest.raises(CityloopError, match="audit folder"):
        Plan.make(config).gateway()
    with pytest.raises(CityloopError, match="unknown key"):
        ServiceConfig.make({"audit": {"folder": "x", "compresss": True}, "sites": [GRID]})


def test_paths_of_a_configuration_start_at_its_file(tmp_path: Path) -> None:
    (tmp_path / "city.yaml").write_text(f"audit: {{folder: audit, anchors: ../anchors}}\nsites: [{GRID}]\n")
    audit = ServiceConfig.load(tmp_path / "city.yaml").audit
    assert audit is not None
    assert (audit.folder, audit.anchors, audit.key) == (tmp_path / "audit", tmp_path / "../anchors", None)
