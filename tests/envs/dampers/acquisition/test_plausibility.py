"""Sensors that lie are found, named and left out; sensors that do not are left alone, whatever else is wrong."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents import make_controller
from envs import load_scenario
from envs.dampers.acquisition.plausibility import RETURN_S
from envs.dampers.assembly import load_site
from envs.dampers.block import Block
from envs.dampers.guard import DampersGuard
from envs.dampers.scenarios import Conditions

SCENARIO = load_scenario("dampers/jansen", duration_s=8.0)
SITE = load_site(SCENARIO)
FLOOR_1, ROOF, STROKE_1, FORCE_1, GROUND = 0, 5, 6, 8, 10
SINCE = 400
"""Decision from which a sensor is wrong: the motion is strong by then."""


def shaken(wrong=None, seeds=range(4), law="lqg", until=None, scenario=SCENARIO, site=SITE, **conditions):
    """Which sensors were believed and what was commanded, at every decision: ``(T, m, E)`` and ``(T, E, d)``."""
    block, guard = Block(scenario, site, conditions=Conditions(**conditions)), DampersGuard(site)
    controller = make_controller(law, site)
    block.begin(list(seeds))
    controller.reset()
    read, believed, levels = block._sensors.read, [], []

    def sensors(true):
        samples, k = read(true), len(believed)
        return samples if wrong is None or not SINCE <= k < (until or 10_000) else wrong(samples)

    block._sensors.read = sensors
    while not block.done:
        level, _ = guard.limit(block.readings, controller.act(block.readings, {})[..., 0])
        block.step(level)
        believed.append(block.acquisition.trust.believed.copy())
        levels.append(level)
    return np.array(believed), np.array(levels)


def stuck(row):
    held = []

    def wrong(samples):
        held.append(samples[row].copy())
        samples[row] = held[0]
        return samples

    return wrong


def biased(row, by):
    def wrong(samples):
        samples[row] += by
        return samples

    return wrong


@pytest.mark.parametrize(
    "conditions",
    [{}, {"dropout": 0.2}, {"noise": 5.0}, {"stiffness": 0.15}, {"dead": 1}, {"noise": 0.0}],
    ids=lambda conditions: "-".join(conditions) or "good",
)
@pytest.mark.parametrize("law", ["lqg", "passive-on"])
def test_sensors_that_are_right_are_believed(law, conditions):
    believed, _ = shaken(law=law, **conditions)
    assert believed.all()


def test_a_damper_that_yields_holds_its_force_and_is_believed():
    """Four large devices under a soft storey: what their force says less than a converter's step is no fault."""
    device = {
        **{"c0a_n_s_m": 44, "c0b_n_s_mv": 440, "alpha_a_n_m": 1087200, "alpha_b_n_mv": 4691600},
        **{"z": {"a": 1.2, "gamma": 300, "beta": 300, "n": 1}, "eta_1_s": 50, "full_v": 5},
        **{"rated_n": 60000, "stroke_mm": 100},
    }
    building = {
        **{"mass_kg": [25000] * 4, "stiffness_n_m": [4e6, 3e7, 3e7, 2.5e7], "damping_ratio": 0.02},
        **{"dampers": {1: 4}, "device": device},
    }
    scenario = load_scenario("dampers/jansen", duration_s=12.0, building=building)
    believed, levels = shaken(law="passive-off", scenario=scenario, site=load_site(scenario))
    assert believed.all()
    assert not levels.any()


@pytest.mark.parametrize("row", [None, FLOOR_1, FORCE_1])
def test_where_storeys_yield_only_what_is_stuck_is_doubted(row):
    building = SITE.building.model_dump(exclude_defaults=True) | {"yield_mm": 2.0}
    scenario = load_scenario("dampers/jansen", duration_s=8.0, building=building)
    wrong = None if row is None else stuck(row)
    believed, levels = shaken(wrong, law="passive-off", scenario=scenario, site=load_site(scenario))
    others = [k for k in range(believed.shape[1]) if k != row]
    assert believed[:, others].all()
    assert row is None or not believed[-150:, row].any()
    assert levels.any() == (row is not None)


@pytest.mark.parametrize(
    ("row", "wrong", "dampers"),
    [
        (FLOOR_1, stuck(FLOOR_1), [0, 1]),
        (FLOOR_1, biased(FLOOR_1, 0.3), [0, 1]),
        (STROKE_1, biased(STROKE_1, 0.005), [0]),
        (FORCE_1, stuck(FORCE_1), [0]),
        (FORCE_1, biased(FORCE_1, 40.0), [0]),
        (GROUND, biased(GROUND, 0.5), [0, 1]),
    ],
    ids=["accelerometer stuck", "accelerometer off", "stroke off", "force stuck", "force off", "ground off"],
)
def test_a_sensor_that_lies_is_left_out_and_its_dampers_get_the_safe_level(row, wrong, dampers):
    believed, levels = shaken(wrong)
    assert believed[: SINCE - 1].all()
    if row != GROUND:  # it makes all others look odd, and some of them may be doubted first: dampers are safe then, too
        assert not believed[-150:, row].any()
    for damper in dampers:
        assert (levels[-100:, :, damper] == SITE.safe_level).all()


def test_a_roof_that_lies_leaves_the_dampers_below_at_work():
    believed, levels = shaken(biased(ROOF, 0.3))
    found = np.argmin(believed[SINCE:, ROOF], axis=0)
    assert (0.01 * found < 0.3).all()
    assert np.delete(believed, ROOF, axis=1).all()
    assert (levels[-100:] != SITE.safe_level).any()


def test_a_sensor_that_is_right_again_is_believed_again():
    mended = SINCE + 30
    believed, _ = shaken(biased(ROOF, 0.3), until=mended)
    assert not believed[mended : mended + round(RETURN_S / 0.01), ROOF].any()
    assert believed[-1].all()


def test_a_clipped_sensor_is_not_heard():
    """At the end of its range it says only that there is more: that neither corrects an estimate nor is a fault."""

    def wrong(samples):
        samples[FLOOR_1] = SITE.ranges["accel_m_s2"]
        return samples

    believed, _ = shaken(wrong, until=SINCE + 100)
    assert believed.all()


WILD = st.one_of(st.floats(allow_nan=True, allow_infinity=True), st.floats(-50, 50))


@pytest.mark.filterwarnings("ignore:overflow encountered")  # 1e308 m in mm
@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(WILD, min_size=11, max_size=11), min_size=2, max_size=30))
def test_whatever_sensors_say_estimates_stay_finite_and_voltages_in_range(rows):
    block, guard = Block(SCENARIO, SITE), DampersGuard(SITE)
    block.begin([0])
    script = iter(rows)
    block._sensors.read = lambda true: np.array(next(script))[:, None]
    for _ in rows:
        level, _ = guard.limit(block.readings, np.full((1, 2), 0.7))
        assert ((level >= 0) & (level <= 1)).all()
        block.step(level)
        assert np.isfinite(block.acquisition.estimate.x).all()
