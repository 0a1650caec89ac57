"""What a step is worth, by hand."""

import numpy as np
import pytest

from envs.transit.reward import TransitReward
from envs.transit.settings import Weights
from tests.envs.transit.small import three_zones

TRUTH = {
    "waited_s": np.array([60.0, 120.0, 0.0]),
    "refused": np.array([0.0, 0.0, 3.0]),
    "detour_s": 360.0,
    "empty_m": 6000.0,
}


def test_terms():
    terms = TransitReward(three_zones(weights=Weights(wait=1, refused=10, ride=0.5, empty=0.1))).terms(TRUTH)
    np.testing.assert_allclose(terms["wait"], [-0.5 - 0.5, -1.0 - 0.5, -0.5])
    np.testing.assert_allclose(terms["refused"], [-5.0, -5.0, -15.0 - 5.0])
    np.testing.assert_allclose(terms["ride"], [-1.0] * 3)
    np.testing.assert_allclose(terms["empty"], [-0.2] * 3)


def test_nothing_is_counted_twice():
    terms = TransitReward(three_zones(weights=Weights(wait=2, refused=10, ride=0.5, empty=0.1))).terms(TRUTH)
    assert terms["wait"].sum() == pytest.approx(-2 * 3)
    assert terms["refused"].sum() == pytest.approx(-30)
    assert terms["ride"].sum() == pytest.approx(-0.5 * 6)
    assert terms["empty"].sum() == pytest.approx(-0.1 * 6)
