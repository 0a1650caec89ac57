"""The stable-baselines3 reference: the Gymnasium view of a one-junction site, trained by a library of other authors.

It guards the RLlib path against being subtly broken: same plant, same features, same reward, same tags, same table.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import SubprocVecEnv

from agents.networks import FlatPolicy
from envs.core.env import CityGymEnv, make_loop
from envs.core.errors import CityloopError
from envs.core.registry import get_system
from envs.core.scenario import Scenario
from training.algorithm import Settings
from training.tracking import RunFolder, tensorboard, versions, write_json, write_yaml
from training.train import Progress
from training.validate import Validator

DEFAULTS = Settings()
"""The trainer's own settings: what both libraries have is set alike."""


def train_reference(
    scenario: Scenario,
    *,
    minutes: float | None = None,
    iterations: int | None = None,
    seed: int = 0,
    workers: int = DEFAULTS.workers,
    out: Path | None = None,
    on_progress: Progress | None = None,
) -> Path:
    """Train stable-baselines3's PPO and return the run's folder, which `training.export.export` understands.

    Args:
        scenario: a scenario with one agent.
        minutes: stop after so much time; 10 if no bound is given.
        iterations: stop after so many updates.
        seed: of weights, exploration and the first training episode.
        workers: plants that are simulated at once, a process each.
        out: the run's folder instead of a new one under ``runs/``.
        on_progress: told after every update.

    Raises:
        CityloopError: if the scenario has several agents.
    """
    loop = make_loop(scenario)
    agents = len(loop.site.agents)
    if agents > 1:
        raise CityloopError(
            f"scenario {scenario.ref} has {agents} agents, and the stable-baselines3 reference trains one: "
            "choose a site with a single junction, e.g. intersections/cologne1"
        )
    if minutes is None and iterations is None:
        minutes = 10.0
    with RunFolder.create(scenario, "sb3", seed, out) as folder:
        settings = {"algorithm": "sb3", "seed": seed, "workers": workers, "width": DEFAULTS.width}
        config = {
            "algorithm": "PPO, stable-baselines3",
            "network": "flat",
            "scenario": scenario.model_dump(mode="json"),
            "settings": settings,
            "budget": {"minutes": minutes, "iterations": iterations},
        }
        write_yaml(folder.path / "config.yaml", config)
        write_json(folder.path / "versions.json", versions())
        plants = SubprocVecEnv([_Plant(scenario) for _ in range(workers)], start_method="spawn")
        try:
            plants.seed(scenario.seeds.train.first + seed * workers)
            _learn(scenario, plants, folder.path, config, on_progress)
        finally:
            plants.close()
    return folder.path


class _Plant:
    """Makes the environment in its own process."""

    def __init__(self, scenario: Scenario):
        self._scenario = scenario

    def __call__(self) -> gymnasium.Env[Any, Any]:
        env = CityGymEnv(self._scenario)
        return gymnasium.wrappers.TransformReward(env, lambda reward: DEFAULTS.reward_scale * float(reward))


def _learn(
    scenario: Scenario, plants: SubprocVecEnv, folder: Path, config: Mapping[str, Any], on_progress: Progress | None
) -> None:
    settings = config["settings"]
    model = PPO(
        "MlpPolicy",
        plants,
        n_steps=DEFAULTS.fragment,
        batch_size=DEFAULTS.fragment * settings["workers"] // 3,  # one agent makes small batches: a third of each
        n_epochs=DEFAULTS.epochs,
        gamma=DEFAULTS.gamma,
        gae_lambda=DEFAULTS.gae_lambda,
        learning_rate=DEFAULTS.learning_rate,
        clip_range=DEFAULTS.clip,
        ent_coef=DEFAULTS.entropy,
        max_grad_norm=DEFAULTS.grad_clip,
        policy_kwargs={"net_arch": [DEFAULTS.width, DEFAULTS.width]},
        seed=settings["seed"],
        device="cpu",
    )
    watch = _Watch(scenario, folder, config["budget"], on_progress)
    try:
        model.learn(total_timesteps=10**9, callback=watch)
        watch.validate()
    finally:
        watch.close()


def flat_policy(model: PPO, shapes: Mapping[str, tuple[int, ...]]) -> FlatPolicy:
    """The policy of a stable-baselines3 model as a plain network."""
    policy = FlatPolicy(shapes, width=DEFAULTS.width)
    with torch.no_grad():
        policy.hidden.load_state_dict(model.policy.mlp_extractor.policy_net.state_dict())
        policy.score.load_state_dict(model.policy.action_net.state_dict())
    return policy


class _Watch(BaseCallback):
    """Writes the tags that the trainer writes, validates, and stops when the budget is spent."""

    def __init__(self, scenario: Scenario, folder: Path, budget: Mapping[str, Any], on_progress: Progress | None):
        super().__init__()
        self._scenario, self._budget, self._on_progress = scenario, budget, on_progress
        self._system = get_system(scenario.system)
        self._events = tensorboard(folder)
        self._validator = Validator(scenario, DEFAULTS.validation_seeds, self._system.kpi, folder / "best")
        self._shapes = self._validator.plants.loop.layout.shapes
        self._started = time.perf_counter()
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
        figures["time/agent_steps_per_s"] = self.num_timesteps / (time.perf_counter() - self._started)
        for kpi in self._system.kpis if self._kpis else ():
            figures[f"kpi/{self._system.name}/{kpi}"] = float(np.mean([row[kpi] for row in self._kpis[-20:]]))
        if self._iteration % DEFAULTS.validate_every == 0:
            self.validate()
        clean = {tag: float(value) for tag, value in figures.items() if value is not None}
        for tag, value in clean.items():
            self._events.add_scalar(tag, value, self.num_timesteps)
        if self._on_progress is not None:
            self._on_progress({"fraction": self._fraction(), "iteration": self._iteration, **clean})

    def validate(self) -> None:
        """Validate the present policy, and keep it if it is the best so far."""
        facts = {"iteration": self._iteration, "agent_steps": self.num_timesteps}
        means = self._validator(flat_policy(self.model, self._shapes), facts)
        for kpi, value in means.items():
            self._events.add_scalar(f"eval/{kpi}", value, self.num_timesteps)

    def _fraction(self) -> float:
        minutes, iterations = self._budget["minutes"], self._budget["iterations"]
        shares = [self._iteration / iterations] if iterations else []
        if minutes:
            shares.append((time.perf_counter() - self._started) / 60 / minutes)
        return min(1.0, max(shares))

    def close(self) -> None:
        """Stop the validation plants, flush events."""
        self._validator.close()
        self._events.close()
