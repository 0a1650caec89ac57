"""A plant that asks the service for every tick: the same as in process, whatever the wire does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from fastapi import FastAPI, Request, Response

from agents import make_controller
from agents.policy import Policy
from envs import CityloopError, get_system, load_scenario
from envs.core.env import make_loop
from envs.core.scenario import Scenario
from envs.core.site import Site
from envs.core.world import Controller
from serving.client.control import control
from serving.cluster.ports import free_ports
from tests.serving.bundles import bundle
from tests.serving.plants import GRID, Stub, app_of, served, service

SHORT = 150.0
"""Seconds of the episodes here: 30 ticks."""


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return load_scenario(GRID, duration_s=SHORT)


def in_process(scenario: Scenario, controller: Controller, seed: int) -> tuple[dict[str, float], list[list[int]]]:
    loop = make_loop(scenario)
    try:
        controller.reset()
        loop.reset(seed, controller.program)
        commands = []
        while True:
            step = loop.step(
                None if controller.program is not None else controller.act(loop.readings, loop.observation)
            )
            if step.commands is not None:
                commands.append(step.commands.tolist())
            if step.done:
                return step.kpis, commands
    finally:
        loop.close()


def site_of(scenario: Scenario) -> Site:
    return get_system(scenario.system).load_site(scenario)


@contextmanager
def serving(controller: Controller | str, scenario: Scenario, deadline_ms: float = 5000.0) -> Iterator[str]:
    site = site_of(scenario)
    chosen = make_controller(controller, site) if isinstance(controller, str) else controller
    one = service(site, chosen, deadline_ms=deadline_ms)
    with served(app_of(one), free_ports(1)[0]) as url:
        yield url


@pytest.mark.parametrize(
    ("ref", "name", "duration_s", "ticks"),
    [("drainage/astlingen", "law", 9000, 30), ("transit/hcmc", "coverage", 1800, 30)],
)
def test_settings_over_the_wire_as_in_process(ref: str, name: str, duration_s: float, ticks: int) -> None:
    """Commands that are numbers, one an agent or several, of systems whose sensors are other ones."""
    scenario = load_scenario(ref, duration_s=duration_s)
    with serving(name, scenario) as url:
        result = control(scenario, url, seed=3, deadline_ms=30_000)
    kpis, commands = in_process(scenario, make_controller(name, site_of(scenario)), seed=3)
    assert (result["answered"], result["guard_changes"]) == (ticks, 0)
    assert result["kpis"] == kpis
    assert result["commands"] == commands
    assert commands[0] != commands[-1]


@pytest.mark.parametrize("name", ["max-pressure", "greedy", "fixed", "bundle"])
def test_over_the_wire_as_in_process(scenario: Scenario, name: str, tmp_path: Path) -> None:
    site = site_of(scenario)
    controller = Policy.load(bundle(tmp_path / "tiny")) if name == "bundle" else make_controller(name, site)
    with serving(controller, scenario) as url:
        result = control(scenario, url, seed=3, deadline_ms=30_000)
    kpis, commands = in_process(scenario, controller, seed=3)
    assert result["kpis"] == kpis
    assert result["commands"] == commands
    assert (result["ticks"], result["answered"], result["local_fallback"]) == (30, 30, 0)
    assert (result["seed"], result["scenario"], result["hash"]) == (3, GRID, scenario.hash)
    assert (result["guard_changes"], result["service_fallback"], result["late"]) == (0, 0, 0)
    assert 0 < result["latency_ms"]["median"] <= result["latency_ms"]["p99"]


@pytest.mark.slow
def test_a_real_map_over_the_wire_as_in_process() -> None:
    scenario = load_scenario("intersections/cologne8")
    with serving("max-pressure", scenario) as url:
        result = control("intersections/cologne8", url, deadline_ms=30_000)
    kpis, commands = in_process(scenario, make_controller("max-pressure", site_of(scenario)), seed=0)
    assert (result["kpis"], result["commands"]) == (kpis, commands)
    assert result["answered"] == result["ticks"] == 720


def test_sensors_with_faults_go_over_the_wire_too() -> None:
    scenario = load_scenario(GRID, duration_s=SHORT, sensors__noise=0.5, sensors__dropout=0.3)
    with serving("max-pressure", scenario) as url:
        result = control(scenario, url, seed=1, deadline_ms=30_000)
    kpis, commands = in_process(scenario, make_controller("max-pressure", site_of(scenario)), seed=1)
    assert (result["kpis"], result["commands"]) == (kpis, commands)
    assert result["local_fallback"] == 0


def test_the_services_own_fallback_is_counted(scenario: Scenario) -> None:
    stub = Stub()
    with serving(stub, scenario) as url:
        stub.then = lambda readings, observation: 1 / 0  # type: ignore[assignment, return-value]
        result = control(scenario, url, deadline_ms=30_000)
    assert (result["service_fallback"], result["answered"]) == (30, 30)


@contextmanager
def mangled(scenario: Scenario, mangle: Any) -> Iterator[str]:
    """A service whose answers are tampered with on the way: ``mangle(k, answer) -> Response``."""
    site = site_of(scenario)
    one = service(site)
    honest, app, asked = app_of(one), FastAPI(), iter(range(10**6))

    @app.post("/v1/intersections/grid2x2/act")
    async def act(request: Request) -> Response:
        answer = await one.act_async(await request.body())
        return mangle(next(asked), answer)  # type: ignore[no-any-return]

    app.mount("/", honest)
    with served(app, free_ports(1)[0]) as url:
        yield url


def reply(content: Any, status: int = 200) -> Response:
    return Response(content if isinstance(content, bytes) else orjson.dumps(content), status)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda a: reply(b"{"), "unexpected end of data"),
        (lambda a: reply([]), "status 200"),
        (lambda a: reply(a, 500), "status 500"),
        (lambda a: reply({"error": {"field": "x", "value": 1, "mend": "y"}}, 422), "x is 1: y"),
        (lambda a: reply(a | {"tick": a["tick"] + 1}), "it is for tick"),
        (lambda a: reply(a | {"time_s": -1.0}), "it is for tick"),
        (lambda a: reply(a | {"commands": None}), "not one an agent"),
        (lambda a: reply(a | {"commands": {}}), "not one an agent"),
        (lambda a: reply(a | {"commands": dict.fromkeys(a["commands"], 3)}), "not all numbers"),
        (lambda a: reply(a | {"commands": {key: {"stage": None} for key in a["commands"]}}), "not all numbers"),
        (lambda a: reply(a | {"commands": {key: {"program": "fixed"} for key in a["commands"]}}), "not all numbers"),
        (lambda a: reply(a | {"commands": {key: {"stage": 77} for key in a["commands"]}}), "local guard"),
    ],
)
def test_an_answer_that_cannot_be_used_is_replaced(scenario: Scenario, change: Any, reason: str) -> None:
    """Every third answer is spoilt. The local fallback is the same rule, so the plant does not notice."""
    with mangled(scenario, lambda k, answer: change(answer) if k % 3 == 1 else reply(answer)) as url:
        result = control(scenario, url, deadline_ms=30_000, after=1, back=1)
    assert (result["answered"], result["held"], result["local_fallback"]) == (20, 0, 10)
    assert all(reason in text for text in result["reasons"])
    assert result["commands"] == in_process(scenario, make_controller("max-pressure", site_of(scenario)), 0)[1]
    assert (result["guard_changes"] > 0) == (reason == "local guard")


def test_a_late_answer_is_replaced() -> None:
    """Every question hangs: nobody waits for it, nor does the next one wait for those before."""
    scenario, app = load_scenario(GRID, duration_s=25), FastAPI()

    @app.post("/v1/intersections/grid2x2/act")
    async def act() -> None:
        await asyncio.Event().wait()

    app.mount("/", app_of(service(site_of(scenario))))
    with served(app, free_ports(1)[0]) as url:
        result = control(scenario, url, deadline_ms=20)
    assert result["late"] == result["local_fallback"] == 5
    assert result["latency_ms"] == {"median": None, "p99": None}


def test_the_service_decides_again_when_it_is_back(scenario: Scenario) -> None:
    site = site_of(scenario)
    app, port, sources = app_of(service(site)), free_ports(1)[0], []
    with ExitStack() as first, ExitStack() as second:

        def on_tick(tick: int, info: dict[str, Any]) -> None:
            sources.append(info["source"])
            if tick == 9:
                first.close()
            if tick == 19:
                second.enter_context(served(app, port))

        url = first.enter_context(served(app, port))
        result = control(scenario, url, on_tick=on_tick, deadline_ms=30_000)
    assert sources == ["service"] * 10 + ["held"] + ["local fallback"] * 11 + ["service"] * 8
    assert (result["answered"], result["held"], result["local_fallback"]) == (18, 1, 11)


def test_misses_that_count_at_once_leave_no_trace(scenario: Scenario) -> None:
    """With the same rule on both sides and no hysteresis the plant does not notice who decides."""
    rule = make_controller("max-pressure", site_of(scenario))
    with mangled(scenario, lambda k, answer: reply(b"") if k % 4 > 1 else reply(answer)) as url:
        result = control(scenario, url, deadline_ms=30_000, after=1, back=1)
    assert result["commands"] == in_process(scenario, rule, 0)[1]


def test_no_service_or_another_site_is_one_sentence(scenario: Scenario) -> None:
    with pytest.raises(CityloopError, match="no service answers"):
        control(scenario, f"http://127.0.0.1:{free_ports(1)[0]}")
    for url in ("cologne8", "http://127.0.0.1:80O0", "ws://[::1", "http://127.0.0.1:80000", "http://", "http://a..b"):
        with pytest.raises(CityloopError, match="give an address"):
            control(scenario, url)
    with serving("max-pressure", scenario) as url:
        with pytest.raises(CityloopError, match="does not serve"):
            control("intersections/cologne1", url)
        with pytest.raises(CityloopError, match="is another than this plant's"):
            control(load_scenario(GRID, duration_s=SHORT, regime="resco"), url)
