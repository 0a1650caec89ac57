"""The whole monitor on the benchmark building: it hears what it should, and says no more than it knows."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.signal import lfilter

from agents.monitors.structural import MonitorConfig, StructuralMonitor, learning, tracks
from agents.monitors.structural.ambient import CHANNELS, oscillator
from agents.monitors.structural.iasc import PATTERNS, Damage
from agents.monitors.structural.identification import Mode
from agents.monitors.structural.shear import shear_modes
from agents.monitors.structural.updating import standing, weigh
from tests.monitors.buildings import FIFTH_GONE, SECONDS, SETTINGS, rng, window


def test_what_was_learned_is_the_building(monitor):
    x, y = monitor.learned.axes
    assert x.numbers == y.numbers == (1, 2, 3, 4)
    np.testing.assert_allclose(x.storeys_n_m, 106.6e6, rtol=0.04)
    np.testing.assert_allclose(y.storeys_n_m, 67.9e6, rtol=0.04)
    np.testing.assert_allclose([*x.damping, *y.damping], 0.01, atol=0.002)
    assert monitor.learned.windows == (65, 65)


def test_frequencies_follow_the_temperature_and_residuals_do_not(monitor):
    cold, warm = ([monitor.watch(*window(2, k, temperature_c=t)) for k in range(6)] for t in (-4.0, 37.0))
    hz = [np.mean([report.modes[0].frequency_hz for report in reports]) for reports in (cold, warm)]
    assert hz[0] / hz[1] > 1.02
    change = [np.mean([mode.change for report in reports for mode in report.modes]) for reports in (cold, warm)]
    assert np.abs(change).max() < 0.003


def test_tracks_tell_a_slow_loss_from_the_weather(monitor):
    reports = [
        monitor.watch(*window(19, k, damage=Damage(losses={(1, "y"): 0.02 * k}), temperature_c=35.0 - 4.0 * k))
        for k in range(8)
    ]
    found = {(track.axis, track.number): track for track in tracks(reports)}
    assert set(found) == {(axis, number) for axis in "xy" for number in (1, 2, 3, 4)}
    assert found["y", 1].trend < -0.003
    assert abs(found["x", 3].trend) < 0.001
    assert found["x", 1].frequency_hz[-1] > found["x", 1].frequency_hz[0]
    gap = tracks([reports[0], reports[1].model_copy(update={"modes": ()})])[0]
    np.testing.assert_array_equal(np.isnan(gap.frequency_hz), [False, True])
    assert np.isnan(gap.trend)
    assert tracks([]) == []


def test_healthy_windows_raise_no_alarm(monitor):
    reports = [monitor.watch(*window(3, k)) for k in range(30)]
    assert sum(report.unusual for report in reports) <= 4
    assert all(report.alarm != "alarm" for report in reports)
    assert all(report.faults == () and report.vibration_alarm == "none" for report in reports)
    assert np.median([report.probability for report in reports]) < 0.3


@pytest.mark.parametrize("axis", ["x", "y"])
@pytest.mark.parametrize("storey", [1, 4])
def test_a_fifth_of_a_storey_is_heard_located_and_measured(monitor, storey, axis):
    damage = Damage(losses={(storey, axis): 0.2})
    reports = [monitor.watch(*window(4, storey, k, damage=damage)) for k in range(4)]
    assert [report.alarm for report in reports] == ["watch", "watch", "alarm", "alarm"]
    for report in reports:
        assert (report.location.storey, report.location.axis) == (storey, axis)
        assert report.location.loss == pytest.approx(0.2, abs=0.05)
        assert report.location.low <= report.location.loss <= report.location.high
        assert report.probability > 0.9
        assert report.faults == ()


@pytest.mark.parametrize("pattern", PATTERNS)
def test_published_patterns_are_heard(monitor, pattern):
    report = monitor.watch(*window(5, damage=Damage(PATTERNS[pattern])))
    assert report.unusual
    assert report.location.storey in {1, 3}
    assert report.faults == ()


def test_a_monitor_without_eyes_for_damage_would_fail_these(monitor):
    """The same windows, healthy: what the tests above call damage is none here."""
    reports = [monitor.watch(*window(4, 1, k)) for k in range(4)]
    assert all(report.alarm != "alarm" for report in reports)
    assert max(report.statistic for report in reports) < 10


def test_large_and_many_losses_do_not_hide_behind_each_other(monitor):
    """The statistic looks for one small loss at a time: in features, no larger or manifold one escapes it."""
    frames, draw = monitor._frames, rng(60)
    known = np.ones((4, 4), bool)
    for _ in range(200):
        factors = 1.0 - draw.uniform(0.1, 0.9, (2, 4)) * (draw.random((2, 4)) < 0.4)
        if factors.min() == 1.0:
            continue
        row = np.concatenate([frame.departures(f, known).ravel() for frame, f in zip(frames, factors, strict=True)])
        evidence = weigh(frames, row, monitor._covariance, 1.0, monitor.config.gain_prior)
        assert max(each.max() for each in standing(frames, evidence)) > monitor.learned.threshold


def test_persistence_starts_anew_after_a_reset(monitor):
    damaged = window(11, damage=FIFTH_GONE)
    assert [monitor.watch(*damaged).alarm for _ in range(3)][-1] == "alarm"
    monitor.reset()
    assert monitor.watch(*damaged).alarm == "watch"


def test_an_alarm_outlasts_windows_that_say_nothing(monitor):
    record, temperature = window(11, damage=FIFTH_GONE)
    for _ in range(3):
        monitor.watch(record, temperature)
    for _ in range(6):
        report = monitor.watch(np.full_like(record, np.nan), temperature)
    assert report.alarm == "alarm"
    assert "alarm of earlier windows stands" in report.recommendation
    healthy = [monitor.watch(*window(3, k)).alarm for k in range(5)]
    assert healthy[-1] == "none"


def test_outside_the_learned_temperatures_it_doubts(monitor):
    record, _ = window(12, temperature_c=20.0)
    near, far = monitor.watch(record, 20.0), monitor.watch(record, 60.0)
    assert near.learned_temperature
    assert not far.learned_temperature
    assert "outside the learned temperatures" in far.recommendation
    assert far.modes[0].sigma > 2 * near.modes[0].sigma


def test_saved_and_loaded_it_says_the_same(monitor, tmp_path):
    path = tmp_path / "monitor.json"
    monitor.save(path)
    json.loads(path.read_text())
    again = StructuralMonitor.load(path)
    for k in range(3):
        record, temperature = window(13, k, damage=FIFTH_GONE)
        assert again.watch(record, temperature) == monitor.watch(record, temperature)
    assert list(tmp_path.iterdir()) == [path]


def test_a_channel_that_takes_part_in_no_mode_leaves_numbers(monkeypatch):
    """Its sensitivity cannot be known; as NaN it would make a file that cannot be read again."""
    masses = np.array([1e3, 1e3])
    channels = [{"id": f"x{floor}", "floor": floor, "axis": "x"} for floor in (1, 2)]
    config = MonitorConfig.of(name="low", rate_hz=100, masses_kg=masses.tolist(), channels=channels)
    hz, shapes = shear_modes(masses, np.array([1e6, 1e6]))
    modes = [Mode(f, 0.01, shape, 1.0, 1.0) for f, shape in zip(hz.tolist(), shapes, strict=True)]
    seen = [SimpleNamespace(modes={"x": modes}, used={"x": np.ones(2, bool)}) for _ in range(4)]
    monkeypatch.setattr(learning, "gains", lambda *_: (np.array([np.nan, 0.01]), None))
    learned = learning._learn_axis(config, "x", seen)
    assert learned.gain_mean == (0.0, 0.01)
    assert np.isfinite(learned.gain_sigma).all()


def test_one_axis_with_one_sensor_a_floor_is_enough():
    """Half the instruments: no pairs, no second axis."""
    rows = [k for k, each in enumerate(CHANNELS) if each.id.startswith("y") and each.id.endswith("a")]
    config = MonitorConfig.of(**SETTINGS | {"channels": [CHANNELS[k].model_dump() for k in rows], "false_alarms": 0.08})
    temperatures = rng(16).uniform(0.0, 30.0, 80).tolist()
    windows = (window(16, k, temperature_c=t)[0][rows] for k, t in enumerate(temperatures))
    monitor = StructuralMonitor.learn(config, windows, temperatures)
    assert monitor.learned.axes[0].numbers == (1, 2, 3, 4)
    healthy = [monitor.watch(window(17, k, temperature_c=15.0)[0][rows], 15.0) for k in range(8)]
    assert sum(report.unusual for report in healthy) <= 2
    damaged = [monitor.watch(window(18, k, damage=FIFTH_GONE, temperature_c=15.0)[0][rows], 15.0) for k in range(5)]
    assert damaged[-1].alarm == "alarm"
    assert [(report.location.storey, report.location.axis) for report in damaged].count((1, "y")) >= 4


def test_a_building_of_one_storey_is_heard_too():
    """Its only shape never departs, and correlates with nothing."""
    config = MonitorConfig.of(
        name="hall",
        rate_hz=50,
        masses_kg=[1000.0],
        channels=[{"id": "x1", "floor": 1, "axis": "x"}],
        false_alarms=0.08,
    )

    def shaken(key, left=1.0):
        noise = rng(19, key)
        omega = 2 * np.pi * 2.0 * np.sqrt(left) * np.exp(0.002 * noise.standard_normal())
        sway = lfilter(*oscillator(omega, 0.01, 1 / 50), noise.standard_normal(3500))[None, 500:]
        return sway + 0.02 * sway.std() * noise.standard_normal(sway.shape)

    temperatures = rng(20).uniform(10.0, 20.0, 80).tolist()
    monitor = StructuralMonitor.learn(config, (shaken(k) for k in range(80)), temperatures)
    assert not monitor.watch(shaken(80), 15.0).unusual
    report = monitor.watch(shaken(81, 0.85), 15.0)
    assert report.location.loss == pytest.approx(0.15, abs=0.02)


def test_windows_are_as_long_as_tests_say():
    assert window(1)[0].shape[1] == SECONDS * 200
