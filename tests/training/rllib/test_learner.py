"""Updates: learning progress, determinism by seed, checkpoints, and the effect of each setting.

Most tests combine a runner and a learner directly; those of checkpoints need RLlib's whole algorithm.
"""

import gc
import hashlib
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.training_data import TrainingData

from envs import CityloopError
from tests.training.rllib import toys
from training.rllib.algorithm import build_algorithm, configure, restore, set_schedule
from training.rllib.learner import BARREN, FIGURES
from training.rllib.module import MOMENTUM, RunningMoments
from training.rllib.runner import BatchedRunner
from training.settings import Settings

BASE = {"seed": 3, "fragment": 24, "width": 16, "minibatch": 128, "learning_rate": 3e-3, "learning_rate_end": 1e-3}


class Trainer:
    """A runner and a learner in this process, without RLlib's algorithm around them."""

    def __init__(self, *scenarios, **changes):
        self.settings = Settings(**BASE | {"reward_scale": 1.0} | changes)
        config = configure(toys.task(*scenarios), self.settings, Path("unused"))
        self.runner = BatchedRunner(config=config, worker_index=0)
        self.learner = config.build_learner(spaces=self.runner.get_spaces())
        self.module = self.learner._one
        self.figures = {}
        self.sync()

    def sync(self):
        state = self.learner.get_state(components="rl_module", inference_only=True)
        self.runner.set_state({"rl_module": state["rl_module"]})

    def update(self, fragments=None):
        """Sample and learn once; mean reward of an agent and step."""
        fragments = self.runner.sample() if fragments is None else fragments
        epochs = self.settings.epochs
        result = self.learner.update(training_data=TrainingData(episodes=fragments), num_epochs=epochs, timesteps={})
        self.figures = {name: stats.peek() for name, stats in result[DEFAULT_MODULE_ID].items()}
        self.sync()
        return float(np.mean(np.concatenate([f.reward.ravel() for f in fragments])))

    def weights(self):
        return {name: tensor.clone() for name, tensor in self.module.state_dict().items()}

    def learn(self, updates):
        """Mean rewards of the first and the last updates."""
        rewards = [self.update() for _ in range(updates)]
        return rewards[0], float(np.mean(rewards[-3:]))


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# -- what is learned --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "from_", "to", "updates"),
    [("discrete", 0.4, 0.95, 16), ("numbers", 0.75, 0.9, 24), ("mixed", 0.6, 0.85, 24)],
)
def test_every_kind_of_action_is_learned(kind, from_, to, updates):
    before, after = Trainer(toys.plants("a", 8, kind=kind, agents=6), minibatch=256).learn(updates)
    assert before < from_
    assert after > to


def test_scenarios_of_different_sizes_are_learned_together_and_without_a_central_critic():
    trainer = Trainer(toys.plants("a", 8), toys.plants("b", 8, agents=7, seed=99), algorithm="ippo", minibatch=256)
    before, after = trainer.learn(12)
    assert before < 0.4
    assert after > 0.9


@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_the_scale_of_rewards_does_not_matter(scale):
    trainer = Trainer(toys.plants("a", 8, scale=scale))
    _, after = trainer.learn(16)
    assert after / scale > 0.9
    fragment = trainer.runner.sample()[0]
    mean, deviation = trainer.module.returns.of(0)
    advantage, target = trainer.learner._returns(fragment)
    error = (target - advantage).mean() / target.mean() - 1  # values against what they should be
    assert abs(error) < 0.1
    assert mean > scale
    assert deviation > 0.1 * scale


def test_ippos_critic_does_not_see_the_state():
    for algorithm, central in (("mappo", True), ("ippo", False)):
        trainer = Trainer(toys.plants("a", 4), algorithm=algorithm)
        fragment = trainer.runner.sample()[0]
        with torch.no_grad():
            values = trainer.learner._values(fragment, fragment.observation, fragment.state)
            changed = trainer.learner._values(fragment, fragment.observation, fragment.state + 1.0)
        assert np.array_equal(values, changed) != central


# -- what settings do -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("balance", [0.0, 0.5, 1.0])
def test_shares_of_scenarios(balance):
    """Nine and one agents: the larger counts nine times as much, three times, or alike."""
    trainer = Trainer(toys.plants("a", 4, agents=9), toys.plants("b", 4, agents=1), balance=balance)
    groups = {group.logp.shape[1]: group for group in trainer.learner.rows(trainer.runner.sample())}
    assert sum(group.share for group in groups.values()) == pytest.approx(1.0)
    assert groups[9].share / groups[1].share == pytest.approx(9 ** (1 - balance))
    for group in groups.values():
        assert float(group.weight.mean()) == pytest.approx(1.0, rel=1e-6)


def test_scenarios_of_one_shape_are_weighed_by_their_plants():
    """Both have four agents and share a group: a row counts alike whichever of them it is from."""
    trainer = Trainer(toys.plants("a", 6), toys.plants("b", 2), balance=1.0)
    (group,) = trainer.learner.rows(trainer.runner.sample())
    assert len(group) == 24 * 8
    assert group.share == 1.0
    np.testing.assert_allclose(group.weight.numpy(), 1.0, rtol=1e-6)


def test_only_the_named_weights_learn():
    trainer = Trainer(toys.plants("a", 4), only="score.")
    before = trainer.weights()
    trainer.learn(2)
    changed = {name for name, tensor in trainer.weights().items() if not torch.equal(tensor, before[name])}
    of_policy = {name for name in changed if name.startswith(("policy.", "averaged.module."))}
    assert of_policy == {
        f"{policy}.score.{kind}" for policy in ("policy", "averaged.module") for kind in ("weight", "bias")
    }
    assert any(name.startswith("critic.") for name in changed)


def test_advantages_are_standardised_and_targets_normalised_scenario_by_scenario():
    trainer = Trainer(toys.plants("a", 4), toys.plants("b", 4, agents=2, scale=50.0))
    for group in trainer.learner.rows(trainer.runner.sample()):
        for column in (group.advantage, group.target):
            assert float(column.mean()) == pytest.approx(0.0, abs=1e-4)
            assert float(column.std(unbiased=False)) == pytest.approx(1.0, rel=1e-3)


def test_every_row_is_learned_from_once_an_epoch():
    trainer = Trainer(toys.plants("a", 5), toys.plants("b", 3, agents=2))
    groups = trainer.learner.rows(trainer.runner.sample())
    for group, number in zip(groups, (0.0, 1000.0), strict=True):
        group.logp[:] = torch.arange(len(group))[:, None] + number
    taken = []
    for minibatch in trainer.learner._minibatches(groups, epochs=2, parts=7):
        assert len(minibatch.policy_batches[DEFAULT_MODULE_ID]) == 2
        taken += [rows.logp[:, 0] for rows in minibatch.policy_batches[DEFAULT_MODULE_ID]]
        trainer.learner._figures.append(torch.zeros(len(FIGURES)))
    everything = torch.cat([group.logp[:, 0] for group in groups])
    half = len(torch.cat(taken)) // 2
    for epoch in torch.cat(taken).split(half):
        assert torch.equal(epoch.sort().values, everything.sort().values)
    assert not torch.equal(*torch.cat(taken).split(half))


@pytest.mark.parametrize(("target_kl", "epochs"), [(1e-9, 1), (1e9, 4)])
def test_no_further_epoch_once_the_policy_moved_too_far(target_kl, epochs):
    trainer = Trainer(toys.plants("a", 8), target_kl=target_kl)
    trainer.update()
    assert trainer.figures["steps"] == epochs * 24 * 8 * 4 / 128


def test_more_agents_than_a_minibatch_has_room_for():
    """A row keeps its agents, so there are as many minibatches as rows at most: none is empty."""
    trainer = Trainer(toys.plants("a", 1, agents=40), minibatch=16, fragment=8, epochs=1)
    trainer.update()
    assert trainer.figures["steps"] == 8


def test_the_first_step_is_on_policy():
    trainer = Trainer(toys.plants("a", 8), minibatch=24 * 8 * 4, epochs=1)
    trainer.update()
    assert trainer.figures["steps"] == 1
    assert trainer.figures["approx_kl"] == pytest.approx(0.0, abs=1e-6)
    assert trainer.figures["clip_fraction"] == 0.0


def test_arrays_that_may_not_be_written_are_learned_from_without_a_word():
    """Those that remote runners send lie in Ray's store."""
    trainer = Trainer()
    fragments = trainer.runner.sample()
    for fragment in fragments:
        for value in vars(fragment).values():
            if isinstance(value, np.ndarray):
                value.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trainer.update(fragments)
    assert np.isfinite(trainer.figures["policy_loss"])


def test_schedules():
    trainer = Trainer(toys.plants(), learning_rate=1e-3, learning_rate_end=1e-4, entropy=0.02, entropy_end=0.0)
    trainer.learner.schedule(0.5)
    trainer.update()
    assert trainer.figures["learning_rate"] == pytest.approx(5.5e-4)
    assert trainer.figures["entropy_weight"] == pytest.approx(0.01)


def test_a_learning_rate_of_nothing_changes_nothing():
    trainer = Trainer(toys.plants(), learning_rate=1e-3, learning_rate_end=0.0)
    trainer.learner.schedule(1.0)
    before = dict(trainer.module.named_parameters())
    before = {name: tensor.detach().clone() for name, tensor in before.items()}
    trainer.update()
    assert same(before, {name: tensor.detach() for name, tensor in trainer.module.named_parameters()})


def test_what_is_not_finite_changes_nothing_and_is_got_over():
    trainer = Trainer(toys.plants("a", 4))
    trainer.update()
    before = trainer.weights()
    fragments = trainer.runner.sample()
    fragments[0].reward[3, 0, 0] = np.nan
    trainer.update(fragments)
    assert same(learned(before), learned(trainer.weights()))
    trainer.update()
    assert not same(before, trainer.weights())
    assert all(torch.isfinite(tensor).all() for tensor in trainer.weights().values())


def test_steps_that_are_skipped_are_told_of_and_a_run_of_nothing_else_ends(caplog):
    trainer = Trainer(toys.plants("a", 4))
    trainer.update()
    assert trainer.figures["skipped_steps"] == 0
    for k in range(BARREN):
        fragments = trainer.runner.sample()
        fragments[0].reward[...] = np.nan
        if k == BARREN - 1:
            with pytest.raises(CityloopError, match=rf"no gradient of the last {BARREN} updates was finite"):
                trainer.update(fragments)
        else:
            trainer.update(fragments)
            assert trainer.figures["skipped_steps"] == trainer.figures["steps"] > 1
    said = [record.getMessage() for record in caplog.records if record.name == "training.rllib.learner"]
    assert len(said) == 1
    assert "were skipped, as the gradient was not finite" in said[0]


def learned(weights):
    return {name: tensor for name, tensor in weights.items() if not name.startswith("averaged.")}


@pytest.mark.parametrize("averaging", [0.0, 0.9])
def test_the_policy_that_is_kept_is_a_running_mean(averaging):
    trainer = Trainer(toys.plants("a", 4), averaging=averaging)
    expected = None
    for _ in range(3):
        trainer.update()
        now = trainer.module.policy.state_dict()
        if expected is None:
            expected = {name: tensor.clone() for name, tensor in now.items()}
        expected = {name: averaging * mean + (1 - averaging) * now[name] for name, mean in expected.items()}
    kept = trainer.learner.averaged_policy.state_dict()
    assert all(torch.allclose(kept[name], mean, atol=1e-6) for name, mean in expected.items())


def test_figures_of_an_update():
    trainer = Trainer(toys.plants("a", 4))
    trainer.update()
    assert {*FIGURES, "explained_variance", "learning_rate", "entropy_weight", "steps"} <= set(trainer.figures)
    assert all(np.isfinite(trainer.figures[name]) for name in FIGURES)


def test_running_moments():
    moments, rng = RunningMoments(2), np.random.default_rng(0)
    assert moments.of(0) == (0.0, 1.0)
    batches = [rng.normal(5.0, 2.0, 50) for _ in range(4)]
    for batch in batches:
        moments.update(1, torch.from_numpy(batch))
    weights = np.array([(1 - MOMENTUM) * MOMENTUM ** (3 - k) for k in range(4)])
    weights /= weights.sum()
    mean = float(weights @ [batch.mean() for batch in batches])
    square = float(weights @ [(batch**2).mean() for batch in batches])
    assert moments.of(1) == pytest.approx((mean, (square - mean**2) ** 0.5))
    assert moments.of(0) == (0.0, 1.0)


# -- what a seed decides, and what a checkpoint brings back -----------------------------------------------------

MIXED = toys.plants("a", 3, terminates=0.5), toys.plants("b", 2, agents=7, seed=50)


def algorithm(folder, *scenarios, **changes):
    return build_algorithm(toys.task(*(scenarios or MIXED)), Settings(**BASE | changes), Path(folder))


def updates(algorithm, first, last):
    for k in range(first, last):
        set_schedule(algorithm, k / 10)
        result = algorithm.train()
    return result


def weights(algorithm):
    return {name: tensor.clone() for name, tensor in algorithm.get_module().state_dict().items()}


def fingerprint(algorithm):
    digest = hashlib.sha256()
    for name, tensor in sorted(weights(algorithm).items()):
        digest.update(name.encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def test_same_seed_same_weights(session, tmp_path):
    found = []
    for seed in (3, 3, 4):
        one = algorithm(tmp_path, seed=seed)
        torch.rand(7)  # what else draws from torch's own generator must not matter
        updates(one, 0, 3)
        found.append(weights(one))
        one.stop()
    assert same(found[0], found[1])
    assert not same(found[0], found[2])


@pytest.mark.parametrize("kind", ["discrete", "mixed"])
def test_a_run_that_was_broken_off_goes_on_bit_for_bit(session, tmp_path, kind):
    scenarios = toys.plants("a", 3, kind=kind, terminates=0.5), toys.plants("b", 2, kind=kind, agents=7, seed=50)
    whole = algorithm(tmp_path, *scenarios)
    updates(whole, 0, 2)
    whole.save_to_path(str(tmp_path / "checkpoint"))
    saved = weights(whole)
    updates(whole, 2, 4)
    again = algorithm(tmp_path, *scenarios)
    restore(again, tmp_path / "checkpoint")
    assert same(saved, weights(again))
    result = updates(again, 2, 4)
    assert same(weights(whole), weights(again))
    assert result["training_iteration"] == 4
    assert result["env_runners"]["num_env_steps_sampled_lifetime"] == 4 * 24 * 5
    for one in (whole, again):
        one.stop()


SCRIPT = """
import sys
from tests.training.rllib.test_learner import algorithm, fingerprint, updates
from training.session import ray_session
with ray_session(cpus=1):
    one = algorithm(sys.argv[1])
    updates(one, 0, 3)
    print(fingerprint(one))
"""


@pytest.mark.slow
def test_same_seed_same_weights_in_another_process(tmp_path):
    found = []
    for k in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": k}
        command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
        found.append(
            subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout.split()[-1]
        )
    assert len(found[0]) == 64
    assert found[0] == found[1]


@pytest.mark.slow
def test_memory_stays_flat(session, tmp_path):
    one = algorithm(tmp_path)
    updates(one, 0, 50)
    before = resident()
    updates(one, 50, 350)
    assert resident() <= 1.03 * before
    one.stop()


def resident():
    """Bytes of this process in memory."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
