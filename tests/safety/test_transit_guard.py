"""Whatever zones ask for, settings are in range; and no vehicle is sent to where none may stand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from envs.core.env import make_loop
from envs.transit.guard import CLOSED, SCORE, URGENCY, TransitGuard
from envs.transit.targets import demand_weights, scores_of
from tests.envs.transit.small import READ, three_zones

READINGS = {name: np.array(values, float) for name, values in READ.items()}


@settings(max_examples=200, deadline=None, derandomize=True)
@given(arrays.arrays(np.float64, (3, 2), elements=st.floats(width=64)), st.booleans())
def test_settings_are_in_range_and_stay_as_they_are(asked, closed):
    guard = TransitGuard(three_zones(closed=closed))
    commands, changes = guard.check(READINGS, asked)
    assert (np.abs(commands) <= 1).all()
    again, none = guard.check(READINGS, commands)
    np.testing.assert_array_equal(again, commands)
    assert none == []
    assert len(changes) == (~(commands == asked)).sum()


def test_who_asks_for_nothing_gets_the_rule_of_practice():
    commands, changes = TransitGuard(three_zones()).check(READINGS, np.full((3, 2), np.nan))
    np.testing.assert_array_equal(commands[:, SCORE], scores_of(demand_weights(READINGS)))
    assert (commands[:, URGENCY] == 0).all()
    assert {change.reason for change in changes} == {"no_request"}


def test_a_zone_without_a_stop_is_closed():
    commands, changes = TransitGuard(three_zones(closed=True)).check(READINGS, np.ones((3, 2)))
    assert commands[:, SCORE].tolist() == [1, 1, CLOSED]
    assert [(change.agent, change.reason) for change in changes] == [("east", "closed")]


@pytest.mark.parametrize("asked", [np.zeros(3), np.array(["here"] * 3), np.zeros((3, 3)), np.array([None] * 3)])
def test_what_is_no_request_is_none(asked):
    commands, _ = TransitGuard(three_zones()).check(READINGS, asked)
    np.testing.assert_array_equal(commands[:, SCORE], scores_of(demand_weights(READINGS)))


def test_urgency_trades_the_waits_of_others_but_no_promise():
    loop = make_loop("transit/hcmc", duration_s=2 * 3600.0, fleet__vehicles=12)
    waits = {}
    try:
        for urgency in (-1.0, 1.0):
            loop.reset(3)
            step = None
            while step is None or not step.done:
                step = loop.step(np.tile([0.0, urgency], (len(loop.site.agents), 1)))
            waits[urgency] = step.kpis
    finally:
        loop.close()
    assert waits[1.0]["wait_mean_min"] < waits[-1.0]["wait_mean_min"]
    assert waits[1.0]["broken"] == waits[-1.0]["broken"] == 0
