"""The benchmark compares like with like: same rain, same settings. How fast it is, no test says."""

import numpy as np
import pytest
import torch

from envs.core.env import make_loop
from envs.core.rollout import timed_episode
from training.bench.drainage import bare, bench_drainage


@pytest.fixture(scope="module")
def loop():
    return make_loop("drainage/astlingen-oct2000", duration_s=48 * 3600)


def test_the_bare_loop_overflows_alike(loop):
    _, settings = timed_episode(loop, 0)
    assert len(settings) == loop.scenario.decisions
    assert loop.world.kpis()["controllable_m3"] > 1000
    assert bare(loop, settings) > 0


def test_another_overflow_is_refused(loop):
    _, settings = timed_episode(loop, 0)
    with pytest.raises(RuntimeError, match="the bare loop ended with"):
        bare(loop, [np.zeros(4) for _ in settings])


def test_ratios_and_figures_are_named():
    threads = torch.get_num_threads()
    found = bench_drainage(["drainage/astlingen-oct2000"], repeats=1, storms=2)
    assert set(found["ratios"]) == {
        "astlingen-oct2000, ours / bare pyswmm",
        "astlingen-oct2000, ours / bare pyswmm with the input's reports",
        "astlingen, surrogate / SWMM, a replay of a storm whose inflow is known",
        "astlingen, surrogate with the run of SWMM that tells a storm's inflow / SWMM",
    }
    assert torch.get_num_threads() == threads
    errors = [value for name, value in found["figures"].items() if "error" in name]
    assert len(errors) == 5
    assert len(found["figures"]) == 4 + len(errors)
