"""Scenes: they derive from sites alone, and do not affect the meaning of commands."""

from __future__ import annotations

import numpy as np
import pytest

from envs.core.env import make_loop
from envs.core.registry import get_system, load_scenario
from envs.core.scene import Scene

PLACES = ("intersections/cologne3", "drainage/astlingen", "drainage/estuary", "dampers/jansen", "transit/hcmc")


@pytest.mark.parametrize("ref", PLACES)
def test_every_agent_is_drawn_and_every_identifier_is_on_its_axis(ref: str) -> None:
    scenario = load_scenario(ref)
    system = get_system(scenario.system)
    site = system.load_site(scenario)
    scene = system.make_scene(system.site_class.model_validate_json(site.model_dump_json()))
    for mark in scene.marks:
        if mark.id:
            assert mark.id in site.axes[scene.axes[mark.kind]]
    assert set(site.agents) <= {mark.id for mark in scene.marks}
    assert Scene.model_validate_json(scene.model_dump_json()) == scene


def test_a_signal_site_without_shapes_is_the_same_site_and_still_shows_its_junctions() -> None:
    site = get_system("intersections").load_site(load_scenario("intersections/cologne3"))
    bare = site.model_copy(
        update={
            "streets": (),
            "approaches": tuple(a.model_copy(update={"shape": ()}) for a in site.approaches),
            "exits": tuple(e.model_copy(update={"shape": ()}) for e in site.exits),
            "junctions": tuple(j.model_copy(update={"place": None}) for j in site.junctions),
        }
    )
    assert bare.hash == site.hash
    scene = get_system("intersections").make_scene(bare)
    assert [mark.id for mark in scene.marks] == list(site.agents)


def test_movements_lead_from_their_lane_to_where_they_go() -> None:
    site = get_system("intersections").load_site(load_scenario("intersections/cologne3"))
    scene = get_system("intersections").make_scene(site)
    ends = {approach.shape[-1] for approach in site.approaches}, {out.shape[0] for out in site.exits}
    paths = [mark.points for mark in scene.marks if mark.kind == "movement"]
    assert paths
    assert all(path[0] in ends[0] and path[-1] in ends[1] for path in paths)


def test_a_network_without_coordinates_is_drawn_in_a_row() -> None:
    system = get_system("drainage")
    site = system.load_site(load_scenario("drainage/astlingen")).model_copy(update={"nodes": (), "links": ()})
    drawn = {mark.id for mark in system.make_scene(site).marks}
    assert drawn == {*site.agents, *site.axes["tank"]}


@pytest.mark.parametrize("ref", ["intersections/cologne1", "transit/hcmc"])
def test_what_moves_about_is_within_the_scene(ref: str) -> None:
    loop = make_loop(ref)
    try:
        loop.reset(1)
        for _ in range(12):
            loop.step(np.zeros((len(loop.site.agents), 2)) if ref.startswith("transit") else np.zeros(1))
        things = loop.world.things()
        assert things
        assert len({thing.id for thing in things}) == len(things)
        marks = loop.system.make_scene(loop.site).marks
        xs, ys = zip(*(point for mark in marks for point in mark.points), strict=True)
        assert all(min(xs) - 50 <= t.x <= max(xs) + 50 and min(ys) - 50 <= t.y <= max(ys) + 50 for t in things)
    finally:
        loop.close()
