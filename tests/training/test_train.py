"""Training end to end on a small grid: what a run tells, logs and leaves, and when it stops."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from agents import make_controller
from envs import load_scenario
from envs.core.env import make_loop
from envs.core.machine.files import read_json
from envs.core.scenario import read_yaml
from tests.training.small import SMALL, tags, weights
from training.bundles.export import export
from training.run import decisions_of_update
from training.settings import Settings
from training.task import task_of
from training.tracking.journal import FINAL
from training.train import train
from training.validate import Validator


@pytest.fixture(scope="module")
def one_ray(run, one_ray):
    """Begun once that run is over."""


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


def test_several_scenarios_share_a_policy(scenario, tmp_path, one_ray):
    places = [scenario, scenario.override({"regime": "resco"})]
    folder = train(places, iterations=1, out=tmp_path / "run", **SMALL)
    wanted = {"eval/grid2x2/delay_s", "eval/grid2x2-resco/delay_s", "baseline/greedy/grid2x2-resco/delay_s"}
    assert wanted <= tags(folder)
    assert read_json(export(folder) / "policy.json")["name"] == "generalist"


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


def test_back_propagation_has_one_lot_of_plants():
    place = load_scenario("dampers/jansen", duration_s=2.0)
    settings = Settings(algorithm="backprop", workers=16, fragment=25, runners=2, rows=64)
    assert decisions_of_update(task_of([place], settings), [place], settings) == [16 * 25]


def test_a_scenario_may_be_named_and_numbers_be_numpys(tmp_path):
    """`evaluate` takes the name, too; and a run's ``config.yaml`` could not be written."""
    small = {"algorithm": "backprop", "workers": 2, "width": 8, "fragment": 8, "validation_seeds": 1, "final_seeds": 0}
    place = load_scenario("dampers/dyke", duration_s=1.0).model_dump_json()
    (tmp_path / "short.yaml").write_text(place)
    run = train(str(tmp_path / "short.yaml"), iterations=np.int64(1), out=str(tmp_path / "run"), **small)
    assert run == tmp_path / "run"
    assert read_yaml(run / "config.yaml")["budget"] == {"minutes": None, "iterations": 1}


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
