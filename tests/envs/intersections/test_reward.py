"""The reward is the delay that is reported: same total, charged to the junction that those who wait are bound for."""

import numpy as np
import pytest

from agents import make_controller
from envs.core.env import make_loop
from envs.intersections.reward import NETWORK_SHARE, SCALE_VEH, STUCK_WEIGHT, SignalReward
from tests.envs.intersections.small import crossroads


@pytest.fixture(scope="module")
def episode():
    """A whole episode on a grid: the loop after its end, and the truth of every decision."""
    loop = make_loop("intersections/grid2x2")
    controller = make_controller("fixed", loop.site)
    loop.reset(3, controller.program)
    truths, step = [], None
    while step is None or not step.done:
        step = loop.step(None)
        truths.append(dict(loop.world.truth))
    yield loop, truths, step
    loop.close()


def test_its_integral_over_time_is_the_delay(episode):
    loop, truths, step = episode
    rate = [truth["network_lost_veh"] + truth["backlog_veh"] for truth in truths]
    # Sampled once a decision, and by lane limits where SUMO takes each driver's own speed: a few per cent apart.
    wanted = step.kpis["delay_s"] * step.kpis["due_veh"]
    assert sum(rate) * loop.scenario.decision_s == pytest.approx(wanted, rel=0.03)


def test_junctions_answer_for_those_bound_for_them(episode):
    _, truths, _ = episode
    for truth in truths:
        assert (truth["lost_veh"] >= 0).all()
        assert truth["lost_veh"].sum() <= truth["network_lost_veh"] + 1e-9
        assert truth["held_veh"].sum() == pytest.approx(truth["backlog_veh"])
    owned = sum(truth["lost_veh"].sum() for truth in truths) / sum(truth["network_lost_veh"] for truth in truths)
    assert owned > 0.85  # the rest is on its way out, where no signal follows


def test_who_cannot_enter_is_charged_to_the_junction_ahead():
    loop = make_loop("intersections/grid2x2", demand__scale=[5, 5], duration_s=300)
    loop.reset(1)
    requests = np.zeros(4, dtype=int)
    for _ in range(40):
        loop.step(requests)  # always the same stage: one direction of every junction is never served
    truth = loop.world.truth
    roads = loop.world._detection._roads
    expected = np.zeros(4)
    for vehicle in loop.world._sumo.simulation.getPendingVehicles():
        edge = loop.world._sumo.vehicle.getRoute(vehicle)[0]
        lanes = [k for lane, k in roads.index.items() if lane.rpartition("_")[0] == edge]
        assert set(np.unique(roads.owner[lanes])) == {0.0, 1.0}, "on a grid, one junction comes next"
        expected += roads.owner[lanes[0]]
    loop.close()
    assert truth["backlog_veh"] > 0
    np.testing.assert_allclose(truth["held_veh"], expected)


def test_terms_by_hand():
    truth = {"lost_veh": np.array([3.0]), "held_veh": np.array([2.0]), "network_lost_veh": 4.0, "backlog_veh": 2}
    truth["stuck_veh"] = np.array([0.5])
    terms = SignalReward(crossroads()).terms(truth)
    assert terms["delay"] == pytest.approx([-3 / SCALE_VEH])
    assert terms["stuck"] == pytest.approx([-STUCK_WEIGHT * 0.5 / SCALE_VEH])
    assert terms["backlog"] == pytest.approx([-2 / SCALE_VEH])
    assert terms["network"] == pytest.approx([-NETWORK_SHARE * 6 / SCALE_VEH])
