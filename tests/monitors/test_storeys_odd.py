"""The storeys' monitor off the beaten track: motion that drowns in noise, sensors whose scale or clock is off."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np
import pytest

from agents import POLICY, make_controller
from agents.monitors.storeys import SHIPPED, StoreyConfig, StoreyMonitor, StoreyReport, Window, Windows, find_monitor
from agents.monitors.storeys.estimate import estimate
from agents.monitors.storeys.teach import play_windows
from envs.core.errors import CityloopError
from envs.core.registry import load_scenario
from envs.dampers.assembly import load_site
from envs.dampers.scenarios import DampersScenario

SCENARIO = load_scenario("dampers/jansen")
assert isinstance(SCENARIO, DampersScenario)
SITE = load_site(SCENARIO)
OWN_HZ, HEARD_HZ = 10.0, 8.0
STIFFNESS = 10.0 * (2 * np.pi * OWN_HZ) ** 2
STIFF = StoreyConfig(
    name="one",
    rate_hz=100,
    masses_kg=(10.0,),
    stiffness_n_m=(STIFFNESS,),
    accel_m_s2=0.01,
    stroke_mm=0.01,
    band_hz=(0.6, 40.0),
)


def tone(accel_m_s2: float, seed: int) -> Window:
    """A stiff storey that sways at one frequency, its floor with so much acceleration, beside its sensors' noise."""
    floor = accel_m_s2 * np.sin(2 * np.pi * HEARD_HZ * np.arange(3000) / 100)
    ground = floor * (1.0 - (HEARD_HZ / OWN_HZ) ** 2)
    noise = STIFF.accel_m_s2 * np.random.default_rng([31, seed]).standard_normal((2, 3000))
    return Window(np.vstack([ground, floor]) + noise, np.zeros((0, 3000)), np.zeros((0, 3000)))


@pytest.fixture
def monitor() -> StoreyMonitor:
    found = find_monitor(SHIPPED, SITE)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def windows() -> list[Window]:
    found = find_monitor(SHIPPED, SITE)
    assert found is not None
    first = SCENARIO.seeds.test.first
    return list(play_windows(SCENARIO, found.config, make_controller(POLICY, SITE), range(first, first + 4)))


def test_noise_alone_is_no_movement() -> None:
    for seed in range(10):
        assert estimate(STIFF, tone(0.0, seed)).sigma[0] > STIFF.widest


@pytest.mark.parametrize("accel_m_s2", [0.02, 0.1])
def test_motion_that_hardly_stands_out_of_the_noise_is_known_as_poorly_as_it_says(accel_m_s2: float) -> None:
    seen = [estimate(STIFF, tone(accel_m_s2, seed)) for seed in range(40)]
    off = [np.log(one.stiffness_n_m[0] / STIFFNESS) / one.sigma[0] for one in seen]
    assert np.sqrt(np.mean(np.square(off))) < 1.65, "a learned scatter of about 1.4, whatever the motion"


@pytest.mark.filterwarnings("error")
def test_what_is_infinite_is_missing(windows: list[Window], monitor: StoreyMonitor) -> None:
    accel = windows[0].accel_m_s2.copy()
    accel[1] = np.inf
    report = monitor.watch(dataclasses.replace(windows[0], accel_m_s2=accel))
    assert report.storeys[0].deaf == "samples are missing"
    assert report.heard


def spoilt(windows: Iterable[Window], monitor: StoreyMonitor, factor: float) -> list[StoreyReport]:
    """Reports where the lowest damper's stroke is told on another scale."""
    scale = np.array([[factor], [1.0]])
    return [monitor.watch(dataclasses.replace(one, stroke_m=scale * one.stroke_m)) for one in windows]


def test_a_storey_ten_times_as_stiff_is_a_sensor_on_another_scale(
    windows: list[Window], monitor: StoreyMonitor
) -> None:
    reports = spoilt(windows, monitor, 0.1)
    assert {report.storeys[0].deaf for report in reports} == {"its readings contradict each other"}
    assert all(report.heard and report.alarm == "none" for report in reports)


def test_a_storey_that_goes_unheard_is_named_and_motion_that_is_too_weak_says_nothing_of_it(
    windows: list[Window], monitor: StoreyMonitor
) -> None:
    reports = spoilt(windows, monitor, 0.0)
    assert [report.unheard for report in reports] == [(), (), (1,), (1,)]
    assert "Storey 1 goes unheard, losses there too: have its sensors checked." in reports[-1].recommendation
    again = find_monitor(SHIPPED, SITE)
    assert again is not None
    for report in reports:
        again.remember(report)
    calm = dataclasses.replace(windows[0], accel_m_s2=0.01 * windows[0].accel_m_s2, stroke_m=0.01 * windows[0].stroke_m)
    assert again.watch(dataclasses.replace(calm, force_n=0.01 * calm.force_n)).unheard == (1,)


def test_reports_of_another_building_are_remembered_without_harm(windows: list[Window], monitor: StoreyMonitor) -> None:
    report = monitor.watch(windows[0])
    monitor.remember(report.model_copy(update={"storeys": report.storeys[:2]}))
    assert monitor.watch(windows[1]).heard


def gathered(times_s: np.ndarray, monitor: StoreyMonitor) -> list[Window]:
    """Windows of samples told at these times, each a number of its own."""
    windows, found = Windows(monitor.config), []
    for k, time_s in enumerate(times_s):
        row = {"ground_m_s2": [k], "accel_m_s2": [k] * 6, "stroke_mm": [k] * 2, "force_n": [k] * 2}
        found.append(windows.add(float(time_s), row))
    return [one for one in found if one is not None]


def test_a_clock_that_is_not_the_sensors_own_leaves_windows_whole(monitor: StoreyMonitor) -> None:
    even = np.arange(3200) / 100
    fast = gathered(0.99 * even, monitor)
    assert [one.accel_m_s2.shape[1] for one in fast] == [3000], "one sample in a hundred falls where one was"
    uneven = even + np.random.default_rng(1).uniform(-0.004, 0.004, even.size)
    assert len(gathered(np.maximum(uneven, 0.0), monitor)) == 1
    twice = gathered(np.sort(np.concatenate([even, even[99::500]])), monitor)
    assert len(twice) == 1
    assert not np.isnan(twice[0].accel_m_s2).any()


def test_a_sample_that_comes_late_finds_its_place(monitor: StoreyMonitor) -> None:
    late = np.arange(3100) / 100
    late[[500, 501]] = late[[501, 500]]
    (window,) = gathered(late, monitor)
    np.testing.assert_array_equal(window.accel_m_s2[0, 499:503], [499, 501, 500, 502])


def test_lists_are_windows_and_words_are_none(windows: list[Window], monitor: StoreyMonitor) -> None:
    first = windows[0]
    told = Window(first.accel_m_s2.tolist(), first.stroke_m.tolist(), first.force_n.tolist())  # type: ignore[arg-type]
    assert monitor.watch(told).storeys == find_monitor(SHIPPED, SITE).watch(first).storeys  # type: ignore[union-attr]
    with pytest.raises(CityloopError, match="stroke_m is no table of numbers"):
        monitor.watch(Window(first.accel_m_s2, "loud", first.force_n))  # type: ignore[arg-type]
    with pytest.raises(CityloopError, match=r"accel_m_s2 has shape \(\): give \(7, 0\)"):
        monitor.watch(Window(3.0, first.stroke_m, first.force_n))  # type: ignore[arg-type]
