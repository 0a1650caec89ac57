"""Four trainers on the free task of `matching.py`, each with an ``iterate()`` that samples and learns once.

Alike for all: the environment, its 32 plants of 16 agents and 64 steps an iteration; a policy and a critic with hidden
layers of the same width; four epochs of minibatches of as many decisions; PPO's loss with entropy bonus and a bound on
the gradient; one thread. What a library cannot do is said where it is built.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from ray.rllib.algorithms.ppo import PPO, PPOConfig
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import ValueFunctionAPI
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch import TorchRLModule
from ray.rllib.env.multi_agent_env import MultiAgentEnv
from stable_baselines3 import PPO as SB3
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecEnv

from agents.networks import FlatCritic, FlatPolicy
from training.actions import ActionCodec
from training.bench.matching import MatchingVector
from training.rllib.algorithm import QuietPPO, build_algorithm
from training.rllib.fragment import Fragment, advantages
from training.settings import Settings
from training.task import Plants, Task


@dataclass(frozen=True)
class Sizes:
    """Of the task and the networks; see `training.settings.Settings` for the last four."""

    envs: int = 32
    steps: int = 64
    agents: int = 16
    width: int = 64
    epochs: int = 4
    minibatch: int = 2048

    @property
    def decisions(self) -> int:
        """Of agents in an iteration."""
        return self.envs * self.steps * self.agents

    @property
    def settings(self) -> Settings:
        """The trainer's settings, the same for all contestants as far as they have them."""
        return Settings(
            workers=self.envs,
            fragment=self.steps,
            width=self.width,
            epochs=self.epochs,
            minibatch=self.minibatch,
            reward_scale=1.0,
            target_kl=1e9,  # every epoch is run, as by the others
        )

    def __call__(self, num_envs: int, seed: int) -> MatchingVector:
        """Plants of these sizes."""
        return MatchingVector(num_envs, seed, agents=self.agents)


class Ours:
    """The trainer of this project: RLlib's Algorithm with our runner and learner."""

    def __init__(self, sizes: Sizes):
        plants = sizes(1, 0)
        task = Task(
            plants=[Plants("matching", sizes, sizes.envs, 0, lots=1)],
            shapes=plants.layout.shapes,
            state_columns=plants.state_shape[1],
            action_space=plants.action_space,
            network="flat",
            agents=[sizes.agents],
            discounts=[sizes.settings.gamma],
        )
        self._folder = tempfile.TemporaryDirectory()
        self._algorithm = build_algorithm(task, sizes.settings, Path(self._folder.name))

    def iterate(self) -> float:
        """Sample and learn once; the mean return of recent episodes."""
        return float(self._algorithm.train()["env_runners"].get("episode_return_mean", np.nan))

    def close(self) -> None:
        """Stop."""
        self._algorithm.stop()
        self._folder.cleanup()


class PlainTorch:
    """The floor: PPO by hand on the same networks, rows of environment steps, nothing logged, saved or scheduled."""

    def __init__(self, sizes: Sizes):
        torch.manual_seed(0)
        self._sizes, self._settings = sizes, sizes.settings
        self._plants, self._rng = sizes(sizes.envs, 0), np.random.default_rng(0)
        self._codec = ActionCodec(self._plants.action_space)
        shapes = self._plants.layout.shapes
        self._policy = FlatPolicy(shapes, self._codec.inputs, sizes.width)
        self._critic = FlatCritic(shapes, self._plants.state_shape[1], sizes.width)
        self._parameters = [*self._policy.parameters(), *self._critic.parameters()]
        self._optimizer = torch.optim.Adam(self._parameters, lr=self._settings.learning_rate, fused=True)
        self._batch = self._plants.reset()

    def iterate(self) -> float:
        """Sample and learn once; the mean reward."""
        fragment = self._sample()
        self._learn(fragment)
        return float(fragment.reward.mean())

    def _sample(self) -> Fragment:
        columns: dict[str, list[Any]] = {}
        lasts: list[tuple[np.ndarray, np.ndarray]] = []
        layout = self._plants.layout
        for _ in range(self._sizes.steps):
            with torch.no_grad():
                outputs = self._policy(layout.unflatten(torch.from_numpy(self._batch.observation))).numpy()
            actions, logp = self._codec.sample(outputs, self._rng)
            before, self._batch = self._batch, self._plants.step(self._codec.requests(actions))
            done = self._batch.done
            if done.any():
                lasts.append((self._batch.last_observation[done], self._batch.last_state[done]))
            row = (before.observation, before.state, actions, logp, self._batch.reward, done)
            for name, value in zip(("observation", "state", "actions", "logp", "reward", "done"), row, strict=True):
                columns.setdefault(name, []).append(value)
        columns["observation"].append(self._batch.observation)
        columns["state"].append(self._batch.state)
        whole = {name: np.stack(values) for name, values in columns.items()}
        none = (whole["observation"][0, :0], whole["state"][0, :0])
        observations, states = zip(*(lasts or [none]), strict=True)
        return Fragment(
            scenario=0,
            layout=layout,
            **whole,
            terminated=np.zeros_like(whole["done"]),
            locked=np.zeros_like(whole["done"]),
            last_observation=np.concatenate(observations),
            last_state=np.concatenate(states),
        )

    def _learn(self, fragment: Fragment) -> None:
        settings, layout = self._settings, fragment.layout
        with torch.no_grad():
            values = self._critic(
                layout.unflatten(torch.from_numpy(fragment.observation)), torch.from_numpy(fragment.state)
            )
            last = self._critic(
                layout.unflatten(torch.from_numpy(fragment.last_observation)), torch.from_numpy(fragment.last_state)
            )
        advantage, target = advantages(fragment, values.numpy(), last.numpy(), settings.gamma, settings.gae_lambda)
        advantage = (advantage - advantage.mean()) / advantage.std()
        columns = (fragment.observation[:-1], fragment.state[:-1], fragment.actions, fragment.logp, advantage, target)
        rows = [torch.from_numpy(np.ascontiguousarray(c, np.float32)).flatten(0, 1) for c in columns]
        parts = max(1, round(fragment.decisions / settings.minibatch))
        for _ in range(settings.epochs):
            for index in np.array_split(self._rng.permutation(len(fragment)), parts):
                self._step([row[torch.from_numpy(index)] for row in rows], layout)

    def _step(self, rows: Sequence[torch.Tensor], layout: Any) -> None:
        observation, state, actions, logp, advantage, target = rows
        settings = self._settings
        seen = layout.unflatten(observation)
        now, entropy = self._codec.score(self._policy(seen), actions)
        ratio = torch.exp(now - logp)
        gain = torch.min(advantage * ratio, advantage * ratio.clamp(1 - settings.clip, 1 + settings.clip))
        error = (self._critic(seen, state) - target) ** 2
        loss = (-gain + settings.value_weight * error - settings.entropy * entropy).mean()
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._parameters, settings.grad_clip, foreach=True)
        self._optimizer.step()

    def close(self) -> None:
        """Nothing runs."""


class _AgentEnv(MultiAgentEnv):
    """One plant as RLlib's stock runner wants it: dictionaries, and for every agent a row with the state in it."""

    def __init__(self, config: Any):
        super().__init__()
        sizes: Sizes = config["sizes"]
        self._plants = sizes(1, int(config.get("vector_index", 0) or 0) + 100 * getattr(config, "vector_env_index", 0))
        self.possible_agents = self.agents = [str(k) for k in range(sizes.agents)]
        width = self._plants.layout.size + int(np.prod(self._plants.state_shape))
        box = Box(-np.inf, np.inf, (width,), np.float32)
        self.observation_spaces = dict.fromkeys(self.agents, box)
        self.action_spaces = dict.fromkeys(self.agents, self._plants.action_space)

    def _rows(self, batch: Any) -> dict[str, np.ndarray]:
        state = batch.state[0].ravel()
        return {agent: np.concatenate([batch.observation[0, k], state]) for k, agent in enumerate(self.agents)}

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        """Start an episode."""
        return self._rows(self._plants.reset(seed)), {}

    def step(self, action_dict: dict[str, Any]) -> Any:
        """Carry out all agents' actions."""
        batch = self._plants.step(np.array([[action_dict[agent] for agent in self.agents]]))
        rewards = dict(zip(self.agents, batch.reward[0].tolist(), strict=True))
        return self._rows(batch), rewards, {"__all__": False}, {"__all__": bool(batch.done[0])}, {}


class _AgentModule(TorchRLModule, ValueFunctionAPI):
    """The same networks for rows of one agent each."""

    def setup(self) -> None:
        config = self.model_config
        self.layout, self.shape = config["layout"], config["state_shape"]
        self.policy = FlatPolicy(self.layout.shapes, config["outputs"], config["width"])
        self.critic = FlatCritic(self.layout.shapes, self.shape[1], config["width"])

    def _forward(self, batch: dict[str, Any], **_: Any) -> dict[str, Any]:
        parts = self.layout.unflatten(batch[Columns.OBS][..., : self.layout.size])
        return {Columns.ACTION_DIST_INPUTS: self.policy(parts)}

    def compute_values(self, batch: dict[str, Any], embeddings: Any = None) -> torch.Tensor:
        """Values ``(B,)``."""
        rows = batch[Columns.OBS].unsqueeze(-2)
        parts = self.layout.unflatten(rows[..., : self.layout.size])
        state = rows[..., 0, self.layout.size :].unflatten(-1, self.shape)
        return self.critic(parts, state).squeeze(-1)


class StockRLlib:
    """RLlib as it comes, by its leanest documented way: flat observations, no clipping of actions, long fragments."""

    def __init__(self, sizes: Sizes):
        plants, settings = sizes(1, 0), sizes.settings
        model = {
            "layout": plants.layout,
            "state_shape": plants.state_shape,
            "outputs": plants.layout.shapes["action_mask"][0],
            "width": sizes.width,
        }
        self._folder = tempfile.TemporaryDirectory()
        config = (
            PPOConfig(algo_class=QuietPPO)
            .environment(
                _AgentEnv,
                env_config={"sizes": sizes, "folder": self._folder.name},
                clip_actions=False,
                disable_env_checking=True,
            )
            .env_runners(num_env_runners=0, num_envs_per_env_runner=sizes.envs, rollout_fragment_length=sizes.steps)
            .learners(num_learners=0)
            .multi_agent(policies={"shared"}, policy_mapping_fn=lambda agent, episode, **_: "shared")
            .rl_module(
                rl_module_spec=MultiRLModuleSpec(
                    rl_module_specs={"shared": RLModuleSpec(module_class=_AgentModule, model_config=model)}
                )
            )
            .training(
                train_batch_size=sizes.envs * sizes.steps,
                minibatch_size=min(sizes.minibatch, sizes.envs * sizes.steps),
                num_epochs=sizes.epochs,
                lr=settings.learning_rate,
                gamma=settings.gamma,
                lambda_=settings.gae_lambda,
                clip_param=settings.clip,
                vf_clip_param=np.inf,
                vf_loss_coeff=settings.value_weight,
                entropy_coeff=settings.entropy,
                grad_clip=settings.grad_clip,
                use_kl_loss=False,
            )
            .debugging(seed=0, log_level="ERROR")
        )
        self._algorithm: PPO = config.build_algo()

    def iterate(self) -> float:
        """Sample and learn once; the mean return of recent episodes, summed over agents."""
        return float(self._algorithm.train()["env_runners"].get("episode_return_mean", np.nan))

    def close(self) -> None:
        """Stop."""
        self._algorithm.stop()
        self._folder.cleanup()


class _AgentRows(VecEnv):
    """Every agent of every plant as an environment of its own, as stable-baselines3 wants it."""

    def __init__(self, plants: MatchingVector):
        self._plants = plants
        space = Box(-np.inf, np.inf, (plants.layout.size,), np.float32)
        super().__init__(plants.num_envs * plants.agents, space, Discrete(int(plants.layout.shapes["action_mask"][0])))

    def _rows(self, array: np.ndarray) -> np.ndarray:
        return array.reshape(self.num_envs, -1)

    def reset(self) -> np.ndarray:
        """Start all."""
        return self._rows(self._plants.reset().observation)

    def step_async(self, actions: np.ndarray) -> None:
        """Begin a step."""
        self._plants.send(actions.reshape(self._plants.num_envs, -1))

    def step_wait(self) -> Any:
        """End it."""
        batch = self._plants.receive()
        done = np.repeat(batch.done, self._plants.agents)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        last = self._rows(batch.last_observation)
        for k in np.flatnonzero(done):
            infos[k] = {"TimeLimit.truncated": True, "terminal_observation": last[k]}
        return self._rows(batch.observation), batch.reward.ravel(), done, infos

    def close(self) -> None:
        """Nothing runs."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """No rendering."""
        return [None] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Not needed."""

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Not needed."""
        return []

    def env_is_wrapped(self, wrapper_class: type[gymnasium.Wrapper], indices: Any = None) -> list[bool]:
        """Never."""
        return [False] * self.num_envs


class StableBaselines3:
    """stable-baselines3's PPO. It has neither masks nor a central critic: its networks see an agent's row alone."""

    def __init__(self, sizes: Sizes):
        settings = sizes.settings
        self._decisions = sizes.decisions
        self._model = SB3(
            "MlpPolicy",
            _AgentRows(sizes(sizes.envs, 0)),
            n_steps=sizes.steps,
            batch_size=sizes.minibatch,
            n_epochs=sizes.epochs,
            learning_rate=settings.learning_rate,
            gamma=settings.gamma,
            gae_lambda=settings.gae_lambda,
            clip_range=settings.clip,
            ent_coef=settings.entropy,
            max_grad_norm=settings.grad_clip,
            policy_kwargs={"net_arch": [sizes.width, sizes.width]},
            seed=0,
            device="cpu",
        )
        self._model.set_logger(Logger(None, []))  # its own leaves a temporary folder behind

    def iterate(self) -> float:
        """Sample and learn once; the mean reward."""
        self._model.learn(self._decisions, reset_num_timesteps=False)
        return float(self._model.rollout_buffer.rewards.mean())

    def close(self) -> None:
        """Nothing runs."""


CONTESTANTS: dict[str, Any] = {
    "ours": Ours,
    "plain torch": PlainTorch,
    "stock RLlib": StockRLlib,
    "stable-baselines3": StableBaselines3,
}
"""Name → trainer."""
