"""What a junction sees of its neighbours: vehicles on their way to it, and the state of the next signal ahead."""

import numpy as np
import pytest

from envs.core.env import make_loop
from envs.intersections.features import APPROACH_FEATURES
from envs.intersections.neighbours import Neighbours

INFLOW = [APPROACH_FEATURES.index(name) for name in ("inflow_green", "inflow_red")]


@pytest.fixture(scope="module")
def loop():
    loop = make_loop("intersections/grid2x2", duration_s=60)
    loop.reset(1)
    yield loop
    loop.close()


def test_a_lone_junction_has_no_neighbours():
    loop = make_loop("intersections/cologne1")
    found = Neighbours(loop.site)
    ones = np.ones(len(loop.site.approaches))
    greens = np.ones(len(loop.site.axes["movement"]))
    assert not found.inflow(ones, greens).any()
    assert not found.ahead(ones, greens).any()


def test_every_vehicle_upstream_arrives_once_at_most(loop):
    """One vehicle on one approach: it is expected at the next junctions by the shares of its turns, never twice."""
    found = Neighbours(loop.site)
    greens = np.ones(len(loop.site.axes["movement"]))
    for approach in range(len(loop.site.approaches)):
        one = np.zeros(len(loop.site.approaches))
        one[approach] = 1.0
        total = found.inflow(one, greens).sum()
        assert 0 <= total <= 1 + 1e-9
    everywhere = found.inflow(np.ones(len(loop.site.approaches)), greens)
    assert 0 < everywhere.sum() < len(loop.site.approaches)


def test_green_decides_who_is_coming_and_who_is_held(loop):
    found = Neighbours(loop.site)
    counts = np.arange(1.0, 1.0 + len(loop.site.approaches))
    greens = np.ones(len(loop.site.axes["movement"]))
    free, held = found.inflow(counts, greens).T
    assert not held.any()
    np.testing.assert_allclose(found.inflow(counts, 1 - greens)[:, 1], free)
    half = np.arange(len(greens)) % 2.0
    np.testing.assert_allclose(found.inflow(counts, half).sum(axis=1), free)


def test_what_one_side_sends_the_other_expects(loop):
    """Inflow and look-ahead are two views of the same links."""
    found = Neighbours(loop.site)
    n = len(loop.site.approaches)
    greens = np.ones(len(loop.site.axes["movement"]))
    for approach in range(n):
        one = np.eye(n)[approach]
        np.testing.assert_allclose(
            found.inflow(one, greens)[:, 0], [found.ahead(np.eye(n)[k], greens)[approach, 0] for k in range(n)]
        )


def test_nobody_has_green_while_a_junction_clears(loop):
    found = Neighbours(loop.site)
    readings = dict(loop.readings)
    readings["clearing_s"] = np.zeros(4)
    assert found.green(readings).any()
    readings["clearing_s"] = np.full(4, 2.0)
    assert not found.green(readings).any()


def test_dead_detectors_expect_nobody(loop):
    readings = {name: np.full_like(v, np.nan) if name.endswith("_veh") else v for name, v in loop.readings.items()}
    observation = loop.features.encode(readings, loop.mask)
    assert not observation["approaches"][..., INFLOW].any()
    assert np.isfinite(observation["junction"]).all()
