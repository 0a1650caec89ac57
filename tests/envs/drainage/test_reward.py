"""Overflow counts relative to the event; movement is each gate's own."""

import numpy as np
import pytest

from envs.drainage.reward import (
    EVENT_M3,
    EVENT_SHARE,
    MOVEMENT_WEIGHT,
    OVERFLOW_WEIGHT,
    SENSITIVE_WEIGHT,
    DrainageReward,
)
from tests.envs.drainage.small import row

TRUTH = {"controllable_m3": 100.0, "sensitive_m3": 40.0, "event_m3": 25_000.0, "moved": np.array([0.0, 0.5, 1.0])}


def test_terms_by_hand():
    terms = DrainageReward(row()).terms(TRUTH)
    unit = OVERFLOW_WEIGHT / (EVENT_M3 + EVENT_SHARE * 25_000)
    assert terms["overflow"] == pytest.approx([-100 * unit] * 3)
    assert terms["sensitive"] == pytest.approx([-40 * SENSITIVE_WEIGHT * unit] * 3)
    assert terms["movement"] == pytest.approx([0, -0.5 * MOVEMENT_WEIGHT, -MOVEMENT_WEIGHT])


def test_the_same_overflow_weighs_less_in_a_larger_event():
    small, large = (DrainageReward(row()).terms({**TRUTH, "event_m3": m3})["overflow"][0] for m3 in (0.0, 1e5))
    assert small < large < 0
