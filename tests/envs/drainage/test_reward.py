"""Overflow counts relative to the event; movement is each gate's own."""

import numpy as np
import pytest

from envs import CityloopError, load_scenario
from envs.core.env import make_loop
from envs.drainage.reward import EVENT_M3, EVENT_SHARE, DrainageReward
from envs.drainage.settings import Weights
from tests.envs.drainage.small import row

TRUTH = {"controllable_m3": 100.0, "sensitive_m3": 40.0, "event_m3": 25_000.0, "moved": np.array([0.0, 0.5, 1.0])}
WEIGHTS = Weights(overflow=20.0, sensitive=5.0, movement=0.1)


def test_terms_by_hand():
    terms = DrainageReward(row().model_copy(update={"weights": WEIGHTS})).terms(TRUTH)
    size_m3 = EVENT_M3 + EVENT_SHARE * 25_000
    assert terms["overflow"] == pytest.approx([-100 * 20 / size_m3] * 3)
    assert terms["sensitive"] == pytest.approx([-40 * 5 / size_m3] * 3)
    assert terms["movement"] == pytest.approx([0, -0.05, -0.1])
    assert set(terms) == {"overflow", "sensitive", "movement"}


def test_a_published_objective_counts_where_it_has_a_weight():
    loop = make_loop("drainage/theta", weights__objective=0.01)
    try:
        loop.reset(0)
        costs, step = 0.0, None
        while step is None or not step.done:
            step = loop.step(np.ones((2, 1)))
            costs -= step.terms["objective"][0]
    finally:
        loop.close()
    assert step.kpis["objective"] > 0
    assert 100 * costs == pytest.approx(step.kpis["objective"])


def test_a_weight_of_an_objective_that_is_not_there_is_refused():
    with pytest.raises(CityloopError, match=r"weights.objective is 1, and there is no objective"):
        load_scenario("drainage/astlingen", weights__objective=1)


def test_the_same_overflow_weighs_less_in_a_larger_event():
    small, large = (DrainageReward(row()).terms({**TRUTH, "event_m3": m3})["overflow"][0] for m3 in (0.0, 1e5))
    assert small < large < 0
