"""The policy beside the laws: everybody meets the same motions, and where the policy stands is reckoned right."""

import numpy as np
import pytest

from envs.core.registry import load_scenario
from envs.dampers.scenarios import Conditions
from training.bench.laws import _stand, episodes


def test_every_motion_is_played_with_its_own_stiffness():
    scenario, off = load_scenario("dampers/jansen", duration_s=1.0), Conditions(stiffness=0.15)
    both = episodes(scenario, ["policy", "passive-off"], [10_000, 10_001], off)
    (alone,) = episodes(scenario, ["passive-off"], [10_001], off)["passive-off"]
    assert both["passive-off"][1]["j"] == pytest.approx(alone["j"], rel=1e-9)
    assert both["policy"][0]["j"] != both["passive-off"][0]["j"]


def test_the_policy_is_held_against_the_law_with_the_least_median():
    found = _stand({"policy": [0.4, 0.5, 0.9], "lqg": [0.5, 0.4, 1.0], "fixed": [0.1, 0.9, 2.0]})
    assert found == {
        "policy / lqg, median": pytest.approx(np.median([0.8, 1.25, 0.9])),
        "policy / lqg, largest": pytest.approx(1.25),
        "policy / lqg, worst of each": pytest.approx(0.9),
        "policy / lqg, wins": pytest.approx(2 / 3),
    }
