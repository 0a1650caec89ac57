"""The network as the simulator has it: whose vehicles are whose, and who stands in the middle of a junction."""

from types import SimpleNamespace

import numpy as np
import pytest

from envs.core.env import make_loop
from envs.intersections.detection import Vehicles
from envs.intersections.network.roads import Roads
from tests.envs.intersections.small import junction, movement, site

LINKS = {
    "in0": [("out0", ":J_0")],
    "in1": [("out1", ":K_0")],
    ":J_0": [("out0", "")],
    ":K_0": [("out1", ":K_1")],  # a path in two pieces, with room to wait between them
    ":K_1": [("out1", "")],
    "out0": [("in1", "")],
    "out1": [],
    "fork": [("in0", ""), ("in1", ""), ("out1", ""), ("out1b", "")],
    "out1b": [],
    "round": [("round", ""), ("in0", "")],
    "circle": [("elcric", "")],
    "elcric": [("circle", "")],
}


@pytest.fixture
def roads():
    """Two junctions in a row, J then K, with side streets of every kind."""
    first, second = junction(("G", "r"), [movement(0)]), junction(("G", "r"), [movement(1)])
    both = (first, second.model_copy(update={"id": "K"}))
    place = site(junction(("Gr", "rG"), [movement(0), movement(1)])).model_copy(update={"junctions": both})
    lanes = SimpleNamespace(
        getIDList=lambda: list(LINKS),
        getMaxSpeed=lambda lane: 13.9,
        getLinks=lambda lane: [(to, True, True, False, via, "", "", 1.0) for to, via in LINKS[lane]],
    )
    crossing = {"J": [[("in0", "out0", ":J_0")]], "K": [[("in1", "out1", ":K_0")]]}
    lights = SimpleNamespace(getControlledLinks=crossing.get)
    return Roads(place, SimpleNamespace(lane=lanes, trafficlight=lights), ["in0"])


def owner(roads, lane):
    return pytest.approx(list(roads.owner[roads.index[lane]]), abs=1e-6)


def test_a_lane_belongs_to_the_junction_that_comes_next(roads):
    assert next(iter(roads.index)) == "in0"
    assert owner(roads, "in0") == [1, 0]
    assert owner(roads, "in1") == [0, 1]
    assert owner(roads, ":J_0") == [0, 1], "past the stop line of J, K is next"
    assert owner(roads, "out0") == [0, 1]


def test_lanes_out_of_town_belong_to_none(roads):
    for lane in (":K_0", ":K_1", "out1", "out1b"):
        assert owner(roads, lane) == [0, 0]


def test_every_way_ahead_has_an_equal_share(roads):
    assert owner(roads, "fork") == [0.25, 0.25]


def test_streets_that_run_in_circles(roads):
    assert owner(roads, "round") == [1, 0], "whoever goes round leaves some day, and only towards J"
    assert owner(roads, "circle") == [0, 0]


def test_the_lanes_across_a_junction_are_known_by_approach(roads):
    across = {lane: int(roads.inside[k]) for lane, k in roads.index.items() if roads.inside[k] >= 0}
    assert across == {":J_0": 0, ":K_0": 1, ":K_1": 1}


def test_an_edge_has_the_mean_of_its_lanes(roads):
    roads.index["side_0"], roads.index["side_1"] = roads.index["in0"], roads.index["in1"]
    sumo = SimpleNamespace(edge=SimpleNamespace(getLaneNumber=lambda edge: 2))
    assert roads.owner_of_edge("side", sumo).tolist() == [0.5, 0.5]


def test_who_stands_in_the_middle_is_told_by_approach():
    """On a real network: one standing and one moving vehicle on every path across every junction."""
    import libsumo

    loop = make_loop("intersections/grid2x2", duration_s=60)
    ids = [approach.id for approach in loop.site.approaches]
    try:
        loop.reset(1)
        links = [link for name in loop.site.agents for link in libsumo.trafficlight.getControlledLinks(name)]
        paths = [path for link in links for path in link]
        piece = np.array([loop.world._detection._roads.index[via] for _, _, via in paths])
    finally:
        loop.close()
    inside = loop.world._detection.inside
    nothing = np.zeros(2 * len(piece))
    speed = np.concatenate([np.zeros(len(piece)), np.full(len(piece), 3.0)])
    expected = np.bincount([ids.index(lane) for lane, _, _ in paths], minlength=len(ids))
    np.testing.assert_array_equal(inside(Vehicles(np.tile(piece, 2), nothing, speed, nothing)), expected)
    still = np.zeros(len(ids))
    before = np.array([loop.world._detection._roads.index[lane] for lane in ids])
    assert not inside(Vehicles(before, still, still, still)).any(), "before the stop line nobody is inside"
