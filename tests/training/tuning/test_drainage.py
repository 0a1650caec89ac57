"""Search for the numbers of gates' laws."""

from contextlib import closing

import pytest

from agents.baselines.drainage import LevelPI
from envs import CityloopError, load_scenario
from envs.drainage.scenarios import DrainageScenario
from tests.envs.drainage.small import NETWORK, row
from training.tuning import drainage
from training.tuning.drainage import Storms, search


def test_tuning_finds_no_worse_numbers_than_a_law_begins_with():
    class Made:
        site = row()

        def score(self, rule):
            return abs(rule.numbers["setpoint"] - 0.3)

    numbers, score = search(Made(), "pi", wide=20, close=5)
    assert score == abs(numbers["setpoint"] - 0.3)
    assert score < 0.1
    assert (numbers, score) == search(Made(), "pi", wide=20, close=5)


def test_another_network_with_the_name_of_one_that_ships_is_not_tuned(monkeypatch):
    """What is found would replace the numbers of the one that ships."""

    class Made:
        site = row().model_copy(update={"name": "estuary"})

        def __init__(self, _):
            pass

        def close(self):
            pass

    monkeypatch.setattr(drainage, "Storms", Made)
    monkeypatch.setattr(drainage, "search", lambda *_: pytest.fail("it was tuned"))
    with pytest.raises(CityloopError, match="another network ships as estuary: give yours a name of its own"):
        drainage.tune(load_scenario("drainage/estuary"), ["pi"])


def test_rain_of_a_file_is_one_storm_played_whole_and_said_to_be(tmp_path, monkeypatch, caplog):
    (tmp_path / "small.inp").write_text(NETWORK)
    mine = DrainageScenario(name="mine", inp=tmp_path / "small.inp", gates=("G",))
    monkeypatch.setattr(drainage, "HOURS", 1)
    for rain, storms, hours in (("file", 1, 6), ("varied", 3, 1)):
        with closing(Storms(mine.override({"rain": rain}), 3)) as given:
            assert (len(given._seeds), given._loop.scenario.duration_s) == (storms, 3600 * hours)
    (warning,) = (record.message for record in caplog.records)
    assert "drainage/mine: the rain is that of a file, the same for every seed" in warning


def test_where_nothing_overflows_the_search_ends_and_says_so(tmp_path, monkeypatch, caplog):
    (tmp_path / "small.inp").write_text(NETWORK)
    monkeypatch.setattr(drainage, "TUNED", tmp_path / "tuned.json")
    (found,) = drainage.tune(DrainageScenario(name="mine", inp=tmp_path / "small.inp"), ["pi"])
    assert (found["share"], found["parameters"]) == (0.0, LevelPI.NUMBERS)
    assert "drainage/mine: under pi nothing overflows, so nothing was tuned" in caplog.text


def test_recorded_events_for_tests_are_not_tuned_on(monkeypatch):
    monkeypatch.setattr(drainage, "Storms", lambda *_: pytest.fail("it was tuned"))
    with pytest.raises(CityloopError, match="drainage/astlingen-oct2000 is for tests alone: tune on another"):
        drainage.tune(load_scenario("drainage/astlingen-oct2000"), ["pi"])
