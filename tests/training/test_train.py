"""Training end to end on a small grid: files, resuming, and determinism by seed."""

import csv
import itertools
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import ray
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from agents import CHECKPOINTS, make_controller
from agents.policy import Policy
from cityloop import main
from envs import CityloopError, load_scenario
from envs.core.env import make_loop
from envs.core.files import read_json, write_json
from envs.core.scenario import read_yaml
from training.algorithm import task_of
from training.export import export
from training.journal import FINAL
from training.settings import Settings
from training.start import adopt, read_start
from training.train import _Run, decisions_of_update, train
from training.validate import Validator, write_weights

SMALL = {
    "seed": 3,
    "workers": 1,
    "fragment": 24,
    "minibatch": 64,
    "epochs": 1,
    "validate_every": 1,
    "validation_seeds": 1,
    "final_seeds": 1,
    "finalists": 2,
    "width": 16,
}


@pytest.fixture(scope="module")
def scenario():
    return load_scenario("intersections/grid2x2", duration_s=120)


@pytest.fixture(scope="module")
def run(scenario, tmp_path_factory):
    """A run with a Ray of its own."""
    heard = []
    folder = tmp_path_factory.mktemp("train") / "run"
    train(
        scenario,
        iterations=2,
        out=folder,
        on_progress=heard.append,
        on_episodes=lambda *news: heard.append(news),
        **SMALL,
    )
    assert not ray.is_initialized()
    return folder, heard


@pytest.fixture(scope="module")
def one_ray(run, one_ray):
    """Begun once that run is over."""


def weights(folder):
    with np.load(folder / "best" / "weights.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


def rows(folder):
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def tags(folder):
    return {row["tag"] for row in rows(folder)}


def test_progress_is_told(run):
    _, heard = run
    updates = [news for news in heard if isinstance(news, dict)]
    assert [news["iteration"] for news in updates] == [1, 2]
    assert updates[-1]["fraction"] == 1.0
    order = [news["iteration"] if isinstance(news, dict) else news[0] for news in heard]
    assert [what for what, _ in itertools.groupby(order)] == [
        "rules to compare with",
        *("validation", 1),
        *("validation", 2),
        "rules to compare with",
        "finalists",
    ]
    assert [news for news in heard if isinstance(news, tuple)][-2:] == [("finalists", 1, 2), ("finalists", 2, 2)]


def test_what_is_logged(run):
    folder, _ = run
    wanted = {
        "train/policy_loss",
        "train/value_loss",
        "train/entropy",
        "train/approx_kl",
        "train/clip_fraction",
        "train/explained_variance",
        "train/learning_rate",
        "time/agent_steps_per_s",
        "safety/shield_rate",
        "kpi/intersections/delay_s",
        "rollout/return_mean",
        "rollout/action_change_rate",
        "time/lost_plants",
        "eval/score",
        "eval/delay_s",
        "baseline/greedy/delay_s",
    }
    assert wanted <= tags(folder)
    assert list(folder.glob("events.out.tfevents.*"))


def test_the_best_policy_is_one_of_the_finalists(run):
    folder, _ = run
    finalists = {place.name: read_json(place / "facts.json") for place in (folder / "candidates").iterdir()}
    assert 1 <= len(finalists) <= 2
    best = read_json(folder / "best" / "best.json")
    assert best in finalists.values()
    assert best["final_score"] == min(facts["final_score"] for facts in finalists.values())


def test_events_hold_hyperparameters_and_an_episode(run):
    folder, _ = run
    events = EventAccumulator(str(folder), size_guidance={"images": 0})
    events.Reload()
    assert "eval/episode" in events.Tags()["images"]
    assert "_hparams_/experiment" in events.summary_metadata
    steps = [event.step for event in events.Scalars("eval/score")]
    assert steps == sorted(steps)
    assert steps[0] > 0
    assert len(steps) == len(events.Scalars("eval/delay_s"))
    best = read_json(folder / "best" / "best.json")
    assert [event.value for event in events.Scalars(FINAL)] == pytest.approx([best["final_score"]])


def test_best_policy_exports_and_controls(run, scenario):
    folder, _ = run
    bundle = export(folder)
    loop = make_loop(scenario)
    step = loop.episode(make_controller(str(bundle), loop.site), seed=1)
    assert np.isfinite(step.kpis["delay_s"])


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


def test_wrong_setting_is_refused(scenario, tmp_path):
    with pytest.raises(CityloopError, match="unknown key 'learning_rat'"):
        train(scenario, out=tmp_path / "x", learning_rat=1)
    with pytest.raises(CityloopError, match="width is 1000000: give at most"):
        train(scenario, out=tmp_path / "x", width=1_000_000)


def test_several_scenarios_share_a_policy(scenario, tmp_path, one_ray):
    places = [scenario, scenario.override({"regime": "resco"})]
    folder = train(places, iterations=1, out=tmp_path / "run", **SMALL)
    wanted = {"eval/grid2x2/delay_s", "eval/grid2x2-resco/delay_s", "baseline/greedy/grid2x2-resco/delay_s"}
    assert wanted <= tags(folder)
    assert read_json(export(folder) / "policy.json")["name"] == "generalist"


def test_a_scenario_may_be_given_once(scenario, tmp_path, monkeypatch):
    """Which is said at once."""
    monkeypatch.setattr("training.train.ray_session", lambda cpus: pytest.fail("Ray takes seconds to start"))
    with pytest.raises(CityloopError, match="grid2x2 is given twice"):
        train([scenario, scenario], out=tmp_path / "x")


def test_what_is_for_tests_is_not_trained_on(tmp_path):
    with pytest.raises(CityloopError, match="drainage/astlingen-oct2005 is for tests alone"):
        train(load_scenario("drainage/astlingen-oct2005"), out=tmp_path / "x")


def test_scenarios_of_one_run_are_judged_alike(tmp_path):
    places = [load_scenario("drainage/astlingen"), load_scenario("drainage/theta")]
    with pytest.raises(CityloopError, match="judged by controllable_m3 and by objective cannot share"):
        train(places, out=tmp_path / "x")


def test_training_stops_when_validation_no_longer_improves(scenario, tmp_path, one_ray):
    heard = []
    stuck = SMALL | {"patience": 1, "learning_rate": 1e-12, "learning_rate_end": 0.0}
    train(scenario, iterations=50, out=tmp_path / "run", on_progress=heard.append, **stuck)
    assert len(heard) == 2  # the second validation is no better than the first
    assert heard[-1]["fraction"] == 1.0


@pytest.mark.slow
def test_same_seed_same_weights(scenario, tmp_path):
    for name in ("a", "b"):
        train(scenario, iterations=2, out=tmp_path / name, **SMALL)
    a, b = weights(tmp_path / "a"), weights(tmp_path / "b")
    assert all(np.array_equal(a[name], b[name]) for name in a)


def test_the_reference_is_no_algorithm_of_this_trainer(scenario, tmp_path):
    with pytest.raises(CityloopError, match="algorithm is 'sb3'"):
        train(scenario, out=tmp_path / "x", iterations=1, algorithm="sb3")


def stored(folder):
    """A candidate as a validation leaves it."""
    write_weights(folder / "weights.npz", nn.Linear(1, 1))
    write_json(folder / "facts.json", {"iteration": 1, "agent_steps": 1, "validation": {}})


def test_a_finalist_that_was_put_aside_after_the_checkpoint_is_not_asked_for(scenario, tmp_path):
    settings = Settings(finalists=2, validation_seeds=1, final_seeds=1)
    validator = Validator([scenario], settings, "intersections", tmp_path)
    stored(tmp_path / "candidates" / "000040")
    validator.restore({"best": 0.8, "stale": 0, "kept": {"000020": 0.9, "000040": 0.8}})
    assert validator.candidates == {"000040": 0.8}


@pytest.mark.parametrize(("file", "content"), [("facts.json", "{"), ("weights.npz", "PK"), ("facts.json", "{}")])
def test_a_finalist_that_cannot_be_read_is_left_out_when_a_run_goes_on(scenario, tmp_path, caplog, file, content):
    """Its finals would fail after all of the training."""
    validator = Validator([scenario], Settings(validation_seeds=1, final_seeds=1), "intersections", tmp_path)
    for name in ("000002", "000004"):
        stored(tmp_path / "candidates" / name)
    (tmp_path / "candidates" / "000002" / file).write_text(content)
    validator.restore({"best": 0.8, "stale": 1, "kept": {"000002": 0.8, "000004": 0.9}})
    assert validator.candidates == {"000004": 0.9}
    (said,) = caplog.messages
    assert said.startswith("candidate 000002 is left out: file ")


def test_back_propagation_has_one_lot_of_plants():
    place = load_scenario("dampers/jansen", duration_s=2.0)
    settings = Settings(algorithm="backprop", workers=16, fragment=25, runners=2, rows=64)
    assert decisions_of_update(task_of([place], settings), [place], settings) == [16 * 25]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"scenarios": "dampers/atlantis"}, "scenario 'dampers/atlantis' is unknown"),
        ({"minutes": "5"}, "minutes is '5': give a number"),
        ({"iterations": 1.5}, "iterations is 1.5: give a whole number"),
        ({"iterations": True}, "iterations is True: give a whole number"),
        ({"algorithm": ["mappo"]}, "algorithm is .*: give 'mappo'"),
        ({"algorithm": "sb3"}, "training.reference.train_reference"),
        ({"start_update": 3}, "start_update is 3: .* so give start"),
        ({"start": "nowhere"}, "run nowhere does not exist: give a folder"),
        ({"resume": "nowhere", "width": 8}, "width does not go with a run to resume"),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_said_in_a_sentence(given, said):
    with pytest.raises(CityloopError, match=said):
        train(**{"scenarios": "dampers/dyke", "iterations": 1} | given)


def test_a_scenario_may_be_named_and_numbers_be_numpys(tmp_path):
    """`evaluate` takes the name, too; and a run's ``config.yaml`` could not be written."""
    small = {"algorithm": "backprop", "workers": 2, "width": 8, "fragment": 8, "validation_seeds": 1, "final_seeds": 0}
    place = load_scenario("dampers/dyke", duration_s=1.0).model_dump_json()
    (tmp_path / "short.yaml").write_text(place)
    run = train(str(tmp_path / "short.yaml"), iterations=np.int64(1), out=str(tmp_path / "run"), **small)
    assert run == tmp_path / "run"
    assert read_yaml(run / "config.yaml")["budget"] == {"minutes": None, "iterations": 1}


def test_a_void_episode_counts_for_nobody(tmp_path, monkeypatch):
    """Left out of the policy's mean alone, a storm that SWMM lost made a policy like the rules twelve times as good."""
    validator = Validator([load_scenario("drainage/astlingen")], Settings(validation_seeds=4), "drainage", tmp_path)
    kpi, failure = validator.kpi, validator.system.failure
    void: dict[str, tuple[int, ...]] = {}

    def episodes(what, names, skip, seeds):
        def one(name, k, m3):
            return SimpleNamespace(kpis={kpi: m3, failure: float(k in void.get(name, ()))})

        return {name: [[one(name, k, m3) for k, m3 in enumerate((10.0, 10.0, 10.0, 1000.0))]] for name in names}

    monkeypatch.setattr(validator, "_episodes", episodes)
    validator.refer()
    policy, path = nn.Linear(1, 1), str(tmp_path / "candidates" / "000001" / "weights.npz")
    void[path] = (3,)
    assert validator(policy, {"iteration": 1, "agent_steps": 1}).score == pytest.approx(1.0)
    again = Validator(validator.scenarios, validator.settings, "drainage", tmp_path)  # the run goes on
    monkeypatch.setattr(again, "_episodes", episodes)
    again.refer()
    assert again(policy, {"iteration": 1, "agent_steps": 1}).score == pytest.approx(1.0)


FIRST, AFTER = 2, 3
"""Validation seeds, and final seeds, of the two tests below."""


@pytest.fixture
def finalist(tmp_path, monkeypatch):
    """A run's validator after one policy, and what was played: all rules are worse on the final seeds, it is not."""
    settings = Settings(validation_seeds=FIRST, final_seeds=AFTER)
    validator = Validator([load_scenario("dampers/dyke")], settings, "dampers", tmp_path)
    played = []

    def episodes(what, names, skip, seeds):
        played.append((what, skip, seeds))
        kpis = {name: {validator.kpi: 2.0 if skip and not name.endswith("npz") else 1.0} for name in names}
        return {name: [[SimpleNamespace(kpis=kpis[name])] * seeds] for name in names}

    monkeypatch.setattr(validator, "_episodes", episodes)
    validator.refer()
    assert validator(nn.Linear(1, 1), {"iteration": 1, "agent_steps": 1}).score == pytest.approx(1.0)
    return validator, played


def test_the_final_score_is_beside_the_rules_on_the_same_seeds_and_a_single_policy_has_one(finalist, tmp_path):
    validator, _ = finalist
    ((_, score),) = validator.choose_finalist().items()
    assert score == pytest.approx(1.1 / 2.1)  # a twentieth of the rules' mean is added to both
    assert read_json(tmp_path / "best" / "best.json")["final_score"] == score


def test_rules_are_played_on_the_final_seeds_once(finalist):
    validator, played = finalist
    rules, own = ("rules to compare with", FIRST, AFTER), ("finalists", FIRST, AFTER)
    assert validator.choose_finalist() == validator.choose_finalist()  # the run went on
    assert played[2:] == [rules, own, own]


def test_what_has_nothing_drawn_has_no_picture_and_trains(tmp_path, monkeypatch):
    judge = Validator.__call__

    def blank(validator, policy, facts):
        verdict = judge(validator, policy, facts)
        return replace(verdict, episode=replace(verdict.episode, trace={}, drawn={}))

    monkeypatch.setattr(Validator, "__call__", blank)
    small = {"algorithm": "backprop", "workers": 2, "width": 8, "fragment": 8, "validation_seeds": 1, "final_seeds": 0}
    run = train(load_scenario("dampers/dyke", duration_s=1.0), iterations=1, out=tmp_path / "run", **small)
    tags = EventAccumulator(str(run)).Reload().Tags()
    assert "eval/score" in tags["scalars"]
    assert tags["images"] == []
