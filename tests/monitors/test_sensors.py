"""Faults of sensors: each is named for what it is, and what the building does is none."""

import numpy as np
import pytest

from agents.monitors.gaps import fill_gaps
from agents.monitors.structural.config import SensorLimits
from agents.monitors.structural.modes import Matched, Reference
from agents.monitors.structural.sensors import channel_faults, gain_faults, gains, longest_run
from tests.monitors.buildings import rng

LIMITS = SensorLimits()
NO_OFFSET = np.zeros(4)


def healthy():
    return rng(10).standard_normal((4, 6000))


def test_healthy_channels_are_left_alone():
    assert channel_faults(healthy(), NO_OFFSET, LIMITS) == {}


def test_each_fault_has_its_name():
    window = healthy()
    stuck = window.copy()
    stuck[1, 3000:] = stuck[1, 3000]
    assert channel_faults(stuck, NO_OFFSET, LIMITS) == {1: "stuck"}
    dropout = window.copy()
    dropout[2, 100:300] = np.nan
    assert channel_faults(dropout, NO_OFFSET, LIMITS) == {2: "dropout"}
    assert channel_faults(np.clip(window, [[-1], [-9], [-9], [-9]], [[1], [9], [9], [9]]), NO_OFFSET, LIMITS) == {
        0: "clipping"
    }
    biased = window + np.array([[0], [0], [0], [4.0]])
    assert channel_faults(biased, NO_OFFSET, LIMITS) == {3: "bias"}
    assert channel_faults(biased, np.array([0, 0, 0, 4.0]), LIMITS) == {}
    spiky = window.copy()
    spiky[1, [50, 900, 4000, 5000]] = 30.0
    assert channel_faults(spiky, NO_OFFSET, LIMITS) == {1: "spikes"}
    assert channel_faults(window * [[1], [1e-3], [1], [1]], NO_OFFSET, LIMITS) == {1: "silent"}
    everything = window.copy()
    everything[0] = np.nan
    everything[1] = 0.0
    assert channel_faults(everything, NO_OFFSET, LIMITS) == {0: "dropout", 1: "stuck"}


def test_a_jolt_that_all_feel_is_no_spike():
    window = healthy()
    window[:, [50, 900, 4000, 5000]] += 30.0
    assert channel_faults(window, NO_OFFSET, LIMITS) == {}


def test_a_gust_that_swells_and_ebbs_is_no_spike():
    """At its height each channel is far from its usual, in moments of its own: no sample stands alone."""
    swell = 1.0 + 9.0 * np.exp(-(((np.arange(6000) - 3000) / 400) ** 2))
    assert channel_faults(swell * healthy(), NO_OFFSET, LIMITS) == {}
    spiky = swell * healthy()
    spiky[1, [50, 900, 4000, 5000]] = 60.0
    assert channel_faults(spiky, NO_OFFSET, LIMITS) == {1: "spikes"}


def test_runs_and_gaps():
    assert longest_run(np.array([1, 2, 2, 2, 3, 3.0])) == 3
    assert longest_run(np.array([])) == 0
    assert longest_run(np.zeros(7)) == 7
    np.testing.assert_array_equal(fill_gaps(np.array([[0, np.nan, 2.0], [np.nan, 5, np.inf]])), [[0, 1, 2], [5, 5, 5]])


REFERENCE = Reference(
    numbers=(1, 2, 3),
    frequency_hz=np.array([1.0, 3.0, 5.0]),
    damping=np.full(3, 0.01),
    floors=(1, 2, 3, 4),
    shape=np.array([[0.2, 0.4, 0.6, 0.67], [0.5, 0.6, -0.1, -0.62], [0.6, -0.2, -0.5, 0.59]]),
    floor_of=np.arange(4),
)
MEAN, SIGMA = np.zeros(4), np.full(4, 0.005)


def seen(factors, per_mode=0.0):
    shape = REFERENCE.shape * factors + per_mode
    return Matched(REFERENCE.frequency_hz, REFERENCE.damping, shape)


def test_a_drifting_gain_is_found_and_measured():
    change, scatter = gains(REFERENCE, seen([1, 1, 0.8, 1]))
    assert change[2] == pytest.approx(-0.2)
    assert scatter[2] < 1e-9
    assert gain_faults(REFERENCE, seen([1, 1, 0.8, 1]), MEAN, SIGMA, LIMITS) == {2: pytest.approx(-0.2)}


def test_two_drifting_gains_are_told_apart():
    found = gain_faults(REFERENCE, seen([1.4, 1, 0.8, 1]), MEAN, SIGMA, LIMITS)
    assert found == {0: pytest.approx(0.4, abs=0.02), 2: pytest.approx(-0.2, abs=0.02)}


def test_small_drifts_and_changed_shapes_are_no_fault():
    assert gain_faults(REFERENCE, seen([1, 1, 0.95, 1]), MEAN, SIGMA, LIMITS) == {}
    bent = np.array([[0, 0, 0.1, 0], [0, 0.1, -0.12, 0], [0, 0, 0.12, 0]])
    assert gain_faults(REFERENCE, seen(np.ones(4), bent), MEAN, SIGMA, LIMITS) == {}


def test_channels_out_of_use_are_not_judged():
    matched = seen([1, np.nan, 0.8, 1])
    change, _ = gains(REFERENCE, matched)
    assert np.isnan(change[1])
    assert gain_faults(REFERENCE, matched, MEAN, SIGMA, LIMITS) == {2: pytest.approx(-0.2)}
