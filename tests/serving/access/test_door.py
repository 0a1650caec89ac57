"""What every request passes and every answer carries; and the stream of events over real HTTP."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from fastapi import FastAPI, Response
from fastapi.testclient import TestClient

from envs.core.site import Site
from serving.access.door import HEADERS, MENDS, Door
from serving.access.entry import Access
from serving.access.keys import create_key
from serving.access.principal import AccessSettings, Grant, Role
from serving.app import create_app
from serving.cluster.ports import free_ports
from serving.core.looked import Looked
from serving.core.wire import Tick
from serving.gateway import Gateway
from serving.watch.metrics import Metrics
from serving.watch.streams import Streams
from tests.serving.plants import body_of, client_of, grid, served, service, tick_of

ACT = "/v1/intersections/grid2x2/act"
URL = "http://127.0.0.1"


def app_of(site: Site, access: Access | None = None) -> FastAPI:
    metrics, streams = Metrics([site]), Streams(most_each=2)
    services = [service(site, sinks=(metrics, streams))]
    return create_app(Gateway(services, access, streams=streams, metrics=metrics))


@pytest.fixture(scope="module")
def client(site: Site) -> TestClient:
    return client_of(app_of(site), raise_server_exceptions=False)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/docs"), ("GET", "/openapi.json"), ("GET", "/healthz"), ("GET", "/nowhere"), ("POST", "/v1/nowhere")],
)
def test_every_answer_carries_the_headers(client: TestClient, method: str, path: str) -> None:
    headers = client.request(method, path).headers
    assert {name: headers[name] for name in HEADERS} == HEADERS
    assert "strict-transport-security" not in headers


def test_an_answer_to_a_tick_carries_what_programs_heed(client: TestClient, site: Site) -> None:
    for body, status in ((body_of(tick_of(site)), 200), (b"{}", 422)):
        answer = client.post(ACT, content=body)
        assert answer.status_code == status
        assert {name: value for name, value in answer.headers.items() if name in HEADERS} == {
            "x-content-type-options": "nosniff",
            "cache-control": "no-store",
        }
    from_a_page = client.post(ACT, headers={"origin": "http://elsewhere.example"})
    assert from_a_page.status_code == 403
    assert {name: from_a_page.headers[name] for name in HEADERS} == HEADERS


def test_the_style_of_the_page_is_allowed_by_its_hash(client: TestClient) -> None:
    page = client.get("/docs")
    (style,) = re.findall(r"<style>(.*?)</style>", page.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in page.headers["content-security-policy"]
    assert "style=" not in page.text
    assert "<script" not in page.text


def test_what_an_answer_sets_itself_is_kept() -> None:
    app = FastAPI()

    @app.get("/")
    def cached() -> Any:
        return Response("x", headers={"Cache-Control": "max-age=60"})

    app.add_middleware(Door)
    headers = client_of(app).get("/").headers
    assert headers.get_list("cache-control") == ["max-age=60"]
    assert headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "127.0.0.1:8000"}, 200),
        ({"host": "localhost"}, 200),
        ({"host": "[::1]:8000"}, 200),
        ({"host": "evil.example"}, 403),
        ({"host": "127.0.0.1.evil.example"}, 403),
        ({"origin": URL}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1:9"}, 403),
        ({"origin": "http://["}, 403),
    ],
)
def test_a_page_of_another_place_cannot_command_an_open_service(
    client: TestClient, site: Site, headers: dict[str, str], status: int
) -> None:
    response = client.post(ACT, content=body_of(tick_of(site)), headers=headers)
    assert response.status_code == status
    if status == 403:
        ((field, value),) = headers.items()
        assert response.json()["error"] == {"field": field, "value": value, "mend": MENDS[field]}


def test_a_long_name_of_another_place_is_not_repeated_in_full(client: TestClient) -> None:
    response = client.get("/healthz", headers={"host": "a" * 5000})
    assert (response.status_code, len(response.json()["error"]["value"])) == (403, 60)


def test_answers_are_counted_by_route(client: TestClient) -> None:
    client.get("/v1/intersections/atlantis")
    client.get("/nowhere/at/all")
    text = client.get("/metrics").text
    assert 'cityloop_http_answers_total{route="/v1/{system}/{site}",status="404"}' in text
    assert 'route="other",status="404"' in text
    assert "atlantis" not in text


class TestRoles:
    """The roles at every address; numbers in brackets are those of the OWASP API list of 2023."""

    @pytest.fixture(scope="class")
    def keys(self, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
        file = tmp_path_factory.mktemp("keys") / "keys.json"
        here, elsewhere = {"system": "intersections", "site": "grid*"}, {"system": "drainage"}
        grants = {
            "reader": Grant(role=Role.READ, **here),
            "plc": Grant(role=Role.ACT, **here),
            "operator": Grant(role=Role.OPERATE, **here),
            "boss": Grant(role=Role.ADMINISTER),
            "drainage": Grant(role=Role.ADMINISTER, **elsewhere),
            "prometheus": Grant(role=Role.READ),
        }
        return file, {name: create_key(file, name, [grant])[0] for name, grant in grants.items()}

    @pytest.fixture(scope="class")
    def client(self, keys: tuple[Path, dict[str, str]]) -> TestClient:
        return client_of(app_of(grid(), Access(AccessSettings(keys=keys[0]))))

    def test_the_description_says_how_to_show_one(self, client: TestClient) -> None:
        told = client.get("/openapi.json").json()
        assert set(told["components"]["securitySchemes"]) == {"bearer", "key"}
        assert told["paths"]["/healthz"]["get"]["security"][0] == {}

    def test_a_key_that_lets_nobody_in_is_told_apart_from_none(self, client: TestClient) -> None:
        mends = [
            client.get("/v1/me", headers=headers).json()["error"]["mend"]
            for headers in ({}, {"x-api-key": "cl_1_expired"})
        ]
        assert "cityloop keys create" in mends[0]
        assert mends[1].startswith("it is not accepted")

    @pytest.mark.parametrize(
        ("name", "method", "path", "status"),
        [
            (None, "GET", "/v1/systems", 401),
            (None, "GET", "/v1/intersections/grid2x2", 401),
            (None, "POST", ACT, 401),
            (None, "GET", "/metrics", 401),
            (None, "GET", "/v1/events", 401),
            (None, "GET", "/healthz", 200),
            ("reader", "GET", "/v1/intersections/grid2x2", 200),
            ("reader", "POST", ACT, 403),
            ("reader", "GET", "/metrics", 403),
            ("plc", "POST", ACT, 200),
            ("plc", "PUT", "/v1/intersections/grid2x2/overrides", 403),
            ("operator", "POST", "/v1/intersections/grid2x2/policies/promote", 403),
            ("drainage", "POST", ACT, 403),  # (API1, API5)
            ("drainage", "GET", "/v1/intersections/grid2x2", 403),
            ("drainage", "GET", "/v1/intersections/grid2x2/events", 403),
            ("drainage", "GET", "/v1/intersections/atlantis", 403),
            ("drainage", "GET", "/v1/drainage/estuary", 404),
            ("plc", "GET", "/v1/intersections/grid9", 404),
            ("prometheus", "GET", "/metrics", 200),
            ("prometheus", "POST", ACT, 403),
            ("boss", "POST", ACT, 200),
        ],
    )
    def test_a_key_may_what_its_role_may(
        self,
        client: TestClient,
        keys: tuple[Path, dict[str, str]],
        site: Site,
        name: str | None,
        method: str,
        path: str,
        status: int,
    ) -> None:
        headers = {} if name is None else {"authorization": f"Bearer {keys[1][name]}"}
        response = client.request(method, path, content=body_of(tick_of(site)), headers=headers)
        assert response.status_code == status, response.text
        if status == 401:
            assert response.headers["www-authenticate"].startswith("Bearer")

    def test_other_sites_are_not_named_to_those_who_may_not_read_them(
        self, client: TestClient, keys: tuple[Path, dict[str, str]]
    ) -> None:
        headers = {"x-api-key": keys[1]["drainage"]}
        for path in ("/v1/systems", "/v1/drainage/atlantis", "/v1/intersections/atlantis", "/healthz", "/docs"):
            assert "grid2x2" not in client.get(path, headers=headers).text

    def test_a_pattern_tells_no_names_either(self, client: TestClient, keys: tuple[Path, dict[str, str]]) -> None:
        refused = client.get("/v1/intersections/grid9", headers={"x-api-key": keys[1]["plc"]})
        assert refused.status_code == 404
        assert "grid2x2" not in refused.text

    def test_no_key_is_in_the_log(
        self, client: TestClient, keys: tuple[Path, dict[str, str]], caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("DEBUG", "cityloop")
        for token in (*keys[1].values(), "cl_0123456789abcdef_" + "x" * 43):
            for header in ({"x-api-key": token}, {"authorization": f"Bearer {token}"}):
                response = client.post(ACT, content=b"{", headers=header)
                assert token not in response.text
                assert token not in caplog.text


class Far:
    """Input checks that find every reading far from what was trained on."""

    def look(self, tick: Tick, at_s: float) -> Looked:
        return Looked(tick.readings, envelope=1.5)

    def follow(self, envelope: Any) -> None:
        pass

    def judge(self, looked: Looked, observation: Any) -> Looked:
        return looked

    def reset(self) -> None:
        pass

    def describe(self) -> dict[str, Any]:
        return {}


def test_how_far_readings_lie_from_training_is_a_metric(site: Site) -> None:
    metrics = Metrics([site])
    gateway = Gateway([service(site, checks=Far(), sinks=[metrics])], metrics=metrics)
    with client_of(create_app(gateway)) as client:
        assert client.post(ACT, content=body_of(tick_of(site))).status_code == 200
        text = client.get("/metrics").text
    assert 'cityloop_envelope_score{site="grid2x2",system="intersections"} 1.5' in text


@pytest.fixture(scope="module")
def url(site: Site) -> Iterator[str]:
    with served(app_of(site), free_ports(1)[0]) as address:
        yield address


class TestEvents:
    """Over real HTTP, as an endless answer needs a client that does not wait for its end."""

    def events(self, response: httpx.Response, count: int) -> list[tuple[dict[str, str], Any]]:
        found, fields = [], {}
        for line in response.iter_lines():
            if line and not line.startswith(":"):
                name, _, value = line.partition(": ")
                fields[name] = value
            elif not line and "event" in fields:
                found.append((fields, orjson.loads(fields["data"])))
                fields = {}
                if len(found) == count:
                    break
        return found

    def test_ticks_are_heard_and_resumed(self, url: str, site: Site) -> None:
        def tick(k: int) -> None:
            httpx.post(f"{url}{ACT}", content=body_of(tick_of(site) | {"tick": k})).raise_for_status()

        with httpx.stream("GET", f"{url}/v1/intersections/grid2x2/events", timeout=20) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            assert response.headers["cache-control"] == "no-store"
            tick(0)
            ((fields, data),) = self.events(response, 1)
        assert (fields["event"], data["tick"]) == ("decision", 0)
        assert data["request"]["readings"] == tick_of(site)["readings"]
        tick(1)
        with httpx.stream("GET", f"{url}/v1/events", headers={"last-event-id": fields["id"]}, timeout=20) as response:
            ((_, data),) = self.events(response, 1)
        assert data["tick"] == 1

    def test_places_are_bounded_and_given_back(self, url: str) -> None:
        address = f"{url}/v1/events"
        with httpx.stream("GET", address), httpx.stream("GET", address):
            refused = httpx.get(address)
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "10")
        for _ in range(100):  # the service sees the end of a connection a moment later
            with httpx.stream("GET", address) as response:
                if response.status_code == 200:
                    return
        pytest.fail("no place was given back")

    def test_what_is_no_identifier_is_refused(self, url: str) -> None:
        assert httpx.get(f"{url}/v1/events", headers={"last-event-id": "x"}).status_code == 422
