"""Validation: the finalists of a run, what their episodes count, and the final score."""

from types import SimpleNamespace

import pytest
from torch import nn

from envs import load_scenario
from envs.core.machine.files import read_json, write_json
from training.settings import Settings
from training.validate import Validator
from training.weights import write_weights


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
