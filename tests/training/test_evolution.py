"""Evolution strategies: the gradient points uphill, task names encode perturbations, runs repeat and resume."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.utils import parameters_to_vector

from envs import load_scenario
from envs.core.env import make_loop
from envs.drainage.features import GATE_FEATURES
from training import evolution
from training.evolution import SEED_STRIDE, Evolution, direction, scale_of
from training.settings import Settings
from training.task import task_of
from training.train import train
from training.validate import kept, load_network
from training.weights import Start

SETTINGS = Settings(algorithm="evolution", workers=1, width=8, population=16, learning_rate=0.1, averaging=0.0)
SMALL = {
    "algorithm": "evolution",
    "workers": 1,
    "width": 8,
    "population": 4,
    "validate_every": 2,
    "validation_seeds": 1,
    "final_seeds": 0,
    "learning_rate": 0.05,
    "learning_rate_end": 0.05,
}


@pytest.fixture(scope="module")
def scenario():
    return load_scenario("drainage/astlingen", duration_s=2 * 3600)


class OnAHill(Evolution):
    """Returns fall with the distance from a place near the start."""

    def _returns(self, disturbances):
        target = self.start + 1.0
        points = [self._point.detach().numpy() + size * direction(seed, len(target)) for seed, size in disturbances]
        return np.array([-((point - target) ** 2).mean() for point in points])


def test_what_a_policy_begins_with_says_how_far_it_is_disturbed(scenario, tmp_path):
    task = task_of([scenario], SETTINGS)
    learner = Evolution(task, [scenario], SETTINGS, tmp_path)
    learned = {name: 5.0 * np.ones_like(w.numpy()) for name, w in learner.policy.state_dict().items()}
    learner.begin(Start(tmp_path, learned, 0, ""))
    torch.testing.assert_close(learner._scale, torch.full_like(learner._scale, 5.0))
    (tmp_path / "kept").mkdir()
    learner.save(tmp_path / "kept")
    again = Evolution(task, [scenario], SETTINGS, tmp_path)
    again.restore(tmp_path / "kept")
    torch.testing.assert_close(again._scale, learner._scale)
    np.testing.assert_array_equal(np.load(tmp_path / "present" / evolution.SCALE), learner._scale.numpy())
    torch.testing.assert_close(again._network.state_dict(), learner._network.state_dict())


def test_it_climbs(scenario, tmp_path):
    learner = OnAHill(task_of([scenario], SETTINGS), [scenario], SETTINGS, tmp_path)
    learner.start = learner._point.detach().numpy().copy()
    away = [float(np.square(learner._point.detach().numpy() - learner.start - 1.0).mean())]
    for _ in range(60):
        learner.update(0.0)
        away.append(float(np.square(learner._point.detach().numpy() - learner.start - 1.0).mean()))
    assert away[-1] < 0.5 * away[0]
    weights = parameters_to_vector(learner.policy.parameters()).detach()
    torch.testing.assert_close(weights, (learner._point * learner._scale).detach())


def test_a_name_stands_for_the_present_policy_moved_both_ways(scenario, tmp_path):
    learner = Evolution(task_of([scenario], SETTINGS), [scenario], SETTINGS, tmp_path / "run #2")
    evolution.write_weights(learner._present, learner._network)
    loop = make_loop(scenario)
    found = {}
    for size in ("0", "0.1", "-0.1"):
        controller = evolution._disturbed("gates", 8, f"{learner._present}#0#7#{size}", loop.site)
        found[size] = parameters_to_vector(controller._policy.parameters()).detach().numpy()
    present = parameters_to_vector(learner._network.parameters()).detach().numpy()
    np.testing.assert_allclose(found["0"], present)
    np.testing.assert_allclose((found["0.1"] + found["-0.1"]) / 2, present, atol=1e-6)
    step = (found["0.1"] - present) / (0.1 * scale_of(learner._network).numpy())
    np.testing.assert_allclose(step, direction(7, len(step)), atol=1e-4)


def test_it_begins_with_what_another_run_learned(scenario, tmp_path):
    first, second = (
        Evolution(task_of([scenario], settings), [scenario], settings, tmp_path / str(settings.seed))
        for settings in (SETTINGS, SETTINGS.model_copy(update={"seed": 1}))
    )
    second.begin(Start(tmp_path, {name: w.numpy() for name, w in first.policy.state_dict().items()}, 0, ""))
    wanted = parameters_to_vector(first.policy.parameters()).detach()
    torch.testing.assert_close(parameters_to_vector(second.policy.parameters()).detach(), wanted)
    torch.testing.assert_close((second._point * second._scale).detach(), wanted)


def test_every_update_plays_other_training_episodes_and_other_runs_others_still(scenario, tmp_path):
    task, seen = task_of([scenario], SETTINGS), []
    for seed in (0, 1):
        settings = SETTINGS.model_copy(update={"seed": seed, "workers": 3})
        learner = Evolution(task, [scenario], settings, tmp_path)
        for update in (0, 1, SEED_STRIDE - 1):
            learner._updates = update
            seen += learner._seeds(scenario)
    assert len(set(seen)) == len(seen) == 18
    assert all(scenario.seeds.split(seed) == "train" for seed in seen)


def best(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "best" / "weights.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


@pytest.mark.slow
def test_runs_repeat_and_go_on_to_the_same_weights(scenario, tmp_path):
    whole = train(scenario, iterations=4, out=tmp_path / "whole", seed=3, **SMALL)
    again = train(scenario, iterations=2, out=tmp_path / "again", seed=3, **SMALL)
    train([], iterations=4, resume=again)
    learned = {
        name: np.load(folder / "candidates" / "000004" / "weights.npz")
        for name, folder in {"whole": whole, "again": again}.items()
    }
    for part in learned["whole"].files:
        np.testing.assert_array_equal(learned["whole"][part], learned["again"][part])
    start = load_network("gates", 8, kept(whole, 2)[0], {"gate": (len(GATE_FEATURES),)}, 2)
    assert any(
        not np.array_equal(start.state_dict()[part].numpy(), learned["whole"][part]) for part in start.state_dict()
    )
