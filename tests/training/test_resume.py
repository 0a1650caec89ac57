"""Runs that end before their time, and go on where they stopped."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cityloop import main
from envs import load_scenario
from envs.core.files import read_json
from envs.core.scenario import read_yaml
from tests.training.small import SMALL, rows, weights
from training.journal import FINAL
from training.train import _Run, train


@pytest.fixture(scope="module")
def run(run, tmp_path_factory):
    """A copy of that run, as it goes on here."""
    folder, heard = run
    copied = tmp_path_factory.mktemp("resume") / "run"
    shutil.copytree(folder, copied)
    return copied, heard


def test_resume_goes_on_where_it_stopped(run, one_ray):
    folder, _ = run
    heard = []
    again = {"on_progress": heard.append, "command": "cityloop train --resume RUN --iterations 3"}
    train(load_scenario("intersections/grid2x2"), iterations=3, resume=folder, **again)
    assert [news["iteration"] for news in heard] == [3]
    config = read_yaml(folder / "config.yaml")
    assert config["budget"]["iterations"] == 3
    assert config["command"].splitlines()[-1] == again["command"]
    assert (folder / "checkpoints" / "latest").read_text() == "000003"
    assert read_json(folder / "checkpoints" / "000003" / "progress.json")["iteration"] == 3
    (final,) = [row for row in rows(folder) if row["tag"] == FINAL]
    assert final["iteration"] == "3"
    events = EventAccumulator(str(folder)).Reload()
    steps = [int(row["agent_steps"]) for row in rows(folder) if row["tag"] == "eval/score"]
    assert [event.step for event in events.Scalars("eval/score")] == steps
    assert [event.step for event in events.Scalars(FINAL)] == [steps[-1] + 1]


def test_who_interrupts_a_run_is_told_how_it_goes_on(run, capsys, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("training.train._Run.loop", stop)
    with pytest.raises(SystemExit) as ended:
        main(["train", "--resume", str(run[0])])
    assert ended.value.code == 130
    assert capsys.readouterr().err.endswith(f"Interrupted.\ngo on: cityloop train --resume {run[0]}\n")


def test_whatever_cannot_be_closed_the_rest_of_a_run_is():
    closed = []

    def fail():
        closed.append("validator")
        raise OSError("a pool")

    run = object.__new__(_Run)
    run.validator = SimpleNamespace(close=fail)
    run.learner = SimpleNamespace(stop=lambda: closed.append("learner"))
    run.journal = SimpleNamespace(close=lambda: closed.append("journal"))
    with pytest.raises(OSError, match="a pool"):
        run.close()
    assert closed == ["validator", "learner", "journal"]


def test_a_bound_given_on_resuming_takes_the_place_of_the_former(run, tmp_path, caplog, one_ray):
    folder = tmp_path / "run"
    shutil.copytree(run[0], folder)
    done = read_json(folder / "checkpoints" / (folder / "checkpoints" / "latest").read_text() / "progress.json")
    train(resume=folder, minutes=done["elapsed_s"] / 60)
    assert f"{done['iteration']} updates" in caplog.text
    assert "give more --minutes or --iterations" in caplog.text
    assert read_yaml(folder / "config.yaml")["budget"]["iterations"] is None
    train(resume=folder, iterations=done["iteration"] + 1)
    assert int((folder / "checkpoints" / "latest").read_text()) == done["iteration"] + 1


KILLED = """
import os, sys
from pathlib import Path
from envs import load_scenario
from training import train as module

def die(news):
    if news["iteration"] == 3:
        os.kill(os.getpid(), int(sys.argv[3]))

if __name__ == "__main__":
    module.SAVE_EVERY_S = 0.0
    place = load_scenario("intersections/grid2x2", duration_s=120)
    module.train(place, iterations=5, out=Path(sys.argv[1]), on_progress=die, **eval(sys.argv[2]))
"""


def end_by(number, folder):
    """Train in another process, and send it a signal after the third update."""
    script = folder.parent / "killed.py"
    script.write_text(KILLED)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, str(script), str(folder), repr(SMALL), str(int(number))]
    return subprocess.run(command, env=environment, check=False, capture_output=True, text=True)


@pytest.mark.slow
def test_sigterm_ends_a_run_in_order(tmp_path):
    done = end_by(signal.SIGTERM, tmp_path / "run")
    assert done.stderr.strip().endswith(f"KeyboardInterrupt\ngo on: cityloop train --resume {tmp_path / 'run'}")
    assert "leaked" not in done.stderr
    assert "stack trace" not in done.stderr.lower()
    assert (tmp_path / "run" / "checkpoints" / "latest").read_text() == "000003"


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_weights(scenario, tmp_path, monkeypatch):
    """Killed with -9 in the middle of episodes, and resumed: all figures and the weights are as if nothing had been."""
    whole = train(scenario, iterations=5, out=tmp_path / "whole", **SMALL)
    broken = tmp_path / "broken"
    assert end_by(signal.SIGKILL, broken).returncode == -9
    assert (broken / "checkpoints" / "latest").read_text() == "000003"
    train(resume=broken, iterations=5)
    a, b = weights(whole), weights(broken)
    assert all(np.array_equal(a[name], b[name]) for name in a)
    clocks = ("time/",)
    curves = [
        [(row["iteration"], row["tag"], row["value"]) for row in rows(folder) if not row["tag"].startswith(clocks)]
        for folder in (whole, broken)
    ]
    assert curves[0] == curves[1]
