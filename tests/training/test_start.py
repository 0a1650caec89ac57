"""Runs that begin with what another learned, or go on where they stopped, in whichever way they ended."""

import copy
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from agents import CHECKPOINTS
from agents.networks import StagePolicy
from agents.policy import Policy, write_bundle
from cityloop import main
from envs import CityloopError, load_scenario
from envs.core.machine.files import read_json
from envs.core.scenario import read_yaml
from tests.training.small import SMALL, rows, weights
from training.bundles.export import export, to_onnx
from training.run import Run
from training.start import read_start
from training.tracking.journal import FINAL
from training.train import train
from training.validate import load_network
from training.weights import adopt


@pytest.fixture(scope="module")
def run(run, tmp_path_factory):
    """A copy of that run, as it goes on here."""
    folder, heard = run
    copied = tmp_path_factory.mktemp("resume") / "run"
    shutil.copytree(folder, copied)
    return copied, heard


@pytest.fixture(scope="module")
def one_ray(run, one_ray):
    """Begun once that run is over."""


def test_a_run_starts_from_what_another_learned(run, scenario, tmp_path, one_ray):
    folder, _ = run
    still = {**SMALL, "learning_rate": 1e-12, "learning_rate_end": 0, "epochs": 1}
    again = train(scenario, iterations=1, out=tmp_path / "again", start=folder, command="cityloop train", **still)
    for name, weight in weights(folder).items():
        np.testing.assert_allclose(weights(again)[name], weight, atol=1e-6)
    before, after = read_start(folder), read_start(again)
    for name, weight in before.critic.items():
        np.testing.assert_allclose(after.critic[name], weight, atol=1e-6)
    assert after.decisions > before.decisions > 0
    assert before.returns[scenario.label]["weight"] < after.returns[scenario.label]["weight"]
    assert Policy.load(export(again)).card.training.decisions == after.decisions
    with pytest.raises(CityloopError, match="the same --hyper width"):
        train(scenario, iterations=1, out=tmp_path / "wider", start=folder, **{**SMALL, "width": 24})
    with pytest.raises(CityloopError, match="either a run to resume or one to start from"):
        train(resume=folder, start=folder, iterations=9)
    with pytest.raises(CityloopError, match="has no validated policy"):
        train(scenario, iterations=1, out=tmp_path / "none", start=tmp_path, **SMALL)


def test_a_run_starts_from_a_bundle_and_its_critic_learns_first(run, scenario, tmp_path, one_ray):
    """All that ships of a run is its bundle. A critic that knows nothing does not spoil the policy meanwhile."""
    folder, _ = run
    bundle = export(folder, tmp_path / "bundle")
    before, shipped = read_start(folder), read_start(bundle)
    for name, weight in before.policy.items():
        np.testing.assert_allclose(shipped.policy[name], weight, atol=1e-6)
    assert shipped.decisions == before.decisions
    kept = {**SMALL, "finalists": 3}
    again = train(scenario, iterations=3, out=tmp_path / "again", start=bundle, critic_first=2, **kept)
    for update, still in ((1, True), (2, True), (3, False)):
        moved = [np.abs(read_start(again, update).policy[k] - weight).max() for k, weight in before.policy.items()]
        assert (max(moved) < 1e-6) == still
    assert any(not np.allclose(weight, before.critic[name]) for name, weight in read_start(again).critic.items())
    with pytest.raises(CityloopError, match=r"iterations is 2, .* learns alone for 2 updates: give more"):
        train(scenario, iterations=2, out=tmp_path / "none", start=bundle, critic_first=2, **SMALL)
    with pytest.raises(CityloopError, match="for system 'intersections', not 'drainage'"):
        read_start(bundle, system="drainage")
    with pytest.raises(CityloopError, match=r"update is 3, and bundle .* holds one policy"):
        read_start(bundle, 3)


def test_a_run_starts_from_a_policy_that_ships(scenario, tmp_path, one_ray):
    still = {**SMALL, "width": 64, "critic_first": 0}
    again = train(scenario, iterations=1, out=tmp_path / "again", start="generalist", **still)
    shipped = Policy.load(CHECKPOINTS / "intersections" / "generalist").card.training
    learned = Policy.load(export(again)).card.training
    assert learned.decisions > shipped.decisions
    assert learned.scenarios == shipped.scenarios | {f"intersections/{scenario.label}": scenario.hash}
    assert read_start(again).scenarios == learned.scenarios
    with pytest.raises(CityloopError, match=r"\(64, 16\).*the same --hyper width"):
        train(scenario, iterations=1, out=tmp_path / "other", start="generalist", critic_first=0, **SMALL)
    with pytest.raises(CityloopError, match="holds no network as this version exports it"):
        read_start(CHECKPOINTS / "dampers" / "jansen-all")


def test_a_run_starts_from_another_policy_than_the_best(run):
    folder, _ = run
    for path in (folder / "candidates").iterdir():
        start = read_start(folder, int(path.name))
        with np.load(path / "weights.npz") as kept:
            assert all((kept[name] == weight).all() for name, weight in start.policy.items())
        assert start.decisions == read_json(path / "facts.json")["agent_steps"]
    with pytest.raises(CityloopError, match="kept no policy of update 999: choose "):
        read_start(folder, 999)


def test_inputs_that_came_later_begin_without_effect():
    narrow, wide = nn.Linear(3, 2), nn.Linear(5, 2)
    adopt(wide, {name: value.detach().numpy() for name, value in narrow.state_dict().items()}, Path("run"))
    seen = torch.randn(4, 5)
    torch.testing.assert_close(wide(seen), narrow(seen[:, :3]))


def test_weights_that_came_later_begin_as_in_a_new_network(run, tmp_path):
    """With a run and with a bundle of a version that knew no preference for the present stage."""
    folder, _ = run
    shapes = {"approaches": (3, 16), "stages": (4, 8), "serves": (4, 2, 3), "junction": (3,), "action_mask": (4,)}
    new, old = StagePolicy(shapes, width=SMALL["width"]), StagePolicy(shapes, width=SMALL["width"]).older()
    before = {name: value for name, value in weights(folder).items() if name != "hold"}
    old.load_state_dict({name: torch.from_numpy(value) for name, value in before.items()})
    card = Policy.load(export(folder, tmp_path / "bundle")).card
    write_bundle(tmp_path / "old", to_onnx(old.eval(), shapes), card)
    for known in (before, read_start(tmp_path / "old").policy):
        assert "hold" not in known
        for network in (copy.deepcopy(new), load_network("stages", SMALL["width"], known, shapes, 1)):
            adopt(network, known, folder)
            assert torch.equal(network.hold, new.hold)
            torch.testing.assert_close(network.prior, old.prior)
    with pytest.raises(CityloopError, match="prior"):
        adopt(new, {name: value for name, value in before.items() if name != "prior"}, folder)


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

    monkeypatch.setattr("training.run.Run.loop", stop)
    with pytest.raises(SystemExit) as ended:
        main(["train", "--resume", str(run[0])])
    assert ended.value.code == 130
    assert capsys.readouterr().err.endswith(f"Interrupted.\ngo on: cityloop train --resume {run[0]}\n")


def test_whatever_cannot_be_closed_the_rest_of_a_run_is():
    closed = []

    def fail():
        closed.append("validator")
        raise OSError("a pool")

    run = object.__new__(Run)
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
from training import run
from training.train import train

def die(news):
    if news["iteration"] == 3:
        os.kill(os.getpid(), int(sys.argv[3]))

if __name__ == "__main__":
    run.SAVE_EVERY_S = 0.0
    place = load_scenario("intersections/grid2x2", duration_s=120)
    train(place, iterations=5, out=Path(sys.argv[1]), on_progress=die, **eval(sys.argv[2]))
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
