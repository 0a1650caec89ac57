"""Whatever is asked for and whatever sensors say, voltages stay within what drivers and devices bear."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs import load_scenario
from envs.core.errors import ReadingError
from envs.dampers.assembly import load_site
from envs.dampers.block import Block
from envs.dampers.guard import DOUBT_SILENT_S, NEAR, DampersGuard
from envs.dampers.readings import cross_check
from tests.envs.dampers.shaken import elastic_j, energy_j

SCENARIO = load_scenario("dampers/jansen", duration_s=2.0)
SITE = load_site(SCENARIO)
RATED_N = 2 * SITE.building.device.rated_n
STROKE_MM = SITE.building.device.stroke_mm


def readings(**changed):
    """At rest, half voltage on both, but for what is changed."""
    block = Block(SCENARIO, SITE)
    seen = {name: row[0].copy() for name, row in block.begin([0]).items()}
    return {**seen, "level": np.array([0.5, 0.5])} | {name: np.array(v, float) for name, v in changed.items()}


def checked(requests, slew=None, **changed):
    timing = SITE.timing.model_copy(update={"slew_1_s": slew}) if slew else SITE.timing
    guard = DampersGuard(SITE.model_copy(update={"timing": timing}))
    commands, changes = guard.check(readings(**changed), np.array(requests))
    return commands[:, 0], {change.agent: change.reason for change in changes}


def test_what_is_allowed_goes_through():
    commands, reasons = checked([[0.0], [1.0]])
    np.testing.assert_array_equal(commands, [0.0, 1.0])
    assert not reasons


@pytest.mark.parametrize(
    ("case", "commands", "reasons"),
    [
        ({"requests": [2.0, -1.0]}, [1.0, 0.0], {"d1": "range", "d2": "range"}),
        ({"requests": [np.nan, 0.4]}, [SITE.safe_level, 0.4], {"d1": "no_request"}),
        ({"requests": [np.inf, -np.inf]}, [1.0, 0.0], {"d1": "range", "d2": "range"}),
        ({"requests": [0.9, 0.4], "silent_s": [DOUBT_SILENT_S, 0]}, [SITE.safe_level, 0.4], {"d1": "in_doubt"}),
        ({"requests": [0.9, 0.4], "silent_s": [np.nan, 0]}, [SITE.safe_level, 0.4], {"d1": "in_doubt"}),
        ({"requests": [0.1, 0.4], "stroke_mm": [NEAR * STROKE_MM + 1, 0]}, [1.0, 0.4], {"d1": "stroke"}),
        ({"requests": [0.9, 0.9], "force_est_n": [-NEAR * RATED_N - 1, 0]}, [0.5, 0.9], {"d1": "force"}),
        ({"requests": [0.2, 0.9], "force_est_n": [NEAR * RATED_N + 1, 0]}, [0.2, 0.9], {}),
        ({"requests": [1.0, 0.45], "slew": 20.0}, [0.7, 0.45], {"d1": "slew"}),
    ],
)
def test_each_rule(case, commands, reasons):
    found, said = checked(**case)
    np.testing.assert_allclose(found, commands)
    assert said == reasons


def test_estimates_that_are_no_numbers_put_all_dampers_in_doubt():
    rates = np.zeros(6)
    rates[5] = np.nan
    _, said = checked([0.9, 0.9], rate_est_mm_s=rates)
    assert said == {"d1": "in_doubt", "d2": "in_doubt"}


@pytest.mark.parametrize("column", ["stroke_mm", "force_n"])
def test_a_silent_sensor_cannot_be_said_to_be_heard_now(column):
    """Else a plant that never counts its silence would never get the safe level."""
    seen = readings(**{column: [0.0, np.nan]})
    with pytest.raises(ReadingError, match=r"silent_s\[1\] \(damper d2\)"):
        cross_check(SITE, seen)
    cross_check(SITE, {**seen, "silent_s": np.array([0.0, 0.01])})


def test_a_scale_that_is_wrong_is_refused():
    with pytest.raises(ReadingError, match=r"stroke_mm\[0\] \(damper d1\)"):
        cross_check(SITE, readings(stroke_mm=[16.0 * STROKE_MM, 0.0]))


WILD = st.one_of(st.floats(allow_nan=True, allow_infinity=True), st.just(0.5))


@settings(max_examples=150, deadline=None)
@given(
    requests=st.lists(WILD, min_size=2, max_size=2),
    level=st.lists(st.floats(0, 1), min_size=2, max_size=2),
    force=st.lists(WILD, min_size=2, max_size=2),
    stroke=st.lists(WILD, min_size=2, max_size=2),
    silent=st.lists(WILD, min_size=2, max_size=2),
    rates=st.lists(WILD, min_size=6, max_size=6),
    slew=st.sampled_from([5.0, 30.0, 200.0]),
)
def test_whatever_comes_a_command_is_in_range_slow_enough_and_stands(
    requests, level, force, stroke, silent, rates, slew
):
    guard = DampersGuard(SITE.model_copy(update={"timing": SITE.timing.model_copy(update={"slew_1_s": slew})}))
    now = readings(level=level, force_est_n=force, stroke_mm=stroke, silent_s=silent, rate_est_mm_s=rates)
    commands, _ = guard.check(now, np.array(requests))
    assert ((commands >= 0) & (commands <= 1)).all()
    assert (abs(commands[:, 0] - now["level"]) <= slew * 0.01 + 1e-12).all()
    again, rest = guard.check(now, commands)
    np.testing.assert_array_equal(again, commands)
    assert not rest


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(WILD, WILD), min_size=5, max_size=40), st.integers(0, 10_000))
def test_no_policy_can_shake_a_building_that_the_ground_leaves_alone(requests, seed):
    """Guarded commands of any kind: a frame that was pushed never holds more energy than it was given."""
    block = Block(load_scenario("dampers/jansen", duration_s=2.0, motion__kind="none"), SITE)
    guard = DampersGuard(SITE)
    block.begin([seed])
    block._state.x[:6, 0] = 0.003 * np.random.default_rng(seed).normal(size=6)
    frame, device = block.building.frame, block.building.device
    allowed = energy_j(frame, block._state.x[:, 0]) + (block.building.counts * elastic_j(device)).sum()
    for asked in requests:
        level, _ = guard.limit(block.readings, np.array([asked], float))
        block.step(level)
        assert energy_j(frame, block._state.x[:, 0]) <= allowed
