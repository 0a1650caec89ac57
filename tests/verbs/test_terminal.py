"""How the command line speaks."""

import pytest

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
    assert capsys.readouterr().err.splitlines() == [
        "training: 0%, rules to compare with: 1 of 3 episodes",
        "training: 0%, rules to compare with: 2 of 3 episodes",
        "training: 10%, update 1, validation: 1 of 2 episodes",
        "training: 30%, 7 min left, update 2",
    ]


def test_a_short_job_in_a_log_says_nothing(clock, capsys):
    with terminal.Output(None).bar("evaluating") as show:
        clock.now = 5.0
        show(0.5, "half")
    assert capsys.readouterr().err == ""


def test_names_of_the_users_are_no_markup(capsys):
    output = terminal.Output(None)
    output.say("rows and plots: o[/red]x")
    output.show(
        terminal.table("gate [/b]", ("check", ""), [("[bold] :smile:", terminal.verdict(True, "ok", "FAILED"))])
    )
    said = capsys.readouterr().out
    for text in ("o[/red]x", "gate [/b]", "[bold] :smile:", " ok "):
        assert text in said
