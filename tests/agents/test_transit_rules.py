"""Transit's rules, compared with hand calculations, and their differences over a day."""

import numpy as np
import pytest
import torch

from agents import make_controller
from agents.baselines.transit import Coverage, Even, Reactive, Standby
from agents.networks import ZonePolicy
from envs.core.env import make_loop
from envs.transit.features import ZONE_FEATURES
from envs.transit.targets import counts_of, shares_of
from tests.envs.transit.small import READ, three_zones

READINGS = {name: np.array(values, float) for name, values in READ.items()}


@pytest.fixture(scope="module")
def loop():
    loop = make_loop("transit/hcmc", duration_s=2 * 3600.0, fleet__vehicles=30)
    yield loop
    loop.close()


def shares(rule):
    return shares_of(rule.act(READINGS, {})[:, 0])


def test_reactive_goes_by_recent_requests():
    np.testing.assert_allclose(shares(Reactive(three_zones())), np.array([2.5, 9.5, 4.5]) / 16.5)


def test_even_is_even():
    np.testing.assert_allclose(shares(Even(three_zones())), 1 / 3)


def test_coverage_puts_each_vehicle_where_it_is_most_likely_needed():
    # Means are half of what is expected and half of what recent requests promise: 1.17, 6, 2.33. Of six vehicles the
    # first is worth P(1 or more) = 0.69, 1.00, 0.90; the fifth in the middle still P(5 or more) = 0.71.
    counts = counts_of(shares(Coverage(three_zones())), 6)
    assert counts.tolist() == [0, 5, 1]


def test_coverage_moves_nobody_where_nothing_is_known_of_any_zone():
    quiet = READINGS | {"requests": np.zeros(3), "expected": np.full(3, np.nan)}
    asked = Coverage(three_zones()).act(quiet, {})[:, 0]
    assert counts_of(shares_of(asked), 6).tolist() == [2, 1, 3], "as they stand, come, and will be free"


def test_between_rebalancings_vehicles_stay():
    rule = Reactive(three_zones(), period_s=600.0)
    asked = [rule.act(READINGS, {})[:, 0] for _ in range(11)]
    np.testing.assert_array_equal(asked[0], asked[10])
    assert counts_of(shares_of(asked[1]), 6).tolist() == [2, 1, 3], "as they stand, come, and will be free"


def test_vehicles_stand_by_where_the_next_request_waits_least():
    """Of two idle vehicles in the west one goes to the busy middle, to which another is on its way."""
    assert counts_of(shares(Standby(three_zones())), 6).tolist() == [1, 2, 3]


def test_a_program_that_nobody_can_run_leaves_vehicles_where_they_are():
    assert counts_of(shares(make_controller("nearest", three_zones())), 6).tolist() == [2, 1, 3]


def test_reactive_keeps_its_period_however_often_zones_decide():
    kept = {"duration_s": 3600.0, "timing__reassign_s": 0.0}  # who waits is given to others at every decision
    often, seldom = (make_loop("transit/hcmc", timing__decision_s=seconds, **kept) for seconds in (60, 300))
    found = [each.episode(Reactive(each.site), 1).kpis for each in (often, seldom)]
    assert found[0] == found[1]
    assert found[0]["moved"] > 0


def test_only_rebalancing_moves_idle_vehicles(loop):
    moved = {
        name: loop.episode(make_controller(name, loop.site), 1).kpis["moved"] for name in ("insertion", "reactive")
    }
    assert moved["insertion"] == 0 < moved["reactive"]


def test_pooling_serves_more_and_waiting_costs_rides(loop):
    found = {
        name: loop.episode(make_controller(name, loop.site), 1).kpis
        for name in ("solo", "nearest", "least-driving", "insertion")
    }
    assert found["solo"]["served_pct"] < found["nearest"]["served_pct"]
    assert found["solo"]["occupancy"] < 1.1 < found["insertion"]["occupancy"]  # parties of several count as so many
    assert found["least-driving"]["total_km"] < found["nearest"]["total_km"]
    assert found["nearest"]["wait_mean_min"] < found["least-driving"]["wait_mean_min"]


def test_an_untrained_policy_is_the_rule_that_it_corrects(loop):
    """Without a correction the fleet does exactly what insertion does with vehicles that stand by."""
    rule, policy = Standby(loop.site), ZonePolicy({"zone": (len(ZONE_FEATURES),)})
    expected = loop.episode(rule, 2).kpis
    loop.reset(2)
    step = None
    while step is None or not step.done:
        means = policy({"zone": torch.from_numpy(loop.observation["zone"])})[..., :2].detach().double().numpy()
        step = loop.step(means)
    assert step.kpis == expected
    assert expected["moved"] > 0


def test_a_zone_policy_looks_at_zones_one_by_one():
    torch.manual_seed(0)
    policy = ZonePolicy({"zone": (len(ZONE_FEATURES),)})
    torch.nn.init.normal_(policy.correction.weight)
    zones = torch.rand(4, len(ZONE_FEATURES))
    together, alone = policy({"zone": zones}), policy({"zone": zones[2:3]})
    assert torch.allclose(together[2], alone[0], atol=1e-6)
    assert (together[:, 2] < together[:, 3]).all(), "scores are explored more finely than urgency"
