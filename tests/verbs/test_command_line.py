"""Command lines on cards, scenarios made by ``--each``, and options without effect."""

import pytest

from envs import CityloopError
from verbs import command_line, variants
from verbs.train import train


@pytest.mark.parametrize(
    "words",
    [
        ["train", "dampers/jansen", "--out", "/home/me/run", "--minutes", "5"],
        ["train", "-o", "/home/me/run", "dampers/jansen", "--minutes", "5"],
        ["train", "dampers/jansen", "--minutes", "5", "--output=/home/me/run"],
        ["train", "-o/home/me/run", "dampers/jansen", "--minutes", "5"],
        ["train", "dampers/jansen", "--minutes", "5"],
    ],
)
def test_where_something_was_written_to_is_left_out(words):
    assert command_line(words) == "cityloop train dampers/jansen --minutes 5"


def test_words_with_blanks_can_be_pasted_again():
    assert command_line(["train", "my town.yaml"]) == "cityloop train 'my town.yaml'"


@pytest.mark.parametrize(
    ("each", "labels"),
    [
        (["regime=engineer,resco"], ["grid2x2", "grid2x2-resco"]),
        (["demand.scale=[1,1],[0.5,1.2]"], ["grid2x2", "grid2x2-scale0.5_1.2"]),
        (["demand.shift_s=0,60", "regime=resco"], ["grid2x2-resco", "grid2x2-shift_s60-resco"]),
        (["regime=engineer", "regime=resco"], ["grid2x2", "grid2x2-resco"]),
    ],
)
def test_each_makes_every_combination_and_leaves_lists_whole(each, labels):
    assert [place.label for place in variants("intersections/grid2x2", None, each)] == labels


@pytest.mark.parametrize("each", ["demand.scale=[1.2,1.2", "demand.scale=", "demand.scale"])
def test_each_that_is_no_setting_is_a_sentence(each):
    with pytest.raises(CityloopError):
        variants("intersections/grid2x2", None, [each])


@pytest.mark.parametrize("given", [{"samples": 4}, {"parallel": 2}])
def test_how_a_sweep_is_tried_is_refused_where_there_is_none(given, monkeypatch):
    monkeypatch.setattr("verbs.train._training", lambda *_: pytest.fail("it was trained"))
    (name,) = given
    with pytest.raises(CityloopError, match=f"--{name} is .: .* give --sweep"):
        train(["intersections/grid2x2"], **given)
