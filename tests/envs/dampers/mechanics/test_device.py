"""Devices by themselves: more voltage, more force; energy goes one way; coils and end stops as they should."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from envs.dampers.mechanics.building import BUILDINGS
from envs.dampers.mechanics.device import DamperState, Device, Hysteresis, bouc_wen_step, damper_step
from tests.envs.dampers.shaken import building, elastic_j

DT_S = 0.0005


def drive(device, stroke, rate, volts):
    """Force at every step of a prescribed motion."""
    inside, forces = DamperState(*(np.zeros(1) for _ in range(3))), []
    for x, v, u in zip(stroke, rate, np.broadcast_to(volts, len(stroke)), strict=True):
        inside, force = damper_step(device, inside, u, np.array([x]), np.array([v]), DT_S)
        forces.append(force[0])
    return np.array(forces)


def sine(amplitude_m, hertz, cycles=3):
    times = np.arange(0, cycles / hertz, DT_S)
    omega = 2 * np.pi * hertz
    return amplitude_m * np.sin(omega * times), amplitude_m * omega * np.cos(omega * times)


@pytest.mark.parametrize("name", BUILDINGS)
def test_force_rises_with_voltage(name):
    device = building(name).device
    motion = sine(0.005, 2.0)
    largest = [abs(drive(device, *motion, share * device.full_v)).max() for share in (0, 0.25, 0.5, 0.75, 1.0)]
    assert (np.diff(largest) > 0).all()


@pytest.mark.parametrize("name", BUILDINGS)
def test_every_cycle_takes_energy_out(name):
    stroke, rate = sine(0.005, 2.0)
    force = drive(building(name).device, stroke, rate, 1.0)
    cycle = round(0.5 / DT_S)
    assert (force * rate * DT_S)[cycle : 2 * cycle].sum() > 0


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0, 1), min_size=8, max_size=40),
    st.lists(st.floats(-0.2, 0.2), min_size=8, max_size=40),
    st.sampled_from(BUILDINGS),
)
def test_no_voltage_makes_a_damper_give_back_more_than_it_can_hold(levels, rates, name):
    """∫ f v dt never falls below what its springs and its hysteresis could have stored, whatever is commanded."""
    device = building(name).device
    rate = np.repeat(rates, 40)
    stroke = np.cumsum(rate) * DT_S
    volts = device.full_v * np.resize(np.repeat(levels, 40), len(rate))
    work = np.cumsum(drive(device, stroke, rate, volts) * rate) * DT_S
    springs = 0.5 * (device.k0_n_m + device.k1_n_m) * abs(stroke).max() ** 2
    assert work.min() >= -(elastic_j(device) + springs) * 1.05 - 1e-9


def test_the_coil_follows_a_step_exponentially():
    device = building().device
    inside = DamperState(*(np.zeros(1) for _ in range(3)))
    for _ in range(50):
        inside, _ = damper_step(device, inside, 5.0, np.zeros(1), np.zeros(1), 0.001)
    assert inside.u[0] == pytest.approx(5.0 * (1 - np.exp(-80 * 0.05)))


def test_hysteresis_saturates_at_its_bound():
    for n, gamma, beta in ((1, 300.0, 300.0), (2, 3e6, 3e6), (2, 136_320.0, 2_059_020.0)):
        shape, z = Hysteresis(a=120.0, gamma=gamma, beta=beta, n=n), np.zeros(1)
        for _ in range(4000):
            z = bouc_wen_step(shape, z, np.array([0.05]), 1e-4)
        assert z[0] == pytest.approx(shape.largest, rel=1e-3)


def test_implicit_hysteresis_stays_bounded_at_any_rate():
    shape, z = Hysteresis(a=120.0, gamma=3e6, beta=3e6, n=2), np.zeros(1)
    for rate in np.random.default_rng(0).normal(scale=50.0, size=2000):
        z = bouc_wen_step(shape, z, np.array([rate]), 0.002)
        assert abs(z[0]) <= shape.largest


def test_force_settles_where_the_simple_model_says():
    device = building().device
    count = round(0.5 / DT_S)
    rate = np.full(count, 0.05)
    force = drive(device, np.cumsum(rate) * DT_S, rate, 2.0)[-1]
    assert force == pytest.approx(device.steady_force_n(0.05, 2.0 / device.full_v), rel=1e-3)


def test_rating_and_end_stop():
    device = building().device.model_copy(update={"rated_n": 5.0, "stroke_mm": 1.0, "stop_n_m": 1e6})
    rate = np.full(400, 0.01)
    stroke = np.cumsum(rate) * DT_S
    force = drive(device, stroke, rate, 5.0)
    ahead = stroke + rate * DT_S  # the stop holds against the end of a step
    inside = ahead < 0.001 + 1e-9
    assert force[inside].max() == pytest.approx(5.0)
    np.testing.assert_allclose(force[~inside] - 5.0, 1e6 * (ahead[~inside] - 0.001), rtol=1e-6)


def test_an_end_stop_gives_back_no_more_than_it_took():
    """In a free swing into it, with a step that is a tenth of the period there: it would gain if held where it was."""
    device = building().device.model_copy(update={"stroke_mm": 0.0, "stop_n_m": 1e6, "rated_n": 1e-9})
    mass = 1e6 * (10 * DT_S / (2 * np.pi)) ** 2
    inside, x, v, energy = DamperState(*(np.zeros(1) for _ in range(3))), np.array([1.0]), np.zeros(1), []
    for _ in range(200):
        inside, force = damper_step(device, inside, 0.0, x, v, DT_S)
        x = x + DT_S * v - force / mass * DT_S**2 / 2  # a force that is held over the step
        v = v - force / mass * DT_S
        energy.append(float(mass * v[0] ** 2 + 1e6 * x[0] ** 2) / 2)
    assert energy[-1] < 1e-3 * energy[0]


def test_what_no_device_can_be_is_refused():
    good = building().device.model_dump()
    with pytest.raises(ValidationError, match="c1a_n_s_m is 0"):
        Device.model_validate(good | {"model": "modified"})
    with pytest.raises(ValidationError, match="c0a_n_s_m and c1a_n_s_m are 0"):
        Device.model_validate(good | {"model": "modified", "c0a_n_s_m": 0.0, "c1b_n_s_mv": 1.0})
    with pytest.raises(ValidationError, match="beta is -4"):
        Hysteresis(a=1.0, gamma=3.0, beta=-4.0)
