"""The benchmark compares like with like: same traffic, same signals. How fast it is, no test says."""

import pytest

from envs.core.env import make_loop
from envs.core.rollout import timed_episode
from training.bench.intersections import bare, bench_intersections, switches
from training.bench.sumo_rl import decisions_per_s


@pytest.fixture(scope="module")
def loop():
    loop = make_loop("intersections/grid2x2", duration_s=120)
    yield loop
    loop.close()


def test_the_bare_loop_sees_the_same_traffic(loop):
    _, commands = timed_episode(loop, 0)
    plan = switches(loop, commands)
    assert len(plan) == loop.scenario.decisions
    assert any(plan)
    assert bare(loop, plan) > 0


def test_other_traffic_is_refused(loop):
    _, commands = timed_episode(loop, 0)
    with pytest.raises(RuntimeError, match="the bare loop ended with"):
        bare(loop, switches(loop, commands)[:4])


def test_ratios_and_figures_are_named():
    found = bench_intersections(["intersections/grid2x2"], repeats=1, peers=False)
    assert found["bench"] == "intersections"
    assert set(found["ratios"]) == {"grid2x2, ours / bare libsumo"}
    assert len(found["figures"]) == 3


@pytest.mark.slow
@pytest.mark.parametrize("libsumo", [True, False])
def test_sumo_rl_runs(loop, libsumo):
    scenario = loop.scenario
    assert decisions_per_s(scenario.net, scenario.routes[0], 0, 60, 5, libsumo) > 0
