"""Operators' drainage controllers, compared with hand calculations."""

import json

import numpy as np
import pytest

from agents import make_controller
from agents.baselines.drainage import Hold, LevelLaw, LevelPI, tuned
from envs import load_scenario
from envs.drainage.network import load_site
from envs.drainage.site import LEADS_MIN
from tests.envs.drainage.small import READ, row


def asked(name, **changed):
    readings = {key: np.array(values, dtype=float) for key, values in {**READ, **changed}.items()}
    return make_controller(name, row()).act(readings, {})[:, 0]


def test_fixed_settings():
    np.testing.assert_array_equal(asked("uncontrolled"), [1, 1, 1])
    np.testing.assert_array_equal(asked("static"), [0.5, 0.4, 1.0])


def test_equal_filling_empties_the_fullest_and_holds_back_the_emptiest():
    assert asked("efd", depth_m=[3.0, 1.0])[0] == 1.0
    assert asked("efd", depth_m=[1.0, 3.0])[0] == 0.2


def test_equal_filling_does_nothing_where_tanks_are_level():
    np.testing.assert_array_equal(asked("efd", depth_m=[2.0, 2.0]), [0.5, 0.4, 1.0])


def test_the_law_by_hand():
    # fillings 0.25, 0.5, 0.5 of the gates' tanks: mean 0.41667; below the upper gate 0.5
    multiple = 0.99 + 1.51 * (0.25 - 1.25 / 3) + 2.91 * (0.95 - 0.5) + 0.77 * (0.25 - 0.85)
    assert asked("law")[0] == pytest.approx(0.5 * multiple)


def test_pi_by_hand_and_forgets():
    rule = make_controller("pi", row())
    readings = {key: np.array(values, dtype=float) for key, values in {**READ, "depth_m": [3.0, 2.0]}.items()}
    first, second = (rule.act(readings, {})[0, 0] for _ in range(2))
    hours = 300 / 3600
    assert first == pytest.approx(0.5 * (1 + 0.8 * 0.25 + 0.2 * 0.25 * hours))
    assert second == pytest.approx(0.5 * (1 + 0.8 * 0.25 + 0.2 * 0.25 * 2 * hours))
    rule.reset()
    assert rule.act(readings, {})[0, 0] == first


@pytest.mark.parametrize("name", ["pi", "efd", "law", "hold"])
def test_without_levels_the_static_settings(name):
    np.testing.assert_array_equal(asked(name, depth_m=[np.nan, np.nan]), [0.5, 0.4, 1.0])


def test_a_pond_is_held_until_it_will_not_hold_what_is_forecast():
    numbers = {"begin": 0.6, "full": 1.0, "per_10mm": 0.1, "room": 0.5}
    rule = Hold(row(), numbers)
    columns = len(row().gauges) * len(LEADS_MIN)

    def upper(own, forecast_mm, rain_mmh=10.0, below=0.25):
        forecast = np.full(columns, forecast_mm)
        changed = {**READ, "depth_m": [4.0 * own, 4.0 * below], "forecast_mm": forecast, "rain_mmh": [rain_mmh, 0.0]}
        settings = rule.act({key: np.array(values, dtype=float) for key, values in changed.items()}, {})[:, 0]
        assert settings[2] == 1.0  # it leads out of the network
        return settings[0]

    assert upper(0.5, 0.0) == 0.0
    assert upper(0.8, 0.0) == pytest.approx(0.5 * 0.5)
    assert upper(0.5, 20.0) == pytest.approx(0.5 * (0.5 + 0.2 - 0.6) / 0.4)
    assert upper(0.5, 200.0) == 0.5
    assert upper(0.8, np.nan) == pytest.approx(0.5 * 0.5)
    assert upper(0.5, 0.0, rain_mmh=0.0) == 0.5  # the storm is over
    assert upper(0.5, 0.0, rain_mmh=0.0, below=0.75) == 0.0
    assert upper(0.5, 5.0, rain_mmh=0.0) == 0.0


def test_numbers_that_were_tuned_for_a_site_are_used_there_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("agents.baselines.drainage.TUNED", tmp_path / "tuned.json")
    (tmp_path / "tuned.json").write_text(json.dumps({row().name: {"pi": {"setpoint": 0.25}}}))
    assert LevelPI(row()).numbers == {**LevelPI.NUMBERS, "setpoint": 0.25}
    assert LevelLaw(row()).numbers == LevelLaw.NUMBERS
    assert LevelPI(row(), {"setpoint": 0.75}).numbers["setpoint"] == 0.75


def test_another_network_with_the_name_of_one_that_ships_has_none_of_its_numbers():
    estuary = load_site(load_scenario("drainage/estuary"))
    assert LevelPI(estuary).numbers == tuned(estuary, "pi") != LevelPI.NUMBERS
    assert LevelPI(row().model_copy(update={"name": "estuary"})).numbers == LevelPI.NUMBERS
