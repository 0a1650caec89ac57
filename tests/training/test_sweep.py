"""Sweeps: syntax of the search space, and a small sweep end to end."""

import json
import os
from types import SimpleNamespace

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from envs import CityloopError, load_scenario
from tests.training.small import SMALL
from training.sweep import _most, _quiet, _resume_hints, _room, _trial, _Watch, read_space, sweep
from verbs.train import train


def test_lists_make_a_grid():
    space, trials = read_space(["learning_rate=1e-4,1e-3", "epochs=2,4"])
    assert trials == 4
    assert space == {"learning_rate": {"grid_search": [1e-4, 1e-3]}, "epochs": {"grid_search": [2, 4]}}


def test_a_range_makes_a_search():
    space, trials = read_space(["learning_rate=log:1e-4:1e-2", "epochs=1:3", "width=32,64"])
    assert trials is None
    draws = [{name: domain.sample() for name, domain in space.items()} for _ in range(100)]
    assert all(1e-4 <= draw["learning_rate"] <= 1e-2 for draw in draws)
    assert {draw["epochs"] for draw in draws} == {1, 2, 3}
    assert {draw["width"] for draw in draws} == {32, 64}


def test_a_range_of_pairs_is_drawn_in_pairs():
    """Every other trial was refused, as a population is even."""
    (population,) = read_space(["population=4:8"])[0].values()
    assert {population.sample() for _ in range(100)} == {4, 6, 8}


@pytest.mark.parametrize(
    ("items", "said"),
    [
        (["learning_rate"], "has no values"),
        (["learning_rate="], "has no values"),
        (["lerning_rate=1,2"], "lerning_rate"),
        (["learning_rate=fast,slow"], "learning_rate"),
        (["epochs=4:2"], "low < high"),
        (["epochs=lin:1:2"], "low < high"),
        (["entropy=log:0:1"], "above 0"),
        (["entropy=[0.1,0.2]"], "KEY=a,b"),
        (["epochs=1,2", "epochs=3,4"], "twice"),
        (["final_seeds=0,5"], "compared on the same seeds"),
    ],
)
def test_what_cannot_be_varied_is_named(items, said):
    with pytest.raises(CityloopError, match=said):
        read_space(items)


def test_samples_of_a_grid_are_refused(tmp_path):
    with pytest.raises(CityloopError, match="--samples"):
        sweep([load_scenario("intersections/grid2x2")], ["epochs=1,2"], samples=3, out=tmp_path / "sweep")


@pytest.mark.parametrize(
    ("given", "varied", "said"),
    [
        ({"hyper": ["epochs=3"]}, "epochs=1,2", "epochs is 3, and --sweep epochs gives it other values"),
        ({"workers": 3}, "workers=1,2", "workers is 3, and --sweep workers"),
        ({"seed": 0}, "seed=1,2", "seed is 0, and --sweep seed"),
        ({"algo": "ippo"}, "algorithm=ippo,mappo", "algorithm is 'ippo', and --sweep algorithm"),
    ],
    ids=str,
)
def test_what_is_given_is_not_varied_as_well(given, varied, said, tmp_path):
    out = tmp_path / "sweep"
    with pytest.raises(CityloopError, match=said):
        train(["intersections/grid2x2"], sweep=[varied], out=out, **given)
    assert not out.exists()


@pytest.mark.parametrize(("common", "said"), [({}, "on mappo"), ({"algorithm": "backprop"}, "on backprop")], ids=str)
def test_what_has_no_effect_is_not_varied(common, said, tmp_path):
    """All trials were the same, and one of them was called the best."""
    with pytest.raises(CityloopError, match=f"population has no effect {said}"):
        sweep([load_scenario("intersections/grid2x2")], ["population=4,8"], out=tmp_path / "sweep", **common)
    assert not (tmp_path / "sweep").exists()


@pytest.mark.parametrize("item", ["runners=0,2", "runners=0:2"])
def test_a_trial_has_room_for_its_runners(item):
    space, _ = read_space([item])
    assert _most(space["runners"]) == 2
    assert _most(1) == 1
    assert _room({"runners": 2}, runners=0).bundles == [{"CPU": 1.0}] * 3
    assert _room({"epochs": 2}, runners=1).bundles == [{"CPU": 1.0}] * 2


def test_a_trial_that_is_refused_leaves_no_folder(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise CityloopError("only is 'nothing.': give a layer")

    told = []
    monkeypatch.setattr("training.sweep.train", refuse)
    monkeypatch.setattr("training.sweep.tune.report", told.append)
    _trial({"only": "nothing."}, [], folder=tmp_path, common={})
    assert told[0]["problem"] == "only is 'nothing.': give a layer"
    assert not list(tmp_path.iterdir())


def test_an_interruption_is_not_swallowed():
    with _quiet():
        assert os.environ["TUNE_DISABLE_SIGINT_HANDLER"] == "1"
    assert "TUNE_DISABLE_SIGINT_HANDLER" not in os.environ


def test_an_interruption_says_how_trials_go_on(tmp_path):
    for name in ("epochs=1", "epochs=2", "epochs=4"):
        (tmp_path / name / "checkpoints").mkdir(parents=True)
    for name in ("epochs=1", "epochs=2"):
        (tmp_path / name / "checkpoints" / "latest").touch()
    watch = _Watch(tmp_path, None, 3)
    watch.on_trial_complete(1, [], _ended(tmp_path, epochs=1, score=0.9))
    with pytest.raises(KeyboardInterrupt) as raised, _resume_hints(tmp_path, watch):
        raise KeyboardInterrupt
    assert raised.value.__notes__ == [
        f"trials that had ended, 1: {tmp_path / 'sweep.json'}",
        f"go on: cityloop train --resume {tmp_path / 'epochs=2'}",
    ]


def test_what_ended_is_written_before_the_sweep_ends(tmp_path):
    """An interruption after hours left no ranking of the trials that had ended."""
    told = []
    watch = _Watch(tmp_path, lambda *news: told.append(news), 4)
    watch.on_trial_complete(1, [], _ended(tmp_path, epochs=1, score=0.9))
    watch.on_trial_complete(2, [], _ended(tmp_path, epochs=2, score=0.8))
    watch.on_trial_error(3, [], _ended(tmp_path, epochs=3, score=0.1, error="Traceback\nMemoryError: none left\n"))
    trials = json.loads((tmp_path / "sweep.json").read_text())["trials"]
    assert [(trial["settings"]["epochs"], trial["score"]) for trial in trials] == [(2, 0.8), (1, 0.9), (3, None)]
    assert trials[2]["problem"] == "MemoryError: none left"
    assert told == [(1, 4, 0.9), (2, 4, 0.8), (3, 4, 0.8)]  # not the score that the failed one had validated


def _ended(folder, epochs, score, error=None):
    """A trial of Ray Tune that has ended."""
    report = {"score": score, "run": str(folder / f"epochs={epochs}")}
    return SimpleNamespace(config={"epochs": epochs}, last_result=report, get_error=lambda: error)


@pytest.mark.slow
def test_every_trial_is_a_run_of_its_own(tmp_path):
    told = []
    scenario = load_scenario("intersections/grid2x2", duration_s=60)
    folder, trials = sweep(
        [scenario],
        ["learning_rate=1e-4,1e-3"],
        out=tmp_path / "sweep",
        on_progress=lambda *news: told.append(news[:2]),
        iterations=1,
        command="cityloop train --sweep learning_rate=1e-4,1e-3",
        **SMALL | {"fragment": 12},
    )
    assert told == [(1, 2), (2, 2)]
    assert sorted(trial.settings["learning_rate"] for trial in trials) == [1e-4, 1e-3]
    assert trials[0].score <= trials[1].score
    assert len(json.loads((folder / "sweep.json").read_text())["trials"]) == 2
    for trial in trials:
        run = folder / f"learning_rate={trial.settings['learning_rate']:.4g}"
        assert trial.run == str(run)
        assert (run / "best" / "weights.npz").is_file()
        assert run.name in (run / "config.yaml").read_text()
        assert trial.score == json.loads((run / "best" / "best.json").read_text())["final_score"]
        files = sorted(run.glob("events.out.tfevents.*"))
        assert any("_hparams_/experiment" in EventAccumulator(str(f)).Reload().summary_metadata for f in files)
