"""What the console asks of the service, without a browser."""

from __future__ import annotations

import gzip
import hashlib
import re
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson
import pytest
from fastapi.testclient import TestClient

import serving.console
from envs.core.registry import get_system
from envs.core.scene import Scene
from envs.core.statistics import compare
from serving.app import create_app
from serving.build import Plan
from serving.config import ServiceConfig
from serving.console.evaluations import beside, evaluations_of
from serving.console.files import FOLDER
from serving.console.runs import curves_of, runs_of
from serving.core.gauges import gauges_of
from serving.core.refusals import NotServed, Unprocessable
from serving.core.wire import example_tick
from serving.site_files import load_site
from tests.serving.plants import client_of, grid

BASE = "/v1/intersections/grid2x2"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("console")
    # Ticks of zeros with a clock that stands still are what a test sends, and no readings that a check would believe.
    sites = [{"site": "intersections/grid2x2", "champion": "max-pressure", "checks": {"on": False}}]
    config = ServiceConfig.make({"state": folder, "audit": {"folder": folder / "audit"}, "sites": sites})
    gateway = Plan.make(config).gateway()
    with client_of(create_app(gateway), raise_server_exceptions=False) as client:
        client.app_state["audit"] = gateway.audit
        yield client
    gateway.close()


def test_the_built_page_is_of_this_source() -> None:
    here = Path(serving.console.__file__).parent
    source = hashlib.sha256()
    names = [path.relative_to(here).as_posix() for path in (here / "src").rglob("*") if path.is_file()]
    for name in sorted([*names, "package-lock.json"]):
        source.update(name.encode())
        source.update((here / name).read_bytes())
    assert (FOLDER / "source.txt").read_text().strip() == source.hexdigest(), "run: npm ci && npm run build"


def test_the_page_shows_gauges_that_the_service_tells() -> None:
    scenarios = {"intersections": "grid2x2", "drainage": "estuary", "dampers": "jansen", "transit": "hcmc"}
    for system, scenario in scenarios.items():
        source = (Path(serving.console.__file__).parent / "src" / "systems" / f"{system}.js").read_text()
        shown = re.findall(r'\{ key: "(\w+)", label:', source)
        site = load_site(f"{system}/{scenario}")
        assert shown, system
        assert set(shown) <= set(gauges_of(site, orjson.dumps(example_tick(site)))), system


def test_the_page_weighs_less_than_a_megabyte() -> None:
    assert sum(len(gzip.compress(path.read_bytes())) for path in FOLDER.iterdir()) < 1_000_000


def test_the_page_needs_nothing_from_elsewhere_and_is_not_sent_twice(client: TestClient) -> None:
    page = client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'self'" in page.headers["content-security-policy"]
    script = client.get("/console/app.js")
    assert script.headers["content-type"].startswith("text/javascript")
    again = client.get("/console/app.js", headers={"if-none-match": script.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get("/console/../app.py").status_code == 404
    assert client.get("/console/nothing.js").json()["error"]["field"] == "file"


def test_scenes_and_who_asks(client: TestClient) -> None:
    assert client.get("/v1/me").json()["grants"] == [{"role": "administer", "system": "*", "site": "*"}]
    scene = Scene.model_validate_json(client.get(f"{BASE}/scene").content)
    assert set(grid().agents) <= {mark.id for mark in scene.marks}
    assert client.get(f"{BASE}x/scene").status_code == 404


def test_the_past_is_told_as_the_stream_told_it(client: TestClient) -> None:
    for tick in range(6):
        assert client.post(f"{BASE}/act", json=example_tick(grid()) | {"tick": tick}).status_code == 200
    audit: Any = client.app_state["audit"]
    assert audit.flush()
    found = client.get(f"{BASE}/history", params={"since": 0}).json()["decisions"]
    assert [one["tick"] for one in found] == list(range(6))
    assert found[0]["request"] == example_tick(grid())
    assert {"commands", "source", "interventions", "latency_ms", "at_s"} <= set(found[0])
    assert found[0]["gauges"] == gauges_of(grid(), orjson.dumps(example_tick(grid())))
    assert found[0]["gauges"]["queue_veh"] == 0.0
    thinned = client.get(f"{BASE}/history", params={"since": 0, "limit": 3}).json()["decisions"]
    assert [one["tick"] for one in thinned] == [1, 3, 5]
    until = client.get(f"{BASE}/history", params={"since": 0, "until": found[2]["at_s"], "limit": 1}).json()
    assert [one["tick"] for one in until["decisions"]] == [2]
    for bad in ({}, {"since": "x"}, {"since": "nan"}, {"since": 0, "until": "inf"}, {"since": 0, "limit": 0}):
        refused = client.get(f"{BASE}/history", params=bad)
        assert (refused.status_code, set(refused.json()["error"])) == (422, {"field", "value", "mend"})


@pytest.mark.parametrize(
    ("method", "address", "field", "mend"),
    [
        ("GET", "intersections/grid2x2/history", "since", "it is missing: add it"),
        ("GET", "intersections/grid2x2/history?since=2h", "since", "give a finite number"),
        ("GET", "intersections/grid2x2/history?since=nan", "since", "give a finite number"),
        ("GET", "intersections/grid2x2/history?since=0&limit=0", "limit", "give at least 1"),
        ("GET", "intersections/grid2x2/history?since=0&limit=1001", "limit", "give at most 1000"),
        ("GET", "intersections/grid2x2/history?since=0&limit=x", "limit", "give a whole number"),
        ("POST", "alarms/x/acknowledge", "number", "give a whole number"),
        (
            "POST",
            "intersections/grid2x2/policies/boost",
            "verb",
            "give 'shadow', 'canary', 'promote', 'demote' or 'rollback'",
        ),
    ],
)
def test_what_an_address_cannot_ask_for_is_refused_in_our_words(
    client: TestClient, method: str, address: str, field: str, mend: str
) -> None:
    answer = client.request(method, f"/v1/{address}")
    error = answer.json()["error"]
    assert (answer.status_code, error["field"], error["mend"]) == (422, field, mend)


@pytest.mark.parametrize(("most", "first"), [(3, 3), (6, 0), (7, None)])
def test_the_past_says_from_when_on_it_is(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, most: int, first: int | None
) -> None:
    """Nothing was said of the beginning, which was not read."""
    begin_s = time.time()
    for tick in range(6):
        body = example_tick(grid()) | {"tick": tick, "episode": f"until {most}"}
        assert client.post(f"{BASE}/act", json=body).status_code == 200
    audit: Any = client.app_state["audit"]
    assert audit.flush()
    monkeypatch.setattr("serving.console.past.READ", most)
    found = client.get(f"{BASE}/history", params={"since": begin_s}).json()
    at_s = {one["tick"]: one["at_s"] for one in found["decisions"]}
    assert list(at_s) == list(range(first or 0, 6))
    assert found["since"] == (begin_s if first is None else at_s[first])


def test_telemetry_is_checked(client: TestClient) -> None:
    told = {"time_s": 5.0, "things": [{"id": "bus", "x": 1.0, "y": 2.0}]}
    assert client.post(f"{BASE}/telemetry", json=told).status_code == 204
    assert client.post(f"{BASE}/telemetry", json=told | {"colour": "red"}).status_code == 422
    many = [{"id": str(k), "x": 0.0, "y": 0.0} for k in range(2001)]
    assert client.post(f"{BASE}/telemetry", json=told | {"things": many}).json()["error"]["field"] == "things"


def test_an_alarm_that_is_not_there_cannot_be_acknowledged(client: TestClient) -> None:
    assert client.get("/v1/alarms").json() == {"alarms": [], "rate": 0, "course": [0]}
    assert client.post("/v1/alarms/7/acknowledge").status_code == 404
    assert client.post("/v1/alarms/x/acknowledge").json()["error"]["field"] == "number"


def test_runs_are_read_as_they_are_written(tmp_path: Path) -> None:
    run = tmp_path / "night" / "one"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text(
        "command: cityloop train\nalgorithm: PPO\nscenarios:\n- system: dampers\n  name: jansen\n  more: 1\n"
    )
    rows = ["iteration,agent_steps,elapsed_s,tag,value", "1,10,1.0,eval/score,0.9", "2,20,2.0,eval/score,0.8"]
    rows += ["2,20,2.0,eval/j,0.5", "2,20,2.0,baseline/lqg/j,0.6", "2,20,2.0,train/loss,3"]
    (run / "metrics.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "config.yaml").write_text("scen")
    for name, text in (("empty", ""), ("foreign", "- a\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(text)
        (tmp_path / name / "metrics.csv").write_text("iteration,agent_steps,elapsed_s,tag,value\n")
    (found,) = runs_of(tmp_path)
    assert (found["name"], found["scenarios"], found["updates"], found["best"]) == (
        "night/one",
        ["dampers/jansen"],
        2,
        0.8,
    )
    curves = curves_of(tmp_path, "night/one")["curves"]
    assert curves == {"eval/score": {"x": [10, 20], "y": [0.9, 0.8]}, "eval/j": {"x": [20], "y": [0.5]}}
    with pytest.raises(NotServed):
        curves_of(tmp_path, "../night/one")
    for half in ("3", "3,30", "3,30,3.0,eval/score", "3,30,3.0,eval/score,", "\0" * 200_000, "\udcff"):
        (run / "metrics.csv").write_text("\n".join([*rows, half]), errors="surrogateescape")
        assert curves_of(tmp_path, "night/one")["curves"] == curves
        assert runs_of(tmp_path) == [found | {"written_s": (run / "metrics.csv").stat().st_mtime}]


@pytest.mark.parametrize("points", [1, 399, 400, 401, 1199])
def test_a_curve_that_is_thinned_ends_at_its_newest_point(tmp_path: Path, points: int) -> None:
    run = tmp_path / "one"
    run.mkdir()
    (run / "config.yaml").write_text("algorithm: PPO\n")
    rows = [f"{k},{k},1.0,eval/score,0.5" for k in range(points)]
    (run / "metrics.csv").write_text("\n".join(["iteration,agent_steps,elapsed_s,tag,value", *rows]) + "\n")
    steps = curves_of(tmp_path, "one")["curves"]["eval/score"]["x"]
    assert steps[-1] == points - 1
    assert points / 3 <= len(steps) <= 400


def evaluation(folder: Path, name: str, values: dict[str, list[float | None]], hash_: str = "ab") -> None:
    """What `cityloop evaluate` leaves, as far as it is read."""
    (folder / name).mkdir(parents=True)
    controllers = {
        controller: {
            "median": 1.0,
            "p90": 2.0,
            "worst": 3.0,
            "failures": 0,
            "rows": [{"seed": seed, "delay_s": value} for seed, value in enumerate(reached)],
        }
        for controller, reached in values.items()
    }
    content = {"scenario": "intersections/x", "label": "x", "hash": hash_, "split": "test", "kpi": "delay_s"}
    seeds = list(range(max(map(len, values.values()))))
    (folder / name / "evaluation.json").write_bytes(
        orjson.dumps(content | {"seeds": seeds, "controllers": controllers})
    )


def test_two_controllers_are_compared_on_the_seeds_that_both_have_met(tmp_path: Path) -> None:
    evaluation(tmp_path, "a/one", {"policy": [1.0, 2.0, 3.0, None, 5.0]})
    evaluation(tmp_path, "two", {"fixed": [2.0, 2.5, 4.0, 5.0], "other": [1.0]})
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "evaluation.json").write_text("{")
    (tmp_path / "gone").mkdir()
    (tmp_path / "gone" / "evaluation.json").symlink_to("nowhere")
    assert {one["name"]: set(one["controllers"]) for one in evaluations_of(tmp_path)} == {
        "a/one": {"policy"},
        "two": {"fixed", "other"},
    }
    found = beside(tmp_path, ("a/one", "policy"), ("two", "fixed"))
    assert found["seeds"] == [0, 1, 2]
    assert found["first"] == {"median": 2.0, "mean": 2.0, "p90": 2.8, "worst": 3.0, "values": [1.0, 2.0, 3.0]}
    assert (found["paired"]["difference"], found["paired"]["wins"]) == (-1.0, 3)
    assert found["paired"]["low"] <= -1.0 <= found["paired"]["high"] < 0


def test_a_comparison_is_that_of_the_evaluation(tmp_path: Path) -> None:
    """A puddle beside a dry street is no failure, and an episode that is void counts for neither of the two."""
    spills = {"fixed": [(4.0, 0.0), (100.0, 0.0), (900.0, 0.0)], "policy": [(0.0, 0.0), (90.0, 0.0), (0.0, 1.0)]}
    controllers = {
        name: {"rows": [{"seed": k, "controllable_m3": m3, "invalid": void} for k, (m3, void) in enumerate(reached)]}
        for name, reached in spills.items()
    }
    content = {"scenario": "drainage/estuary", "hash": "ab", "split": "test", "kpi": "controllable_m3"}
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "evaluation.json").write_bytes(orjson.dumps(content | {"controllers": controllers}))
    found = beside(tmp_path, ("one", "fixed"), ("one", "policy"))
    assert (found["seeds"], found["second"]["values"]) == ([0, 1], [0.0, 90.0])
    assert found["paired"] == asdict(compare([4.0, 100.0], [0.0, 90.0], get_system("drainage").negligible))
    assert found["paired"]["ratio"] == pytest.approx((1.0 + 100 / 90) / 2)


def test_what_cannot_be_compared_is_refused_in_words(tmp_path: Path) -> None:
    evaluation(tmp_path, "one", {"policy": [1.0], "dead": [None]})
    evaluation(tmp_path, "two", {"fixed": [2.0]}, "cd")
    rows = '{"controllers": {"fixed": {"rows": [{"seed": 0, "delay_s": 1.0}]}}'
    about = ', "scenario": "intersections/x", "hash": "ab", "split": "test"'
    for name, text in (
        ("half", "{"),
        ("foreign", '{"controllers": {"fixed": {}}}'),
        ("nameless", rows + "}"),
        ("aimless", rows + about + ', "kpi": "wait_s"}'),
        ("wordy", rows.replace("1.0", '"long"') + about + ', "kpi": "delay_s"}'),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "evaluation.json").write_text(text)
    for second, refusal, field in (
        (("two", "fixed"), Unprocessable, "hash"),
        (("one", "dead"), Unprocessable, "seeds"),
        (("one", "nobody"), NotServed, "controller"),
        (("half", "fixed"), NotServed, "evaluation"),
        (("foreign", "fixed"), NotServed, "evaluation"),
        (("nameless", "fixed"), NotServed, "evaluation"),
        (("aimless", "fixed"), NotServed, "evaluation"),
        (("wordy", "fixed"), NotServed, "evaluation"),
        (("../one", "policy"), NotServed, "evaluation"),
    ):
        with pytest.raises(refusal) as caught:
            beside(tmp_path, ("one", "policy"), second)
        assert caught.value.content()["error"]["field"] == field


def test_runs_and_evaluations_have_addresses_of_their_own(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    evaluation(tmp_path / "runs", "one", {"policy": [1.0, 2.0], "fixed": [2.0, 3.0]})
    assert [one["name"] for one in client.get("/v1/evaluations").json()["evaluations"]] == ["one"]
    query = {"first": "one", "controller": "policy", "second": "one", "beside": "fixed"}
    assert client.get("/v1/evaluations/beside", params=query).json()["paired"]["wins"] == 2
    refused = client.get("/v1/evaluations/beside", params=query | {"second": "two"})
    assert (refused.status_code, refused.json()["error"]["field"]) == (404, "evaluation")
    assert client.get("/v1/runs").json() == {"folder": "runs", "tensorboard": None, "runs": []}
    assert client.get("/v1/runs/one").json()["error"]["field"] == "run"


def test_bundles_that_ship_are_listed(client: TestClient) -> None:
    refs = {one["ref"] for one in client.get("/v1/bundles").json()["bundles"]}
    assert {"generalist", "gates", "jansen"} <= refs
