"""Search for the numbers of gates' laws."""

import pytest

from envs import CityloopError, load_scenario
from tests.envs.drainage.small import row
from training.tuning import drainage
from training.tuning.drainage import search


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
