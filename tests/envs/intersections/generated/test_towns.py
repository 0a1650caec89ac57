"""Generated towns: a number decides everything, no two are alike, and traffic runs in them."""

import pytest

from agents import make_controller
from envs import load_scenario
from envs.core.env import make_loop
from envs.intersections.generated.towns import generated_town
from envs.intersections.network.read import load_site
from envs.intersections.scenarios import TOWNS


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CITYLOOP_CACHE", str(tmp_path))


def town(number):
    return load_site(load_scenario(f"intersections/town{number}"))


def test_the_number_decides_everything(tmp_path, monkeypatch):
    made = []
    for folder in ("first", "again"):
        monkeypatch.setenv("CITYLOOP_CACHE", str(tmp_path / folder))
        made.append([file.read_bytes() for file in generated_town(4)])
    assert made[0] == made[1]


def test_towns_differ_and_have_what_the_maps_lack(cache):
    sites = [town(number) for number in range(1, len(TOWNS) + 1)]
    assert len({len(site.approaches) for site in sites}) > 3
    stages = {len(junction.stages) for site in sites for junction in site.junctions}
    assert {2, 3, 4} <= stages
    lengths = [approach.length_m for site in sites for approach in site.approaches]
    assert min(lengths) < 60
    assert max(lengths) == 150


def test_traffic_comes_through(cache):
    scenario = load_scenario("intersections/town5", duration_s=300)
    loop = make_loop(scenario)
    try:
        controller = make_controller("greedy", loop.site)
        loop.reset(scenario.seeds.validation.first)
        step = loop.step(controller.act(loop.readings, loop.observation))
        while not step.done:
            step = loop.step(controller.act(loop.readings, loop.observation))
        assert step.kpis["throughput_veh"] > 50
        assert step.kpis["undeparted_veh"] < 5
        assert step.kpis["emergency_stops"] == 0
    finally:
        loop.close()
