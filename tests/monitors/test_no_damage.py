"""What a monitor hears that is no damage: faulty sensors, strong shaking, or nothing."""

import numpy as np
import pytest

from agents.monitors.structural import MonitorConfig, StructuralMonitor
from agents.monitors.structural.ambient import FAULTS, spoil
from agents.monitors.structural.observe import observe
from tests.monitors.buildings import FIFTH_GONE, channel, rng, spoilt, window


@pytest.mark.parametrize("fault", FAULTS)
def test_sensor_faults_are_named_and_never_damage(monitor, fault):
    for k, name in enumerate(("x1a", "y2b", "y4a", "x3a", "y1b")):
        record, temperature = window(6, k)
        report = monitor.watch(spoil(record, channel(name), fault, rng(6, k)), temperature)
        assert [(each.channel, each.kind) for each in report.faults] == [(name, fault)]
        assert not report.unusual
        assert report.alarm == "none"
        assert "Have them checked; this says nothing of the building itself" in report.recommendation
    report = monitor.watch(spoil(*spoilt(6, 9, "y1b", fault)), temperature)
    assert not report.unusual


def test_a_fault_persists_by_channel(monitor):
    seen = []
    for k in range(4):
        record, temperature = window(7, k)
        seen.append(monitor.watch(spoil(record, 3, "stuck", rng(7, k)), temperature).faults[0].persistent)
    assert seen == [False, False, True, True]


def test_damage_is_heard_beside_a_faulty_sensor(monitor):
    for k, fault in enumerate(FAULTS):
        record, temperature = window(8, k, damage=FIFTH_GONE)
        report = monitor.watch(spoil(record, channel("y1a"), fault, rng(8, k)), temperature)
        assert report.unusual
        assert (report.location.storey, report.location.axis) == (1, "y")
        assert [each.kind for each in report.faults] == [fault]


def test_nothing_is_said_without_modes(monitor):
    record, temperature = window(9)
    noise = record.std() * rng(9).standard_normal(record.shape)
    report = monitor.watch(noise, temperature)
    assert (report.identified, report.probability, report.location, report.storeys) == (False, None, None, ())
    assert "nothing can be said about damage" in report.recommendation
    dead = monitor.watch(np.full_like(record, np.nan), temperature)
    assert dead.vibration is None
    assert {fault.kind for fault in dead.faults} == {"dropout"}


def test_a_monitor_that_hears_nothing_for_long_says_so_and_calls_it_no_damage(monitor):
    record, temperature = window(9)
    noise = record.std() * rng(9).standard_normal(record.shape)
    reports = [monitor.watch(noise, temperature) for _ in range(3)]
    assert [report.deaf for report in reports] == ["watch", "watch", "alarm"]
    assert {report.alarm for report in reports} == {"none"}
    assert "cannot hear the building" in reports[-1].recommendation
    again = [monitor.watch(*window(3, k)) for k in range(3)]
    assert [report.deaf for report in again] == ["alarm", "alarm", "none"]
    assert "could not be heard in many of the last windows" in again[0].recommendation


@pytest.mark.parametrize("spoil_axis", ["reversed", "lost"])
def test_an_axis_that_goes_unheard_is_named_beside_one_that_is_heard(monitor, spoil_axis):
    """A reversed accelerometer hides all modes of its axis and is no fault of a sensor; half of all modes remain."""
    reports = []
    for k in range(3):
        record, temperature = window(9, k)
        if spoil_axis == "reversed":
            record[[channel("x2a"), channel("x2b")]] *= -1.0
        else:
            record[[row for row, each in enumerate(monitor.config.channels) if each.axis == "x"]] = np.nan
        reports.append(monitor.watch(record, temperature))
    assert {report.unheard for report in reports} == {("x",)}
    assert all(report.identified and report.alarm != "alarm" for report in reports)
    assert [report.deaf for report in reports] == ["watch", "watch", "alarm"]
    assert "The modes in x could not be identified" in reports[0].recommendation
    assert "have its sensors checked" in reports[-1].recommendation
    assert monitor.watch(*window(9, 4)).unheard == ()


def test_strong_shaking_is_vibration_and_no_damage(monitor):
    record, temperature = window(10)
    reports = [monitor.watch(20 * record, temperature) for _ in range(3)]
    assert [report.vibration_alarm for report in reports] == ["watch", "watch", "alarm"]
    assert not any(report.unusual for report in reports)
    assert "find and inspect its source" in reports[-1].recommendation


def test_shaking_beyond_the_sensors_range_is_still_beyond_a_limit(monitor):
    """Every channel clips, so that nothing is said of damage; but it shook so much at least."""
    limits = monitor.config.vibration.model_copy(update={"peak_m_s2": 0.05, "drift_mm": 1e6})
    config = monitor.config.model_copy(update={"vibration": limits})
    limited = StructuralMonitor(monitor.learned.model_copy(update={"config": config}))
    record, temperature = window(10)
    ends = 2 * record.std(axis=1, keepdims=True)
    strong = 50 * np.clip(record, -ends, ends)
    report = limited.watch(strong, temperature)
    assert {fault.kind for fault in report.faults} == {"clipping"}
    assert report.vibration.peak_m_s2 == pytest.approx(np.abs(strong).max())
    assert (report.vibration.velocity_mm_s, report.vibration.drift_mm) == (None, None)
    assert "peak acceleration at least" in report.recommendation
    assert "Inspect before relying on the building" in report.recommendation
    assert report.vibration_alarm == "watch"


def test_a_sensor_that_clips_alone_is_broken_and_no_vibration(monitor):
    limits = monitor.config.vibration.model_copy(update={"peak_m_s2": 2.0})
    config = monitor.config.model_copy(update={"vibration": limits})
    limited = StructuralMonitor(monitor.learned.model_copy(update={"config": config}))
    record, temperature = window(10)
    record[channel("x2a")] = np.where(rng(10).random(record.shape[1]) < 0.5, 19.6, -19.6)
    report = limited.watch(record, temperature)
    assert [(fault.channel, fault.kind) for fault in report.faults] == [("x2a", "clipping")]
    assert (report.vibration.exceeded, report.vibration_alarm) == ((), "none")


def test_a_storey_whose_only_sensor_is_dead_shows_no_modes():
    channels = [{"id": axis, "floor": 1, "axis": axis} for axis in "xy"]
    config = MonitorConfig.of(name="kiosk", rate_hz=100, masses_kg=[2e5], channels=channels)
    record = rng(5).standard_normal((2, 6000))
    record[0] = np.nan
    seen = observe(config, record, np.zeros(2))
    assert (seen.faults, seen.modes["x"]) == ({0: "dropout"}, [])
