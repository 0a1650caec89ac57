"""A building that sways slowly: eight storeys at 0.9 to 9.9 Hz, sampled fast, need decimation and longer windows."""

import numpy as np
import pytest
from scipy.signal import lfilter

from agents.monitors.structural import MonitorConfig
from agents.monitors.structural.ambient import oscillator
from agents.monitors.structural.observe import observe
from agents.monitors.structural.shear import shear_modes
from tests.monitors.buildings import rng

MASSES, STIFFNESS, RATE = np.full(8, 345.6e3), np.full(8, 3.404e8), 100.0
PUBLISHED = (0.923, 2.74, 4.47, 6.05, 7.43, 8.55, 9.37, 9.87)


def config(**identification):
    channels = [{"id": f"x{floor}", "floor": floor, "axis": "x"} for floor in range(1, 9)]
    return MonitorConfig.of(
        name="tall", rate_hz=RATE, masses_kg=MASSES.tolist(), channels=channels, identification=identification
    )


@pytest.fixture(scope="module")
def record():
    """Ten minutes under forces at all floors, one per cent of critical damping, a twentieth of noise."""
    hz, shapes = shear_modes(MASSES, STIFFNESS)
    noise = rng(50)
    forces = noise.standard_normal((8, int(600 * RATE)))
    modal = shapes @ forces / (shapes**2 * MASSES).sum(axis=1)[:, None]
    moved = [lfilter(*oscillator(2 * np.pi * f, 0.01, 1 / RATE), row) for f, row in zip(hz, modal, strict=True)]
    clean = shapes.T @ np.array(moved)
    return clean + 0.05 * clean.std() * noise.standard_normal(clean.shape)


def test_the_frame_has_the_published_frequencies():
    np.testing.assert_allclose(shear_modes(MASSES, STIFFNESS)[0], PUBLISHED, rtol=0.01)


def test_all_eight_modes_are_identified(record):
    settings = config(highest_hz=11.0, lags=40, order=48)
    assert settings.decimation == 3
    modes = observe(settings, record, np.zeros(8)).modes["x"]
    exact = shear_modes(MASSES, STIFFNESS)[0]
    found = [min(modes, key=lambda mode, f=f: abs(mode.frequency_hz - f)) for f in exact]
    np.testing.assert_allclose([mode.frequency_hz for mode in found], exact, rtol=0.01)
    np.testing.assert_allclose([mode.damping for mode in found], 0.01, atol=0.008)
