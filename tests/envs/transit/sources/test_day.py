"""Zones: where their idle vehicles stand."""

import pytest

from envs.transit.site import Node, Road
from envs.transit.sources.day import zones_of

X_M = 0.0, 500.0, 1000.0, 1400.0
"""Four stops in a row, 725 m their middle."""


def stands(x_m, ways, zone=0):
    """Stands of a town with two-way streets between the stops, another stop, and one-way streets."""
    zones = [0] * len(X_M) + [zone]
    nodes = tuple(
        Node(id=str(k), x_m=x, y_m=0.0, zone=z) for k, (x, z) in enumerate(zip((*X_M, x_m), zones, strict=True))
    )
    row = [(a, b) for k in range(3) for a, b in ((k, k + 1), (k + 1, k))]
    roads = tuple(Road(start=a, end=b, seconds=60.0, metres=500.0) for a, b in row + ways)
    return [one.stand for one in zones_of(["a", "b"][: zone + 1], nodes, roads)]


@pytest.mark.parametrize(
    ("x_m", "ways", "stand"),
    [
        (725.0, [(2, 4), (4, 2)], 4),
        (725.0, [(2, 4)], 1),  # vehicles would never leave it
        (725.0, [(4, 2)], 1),  # or never reach it
        (725.0, [], 1),
        (9000.0, [], 1),  # nor does it move the middle
    ],
)
def test_idle_vehicles_stand_where_they_can_come_and_go(x_m, ways, stand):
    assert stands(x_m, ways) == [stand]


def test_a_zone_whose_only_stop_is_a_dead_end_has_no_stand():
    assert stands(1500.0, [(3, 4)], zone=1) == [1, -1]
    assert stands(1500.0, [(3, 4), (4, 3)], zone=1) == [1, 4]
