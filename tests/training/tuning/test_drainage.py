"""Search for the numbers of gates' laws."""

from tests.envs.drainage.small import row
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
