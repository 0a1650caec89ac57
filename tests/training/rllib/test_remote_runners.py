"""Runners in processes of their own: they learn, receive weights, and are replaced after a loss."""

import os
import signal
import time

import numpy as np
import pytest
import ray

from envs import CityloopError
from tests.training.rllib import toys
from tests.training.rllib.test_learner import algorithm, same, updates, weights
from tests.training.rllib.test_runner import spoiled
from training.rllib.algorithm import restore


def remote(algorithm):
    """Weights of every remote runner."""
    return algorithm.env_runner_group.foreach_env_runner(lambda one: one.module.get_state(), local_env_runner=False)


def processes(algorithm):
    """Process numbers of the remote runners that are well."""
    return algorithm.env_runner_group.foreach_env_runner(lambda _: os.getpid(), local_env_runner=False)


def begun(algorithm):
    """After how many iterations each remote runner began its episodes."""
    return algorithm.env_runner_group.foreach_env_runner(lambda one: one._done, local_env_runner=False)


def assert_runners_have_the_learners_weights(algorithm, runners):
    expected = {name: tensor.numpy() for name, tensor in weights(algorithm).items() if name.startswith("policy")}
    found = remote(algorithm)
    assert len(found) == runners
    for held in found:
        assert held.keys() == expected.keys()
        for name, array in held.items():
            np.testing.assert_array_equal(array, expected[name])


@pytest.mark.slow
@pytest.mark.parametrize("runners", [1, 2])
def test_remote_runners_train_and_get_the_weights_back(session, tmp_path, runners):
    one = algorithm(tmp_path, toys.plants("a", 8), runners=runners)
    first = updates(one, 0, 1)["env_runners"]["episode_return_mean"]
    last = updates(one, 1, 20)
    assert last["env_runners"]["episode_return_mean"] > 2 * first
    assert last["env_runners"]["num_env_steps_sampled_lifetime"] == 20 * 24 * 8 * runners
    assert_runners_have_the_learners_weights(one, runners)
    one.save_to_path(str(tmp_path / "checkpoint"))
    saved = weights(one)
    one.stop()
    again = algorithm(tmp_path, toys.plants("a", 8), runners=runners)
    restore(again, tmp_path / "checkpoint")
    assert same(saved, weights(again))
    assert_runners_have_the_learners_weights(again, runners)
    assert begun(again) == [20] * runners
    updates(again, 20, 21)
    assert_runners_have_the_learners_weights(again, runners)
    again.stop()


def killed_by_ray(actor, pid):
    ray.kill(actor, no_restart=False)


def killed_by_the_system(actor, pid):
    os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("kill", [killed_by_ray, killed_by_the_system])
@pytest.mark.parametrize("runners", [1, 2])
def test_a_lost_runner_is_replaced(session, tmp_path, kill, runners):
    one = algorithm(tmp_path, toys.plants("a", 4), runners=runners)
    updates(one, 0, 2)
    pids = processes(one)
    actor = one.env_runner_group._worker_manager.actors()[1]
    kill(actor, pids[0])
    latest = time.monotonic() + 300.0  # in vain: the run goes on with the runners that are left until the new one is up
    while pids[0] in (now := processes(one)) or len(now) < runners:
        assert time.monotonic() < latest
        updates(one, 2, 3)
    assert_runners_have_the_learners_weights(one, runners)
    assert sum(done > 0 for done in begun(one)) == 1, "who replaces it does not play its first episodes again"
    result = updates(one, 3, 4)
    assert result["env_runners"]["num_env_steps_sampled"] == 24 * 4 * runners
    one.stop()


@pytest.mark.slow
@pytest.mark.parametrize("runners", [1, 2])
def test_plants_that_cannot_be_used_end_a_run_with_remote_runners(session, tmp_path, runners):
    one = algorithm(tmp_path, spoiled(), runners=runners)
    with pytest.raises(CityloopError, match="toys: the reward of agent 2 in plant 1 is nan after 3 decisions"):
        one.train()
    one.stop()
