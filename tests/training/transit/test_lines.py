"""Fixed lines on a street, compared with hand calculations."""

import numpy as np
import pytest

from envs import load_scenario
from tests.envs.transit.small import three_zones
from training.transit.lines import STOP_S, WALK_DETOUR, WALK_MS, compare, design

PACE = WALK_DETOUR / WALK_MS


def test_one_street_has_one_line():
    site = three_zones()  # six corners, a minute and 500 m apart
    trips = np.zeros((6, 6))
    trips[0, 5] = trips[5, 0] = 10
    lines = design(site, trips, 4, 1.0)
    assert lines.routes == ((0, 1, 2, 3, 4, 5),)
    cycle = 2 * (300 + 6 * STOP_S)
    assert lines.headway_s == cycle / 4
    assert lines.door_s[0, 5] == pytest.approx(lines.headway_s / 2 + 300 + 5 * STOP_S)
    assert lines.door_s[0, 1] == pytest.approx(min(500 * PACE, lines.headway_s / 2 + 60 + STOP_S))


def test_who_lives_next_door_walks_if_the_line_is_rare():
    site = three_zones()
    trips = np.zeros((6, 6))
    trips[0, 5] = 1
    lines = design(site, trips, 1, 0.5)
    assert lines.headway_s == 2 * (600 + 6 * STOP_S)
    assert lines.door_s[2, 3] == 500 * PACE
    assert (lines.door_s <= lines.walk_s).all()


def test_a_town_of_two_stops_has_one_line_at_most():
    site = three_zones()
    nodes = tuple(node.model_copy(update={"stop": k in (0, 5)}) for k, node in enumerate(site.nodes))
    trips = np.zeros((6, 6))
    trips[0, 5] = 50
    assert design(site.model_copy(update={"nodes": nodes}), trips, 8, 1.0).routes == ((0, 1, 2, 3, 4, 5),)


def test_a_change_of_lines_waits_twice():
    from training.transit.lines import _connected

    single = np.array([[0.0, 10.0, 99.0], [10.0, 0.0, 20.0], [99.0, 20.0, 0.0]])
    walk = np.full((3, 3), 80.0)
    assert _connected(single, walk)[0, 2] == 30.0


def test_lines_and_the_fleet_are_compared_on_the_same_days():
    found = compare(load_scenario("transit/hcmc", duration_s=3600.0), 1)
    assert found["lines"] >= 1
    assert 0 < found["headway_min"] < 60
    assert found["line_min"] > 5
    assert 80 < found["served_pct"] <= 100
