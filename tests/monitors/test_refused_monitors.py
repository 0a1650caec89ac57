"""What no monitor is made of, learns from or listens to: it is refused in a sentence."""

import json

import numpy as np
import pytest

from agents.monitors.structural import MonitorConfig, StructuralMonitor
from agents.monitors.structural.ambient import CHANNELS
from envs.core.errors import CityloopError
from tests.monitors.buildings import SETTINGS, window

SOME, _ = window(15)


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
