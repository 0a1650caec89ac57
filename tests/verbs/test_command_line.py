"""What a card says of the command that made it."""

import pytest

from verbs import command_line


@pytest.mark.parametrize(
    "words",
    [
        ["train", "dampers/jansen", "--out", "/home/me/run", "--minutes", "5"],
        ["train", "-o", "/home/me/run", "dampers/jansen", "--minutes", "5"],
        ["train", "dampers/jansen", "--minutes", "5", "--output=/home/me/run"],
        ["train", "dampers/jansen", "--minutes", "5"],
    ],
)
def test_where_something_was_written_to_is_left_out(words):
    assert command_line(words) == "cityloop train dampers/jansen --minutes 5"


def test_words_with_blanks_can_be_pasted_again():
    assert command_line(["train", "my town.yaml"]) == "cityloop train 'my town.yaml'"
