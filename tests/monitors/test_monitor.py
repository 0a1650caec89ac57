"""The whole monitor on the benchmark building: it hears what it should, and says no more than it knows."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.signal import lfilter

from agents.monitors.structural import MonitorConfig, StructuralMonitor, learning, tracks
from agents.monitors.structural.ambient import CHANNELS, FAULTS, oscillator, spoil
from agents.monitors.structural.iasc import PATTERNS, Damage
from agents.monitors.structural.identification import Mode
from agents.monitors.structural.observe import observe
from agents.monitors.structural.report import Report, recommend
from agents.monitors.structural.shear import shear_modes
from agents.monitors.structural.updating import standing, weigh
from envs.core.errors import CityloopError
from tests.monitors.buildings import SECONDS, SETTINGS, channel, learned_monitor, rng, window

FIFTH_GONE = Damage(losses={(1, "y"): 0.2})
SOME, _ = window(15)


@pytest.fixture
def monitor():
    return learned_monitor()


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


def spoilt(a, b, name, fault):
    return window(a, b)[0], channel(name), fault, rng(a, b)


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


def test_reports_are_plain_data(monitor):
    report = monitor.watch(*window(14))
    assert Report.model_validate_json(report.model_dump_json()) == report


def test_it_never_calls_a_building_safe(monitor):
    report = monitor.watch(*window(14))
    sensors = monitor.watch(*[spoil(*spoilt(14, 0, "x1a", "stuck")), 20.0]).faults
    for alarm in ("none", "watch", "alarm"):
        for identified in (True, False):
            for probability in (0.0, 0.5, 1.0):
                for faults in ((), sensors):
                    words = recommend(
                        report.model_copy(
                            update={
                                "alarm": alarm,
                                "deaf": alarm,
                                "identified": identified,
                                "probability": probability,
                                "faults": faults,
                                "vibration_alarm": alarm,
                            }
                        )
                    )
                    assert "safe" not in words.lower()
                    assert "inspect" in words
                    if identified:
                        assert "Probability of damage" in words


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"rate_hz": -1}, "rate_hz is -1: give more than 0"),
        ({"colour": "red"}, "unknown key 'colour'"),
        ({"masses_kg": [1.0, 2.0]}, "stands on floor 3 of 2: give masses of all floors"),
        ({"masses_kg": [1.0, 2.0, 0.0, 3.0]}, "masses_kg holds 0: give positive masses"),
        ({"channels": [{"id": "a", "floor": 1, "axis": "x"}] * 2}, "channel id 'a' is given twice"),
        ({"channels": [{"id": "a", "floor": 1, "axis": "x"}]}, "on floor 1 alone: give accelerometers on two"),
        ({"persistence": {"needed": 6}}, "needed is 6 of 5"),
        ({"identification": {"highest_hz": 90.0}}, "highest_hz is 90 at 200 samples a second: give at most 80"),
    ],
)
def test_a_wrong_configuration_ends_in_one_sentence(changes, sentence):
    with pytest.raises(CityloopError) as caught:
        MonitorConfig.of(**SETTINGS | changes)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("record", "temperature", "sentence"),
    [
        (np.zeros((3, 5000)), 20.0, r"window has shape \(3, 5000\): give \(16, samples\)"),
        (np.zeros((16, 100)), 20.0, "window has 100 samples: give 480 at least"),
        (np.zeros((16, 5000)), None, "temperature_c is None: give degrees Celsius"),
        (np.zeros((16, 5000)), np.float64(-99), r"temperature_c is -99\.0: give degrees Celsius"),
        (np.zeros((16, 5000)), np.nan, "temperature_c is nan: give degrees Celsius"),
        (np.zeros((16, 5000)), True, "temperature_c is True: give degrees Celsius"),
        ("loud", 20.0, "window is str: give accelerations"),
    ],
)
def test_a_wrong_window_ends_in_one_sentence(monitor, record, temperature, sentence):
    with pytest.raises(CityloopError, match=sentence):
        monitor.watch(record, temperature)


def test_a_window_shorter_than_those_learned_is_refused(monitor, tmp_path):
    record, temperature = window(21)
    learned = monitor.learned.samples
    assert learned == record.shape[1]
    monitor.watch(record[:, : int(0.95 * learned)], temperature)
    short = record[:, : learned // 2]
    with pytest.raises(CityloopError, match=rf"has {learned // 2} samples, too few .*: give {learned}, or learn"):
        monitor.watch(short, temperature)
    content = json.loads(monitor.learned.model_dump_json())
    del content["samples"]  # as in files from before it was noted
    (tmp_path / "old.json").write_text(json.dumps(content))
    StructuralMonitor.load(tmp_path / "old.json").watch(short, temperature)


@pytest.mark.parametrize(
    ("windows", "temperatures", "sentence"),
    [
        ([SOME, SOME], [20.0, 21.0], "2 of 2 are without sensor faults, 118 are needed"),
        ([SOME, SOME], [20.0], "temperatures_c has 1 values, and there are more windows"),
        ([SOME, SOME], [20.0, 20.0, 20.0], "temperatures_c has 3 values for 2 windows"),
        ([SOME, np.zeros((2, 9))], [20.0, 20.0], r"windows\[1\] has shape"),
    ],
)
def test_it_must_learn_enough(windows, temperatures, sentence):
    with pytest.raises(CityloopError, match=sentence):
        StructuralMonitor.learn(MonitorConfig.of(**SETTINGS), windows, temperatures)


def test_files_that_are_no_monitors_are_refused(tmp_path):
    with pytest.raises(CityloopError, match="cannot be read"):
        StructuralMonitor.load(tmp_path / "none.json")
    (tmp_path / "odd.json").write_text('{"format": 9}')
    with pytest.raises(CityloopError, match="format is 9"):
        StructuralMonitor.load(tmp_path / "odd.json")


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("threshold", float("inf"), "threshold is inf"),
        ("slope", -1.0, "slope is -1"),
        ("half_c", 0.0, "half_c is 0"),
        ("covariance", [[1.0, 0.0], [0.0, 1.0]], "covariance is not of shape"),
        ("leverage", [[1.0, 0.0], [0.0]], "leverage is not of shape"),
        ("channel_offset", [0.0], "channel_offset is not of shape"),
        ("axes", [], "axes are"),
        ("leverage", (-np.eye(4)).tolist(), "leverage is no scatter"),
    ],
)
def test_a_file_that_was_altered_is_refused(monitor, tmp_path, key, value, problem):
    path = tmp_path / "monitor.json"
    monitor.save(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(CityloopError, match=problem):
        StructuralMonitor.load(path)


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("floor_of", [0] * 8, "x.floors are not those of its channels"),
        ("floor_of", [9] * 8, "x.floors are not those of its channels"),
        ("floors", [1, 2, 3, 3], "x.floors are not those of its channels"),
        ("numbers", [1, 1, 2, 3], "x.numbers reaches beyond what there is, or does not rise"),
        ("shape", [[0.0] * 8] * 4, "x.shape has a mode in which nothing moves"),
    ],
)
def test_an_axis_that_was_altered_is_refused(monitor, tmp_path, key, value, problem):
    path = tmp_path / "monitor.json"
    monitor.save(path)
    content = json.loads(path.read_text())
    content["axes"][0][key] = value
    path.write_text(json.dumps(content))
    with pytest.raises(CityloopError, match=problem):
        StructuralMonitor.load(path)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("value", "kind"), [(0.0, "stuck"), (np.nan, "dropout"), (np.inf, "dropout")])
def test_a_sensor_that_was_dead_all_along_is_named(value, kind):
    dead = SOME.copy()
    dead[4] = value
    with pytest.raises(CityloopError, match=rf"{CHANNELS[4].id} is the worst \({kind} in 2\)"):
        StructuralMonitor.learn(MonitorConfig.of(**SETTINGS), [dead, dead], [20.0, 20.0])


def test_a_storey_whose_only_sensor_is_dead_shows_no_modes():
    channels = [{"id": axis, "floor": 1, "axis": axis} for axis in "xy"]
    config = MonitorConfig.of(name="kiosk", rate_hz=100, masses_kg=[2e5], channels=channels)
    record = rng(5).standard_normal((2, 6000))
    record[0] = np.nan
    seen = observe(config, record, np.zeros(2))
    assert (seen.faults, seen.modes["x"]) == ({0: "dropout"}, [])


def test_an_alarm_without_a_place_names_none(monitor):
    report = monitor.watch(*window(14)).model_copy(update={"alarm": "alarm", "unusual": False, "location": None})
    words = recommend(report)
    assert "the alarm of earlier windows stands" in words
    assert "there first" not in words


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
