"""The loop over a WebSocket: one tick a frame, whatever is in it, and who may open it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest
from fastapi.testclient import TestClient
from starlette.testclient import WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from envs.core.site import Site
from serving.access.entry import BEARER, PROTOCOL, Access
from serving.access.keys import create_key, revoke_key
from serving.access.principal import AccessSettings, Grant, Role
from serving.app import create_app
from serving.core.wire import MAX_BODY_BYTES, ActAnswer
from serving.gateway import Gateway
from serving.routes import loop as module
from serving.watch.metrics import Metrics
from tests.serving import plants
from tests.serving.plants import Stub, body_of, service, tick_of

HOST = "ws://127.0.0.1"
LOOP = f"{HOST}/v1/intersections/grid2x2/loop"


def client_of(site: Site, controller: Any = None, access: Access | None = None, **more: Any) -> TestClient:
    gateway = Gateway([service(site, controller, **more)], access, metrics=Metrics([site]))
    return plants.client_of(create_app(gateway))


def ask(socket: Any, tick: dict[str, Any]) -> dict[str, Any]:
    socket.send_text(body_of(tick).decode())
    return orjson.loads(socket.receive_text())


def test_ticks_are_answered_in_order_as_over_http(site: Site) -> None:
    client = client_of(site)
    with client.websocket_connect(LOOP) as socket:
        for k in range(5):
            answer = ActAnswer.model_validate(ask(socket, tick_of(site) | {"tick": k, "time_s": 5.0 * k}))
            assert (answer.tick, list(answer.commands)) == (k, list(site.agents))


def test_a_request_that_asks_for_no_websocket_is_told_so(site: Site) -> None:
    """As where a proxy between drops the header; it was told that there is no such address."""
    client = client_of(site)
    answer = client.get("/v1/intersections/grid2x2/loop")
    assert (answer.status_code, answer.headers["upgrade"]) == (426, "websocket")
    assert answer.json()["error"]["field"] == "upgrade"
    assert client.get("/v1/intersections/nowhere/loop").status_code == 404
    assert "/v1/{system}/{site}/loop" in client.get("/docs").text, "where all addresses are listed"


def test_bytes_are_answered_with_bytes(site: Site) -> None:
    with client_of(site).websocket_connect(LOOP) as socket:
        socket.send_bytes(body_of(tick_of(site)))
        assert orjson.loads(socket.receive_bytes())["tick"] == 0


@pytest.mark.parametrize(
    ("frame", "status", "field"),
    [
        ("", 422, "body"),
        ("nonsense", 422, "body"),
        ("[" * 100_000, 422, "body"),
        ("{}", 422, "tick"),
        ('{"tick": 3, "time_s": 1, "readings": {"queue": []}}', 422, "readings.queue"),
        (" " * (MAX_BODY_BYTES + 1), 413, "body"),
    ],
)
def test_a_frame_that_cannot_be_used_is_told_why_and_the_connection_stays(
    site: Site, frame: str, status: int, field: str
) -> None:
    with client_of(site).websocket_connect(LOOP) as socket:
        socket.send_text(frame)
        refusal = orjson.loads(socket.receive_text())
        assert (refusal["status"], refusal["error"]["field"]) == (status, field)
        assert refusal["tick"] == (3 if "queue" in frame else None)
        assert ask(socket, tick_of(site))["tick"] == 0


def test_a_fault_of_the_service_shows_no_trace(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    client = client_of(site)
    monkeypatch.setattr(Gateway, "act", None)
    with client.websocket_connect(LOOP) as socket:
        answer = ask(socket, tick_of(site))
        assert (answer["status"], answer["error"]["field"]) == (500, "service")
        assert "Trace" not in str(answer)


def test_a_frame_that_waited_longer_than_the_deadline_is_not_decided(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    decided: list[bytes] = []

    async def slow(self: Gateway, system: str, site: str, body: bytes, principal: object) -> dict[str, Any]:
        decided.append(body)
        await asyncio.sleep(0.05)
        return {"tick": orjson.loads(body)["tick"]}

    monkeypatch.setattr(Gateway, "act", slow)
    with client_of(site, deadline_ms=20.0).websocket_connect(LOOP) as socket:
        for k in range(3):
            socket.send_text(orjson.dumps({"tick": k}).decode())
        answers = [orjson.loads(socket.receive_text()) for _ in range(3)]
    assert answers[0] == {"tick": 0}
    assert [(a["tick"], a["status"], a["error"]["field"]) for a in answers[1:]] == [(1, 503, "tick"), (2, 503, "tick")]
    assert len(decided) == 1


class TestWhoMay:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        return tmp_path / "keys.json"

    def key(self, file: Path, role: Role, system: str = "intersections", **more: Any) -> str:
        return create_key(file, f"{role.name}-{system}", [Grant(role=role, system=system)], **more)[0]

    def access(self, file: Path) -> Access:
        return Access(AccessSettings(keys=file))

    @pytest.mark.parametrize(
        ("role", "system", "path", "status"),
        [
            (None, "", LOOP, 401),
            (Role.READ, "intersections", LOOP, 403),
            (Role.ADMINISTER, "drainage", LOOP, 403),
            (Role.ACT, "intersections", f"{HOST}/v1/intersections/atlantis/loop", 404),
            (Role.ACT, "intersections", f"{HOST}/v1/drainage/estuary/loop", 403),
            (Role.ACT, "intersections", f"{LOOP}/", 404),
            (Role.ACT, "intersections", f"{HOST}/nowhere", 404),
        ],
    )
    def test_the_handshake_is_refused(
        self, site: Site, file: Path, role: Role | None, system: str, path: str, status: int
    ) -> None:
        token = self.key(file, role or Role.ACT, system or "intersections")
        headers = {"authorization": f"Bearer {token}"} if role is not None else {}
        client = client_of(site, access=self.access(file))
        with pytest.raises(WebSocketDenialResponse) as caught, client.websocket_connect(path, headers=headers):
            pass
        assert caught.value.status_code == status
        assert caught.value.json()["error"]["mend"]
        assert caught.value.headers["x-content-type-options"] == "nosniff"

    def test_a_browser_may_offer_its_key_as_a_subprotocol(self, site: Site, file: Path) -> None:
        token = self.key(file, Role.ACT)
        client = client_of(site, access=self.access(file))
        with client.websocket_connect(LOOP, subprotocols=[PROTOCOL, f"{BEARER}{token}"]) as socket:
            assert socket.accepted_subprotocol == PROTOCOL
            assert ask(socket, tick_of(site))["tick"] == 0

    def test_the_rate_holds_for_frames(self, site: Site, file: Path) -> None:
        token = self.key(file, Role.ACT, rate_s=0.001, burst=2.0)
        client = client_of(site, access=self.access(file))
        with client.websocket_connect(LOOP, headers={"x-api-key": token}) as socket:
            assert "commands" in ask(socket, tick_of(site))
            refusal = ask(socket, tick_of(site) | {"tick": 1})
            assert (refusal["status"], refusal["tick"]) == (429, 1)
            assert refusal["retry_after_s"] > 0

    def test_a_key_that_is_revoked_closes_the_connection(
        self, site: Site, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "RECHECK_S", 0.0)
        token = self.key(file, Role.ACT)
        client = client_of(site, access=self.access(file))
        with client.websocket_connect(LOOP, headers={"x-api-key": token}) as socket:
            assert "commands" in ask(socket, tick_of(site))
            revoke_key(file, "ACT-intersections")
            with pytest.raises(WebSocketDisconnect) as caught:
                ask(socket, tick_of(site))
            assert caught.value.code == module.POLICY_VIOLATION

    def test_a_page_of_another_origin_may_not(self, site: Site) -> None:
        client = client_of(site)
        for name in ("origin", "host"):
            headers = {name: "http://evil.example"}
            with pytest.raises(WebSocketDenialResponse) as caught, client.websocket_connect(LOOP, headers=headers):
                pass
            assert (caught.value.status_code, caught.value.json()["error"]["field"]) == (403, name)
        with client.websocket_connect(LOOP, headers={"origin": "http://127.0.0.1", "host": "127.0.0.1"}) as socket:
            assert ask(socket, tick_of(site))["tick"] == 0


def test_connections_are_bounded_and_counted(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_LOOPS", 1)
    client = client_of(site)
    with client.websocket_connect(LOOP):
        assert "cityloop_loop_connections 1.0" in client.get("/metrics").text
        with pytest.raises(WebSocketDenialResponse) as caught, client.websocket_connect(LOOP):
            pass
        assert (caught.value.status_code, caught.value.headers["retry-after"]) == (503, "10")
    with client.websocket_connect(LOOP) as socket:
        assert ask(socket, tick_of(site))["tick"] == 0


def test_a_controller_that_hangs_is_covered_by_the_fallback(site: Site) -> None:
    stub = Stub()
    with client_of(site, stub, deadline_ms=50.0).websocket_connect(LOOP) as socket:
        release = asyncio.Event()

        def hang(readings: Any, observation: Any) -> Any:
            while not release.is_set():
                pass
            return observation["action_mask"].argmax(axis=1)

        stub.then = hang
        try:
            assert ask(socket, tick_of(site))["fallback"]
        finally:
            release.set()
