"""Integration against sines, and limits that are met and exceeded."""

import numpy as np
import pytest

from agents.monitors.structural.config import Channel, VibrationLimits
from agents.monitors.structural.vibration import integrate, judge, levels
from tests.monitors.buildings import rng

RATE = 200.0
TIME = np.arange(6000) / RATE
CHANNELS = [Channel(id=f"x{floor}", floor=floor, axis="x") for floor in (1, 2)]


def test_integrals_of_a_sine():
    omega = 2 * np.pi * 2.0
    sine = np.sin(omega * TIME) + 0.3
    inner = slice(800, -800)  # both ends fade
    velocity, way = (integrate(sine, RATE, times, 0.5)[inner] for times in (1, 2))
    np.testing.assert_allclose(velocity, -np.cos(omega * TIME[inner]) / omega, atol=1e-3)
    np.testing.assert_allclose(way, -np.sin(omega * TIME[inner]) / omega**2, atol=1e-4)
    slow = 2 * np.pi * 0.2  # below the lowest frequency
    assert np.abs(integrate(np.sin(slow * TIME), RATE, 1, 0.5)).max() < 0.01 / slow


@pytest.mark.parametrize("hz", [1.43, 3.03, 5.51, 9.41, 20.3])
def test_integrals_are_no_larger_than_the_movement_where_a_window_ends_within_a_period(hz):
    """Its last sample and its first are neighbours to the transform: the jump between them grew with every integral."""
    omega = 2 * np.pi * hz
    sine = np.sin(omega * TIME + 0.3)
    assert np.abs(integrate(sine, RATE, 1, 0.5)).max() == pytest.approx(1 / omega, rel=0.02)
    assert np.abs(integrate(sine, RATE, 2, 0.5)).max() == pytest.approx(1 / omega**2, rel=0.05)


def shaken(amplitude):
    omega = 2 * np.pi * 2.0
    return amplitude * np.stack([np.sin(omega * TIME), 3 * np.sin(omega * TIME)])


def judged(amplitude, **limits):
    mean = levels(shaken(1.0))
    return judge(shaken(amplitude), CHANNELS, RATE, mean, np.full((2, 2), 0.2), VibrationLimits(**limits))


def test_measures_are_those_of_the_sine():
    found = judged(1.0)
    assert found.peak_m_s2 == pytest.approx(3.0, rel=1e-3)
    assert found.rms_m_s2 == pytest.approx(3 / 2**0.5, rel=1e-3)
    assert found.velocity_mm_s == pytest.approx(3e3 / (4 * np.pi), rel=2e-2)
    assert found.drift_mm == pytest.approx(2e3 / (4 * np.pi) ** 2, rel=2e-2)
    assert (found.unusual, found.exceeded) == (False, ())


def test_more_than_ever_is_unusual():
    assert not judged(2.0).unusual
    assert judged(3.0).unusual
    assert judged(3.0).standing == pytest.approx(np.log(3.0) / 0.2)


@pytest.mark.parametrize(
    ("limit", "value", "words"),
    [
        ("peak_m_s2", 2.9, "peak acceleration 3 m/s² exceeds 2.9 m/s²"),
        ("rms_m_s2", 2.1, "root mean square"),
        ("velocity_mm_s", 230.0, "peak velocity"),
        ("drift_mm", 12.0, "peak storey drift"),
    ],
)
def test_stated_limits(limit, value, words):
    assert words in judged(1.0, **{limit: value}).exceeded[0]
    assert judged(1.0, **{limit: value}).unusual
    assert judged(1.0, **{limit: value * 1.2}).exceeded == ()


def test_no_neighbours_no_drift():
    window = rng(0).standard_normal((1, 6000))
    found = judge(window, CHANNELS[:1], RATE, levels(window), np.ones((2, 1)), VibrationLimits(drift_mm=1e-9))
    assert found.drift_mm is None
    assert not found.unusual
