"""The routes, in process: every address, every refusal, and whatever a fuzzer sends."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import httpx
import hypothesis.strategies as st
import orjson
import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from pydantic import TypeAdapter

from envs.core.errors import CityloopError, ReadingError
from envs.core.site import Site
from serving.app import create_app
from serving.booking.wire import QuoteRequest
from serving.core import description
from serving.core.description import Description
from serving.core.form import read_form
from serving.core.wire import MAX_BODY_BYTES, ActAnswer, Health, Refusal, SiteInfo, Systems
from serving.gateway import Gateway
from serving.routes import service as routes
from serving.routes.bodies import takes
from serving.watch.metrics import Metrics
from tests.serving.plants import Stub, app_of, body_of, client_of, service, tick_of, wish

ACT = "/v1/intersections/grid2x2/act"


@pytest.fixture(scope="module")
def client(site: Site) -> TestClient:
    return client_of(app_of(service(site)), raise_server_exceptions=False)


def test_a_tick_is_answered_as_documented(client: TestClient, site: Site) -> None:
    response = client.post(ACT, content=body_of(tick_of(site)))
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    answer = ActAnswer.model_validate_json(response.content)
    assert list(answer.commands) == list(site.agents)


def test_interventions_are_answered_as_documented(site: Site) -> None:
    stub = Stub()
    client = client_of(app_of(service(site, stub)))
    stub.then = wish(site, float("nan"))
    answer = ActAnswer.model_validate_json(client.post(ACT, content=body_of(tick_of(site))).content)
    assert [change.reason for change in answer.interventions] == ["invalid"] * len(site.agents)


def test_the_site_tells_all_that_a_client_needs(client: TestClient, site: Site) -> None:
    info = SiteInfo.model_validate_json(client.get("/v1/intersections/grid2x2").content)
    assert (info.agents, info.site_hash) == (list(site.agents), site.hash)
    assert info.axes == {axis: list(ids) for axis, ids in site.axes.items()}
    assert info.limits["timing"]["min_green_s"] == 7
    assert len(info.limits["stages"]) == len(site.agents)
    assert info.in_charge.controller == "max-pressure"
    assert client.post(ACT, json=info.example).status_code == 200
    columns = info.request_schema["properties"]["readings"]
    assert columns["properties"]["count_veh"]["minItems"] == len(site.axes["approach"])
    told = {name: "default" in info.request_schema["properties"][name] for name in ("deadline_ms", "episode", "ages_s")}
    assert not any(told.values()), "null is refused, so it is no default"
    assert list(info.answer_schema["properties"]["commands"]["properties"]) == list(site.agents)


def test_what_never_changes_is_made_once_and_not_on_the_event_loop(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[str, bool]] = []

    def count(of: Any, name: str) -> None:
        plain = getattr(of, name)

        def counted(*args: Any) -> Any:
            made.append((name, threading.current_thread() is threading.main_thread()))
            return plain(*args)

        monkeypatch.setattr(of, name, counted)

    paths = {
        "/v1/intersections/grid2x2": "answer_schema",
        "/v1/intersections/grid2x2/scene": "scene_of",
        "/docs": "docs_page",
        "/openapi.json": "dumps",
    }

    async def ask(app: Any) -> list[bytes]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return [(await client.get(path)).raise_for_status().content for path in paths for _ in range(2)]

    one = service(site)
    scene_of = one.system.make_scene
    tools = SimpleNamespace(scene_of=scene_of, dumps=orjson.dumps)
    count(tools, "scene_of")
    count(tools, "dumps")
    one.description = Description(replace(one.system, make_scene=tools.scene_of), site, lambda: one.in_charge)
    count(description, "answer_schema")
    count(routes, "docs_page")
    monkeypatch.setattr(routes, "orjson", tools)
    answers = asyncio.run(ask(app_of(one)))
    assert answers[::2] == answers[1::2]
    assert made == [(name, False) for name in paths.values()]
    one.close()


def test_who_is_in_charge_is_told_anew_every_time(site: Site) -> None:
    one = service(site)
    client = client_of(app_of(one))
    told = []
    for tripped in (None, "it failed"):
        one.standing.watch.tripped = tripped
        told.append(client.get("/v1/intersections/grid2x2").json()["in_charge"]["out_of_charge"])
    assert told == [None, "it failed"]


def test_lists_and_health(client: TestClient) -> None:
    systems = Systems.model_validate_json(client.get("/v1/systems").content)
    assert systems.systems[0].sites[0].interval_s == 5.0, "signals are decided every five seconds"
    assert [(s.name, s.command, [site.name for site in s.sites]) for s in systems.systems] == [
        ("intersections", "stage", ["grid2x2"])
    ]
    health = Health.model_validate_json(client.get("/healthz").content)
    assert (health.status, health.sites) == ("ok", {"intersections/grid2x2": "ok"})
    assert [client.head(path).status_code for path in ("/healthz", "/readyz")] == [200, 200]


def test_a_body_is_described_in_one_piece_without_a_name_twice() -> None:
    told = str(takes(QuoteRequest))
    assert told.count("'x_m'") > 2, "a place may be where the trip begins, and where it ends"
    assert not re.search(r"\$ref|'title': 'Point'", told), "a generator would make one class twice, or none"


@pytest.mark.parametrize("when", ["yesterday", "2026-01-31T08:30:00", []])
def test_a_time_that_cannot_be_read_is_told_how_to_write_one(when: Any) -> None:
    body = orjson.dumps({"from": "C3", "to": "H9", "party": 1, "depart": when})
    with pytest.raises(ReadingError) as error:
        read_form(QuoteRequest, body)
    assert (error.value.field, error.value.mend[:31]) == ("depart", "give a date and time with its z")


def test_the_description_is_complete_and_the_page_needs_no_network(client: TestClient) -> None:
    openapi = client.get("/openapi.json").json()
    act = openapi["paths"]["/v1/{system}/{site}/act"]["post"]
    assert set(act["requestBody"]["content"]["application/json"]["schema"]["required"]) == {
        "tick",
        "time_s",
        "readings",
    }
    assert set(act["responses"]) == {"200", "401", "403", "404", "408", "409", "413", "415", "422", "429", "503"}
    assert {"ActAnswer", "Refusal", "SiteInfo", "Systems", "Health"} <= set(openapi["components"]["schemas"])
    assert "HTTPValidationError" not in str(openapi), "no refusal looks like the framework's own"
    for name in re.findall(r"'#/components/schemas/(\w+)'", str(openapi)):
        assert name in openapi["components"]["schemas"], "or no generator of clients takes it"
    assert "/v1/{system}/{site}/telemetry" in openapi["paths"]
    for path in ("/healthz", "/readyz"):
        assert {"401", "429"} <= set(openapi["paths"][path]["get"]["responses"]), "a key that is sent is looked at"
    page = client.get("/docs").text
    assert "POST /v1/{system}/{site}/act" in page
    assert "http://" not in page
    assert "https://" not in page


@pytest.fixture(scope="module")
def openapi() -> dict[str, Any]:
    """The description of a service that has everything."""
    there: Any = SimpleNamespace()
    sinks = {"audit": there, "streams": there, "alarms": there, "structural": there, "metrics": Metrics([])}
    whole = Gateway([], **sinks, desks={"hcmc": there})
    return client_of(create_app(whole)).get("/openapi.json").json()


def test_generated_clients_call_their_functions_by_plain_names(openapi: dict[str, Any]) -> None:
    names = [operation["operationId"] for path in openapi["paths"].values() for operation in path.values()]
    assert {"act", "site_info", "override_agent", "change_policies", "book", "site_events", "metrics"} <= set(names)
    assert len(set(names)) == len(names)
    assert [name for name in names if not re.fullmatch("[a-z_]+", name)] == []


def test_every_field_and_every_parameter_is_described(openapi: dict[str, Any]) -> None:
    """Of some eighty fields, and of every part of a path, a client's author learned the name only."""
    assert {"Alarm", "Booked", "Records", "StructureStanding"} <= set(openapi["components"]["schemas"])
    assert not list(_undescribed(openapi))


def _undescribed(part: Any, where: str = "") -> Iterator[str]:
    """Fields without a description of their own, or by the docstring of their class; and parameters without one."""
    if isinstance(part, list):
        for k, one in enumerate(part):
            yield from _undescribed(one, f"{where}/{k}")
    if not isinstance(part, dict):
        return
    fields = part.get("properties", {}) if part.get("type") == "object" else {}
    attributes = str(part.get("description", "")).partition("Attributes:")[2]
    for name, one in fields.items():
        if not one.get("description") and "$ref" not in str(one) and name not in re.split(r"[\s,:]+", attributes):
            yield f"{where}.{name}"
    if part.get("in") and not part.get("description"):
        yield f"{where}: {part['name']}"
    for key, one in part.items():
        yield from _undescribed(one, f"{where}/{key}")


@pytest.mark.parametrize(
    ("method", "path", "status", "field", "mend"),
    [
        ("POST", "/v1/tides/grid2x2/act", 404, "system", "intersections"),
        ("POST", "/v1/intersections/atlantis/act", 404, "site", "grid2x2"),
        ("GET", "/v1/intersections/atlantis", 404, "site", "grid2x2"),
        ("GET", "/v2", 404, "address", "/docs"),
        ("GET", ACT, 405, "address", "ask with POST"),
        ("GET", "/v1/systems/", 404, "address", "/docs"),
        ("POST", f"{ACT}/", 404, "address", "/docs"),
    ],
)
def test_unknown_addresses_name_what_there_is(
    client: TestClient, method: str, path: str, status: int, field: str, mend: str
) -> None:
    response = client.request(method, path, follow_redirects=False)
    error = Refusal.model_validate_json(response.content).error
    assert (response.status_code, error.field) == (status, field)
    assert mend in error.mend


def test_a_method_that_an_address_lacks_names_those_that_it_has(client: TestClient) -> None:
    assert client.put("/v1/systems").headers["allow"] == "GET, HEAD"
    answer = client.get("/v1/intersections/grid2x2/overrides/J1")
    assert (answer.status_code, answer.headers["allow"]) == (405, "DELETE, PUT"), "those of all its routes"


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/v1/systems", "/docs", "/openapi.json", "/v1/nothing", ACT])
def test_a_head_is_that_of_the_whole_answer(client: TestClient, path: str) -> None:
    """As monitors of web services ask for it; most addresses refused."""
    head, whole = client.head(path), client.get(path)
    assert (head.status_code, head.content) == (whole.status_code, b"")
    assert head.headers.items() == whole.headers.items()


def test_a_body_in_an_encoding_is_refused_by_its_name(client: TestClient) -> None:
    for method, path in (("POST", ACT), ("PUT", "/v1/intersections/grid2x2/overrides")):
        answer = client.request(method, path, content=b"x", headers={"content-encoding": "gzip"})
        assert (answer.status_code, answer.json()["error"]["value"]) == (415, "gzip")


@pytest.mark.parametrize("path", [ACT, "/v1/intersections/grid2x2/overrides/check"])
def test_a_body_that_stops_half_way_is_not_waited_for(site: Site, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.routes.bodies.BODY_WITHIN_S", 0.01)
    sent: list[dict[str, Any]] = []

    async def ask() -> None:
        parts = iter([{"type": "http.request", "body": b'{"tick":', "more_body": True}])

        async def receive() -> dict[str, Any]:
            for part in parts:
                return part
            return await asyncio.get_running_loop().create_future()  # never comes

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "query_string": b"",
            "headers": [(b"host", b"localhost")],
        }
        await app_of(service(site))(scope, receive, send)

    asyncio.run(ask())
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]
    assert Refusal.model_validate_json(sent[1]["body"]).error.field == "body"


def test_a_client_that_goes_away_amid_its_body_is_no_fault(
    site: Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("cityloop"), "propagate", True)
    sent: list[dict[str, Any]] = []

    async def ask() -> None:
        parts = iter([{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}])

        async def receive() -> dict[str, Any]:
            return next(parts)

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"host", b"localhost")]
        path = "/v1/intersections/grid2x2/telemetry"
        scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": headers}
        await app_of(service(site))(scope, receive, send)

    asyncio.run(ask())
    assert sent[0]["status"] == 499
    assert caplog.records == []


@pytest.mark.parametrize("path", [ACT, "/v1/intersections/grid2x2/overrides/check"])
@pytest.mark.parametrize("head", [{}, {"content-length": "9000000"}, {"content-encoding": "br"}])
def test_a_body_that_is_refused_is_let_pass_before_it_is_answered(site: Site, path: str, head: dict[str, str]) -> None:
    """A connection that is closed on what was not read may take the answer along."""
    told: list[str] = []

    async def ask() -> None:
        async def receive() -> dict[str, Any]:
            told.append("part")
            return {"type": "http.request", "body": b" " * MAX_BODY_BYTES, "more_body": len(told) < 5}

        async def send(message: Any) -> None:
            told.append(str(message.get("status", "body")))

        headers = [(b"host", b"localhost"), *((name.encode(), value.encode()) for name, value in head.items())]
        scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": headers}
        await app_of(service(site))(scope, receive, send)

    asyncio.run(ask())
    assert told == [*["part"] * 5, "415" if "content-encoding" in head else "413", "body"]


def test_a_reading_that_cannot_be_is_named(client: TestClient, site: Site) -> None:
    tick = tick_of(site)
    tick["readings"]["occupancy"][1] = 2
    response = client.post(ACT, content=body_of(tick))
    error = Refusal.model_validate_json(response.content).error
    assert response.status_code == 422
    assert error.field.startswith("readings.occupancy[1] (approach ")
    assert (error.value, error.mend) == (2, "give a number from 0 to 1 or null")


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_that_is_too_long_is_not_read(client: TestClient, declared: bool) -> None:
    body = b" " * (10 * MAX_BODY_BYTES)
    content: Any = body if declared else (body[k : k + 65536] for k in range(0, len(body), 65536))
    response = client.post(ACT, content=content)
    assert response.status_code == 413
    assert Refusal.model_validate_json(response.content).error.field == "body"
    assert client.post(ACT, content=body[:MAX_BODY_BYTES]).status_code == 422


def test_a_long_field_is_not_echoed(client: TestClient, site: Site) -> None:
    for tick in (tick_of(site) | {"x" * 10_000: "y" * 10_000}, tick_of(site, **{"x" * 10_000: ["y" * 10_000]})):
        response = client.post(ACT, content=body_of(tick))
        assert response.status_code == 422
        assert len(response.content) < 1000


def test_what_does_not_go_in_a_tick_is_refused_alike_by_every_protocol(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = service(site)

    def refuse(*_: Any) -> None:
        raise CityloopError("the site is not whole: restart the service")

    monkeypatch.setattr(one._guard, "mask", refuse)
    client = client_of(app_of(one))
    answer = client.post(ACT, content=body_of(tick_of(site)))
    with client.websocket_connect("ws://127.0.0.1/v1/intersections/grid2x2/loop") as loop:
        loop.send_bytes(body_of(tick_of(site)))
        told = orjson.loads(loop.receive_bytes())
    wanted = {"field": "body", "value": None, "mend": "the site is not whole: restart the service"}
    assert (answer.status_code, answer.json()["error"]) == (422, wanted)
    assert (told["status"], told["error"]) == (422, wanted)
    one.close()


def test_a_fault_of_the_service_shows_no_trace(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    one = service(site)
    monkeypatch.setattr(one, "act_async", None)
    response = client_of(app_of(one), raise_server_exceptions=False).post(ACT, content=b"{}")
    assert response.status_code == 500
    assert "Trace" not in response.text
    assert Refusal.model_validate_json(response.content).error.field == "service"


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner))
NUMBERS = st.floats(width=64) | st.integers(-(2**62), 2**62) | st.none() | st.booleans() | st.text(max_size=3)


def check(client: TestClient, body: bytes) -> None:
    response = client.post(ACT, content=body)
    assert response.status_code in (200, 422), response.text
    model: TypeAdapter[Any] = TypeAdapter(ActAnswer if response.status_code == 200 else Refusal)
    model.validate_json(response.content)
    assert "Traceback" not in response.text


FUZZ = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@FUZZ
@given(body=st.binary(max_size=200))
def test_fuzzed_bytes_are_answered(client: TestClient, body: bytes) -> None:
    check(client, body)


@FUZZ
@given(tick=JSON, time_s=JSON, readings=JSON)
def test_fuzzed_json_is_answered(client: TestClient, tick: Any, time_s: Any, readings: Any) -> None:
    body = json.dumps({"tick": tick, "time_s": time_s, "readings": readings})  # NaN and huge numbers included
    check(client, body.encode(errors="surrogatepass"))


@FUZZ
@given(data=st.data())
def test_fuzzed_readings_are_answered(client: TestClient, site: Site, data: st.DataObject) -> None:
    tick = tick_of(site)
    for column in data.draw(st.lists(st.sampled_from(list(tick["readings"])), max_size=6)):
        values = tick["readings"][column]
        values[data.draw(st.integers(0, len(values) - 1))] = data.draw(NUMBERS)
    check(client, body_of(tick))


@FUZZ
@given(data=st.data())
def test_readings_within_their_columns_are_answered(client: TestClient, site: Site, data: st.DataObject) -> None:
    """Whatever the schema allows, the cross-check either names or the guard and the rule can live with."""
    tick = tick_of(site)
    columns = {c["name"]: c for c in _columns()}
    for name in data.draw(st.lists(st.sampled_from(list(columns)), max_size=5)):
        column, values = columns[name], tick["readings"][name]
        number = st.integers(int(column["low"]), int(column["high"]))
        value = number if column["integer"] else st.floats(column["low"], column["high"]) | number
        values[:] = [data.draw(value) for _ in values]
    check(client, body_of(tick))


def _columns() -> list[dict[str, Any]]:
    from envs import get_system

    return get_system("intersections").readings.describe()
