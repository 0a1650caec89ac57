"""RLlib's PPO with the array-based runner and learner of this package, and a module with a central critic.

The algorithm, checkpoints, placement of runners, metrics and the order of a training step remain RLlib's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from ray.rllib.algorithms.ppo import PPO, PPOConfig
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_RL_MODULE
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from agents.networks import PolicyNetwork
from envs.core.scenario import Scenario
from training.actions import ActionCodec
from training.rllib.learner import CooperativeLearner
from training.rllib.module import CooperativeModule
from training.rllib.runner import BatchedRunner
from training.settings import Settings
from training.task import Task
from training.weights import Start


class QuietPPO(PPO):
    """RLlib's PPO that keeps its files in the run's folder instead of ``~/ray_results``."""

    def _setup_logdir(self) -> None:
        self._logdir = str(self.config["env_config"]["folder"])


class Ppo:
    """RLlib's PPO as a `training.task.Learner`.

    Args:
        task: the learning task.
        scenarios: not used: the task has their plants.
        settings: hyperparameters.
        folder: folder for RLlib's files.
    """

    def __init__(self, task: Task, scenarios: Sequence[Scenario], settings: Settings, folder: Path):
        self._algorithm = build_algorithm(task, settings, folder)
        self._labels = [plants.label for plants in task.plants]

    def begin(self, start: Start) -> None:
        """See `training.task.Learner.begin`; the critic goes on as well, if there was one."""
        self._algorithm.learner_group.foreach_learner(lambda learner: learner.begin(start, self._labels))
        share_weights(self._algorithm)

    def update(self, fraction: float) -> Mapping[str, Any]:
        """See `training.task.Learner.update`."""
        set_schedule(self._algorithm, fraction)
        result: Mapping[str, Any] = self._algorithm.train()
        return result

    @property
    def policy(self) -> PolicyNetwork:
        """See `training.task.Learner.policy`."""
        return learned_policy(self._algorithm)

    def save(self, path: Path) -> None:
        """See `training.task.Learner.save`."""
        self._algorithm.save_to_path(str(path))

    def restore(self, path: Path) -> None:
        """See `training.task.Learner.restore`."""
        restore(self._algorithm, path)

    def stop(self) -> None:
        """See `training.task.Learner.stop`."""
        self._algorithm.stop()


def build_algorithm(task: Task, settings: Settings, folder: Path) -> PPO:
    """RLlib's algorithm for a task; see `configure`."""
    return configure(task, settings, folder).build_algo()


def configure(task: Task, settings: Settings, folder: Path) -> PPOConfig:
    """RLlib's configuration for a task.

    Args:
        task: the learning task.
        settings: hyperparameters.
        folder: folder for RLlib's files.
    """
    model = {
        "shapes": dict(task.shapes),
        "outputs": ActionCodec(task.action_space).inputs,
        "columns": task.state_columns,
        "network": task.network,
        "width": settings.width,
        "central": settings.algorithm == "mappo",
        "scenarios": len(task.plants),
        "averaging": settings.averaging,
    }
    steps = settings.fragment * sum(plants.num_envs for plants in task.plants) * max(1, settings.runners)
    return (
        PPOConfig(algo_class=QuietPPO)
        .environment(
            env="cityloop",
            observation_space=spaces.Box(-np.inf, np.inf, (1,), np.float32),  # never used: observations are parts
            action_space=task.action_space,
            env_config={
                "plants": list(task.plants),
                "reward_scale": settings.reward_scale,
                "folder": str(folder.resolve()),
            },
            disable_env_checking=True,
        )
        .env_runners(
            env_runner_cls=BatchedRunner,
            num_env_runners=settings.runners,
            rollout_fragment_length=settings.fragment,
            create_local_env_runner=True,
            sample_timeout_s=3600.0,  # RLlib drops what takes longer than a minute; deaths are noticed at once
        )
        .callbacks(on_env_runners_recreated=_recreated)
        .fault_tolerance(restart_failed_env_runners=True, ignore_env_runner_failures=False)
        .learners(
            num_learners=0,
            learner_class=CooperativeLearner,
            add_default_connectors_to_learner_pipeline=False,
            learner_config_dict={
                "settings": settings.model_dump(),
                "discounts": list(task.discounts),
                "action_space": task.action_space,
            },
        )
        .rl_module(rl_module_spec=RLModuleSpec(module_class=CooperativeModule, model_config=model))
        .training(
            train_batch_size=steps,
            minibatch_size=steps,  # our learner cuts its own, see `Settings.minibatch`
            num_epochs=settings.epochs,
            lr=settings.learning_rate,
            gamma=settings.gamma,
            lambda_=settings.gae_lambda,
            use_kl_loss=False,
        )
        .debugging(seed=settings.seed, log_level="ERROR")
    )


def set_schedule(algorithm: PPO, fraction: float) -> None:
    """Set the scheduled settings for a fraction of the budget that is spent."""
    algorithm.learner_group.foreach_learner(lambda learner: learner.schedule(fraction))


def learned_policy(algorithm: PPO) -> PolicyNetwork:
    """The policy as it would be stored now: the running mean of the weights."""
    found = algorithm.learner_group.foreach_learner(lambda learner: learner.averaged_policy)
    policy: PolicyNetwork = next(iter(found)).get()
    return policy


def restore(algorithm: PPO, checkpoint: Path) -> None:
    """Restore a checkpoint of RLlib, and give its weights to every runner."""
    algorithm.restore_from_path(str(checkpoint))
    share_weights(algorithm)
    go_on(algorithm)


def go_on(algorithm: PPO, runners: Sequence[int] | None = None) -> None:
    """Let remote runners continue with other episodes than their first; see `BatchedRunner.go_on`.

    Args:
        algorithm: the algorithm.
        runners: indices of the runners; None: all.
    """
    algorithm.env_runner_group.foreach_env_runner(
        "go_on", kwargs={"done": algorithm.iteration}, remote_worker_ids=runners, local_env_runner=False
    )


def _recreated(*, algorithm: PPO, env_runner_indices: Sequence[int], **_: Any) -> None:
    go_on(algorithm, list(env_runner_indices))


def share_weights(algorithm: PPO) -> None:
    """Give every runner the learner's weights, and wait for it.

    RLlib 2.60 lets remote runners sample with their initial weights after a restore: it drops the message that brings
    them the saved ones while an earlier one is on its way.
    """
    path = f"{COMPONENT_LEARNER}/{COMPONENT_RL_MODULE}"
    weights = algorithm.learner_group.get_state(components=path, inference_only=True)[COMPONENT_LEARNER]
    state = {COMPONENT_RL_MODULE: weights[COMPONENT_RL_MODULE]}  # no sequence number: always accepted
    algorithm.env_runner.set_state(state)
    algorithm.env_runner_group.foreach_env_runner("set_state", kwargs={"state": state}, local_env_runner=False)
