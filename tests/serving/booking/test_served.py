"""A site whose configuration has a section ``booking``, beside what is decided there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from envs.core.errors import CityloopError
from serving.app import create_app
from serving.build import Plan
from serving.cluster.shards import Front
from serving.config import ServiceConfig
from serving.gateway import Gateway
from tests.envs.transit.own import write


def plan(folder: Path, booking: str, site: str = "mine.yaml") -> Plan:
    write(folder)
    path = folder / "city.yaml"
    champion = "reactive" if site.endswith("yaml") else "max-pressure"
    path.write_text(f"sites:\n  - {{site: {site}, champion: {champion}, booking: {{{booking}}}}}\n")
    return Plan.make(ServiceConfig.load(path))


@pytest.fixture
def http(tmp_path: Path) -> Any:
    gateway = plan(tmp_path, "timezone: Asia/Ho_Chi_Minh").gateway()
    yield TestClient(create_app(gateway), base_url="http://localhost")
    gateway.close()


def test_a_scenario_brings_its_vehicles_and_its_folder_keeps_the_bookings(http: TestClient, tmp_path: Path) -> None:
    site = http.get("/v1/systems").json()["systems"][0]["sites"][0]["name"]
    base = f"/v1/transit/{site}"
    assert [row["id"] for row in http.get(f"{base}/vehicles").json()["vehicles"]] == ["v1"]
    booked = http.post(f"{base}/bookings", json={"request_id": "a", "from": "a", "to": "c"})
    assert booked.status_code == 200, booked.text
    assert booked.json()["pickup"]["latest"].endswith("+07:00")
    assert (tmp_path / "bookings.db").is_file()
    assert http.get(base).json()["agents"] == ["west", "east"], "the site's own address is still its own"


def test_what_the_page_says_works_as_it_stands(tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "serving" / "booking" / "README.md").read_text()
    (config,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    ((path, body),) = re.findall(r"curl -s localhost:8000(\S+) -d '(.*)'", text)
    (tmp_path / "city.yaml").write_text(config)
    gateway = Plan.make(ServiceConfig.load(tmp_path / "city.yaml")).gateway()
    try:
        booked = TestClient(create_app(gateway), base_url="http://localhost").post(path, content=body)
        assert booked.status_code == 200, booked.text
    finally:
        gateway.close()


def test_it_is_documented(http: TestClient) -> None:
    described = http.get("/openapi.json").json()
    assert "/v1/transit/{site}/bookings/{booking}" in described["paths"]
    body = described["paths"]["/v1/transit/{site}/bookings"]["post"]["requestBody"]["content"]["application/json"]
    assert set(body["schema"]["required"]) == {"from", "to", "request_id"}
    assert "$ref" not in str(body)
    cancelled = described["paths"]["/v1/transit/{site}/bookings/{booking}"]["delete"]["parameters"]
    assert {one["name"] for one in cancelled} == {"site", "booking", "at"}, "or no generated client can say when"
    assert "bookings" in http.get("/docs").text


def test_an_address_tells_all_that_it_may_be_asked_with(http: TestClient) -> None:
    """As every other; those of booking were not among the app's own routes."""
    answer = http.put("/v1/transit/mine/bookings/x")
    assert (answer.status_code, answer.headers["allow"]) == (405, "DELETE, GET, HEAD")


def test_who_stands_in_front_of_processes_describes_their_booking() -> None:
    for books in (False, True):
        front = create_app(Front(Gateway([]), {"one": ("transit/mine",)}, books))
        described = TestClient(front, base_url="http://localhost").get("/openapi.json").json()["paths"]
        assert ("/v1/transit/{site}/bookings" in described) == books


def test_refusals_look_like_all_others(http: TestClient) -> None:
    answer = http.get("/v1/transit/nowhere/vehicles")
    assert answer.status_code == 404
    assert answer.json()["error"]["field"] == "site"
    long = http.post("/v1/transit/mine/bookings", content=b" " * 20_000)
    assert long.status_code == 413


@pytest.mark.parametrize(
    ("booking", "site", "words"),
    [
        ("", "intersections/grid2x2", "trips are booked at transit sites alone"),
        ("wings: 2", "mine.yaml", "booking at transit/mine: .*wings"),
        ("vehicles: [{id: red, at: z}]", "mine.yaml", "no corner of site"),
        ("database: 'db://me:secret@here:54x/b'", "mine.yaml", "booking at transit/mine: database: it is no URL: give"),
        ("database: 5", "mine.yaml", "booking at transit/mine: database: give text"),
    ],
)
def test_what_does_not_fit_is_one_sentence(tmp_path: Path, booking: str, site: str, words: str) -> None:
    with pytest.raises(CityloopError, match=words) as caught:
        plan(tmp_path, booking, site).gateway(restore=False)
    assert "secret" not in str(caught.value)
