"""The benchmark building against its published frequencies and damage, and its simulator against closed forms."""

import numpy as np
import pytest
from scipy.linalg import eigh
from scipy.signal import cont2discrete, lfilter, welch

from agents.monitors.structural.ambient import CHANNELS, RATE_HZ, Weather, oscillator, sensor_rows, spoil
from agents.monitors.structural.iasc import AXES, PATTERNS, Damage, matrices, storey_loss, storey_stiffness
from envs.core.errors import CityloopError
from tests.monitors.buildings import CALM, SECONDS, rng, window


def frequencies(damage, axis):
    mass, stiffness = matrices(damage)
    own = np.arange(AXES.index(axis), 12, 3)
    return np.sqrt(eigh(stiffness[np.ix_(own, own)], mass[np.ix_(own, own)], eigvals_only=True)) / (2 * np.pi)


def test_storey_stiffness_comes_out_of_the_members():
    storeys = storey_stiffness()
    np.testing.assert_allclose(storeys[:, 0, 0], 106.60e6, rtol=1e-4)
    np.testing.assert_allclose(storeys[:, 1, 1], 67.90e6, rtol=1e-4)
    assert np.abs(storeys[:, 0, 1]).max() < 1e-6 * storeys[0, 0, 0]
    assert np.abs(storeys[:, :2, 2]).max() < 1e-6 * storeys[0, 0, 0]


@pytest.mark.parametrize(
    ("pattern", "axis", "published"),
    [
        (None, "x", (11.79, 32.01, 48.44, 60.15)),
        (None, "y", (9.41, 25.54, 38.66, 48.01)),
        ("pattern 1", "x", (9.91, 28.92, 47.34, 59.99)),
        ("pattern 1", "y", (6.24, 21.53, 37.37, 47.83)),
    ],
)
def test_frequencies_are_the_published_ones(pattern, axis, published):
    damage = Damage(PATTERNS[pattern]) if pattern else Damage()
    np.testing.assert_allclose(frequencies(damage, axis), published, atol=0.0101)


def test_patterns_take_what_was_published():
    assert storey_loss(Damage(PATTERNS["pattern 1"])) == pytest.approx({(1, "x"): 0.4524, (1, "y"): 0.7103}, abs=1e-4)
    assert storey_loss(Damage(PATTERNS["pattern 3"])) == pytest.approx({(1, "y"): 0.1776}, abs=1e-4)
    assert storey_loss(Damage(PATTERNS["pattern 4"])) == pytest.approx({(1, "y"): 0.1776, (3, "x"): 0.1131}, abs=1e-4)
    assert storey_loss(Damage(losses={(2, "x"): 0.1})) == pytest.approx({(2, "x"): 0.1})


def test_one_brace_twists_the_building():
    mass, stiffness = matrices(Damage(PATTERNS["pattern 3"]))
    assert abs(stiffness[1, 2]) > 1e6
    np.testing.assert_allclose(stiffness, stiffness.T)
    assert eigh(stiffness, mass, eigvals_only=True).min() > 0


def test_a_heavier_slab_couples_the_axes():
    mass, _ = matrices(symmetric=False)
    assert mass[9, 9] == pytest.approx(1809.9 + 150)
    assert mass[9, 11] == pytest.approx(-150 * 0.625)
    assert eigh(mass, eigvals_only=True).min() > 0


@pytest.mark.parametrize("damage", [Damage({(5, "x", 1): 1.0}), Damage(losses={(1, "z"): 0.1})])
def test_damage_that_cannot_be_is_refused(damage):
    with pytest.raises(CityloopError, match="give storeys 1 to 4"):
        storey_stiffness(damage)


def test_the_oscillator_is_the_exact_hold():
    omega, damping, step = 60.0, 0.01, 0.0025
    numerator, denominator, _ = cont2discrete(([1, 0, 0], [1, 2 * damping * omega, omega**2]), step)
    ours = oscillator(omega, damping, step)
    np.testing.assert_allclose(ours[0], numerator[0], atol=1e-12)
    np.testing.assert_allclose(ours[1], denominator, atol=1e-12)
    free = lfilter(*ours, np.r_[1.0, np.zeros(4000)])
    peaks = np.flatnonzero((free[1:-1] > free[:-2]) & (free[1:-1] > free[2:]))[5:25] + 1
    decrement = np.log(free[peaks[0]] / free[peaks[-1]]) / (len(peaks) - 1)
    assert decrement == pytest.approx(2 * np.pi * damping / np.sqrt(1 - damping**2), rel=0.03)


def test_sensors_at_opposite_faces_cancel_rotation():
    turn = np.tile([0.0, 0.0, 1.0], 4)
    read = sensor_rows() @ turn
    assert np.abs(read).min() > 1.0
    np.testing.assert_allclose(read[0::2] + read[1::2], 0.0, atol=1e-12)


def test_a_window_is_what_it_says():
    record, temperature = window(1, weather=CALM, temperature_c=20.0)
    assert record.shape == (16, SECONDS * RATE_HZ)
    assert temperature == 20.0
    np.testing.assert_array_equal(record, window(1, weather=CALM, temperature_c=20.0)[0])
    hz, power = welch(record[[channel.axis == "y" for channel in CHANNELS]].mean(axis=0), RATE_HZ, nperseg=1024)
    assert hz[power.argmax()] == pytest.approx(9.41, abs=0.2)


def test_stiffness_falls_as_it_warms_and_faster_below_the_kink():
    weather = Weather()
    factors = np.array([weather.factors(t) for t in (-5.0, 2.0, 9.0, 20.0, 38.0)])
    np.testing.assert_allclose(factors[3], 1.0)
    assert (np.diff(factors, axis=0) < 0).all()
    np.testing.assert_allclose(factors[0] - factors[1], 2.5 * (factors[1] - factors[2]))
    change = np.sqrt(factors[0] / factors[-1]) - 1
    assert 0.02 < change.min() < change.max() < 0.06


def test_an_unknown_fault_is_refused():
    with pytest.raises(CityloopError, match="fault is 'gremlins': choose stuck"):
        spoil(np.zeros((2, 100)), 0, "gremlins", rng(0))
