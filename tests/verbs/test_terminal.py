"""Output of the command line."""

import io
import json

import pytest
from rich.console import Console

from verbs import terminal


@pytest.fixture
def clock(monkeypatch):
    """A clock that only moves when told to."""

    class Clock:
        now = 0.0

    monkeypatch.setattr(terminal.time, "monotonic", lambda: Clock.now)
    return Clock


def test_a_long_job_in_a_log_says_a_line_a_minute(clock, capsys):
    with terminal.Output(None).bar("training") as show:
        for second in range(0, 181, 10):
            clock.now = float(second)
            show(0.2 + second / 1000, f"update {second}")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert lines[0] == "training: 26%, 12 min left, update 60"  # at 0.1 % a second, 74 % are left


def test_a_training_says_what_it_does_before_its_first_update_and_does_not_reckon_by_it(clock, capsys):
    with terminal.Output(None).training() as told:
        for second in (60, 120):
            clock.now = float(second)
            told["on_episodes"]("rules to compare with", second // 60, 3)
        clock.now = 130.0
        told["on_progress"]({"fraction": 0.1, "iteration": 1})
        clock.now = 190.0
        told["on_episodes"]("validation", 1, 2)
        clock.now = 250.0
        told["on_progress"]({"fraction": 0.3, "iteration": 2})
        told["on_progress"]({"fraction": 1.0, "iteration": 9})
        clock.now = 310.0
        told["on_episodes"]("finalists", 1, 8)
    assert capsys.readouterr().err.splitlines() == [
        "training: 0%, rules to compare with: 1 of 3 episodes",
        "training: 0%, rules to compare with: 2 of 3 episodes",
        "training: 10%, update 1, validation: 1 of 2 episodes",
        "training: 30%, 7 min left, update 2",
        "training: 100%, update 9, finalists: 1 of 8 episodes",
    ]


def test_a_short_job_in_a_log_says_nothing(clock, capsys):
    with terminal.Output(None).bar("evaluating") as show:
        clock.now = 5.0
        show(0.5, "half")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("target", [terminal.STDOUT, "found.json"])
def test_json_has_null_where_there_is_no_number(target, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    terminal.Output(target).emit({"a": float("nan"), "b": (float("inf"), 1.5), "c": {"d": -float("inf")}, "e": "nan"})
    said = capsys.readouterr().out or (tmp_path / "found.json").read_text()
    assert json.loads(said) == {"a": None, "b": [None, 1.5], "c": {"d": None}, "e": "nan"}


def test_a_table_has_a_dash_where_there_is_no_number():
    assert [terminal.number(value) for value in (float("nan"), float("inf"), 12345.6, "nan")] == [
        "–",
        "–",
        "1.235e+04",
        "nan",
    ]


def test_names_of_the_users_are_no_markup(capsys):
    output = terminal.Output(None)
    output.say("rows and plots: o[/red]x")
    output.show(
        terminal.table("gate [/b]", ("check", ""), [("[bold] :smile:", terminal.verdict(True, "ok", "FAILED"))])
    )
    said = capsys.readouterr().out
    for text in ("o[/red]x", "gate [/b]", "[bold] :smile:", " ok "):
        assert text in said


class Tty(io.StringIO):
    """A terminal to write to."""

    def isatty(self):
        return True


@pytest.mark.parametrize("columns", [40, 80, 160])
def test_a_bar_tells_the_time_left_on_a_narrow_terminal_too(columns, monkeypatch):
    monkeypatch.setattr(terminal.sys, "stderr", screen := Tty())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    with terminal.Output(None).bar("training") as show:
        show(0.5, "update 12, 85,078 decisions/s, return -21.2, score 1.095, best 1.095")
    said = screen.getvalue()
    for part in ("training", "50 %", "-:--:--", "update 12, 85,078"):  # nothing has been measured yet
        assert part in said


def test_a_terminal_that_cannot_move_its_cursor_is_told_in_lines(clock, monkeypatch):
    monkeypatch.setattr(terminal.sys, "stderr", screen := Tty())
    monkeypatch.setenv("TERM", "dumb")
    with terminal.Output(None).bar("training") as show:
        clock.now = 61.0
        show(0.5, "update 12")
    assert screen.getvalue() == "training: 50%, update 12\n"


def test_what_is_said_does_not_command_the_terminal(capsys):
    terminal.Output(None).say("why: a\x1b[2Kb\nnext")
    assert capsys.readouterr().out == "why: a [2Kb\nnext\n"


COLUMNS = (
    *("controller", "median", "mean", "p90", "worst", "failures", "guard changes"),
    *("served_pct", "ride_min", "empty_pct", "policy less this [95 %]", "÷ this"),
)
ROWS = (
    ("policy", "1.91", "1.90", "1.94", "1.95", "0", "0", "100.00", "4.89", "27.44", "", ""),
    ("insertion", "1.89", "1.90", "1.92", "1.93", "0", "0", "100.00", "5.06", "20.21", "+0.02 [-0.08, +0.08]", "1.010"),
)


def printed(width):
    console = Console(width=width, file=io.StringIO())
    console.print(terminal.fitted(terminal.table("hcmc", COLUMNS, ROWS, numbers=1), width))
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    return lines


@pytest.mark.parametrize("width", [150, 120, 100])
def test_words_of_a_table_are_whole_where_they_fit_and_columns_stay_columns(width):
    lines = printed(width)
    words = " ".join(lines).replace("│", " ").replace("┃", " ").split()
    assert {"controller", "insertion", "served_pct", "[-0.08,"} <= set(words)
    assert next(line for line in lines if "insertion" in line).count("│") == len(COLUMNS) + 1


def test_a_table_that_is_too_wide_for_a_terminal_is_turned():
    lines = printed(80)
    assert next(line for line in lines if "controller" in line).split("┃")[1:3] == [
        " controller              ",
        " policy ",
    ]
    assert "│ +0.02 [-0.08, +0.08] │" in next(line for line in lines if "policy less this [95 %]" in line)


def test_a_word_that_fits_in_no_way_is_broken_and_nothing_of_it_is_lost():
    console = Console(width=40, file=io.StringIO())
    table = terminal.table("bundle", ("what", "value"), [("hash", "0123456789" * 7)])
    console.print(terminal.fitted(table, 40))
    rows = [line.split("│")[2].strip() for line in console.file.getvalue().splitlines() if "│" in line]
    assert "".join(rows) == "0123456789" * 7
