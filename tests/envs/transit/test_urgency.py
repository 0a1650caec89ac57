"""How urgent a wait is, by hand."""

import numpy as np
import pytest

from envs.transit.settings import URGENCY_BASE
from envs.transit.urgency import UrgencyRule, urgency
from tests.envs.transit.small import READ, three_zones

STRONG = UrgencyRule(usual=2.0, power=0.5)


def weight(rule=STRONG, **changed):
    """The factor on a wait's weight."""
    readings = {name: np.array(values, float) for name, values in (READ | changed).items()}
    return URGENCY_BASE ** urgency(three_zones(), readings, rule)


def test_the_more_wait_for_a_vehicle_the_less_a_wait_weighs():
    vehicles, none = three_zones().vehicles, [0, 0, 0]
    found = [weight(waiting=[vehicles * k, 0, 0], refused=none) for k in (1, 2, 8)]
    np.testing.assert_allclose(found, [2**0.5, 1, 0.5], rtol=1e-6)


def test_who_was_refused_counts_as_one_who_waits_for_half_an_hour():
    recent_s = three_zones().timing.recent_s
    waits, refused = [int(1800 / recent_s), 0, 0], [1, 0, 0]
    assert weight(waiting=waits, refused=[0, 0, 0]) == weight(waiting=[0, 0, 0], refused=refused)


def test_where_nobody_waits_a_wait_is_urgent_and_no_more_than_that():
    least = weight(waiting=[0, 0, 0], refused=[0, 0, 0])
    assert weight(waiting=[1, 0, 0], refused=[0, 0, 0]) < least < np.inf


def test_without_a_power_a_wait_weighs_what_the_costs_say():
    assert weight(UrgencyRule(power=0.0)) == pytest.approx(1.0)
