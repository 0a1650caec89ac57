"""The stable-baselines3 reference: the Gymnasium environment of a one-agent site, trained by an independent library.

It guards against subtle errors in the RLlib path: plant, features, reward, tags and tables are the same.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import SubprocVecEnv

from agents.networks import FlatPolicy
from envs.core.env import CityGymEnv, make_loop
from envs.core.errors import CityloopError
from envs.core.registry import get_system
from envs.core.scenario import Scenario
from training.run import Progress
from training.settings import Settings, check_budget
from training.task import check_together
from training.tracking.config import describe, parse_settings
from training.tracking.folders import SPEED, RunFolder
from training.tracking.journal import Journal
from training.validate import OnEpisodes, Validator

DEFAULTS = Settings()
"""Default settings of the trainer, applied to all settings that both libraries have."""

STEPS = 3 * DEFAULTS.fragment
"""Decisions of each plant between two updates; more than by default, because a single agent makes few decisions."""


def train_reference(
    scenario: Scenario,
    *,
    minutes: float | None = None,
    iterations: int | None = None,
    seed: int = 0,
    workers: int = DEFAULTS.workers,
    out: Path | None = None,
    on_progress: Progress | None = None,
    on_episodes: OnEpisodes | None = None,
    command: str = "",
) -> Path:
    """Train stable-baselines3's PPO, and return the run's folder, which `training.bundles.export.export` can export.

    Args:
        scenario: a scenario with one agent.
        minutes: time limit; 10 minutes if no limit is given.
        iterations: limit of updates.
        seed: seed of weights, exploration and the first training episode.
        workers: number of plants, each in a process of its own.
        out: folder of the run; default: a new one under ``runs/``.
        on_progress: called after every update.
        on_episodes: called after every validation episode of a rule or a policy.
        command: command line of the run, for the policy's card.

    Raises:
        CityloopError: if the scenario has several agents or is reserved for tests, or a number is out of range.
    """
    budget = check_budget(minutes, iterations)
    settings = parse_settings({"algorithm": "sb3", "seed": seed, "workers": workers, "width": DEFAULTS.width})
    check_together([scenario])
    with closing(make_loop(scenario)) as loop:
        agents = len(loop.site.agents)
    if agents > 1:
        raise CityloopError(
            f"scenario {scenario.ref} has {agents} agents, and the stable-baselines3 reference trains one: "
            "choose a scenario with one, e.g. intersections/cologne1"
        )
    if minutes is None and iterations is None:
        budget["minutes"] = 10.0
    with RunFolder.create([scenario], "sb3", seed, out) as folder:
        describe(folder.path, "flat", [scenario], settings, budget, command)
        plants = SubprocVecEnv([_Plant(scenario) for _ in range(workers)], start_method="spawn")
        try:
            train = scenario.seeds.train
            first = train.wrapped(train.first + seed * workers, workers)
            watch = _Watch(scenario, settings, folder.path, budget, on_progress, on_episodes)
            _learn(plants, first, settings, watch)
        finally:
            plants.close()
    return folder.path


class _Plant:
    """Factory of the environment in its own process."""

    def __init__(self, scenario: Scenario):
        self._scenario = scenario

    def __call__(self) -> gymnasium.Env[Any, Any]:
        env = CityGymEnv(self._scenario)
        return gymnasium.wrappers.TransformReward(env, lambda reward: DEFAULTS.reward_scale * float(reward))


def _learn(plants: SubprocVecEnv, first: int, settings: Settings, watch: _Watch) -> None:
    model = PPO(
        "MlpPolicy",
        plants,
        n_steps=STEPS,
        batch_size=STEPS * settings.workers // 3,
        n_epochs=settings.epochs,
        gamma=settings.gamma,
        gae_lambda=settings.gae_lambda,
        learning_rate=settings.learning_rate,
        clip_range=settings.clip,
        ent_coef=settings.entropy,
        max_grad_norm=settings.grad_clip,
        policy_kwargs={"net_arch": [settings.width, settings.width]},
        seed=settings.seed,
        device="cpu",
    )
    model.set_logger(Logger(None, []))  # metrics stay in memory; the default logger leaves a folder behind
    plants.seed(first)  # after making the model, which seeds the plants with its own, a test seed
    try:
        model.learn(total_timesteps=10**9, callback=watch)
        watch.validate()
        watch.settle()
    finally:
        watch.close()


def flat_policy(model: PPO, shapes: Mapping[str, tuple[int, ...]]) -> FlatPolicy:
    """The policy of a stable-baselines3 model as a plain network, with numbers scaled as by `ActionCodec`."""
    space, last = model.action_space, model.policy.action_net
    weight, bias = last.weight.detach(), last.bias.detach()
    if isinstance(space, spaces.Box):
        low, half = torch.from_numpy(space.low), torch.from_numpy((space.high - space.low) / 2)
        weight = torch.cat([weight / half[:, None], torch.zeros_like(weight)])
        bias = torch.cat([(bias - low) / half - 1.0, model.policy.log_std.detach() - half.log()])
    policy = FlatPolicy(shapes, len(bias), DEFAULTS.width)
    policy.hidden.load_state_dict(model.policy.mlp_extractor.policy_net.state_dict())
    policy.score.load_state_dict({"weight": weight, "bias": bias})
    return policy


class _Watch(BaseCallback):
    """Callback that writes the trainer's tags, validates, and stops when the budget is spent."""

    def __init__(
        self,
        scenario: Scenario,
        settings: Settings,
        folder: Path,
        budget: Mapping[str, Any],
        on_progress: Progress | None,
        on_episodes: OnEpisodes | None,
    ):
        super().__init__()
        self._settings, self._budget, self._on_progress = settings, budget, on_progress
        self._system = get_system(scenario.system)
        with closing(make_loop(scenario)) as loop:
            self._shapes = loop.layout.shapes
        self._validator = Validator([scenario], settings, "flat", folder, on_episodes)
        self._validator.refer()
        self._journal = Journal(folder, self._system.name, self._validator.kpi, [scenario.label])
        self._journal.compare(list(self._validator.reference))
        self._started = time.perf_counter()
        self._since = self._started
        self._iteration = 0
        self._kpis: list[dict[str, float]] = []
        self._returns: list[float] = []

    def _on_training_start(self) -> None:
        self._running = np.zeros(self.training_env.num_envs)

    def _on_step(self) -> bool:
        self._running += np.asarray(self.locals["rewards"]) / DEFAULTS.reward_scale
        for k, info in enumerate(self.locals["infos"]):
            if "kpis" in info:
                self._kpis.append(info["kpis"])
                self._returns.append(float(self._running[k]))
                self._running[k] = 0.0
        return self._fraction() < 1.0

    def _on_rollout_end(self) -> None:
        self._iteration += 1
        figures = {
            f"train/{tag}": self.model.logger.name_to_value.get(f"train/{name}")
            for tag, name in [
                ("policy_loss", "policy_gradient_loss"),
                ("value_loss", "value_loss"),
                ("approx_kl", "approx_kl"),
                ("clip_fraction", "clip_fraction"),
                ("learning_rate", "learning_rate"),
                ("explained_variance", "explained_variance"),
            ]
        }
        negative = self.model.logger.name_to_value.get("train/entropy_loss")
        figures["train/entropy"] = None if negative is None else -negative
        if self._returns:
            figures["rollout/return_mean"] = float(np.mean(self._returns[-20:]))
        if self._iteration > 1:  # the first rollout includes no time of learning
            figures[SPEED] = STEPS * self._settings.workers / (time.perf_counter() - self._since)
        for kpi in self._system.kpis if self._kpis else ():
            figures[f"kpi/{self._system.name}/{kpi}"] = float(np.mean([row[kpi] for row in self._kpis[-20:]]))
        if self._iteration % self._settings.validate_every == 0 and self._fraction() < 1.0:  # else once it has learned
            self.validate()
        clean = {tag: float(value) for tag, value in figures.items() if value is not None}
        self._journal.write(clean, self._iteration, self.num_timesteps, self._elapsed_s)
        if self._on_progress is not None:
            self._on_progress({"fraction": self._fraction(), "iteration": self._iteration, **clean})
        self._since = time.perf_counter()

    @property
    def _elapsed_s(self) -> float:
        return time.perf_counter() - self._started

    def validate(self) -> None:
        """Validate the current policy, and store it if it is among the best so far."""
        facts = {"iteration": self._iteration, "agent_steps": self.num_timesteps}
        verdict = self._validator(flat_policy(self.model, self._shapes), facts)
        reference = self._validator.reference
        self._journal.validation(verdict, reference, self._iteration, self.num_timesteps, self._elapsed_s)

    def settle(self) -> None:
        """Choose the policy among the finalists."""
        score = min(self._validator.choose_finalist().values())
        settings = self._settings.model_dump()
        self._journal.final(settings, score, self._iteration, self.num_timesteps, self._elapsed_s)

    def _fraction(self) -> float:
        minutes, iterations = self._budget["minutes"], self._budget["iterations"]
        shares = [self._iteration / iterations] if iterations else []
        if minutes:
            shares.append(self._elapsed_s / 60 / minutes)
        return min(1.0, max(shares))

    def close(self) -> None:
        """Stop the validation processes, flush events."""
        self._validator.close()
        self._journal.close()
