"""The oracle's search: it only improves, and depends on the episode alone."""

import numpy as np
import pytest

from envs import CityloopError
from training.drainage import oracle as module
from training.drainage.oracle import oracle

SHORT = {"duration_s": 5 * 3600}  # it overflows from the fifth hour on


def reached(**settings):
    found = oracle("drainage/astlingen", seeds=(0,), **{**SHORT, "steps": 0, **settings})
    return found["rows"][0]["controllable_m3"]


@pytest.fixture(scope="module")
def static():
    return reached(rounds=0, controllers=["static"])


@pytest.fixture(scope="module")
def improved():
    """By two processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "cores", lambda: 2)
        return reached(rounds=6)


@pytest.mark.slow
def test_it_begins_with_the_best_of_what_it_is_given_and_improves_on_it(static, improved):
    law = reached(rounds=0, controllers=["law"])
    both = reached(rounds=0, controllers=["static", "law"])
    assert both == pytest.approx(min(static, law), rel=1e-3)
    assert improved < both


@pytest.mark.slow
def test_the_surrogate_knows_where_to_begin(static):
    assert reached(rounds=0, controllers=["static"], steps=8) < static


@pytest.mark.slow
def test_the_number_of_processes_does_not_matter(improved, monkeypatch):
    monkeypatch.setattr(module, "cores", lambda: 1)
    assert reached(rounds=6) == improved


def test_a_process_that_cannot_run_plans_is_not_taken_for_a_missing_surrogate(monkeypatch):
    costs = module.Search.costs

    def fails(search, plans):
        if plans[0].any():
            return costs(search, plans)
        raise CityloopError("SWMM stopped")

    monkeypatch.setattr(module, "cores", lambda: 1)
    monkeypatch.setattr(module, "descend", lambda scenario, site, seed, plan, steps: np.zeros_like(plan))
    monkeypatch.setattr(module.Search, "costs", fails)
    with pytest.raises(CityloopError, match="SWMM stopped"):
        oracle("drainage/theta", rounds=0, controllers=["static"], steps=1)


def test_other_systems_have_none():
    with pytest.raises(CityloopError, match="has no oracle: give one of drainage"):
        oracle("intersections/grid2x2")
