"""Multi-agent PPO with a shared policy and a central critic (MAPPO), as a configuration of RLlib's PPO.

All hyperparameters and their defaults are here. RLlib's own defaults do not suit rewards on a city's scale: its value
clip stops the critic from learning once the error exceeds 3, and its 30 epochs are mostly spent on stale data.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from gymnasium import spaces
from pydantic import Field
from ray.rllib.algorithms.ppo import PPO, PPOConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from agents.networks import NETWORK_OF
from envs.core.env import make_loop
from envs.core.scenario import Scenario
from envs.core.site import Frozen
from training.learner import WatchedLearner
from training.module import CooperativeModule
from training.runner import BatchedRunner


class Settings(Frozen):
    """How to train.

    Attributes:
        seed: of weights, exploration and the first training episode.
        workers: plants that are simulated at once, a process each.
        fragment: decisions of each plant between two updates.
        width: of the networks' hidden layers.
        gamma: discount a decision.
        gae_lambda: decay of generalised advantage estimation.
        learning_rate: at the start; falls to a tenth by the end of the budget.
        clip: PPO's clip range.
        entropy: weight of the entropy bonus.
        epochs: passes over each batch.
        minibatch: agent-decisions a gradient step.
        grad_clip: largest norm of a gradient.
        reward_scale: rewards are multiplied by it, to keep values near one.
        validate_every: updates between two validations.
        validation_seeds: episodes a validation.
    """

    algorithm: Literal["mappo"] = "mappo"
    seed: int = Field(default=0, ge=0)
    workers: int = Field(default=2, ge=1, le=256)
    fragment: int = Field(default=360, ge=8)
    width: int = Field(default=64, ge=8)
    gamma: float = Field(default=0.97, gt=0, lt=1)
    gae_lambda: float = Field(default=0.95, ge=0, le=1)
    learning_rate: float = Field(default=5e-4, gt=0)
    clip: float = Field(default=0.2, gt=0)
    entropy: float = Field(default=0.01, ge=0)
    epochs: int = Field(default=4, ge=1)
    minibatch: int = Field(default=1024, ge=16)
    grad_clip: float = Field(default=0.5, gt=0)
    reward_scale: float = Field(default=0.1, gt=0)
    validate_every: int = Field(default=10, ge=1)
    validation_seeds: int = Field(default=8, ge=1)


class QuietPPO(PPO):
    """RLlib's PPO that keeps its files in the run's folder instead of ``~/ray_results``."""

    def _setup_logdir(self) -> None:
        self._logdir = str(self.config["env_config"]["folder"])


@contextmanager
def ray_session(cpus: int) -> Iterator[None]:
    """A Ray of our own, on this machine alone, without dashboard or chatter; or the one that already runs."""
    import ray
    from ray._private import ray_constants

    if ray.is_initialized():
        yield
        return
    # Nobody on the network has business with a trainer: Ray's servers listen on loopback.
    ray_constants.ENABLE_RAY_CLUSTER = False
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.rllib").setLevel(logging.ERROR)
    ray.init(
        address="local",
        num_cpus=cpus,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        configure_logging=False,
    )
    try:
        yield
    finally:
        ray.shutdown()


def build_algorithm(scenario: Scenario, settings: Settings, folder: Path) -> PPO:
    """RLlib's algorithm for a scenario.

    Args:
        scenario: what to train on; training seeds are taken from its ``train`` split.
        settings: how to train.
        folder: where RLlib may keep files.
    """
    loop = make_loop(scenario)
    agents = len(loop.site.agents)
    size = loop.layout.size + int(np.prod(loop.features.state_shape))
    model = {
        "shapes": loop.layout.shapes,
        "state_shape": tuple(loop.features.state_shape),
        "network": NETWORK_OF[scenario.system],
        "width": settings.width,
    }
    config = (
        PPOConfig(algo_class=QuietPPO)
        .environment(
            env="cityloop",
            observation_space=spaces.Box(-np.inf, np.inf, (size,), np.float32),
            action_space=loop.system.action_space(loop.site),
            env_config={
                "scenario": scenario,
                "num_envs": settings.workers,
                "seed": scenario.seeds.train.first + settings.seed * settings.workers,
                "reward_scale": settings.reward_scale,
                "folder": str(folder.resolve()),
            },
            disable_env_checking=True,
        )
        .env_runners(env_runner_cls=BatchedRunner, num_env_runners=0, rollout_fragment_length=settings.fragment)
        .learners(num_learners=0, learner_class=WatchedLearner)
        .rl_module(rl_module_spec=RLModuleSpec(module_class=CooperativeModule, model_config=model))
        .training(
            # RLlib counts an agent's decision as an environment step here.
            train_batch_size=settings.workers * settings.fragment * agents,
            minibatch_size=min(settings.minibatch, settings.workers * settings.fragment * agents),
            num_epochs=settings.epochs,
            lr=settings.learning_rate,
            gamma=settings.gamma,
            lambda_=settings.gae_lambda,
            clip_param=settings.clip,
            vf_clip_param=np.inf,
            vf_loss_coeff=0.5,
            entropy_coeff=settings.entropy,
            grad_clip=settings.grad_clip,
            grad_clip_by="global_norm",
            use_kl_loss=False,
        )
        .debugging(seed=settings.seed, log_level="ERROR")
    )
    return config.build_algo()


def set_learning_rate(algorithm: PPO, rate: float) -> None:
    """Set the learning rate of every optimiser (RLlib's schedules count steps; ours may be bound by time)."""

    def apply(learner: Any) -> None:
        for _, optimizer in learner.get_optimizers_for_module(DEFAULT_MODULE_ID):
            for group in optimizer.param_groups:
                group["lr"] = rate

    algorithm.learner_group.foreach_learner(apply)
