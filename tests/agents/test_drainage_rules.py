"""The operators' controllers, by hand."""

import numpy as np
import pytest

from agents import make_controller
from tests.envs.drainage.small import READ, row


def asked(name, **changed):
    readings = {key: np.array(values, dtype=float) for key, values in {**READ, **changed}.items()}
    return make_controller(name, row()).act(readings, {})[:, 0]


def test_fixed_settings():
    np.testing.assert_array_equal(asked("uncontrolled"), [1, 1, 1])
    np.testing.assert_array_equal(asked("static"), [0.5, 0.4, 1.0])


def test_equal_filling_empties_the_fullest_and_holds_back_the_emptiest():
    assert asked("efd", depth_m=[3.0, 1.0])[0] == 1.0
    assert asked("efd", depth_m=[1.0, 3.0])[0] == 0.2


def test_equal_filling_does_nothing_where_tanks_are_level():
    np.testing.assert_array_equal(asked("efd", depth_m=[2.0, 2.0]), [0.5, 0.4, 1.0])


def test_the_law_by_hand():
    # fillings 0.25, 0.5, 0.5 of the gates' tanks: mean 0.41667; below the upper gate 0.5
    multiple = 0.99 + 1.51 * (0.25 - 1.25 / 3) + 2.91 * (0.95 - 0.5) + 0.77 * (0.25 - 0.85)
    assert asked("law")[0] == pytest.approx(0.5 * multiple)


def test_pi_by_hand_and_forgets():
    rule = make_controller("pi", row())
    readings = {key: np.array(values, dtype=float) for key, values in {**READ, "depth_m": [3.0, 2.0]}.items()}
    first, second = (rule.act(readings, {})[0, 0] for _ in range(2))
    hours = 300 / 3600
    assert first == pytest.approx(0.5 * (1 + 0.8 * 0.25 + 0.2 * 0.25 * hours))
    assert second == pytest.approx(0.5 * (1 + 0.8 * 0.25 + 0.2 * 0.25 * 2 * hours))
    rule.reset()
    assert rule.act(readings, {})[0, 0] == first


@pytest.mark.parametrize("name", ["pi", "efd", "law"])
def test_without_levels_the_static_settings(name):
    np.testing.assert_array_equal(asked(name, depth_m=[np.nan, np.nan]), [0.5, 0.4, 1.0])
