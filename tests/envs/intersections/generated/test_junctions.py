"""Generated single junctions: a number decides everything, no two are alike, and they are nearly full."""

import pytest

from agents import make_controller
from envs import load_scenario
from envs.core.env import make_loop
from envs.intersections.generated.junctions import WITH_CROSSINGS, generated_junction
from envs.intersections.network.read import load_site
from envs.intersections.scenarios import JUNCTIONS


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CITYLOOP_CACHE", str(tmp_path))


def junction(number):
    (one,) = load_site(load_scenario(f"intersections/junction{number}")).junctions
    return one


def test_the_number_decides_everything(tmp_path, monkeypatch):
    made = []
    for folder in ("first", "again"):
        monkeypatch.setenv("CITYLOOP_CACHE", str(tmp_path / folder))
        made.append([file.read_bytes() for file in generated_junction(4)])
    assert made[0] == made[1]


def test_junctions_differ_and_some_have_crossings(cache):
    all_ = [junction(number) for number in range(1, len(JUNCTIONS) + 1)]
    assert {2, 4, 5} <= {len(one.stages) for one in all_}
    assert len({len(one.approaches) for one in all_}) > 4
    crossings = [any(movement.crossing for movement in one.movements) for one in all_]
    assert crossings == [number % WITH_CROSSINGS == 0 for number in range(1, len(JUNCTIONS) + 1)]


def test_traffic_comes_through_and_fills_the_junction(cache):
    scenario = load_scenario("intersections/junction10")
    loop = make_loop(scenario)
    try:
        controller = make_controller("actuated", loop.site)
        loop.reset(scenario.seeds.validation.first, controller.program)
        step = loop.step(None)
        standing = []
        while not step.done:
            step = loop.step(None)
            standing.append(loop.readings["queue_veh"].mean())
        assert step.kpis["throughput_veh"] > 500
        assert step.kpis["emergency_stops"] == 0
        assert sum(standing) / len(standing) > 3.0, "vehicles stand on every approach, in the mean over time"
    finally:
        loop.close()
