"""Thresholds, probabilities and persistence against what statistics says of them."""

import numpy as np
import pytest
from scipy.stats import norm

from agents.monitors.detection import Memory, Persistence, calibrate, tolerance_limit, windows_needed
from envs.core.errors import CityloopError
from tests.monitors.buildings import rng


def test_wilks_numbers():
    assert windows_needed(0.05, 0.95) == 59
    assert windows_needed(0.01, 0.95) == 299
    assert tolerance_limit(np.arange(59.0), 0.05, 0.95) == 58.0
    assert tolerance_limit(np.arange(93.0), 0.05, 0.95) == 91.0
    with pytest.raises(CityloopError, match="58 healthy ones are left to set the threshold with, 59 are needed"):
        tolerance_limit(np.arange(58.0), 0.05, 0.95)


def test_the_limit_keeps_its_promise():
    noise = rng(20)
    limits = np.array([tolerance_limit(noise.standard_normal(400), 0.02, 0.9) for _ in range(400)])
    kept = (norm.sf(limits) <= 0.02).mean()
    assert 0.87 <= kept <= 0.99


def test_probability_is_calibrated_and_knows_its_prior():
    noise = rng(21)
    healthy, damaged = np.abs(noise.standard_normal(4000)), np.abs(noise.standard_normal(4000) + 3)
    curve = calibrate(healthy, damaged)
    for low, high in ((1.0, 1.4), (1.6, 2.0), (2.2, 2.6)):
        real, others = ((low < kind) & (kind < high) for kind in (damaged, healthy))
        share = real.sum() / (real.sum() + others.sum())
        assert curve.probability((low + high) / 2, 0.5) == pytest.approx(share, abs=0.08)
    assert curve.probability(2.0, 0.01) < curve.probability(2.0, 0.5) < curve.probability(2.0, 0.9)
    assert curve.probability(-5.0, 0.5) == curve.probability(0.0, 0.5) < 0.05


def test_perfectly_separated_kinds_stay_finite():
    curve = calibrate(np.zeros(50), np.full(50, 9.0))
    assert 0.0 < curve.probability(0.0, 0.5) < 0.1 < 0.9 < curve.probability(9.0, 0.5) < 1.0


def test_three_of_five():
    memory = Memory(Persistence())
    assert [memory.add(seen) for seen in (True, False, True, False, True)] == [False] * 4 + [True]
    assert [memory.add(False) for _ in range(2)] == [False, False]
    assert [memory.add(True) for _ in range(3)] == [False, True, True]
    memory.clear()
    assert not memory.alarm
