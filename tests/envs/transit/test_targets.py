"""Where idle vehicles should stand, by hand, and the moves against every other way to make them."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.transit.targets import NOTHING, counts_of, moves, scores_of, shares_of


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=12))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_scores_stand_for_their_shares(weights):
    weights = np.array(weights)
    scores = scores_of(weights)
    assert (np.abs(scores) <= 1).all()
    np.testing.assert_allclose(shares_of(scores), weights / weights.sum(), rtol=1e-9, atol=1e-12)


def test_vehicles_are_counted_out_by_largest_remainders():
    assert counts_of(np.array([0.5, 0.3, 0.2]), 7).tolist() == [4, 2, 1]  # 3.5, 2.1, 1.4
    assert counts_of(np.array([0.5, 0.5]), 3).tolist() == [2, 1]
    assert counts_of(np.array([1.0]), 0).tolist() == [0]


def test_vehicles_as_they_stand_stay():
    stand = np.array([3, 0, 5, 1])
    counts = counts_of(shares_of(scores_of(stand + NOTHING)), 9)
    assert counts.tolist() == stand.tolist()


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.integers(0, 2**31))
def test_shortages_are_filled_by_the_least_driving(seed):
    rng = np.random.default_rng(seed)
    zones, idle = 4, int(rng.integers(1, 6))
    zone = rng.integers(zones, size=idle)
    here, coming = np.bincount(zone, minlength=zones), rng.integers(0, 2, zones)
    targets = counts_of(rng.dirichlet(np.ones(zones)), int(here.sum() + coming.sum()))
    to_s = rng.uniform(10, 100, (idle, zones))
    found = moves(targets, here, coming, zone, to_s)
    lacking = np.maximum(targets - here - coming, 0)
    spare = np.minimum(np.maximum(here + coming - targets, 0), here)
    count = int(min(lacking.sum(), spare.sum()))
    assert len(found) == count
    assert (np.bincount(np.array([z for _, z in found], int), minlength=zones) <= lacking).all()
    assert (np.bincount(zone[np.array([k for k, _ in found], int)], minlength=zones) <= spare).all()
    slots = np.repeat(np.arange(zones), lacking)
    best = np.inf
    for who in itertools.permutations(range(idle), count):
        if (np.bincount(zone[np.array(who, int)], minlength=zones) > spare).any():
            continue
        for places in itertools.combinations(range(len(slots)), count):
            best = min(best, sum(to_s[k, slots[p]] for k, p in zip(who, places, strict=True)))
    assert sum(to_s[k, z] for k, z in found) == pytest.approx(best if count else 0.0)


def test_nobody_is_sent_where_no_road_leads():
    to_s = np.array([[0.0, np.inf]])
    assert moves(np.array([0, 1]), np.array([1, 0]), np.zeros(2, int), np.array([0]), to_s) == []
