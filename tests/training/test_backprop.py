"""Back-propagation through plants: it learns, is deterministic, resumes, and exports a working bundle."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from agents.policy import Policy
from envs import CityloopError, get_system, load_scenario
from envs.core.env import make_loop
from envs.dampers.features import PARTS
from envs.dampers.twin import Twin
from training.backprop import Backprop
from training.bundles.export import export
from training.settings import Settings
from training.task import task_of
from training.train import train
from training.weights import Start

SMALL = {"algorithm": "backprop", "workers": 16, "fragment": 25, "width": 8, "learning_rate": 1e-2, "averaging": 0.5}
QUICK = SMALL | {"validate_every": 100, "validation_seeds": 1, "final_seeds": 0}


def short(**settings):
    return load_scenario("dampers/jansen", duration_s=2.0, **settings)


def learner(scenario=None, **changes):
    scenario = scenario or short()
    settings = Settings(**SMALL | changes)
    return Backprop(task_of([scenario], settings), [scenario], settings, None)


def costs(trained, updates):
    return [trained.update(0.0)["learners"]["default_policy"]["cost"] for _ in range(updates)]


def test_costs_fall_where_more_voltage_helps():
    """A strong sine at resonance, begun with hardly any voltage: the more damping the better, which is soon found."""
    good = {"delay_ms": 0, "dropout": 0, "noise": 1, "dead": 0, "stiffness": 0}
    scenario = short(variety=good, motion={"kind": "harmonic", "pga_g": 0.3})

    def cost(levels):
        """Of a whole motion."""
        with torch.no_grad():
            return float(Twin(scenario, 1, 7).window(levels, 200).cost.exp())

    full, off = (cost(lambda parts, level=level: parts["damper"][..., 0] * 0 + level) for level in (1.0, 0.0))
    trained = learner(scenario, fragment=50, workers=2, learning_rate=0.1)
    trained._network.correction.bias.data.fill_(-1.5)
    before = cost(trained._levels)
    assert full < before < off
    costs(trained, 20)
    assert cost(trained._levels) < before - 0.5 * (before - full)


def test_a_policy_that_went_astray_goes_back_to_the_mean_of_its_updates():
    """A gradient far beyond what is usual moves nothing: it comes from a loop that has become unstable."""
    trained = learner()
    costs(trained, 2)
    mean = [part.clone() for part in trained.policy.parameters()]
    assert any(not torch.equal(*pair) for pair in zip(mean, trained._network.parameters(), strict=True))
    trained._settings = trained._settings.model_copy(update={"grad_clip": 1e-9})
    costs(trained, 1)
    for one, other, before in zip(trained._network.parameters(), trained.policy.parameters(), mean, strict=True):
        assert torch.equal(one, other)
        assert torch.equal(other, before)


def test_weights_that_are_not_finite_end_a_run():
    with pytest.raises(CityloopError, match="weights are not finite after an update: give a lower learning_rate"):
        costs(learner(learning_rate=1e38), 2)


def test_gradients_that_are_never_finite_are_counted_and_end_a_run(monkeypatch):
    trained = learner()
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *_: torch.tensor(math.nan))
    for _ in range(4):
        assert trained.update(0.0)["learners"]["default_policy"]["skipped_steps"] == 1
    with pytest.raises(CityloopError, match="no gradient of the last 5 updates was finite"):
        trained.update(0.0)


def test_so_much_of_a_gradient_passes_through_what_is_seen():
    found = {}
    for share in (1.0, 0.5, 0.0):
        trained = learner(feedback=share)
        for weight in trained._network.parameters():
            torch.nn.init.constant_(weight, 0.01)  # an untrained policy corrects nothing, whatever it sees
        parts = {n: torch.ones(4, 2, len(columns), requires_grad=True) for n, columns in PARTS.items()}
        trained._levels(parts).sum().backward()
        found[share] = parts["damper"].grad
    assert found[1.0].abs().max() > 0
    torch.testing.assert_close(found[0.5], 0.5 * found[1.0])
    assert not found[0.0].any()


def test_the_same_seed_learns_the_same():
    first = costs(learner(), 2)
    assert costs(learner(), 2) == first
    assert costs(learner(seed=1), 2) != first


def test_it_goes_on_where_it_stopped(tmp_path):
    first = learner()
    costs(first, 3)
    first.save(tmp_path / "a")
    ahead = costs(first, 4)
    second = learner()
    second.restore(tmp_path / "a")
    assert costs(second, 4) == ahead


def test_it_begins_with_what_another_run_learned():
    first, second = learner(), learner(seed=1)
    costs(first, 2)
    second.begin(Start(Path("run"), {name: w.numpy() for name, w in first.policy.state_dict().items()}, 0, ""))
    for name, weight in first.policy.state_dict().items():
        torch.testing.assert_close(second.policy.state_dict()[name], weight)
        torch.testing.assert_close(second._network.state_dict()[name], weight)


def test_the_callers_arithmetic_stays_as_it_was():
    costs(learner(), 1)
    assert np.float64(5e-324) * 1.0 > 0
    assert torch.tensor(1e-45) * 1.0 > 0


def test_a_system_that_cannot_be_learned_through_says_so():
    scenario = load_scenario("intersections/cologne1")
    settings = Settings(algorithm="backprop")
    with pytest.raises(CityloopError, match="plants of intersections cannot be learned through"):
        Backprop(task_of([scenario], settings), [scenario], settings, None)


@pytest.mark.slow
def test_a_whole_run_is_validated_exported_and_acts(tmp_path):
    scenario = short()
    run = train(scenario, iterations=3, out=tmp_path / "run", **QUICK)
    run = train(resume=run, iterations=5)
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    assert {row["iteration"] for row in rows if row["tag"] == "train/cost"} == {"1", "2", "3", "4", "5"}
    policy, loop = Policy.load(export(run), "dampers"), make_loop(scenario)
    loop.reset(0)
    requests = policy.act(loop.readings, loop.observation)
    assert requests.shape == (2, 1)
    assert ((requests >= 0) & (requests <= 1)).all()


@pytest.mark.slow
def test_ppo_trains_buildings_in_this_process(tmp_path):
    """The existing trainer takes arrays instead of processes: one update, and decisions of all buildings count."""
    assert get_system("dampers").training["mappo"]["workers"] > 256
    quick = {"workers": 4, "fragment": 10, "minibatch": 64, "epochs": 1, "validate_every": 100, "validation_seeds": 1}
    run = train(short(), iterations=1, out=tmp_path / "run", final_seeds=0, **quick)
    rows = {row["tag"]: row for row in csv.DictReader((run / "metrics.csv").open())}
    assert int(rows["train/policy_loss"]["agent_steps"]) == 4 * 10 * 2
