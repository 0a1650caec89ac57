"""Where vehicles stand by, beside the same in plain Python and by hand."""

import numpy as np
import pytest

from envs.transit.readings import READINGS
from envs.transit.standby import NEAREST, StandbyModel, stand_by
from envs.transit.targets import standby
from tests.envs.transit.small import READ, three_zones

LINE = 120.0 * np.abs(np.subtract.outer(np.arange(4), np.arange(4)))
"""Four zones in a row, two minutes from one to the next."""


def expected_s(share, vehicles, way_s, taken):
    """The wait to be expected; vehicles are pairs of zone and seconds."""
    total_s = 0.0
    for zone, part in enumerate(share):
        near = sorted(late_s + way_s[at, zone] for at, late_s in vehicles)[:NEAREST]
        total_s += part * sum((1 - taken) * taken**k * near_s for k, near_s in enumerate(near))
        total_s += part * sum((1 - taken) * taken**k * 3600.0 for k in range(len(near), NEAREST))
    return total_s


def plainly(demand, idle, coming, coming_s, way_s, r):
    """`stand_by` by trying every move."""
    share, zones = demand / demand.sum(), range(len(demand))
    vehicles = [(a, 0.0) for a in zones for _ in range(idle[a])]
    unmoved = set(range(len(vehicles)))
    vehicles += [(a, r.busy * coming_s[a]) for a in zones for _ in range(coming[a])]
    while True:
        tried = [(expected_s(share, vehicles, way_s, r.taken) - r.least_s, None, None)]
        for v in sorted(unmoved):
            at = vehicles[v][0]
            for b in zones:
                if b != at:
                    others = [*vehicles[:v], (b, r.moving * way_s[at, b]), *vehicles[v + 1 :]]
                    tried.append((expected_s(share, others, way_s, r.taken), v, b))
        _, v, b = min(tried, key=lambda found: found[0])
        if v is None:
            break
        vehicles[v] = b, r.moving * way_s[vehicles[v][0], b]
        unmoved.remove(v)
    return np.bincount([at for at, _ in vehicles[: int(idle.sum())]], minlength=len(demand))


@pytest.mark.parametrize("seed", range(12))
def test_every_move_is_the_best_of_all(seed):
    rng = np.random.default_rng(seed)
    way_s = rng.uniform(60, 900, (5, 5)) * (1 - np.eye(5))
    demand, idle, coming = rng.uniform(0.1, 9, 5), rng.integers(0, 4, 5), rng.integers(0, 2, 5)
    coming_s, model = rng.uniform(0, 600, 5), StandbyModel(*rng.uniform(0.1, 0.6, 3), least_s=1.0)
    found = stand_by(demand, idle, coming, coming_s, way_s, model)
    assert found.tolist() == plainly(demand, idle, coming, coming_s, way_s, model).tolist()


def test_nobody_moves_for_nothing():
    none = np.zeros(4)
    assert stand_by(np.array([1, 1, 0, 0.0]), np.array([1, 1, 0, 0]), none.astype(int), none, LINE).tolist() == [
        *(1, 1, 0, 0)
    ]


def test_who_is_soon_free_there_need_not_be_replaced():
    demand, idle, coming = np.array([1, 0, 0, 1.0]), np.array([2, 0, 0, 0]), np.array([0, 0, 0, 1])
    sent = [stand_by(demand, idle, coming, np.full(4, late_s), LINE).tolist() for late_s in (0.0, 3600.0)]
    assert sent == [[2, 0, 0, 0], [1, 0, 0, 1]]


def test_where_none_may_stand_nobody_is_sent():
    way_s = LINE.copy()
    way_s[:, 3] = np.inf
    found = stand_by(np.array([1, 1, 1, 30.0]), np.array([4, 0, 0, 0]), np.zeros(4, int), np.zeros(4), way_s)
    assert found[3] == 0
    assert found.sum() == 4


def test_without_idle_vehicles_there_is_nothing_to_do():
    assert not stand_by(np.ones(4), np.zeros(4, int), np.zeros(4, int), np.zeros(4), LINE).any()


def test_vehicles_on_their_way_count_where_they_will_be():
    readings = {name: np.array(values, float) for name, values in READ.items()}
    assert standby(three_zones(), readings).tolist() == [1, 2, 3]
    assert "soon_s" in [column["name"] for column in READINGS.describe()]
