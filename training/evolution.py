"""Evolution strategies, for plants with slow responses, where the noise of single decisions hides their effects.

Whole policies are perturbed instead of actions, in pairs of opposite sign, and play the same episodes, so that returns
differ by the policies alone. The differences give a gradient estimate (Salimans et al. 2017, arXiv:1703.03864) for
Adam. There is no critic and no discount; runs are organised as with the other algorithms.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from agents.networks import NETWORKS, PolicyNetwork
from envs.core.machine.files import write_whole
from envs.core.scenario import Scenario
from envs.core.world import Controller
from training.actions import ActionCodec
from training.episodes import EpisodePool, EpisodeTask, cores
from training.settings import Settings
from training.task import Task
from training.tracking.folders import write_state
from training.validate import network_controller
from training.weights import WEIGHTS, Start, adopt, write_weights

STATE, SCALE = "learner.pt", "scale.npy"
"""File names of the state in a checkpoint, and of the perturbation's sizes beside the current weights."""

SEED_STRIDE = 100_000
"""Number of updates after which runs with neighbouring seeds would play the same episodes."""

LEAST_SCALE = 0.3
"""Lower bound of a tensor's initial root mean square, to which perturbations of its weights are proportional."""


class Evolution:
    """A `training.task.Learner`.

    Args:
        task: the learning task.
        scenarios: scenarios of one system.
        settings: ``population`` perturbed policies, ``workers`` episodes of each scenario for each of them.
        folder: folder in which the current weights are passed to the processes that run episodes.
    """

    def __init__(self, task: Task, scenarios: Sequence[Scenario], settings: Settings, folder: Path):
        torch.manual_seed(settings.seed)
        self._settings, self._scenarios = settings, scenarios
        outputs = ActionCodec(task.action_space).inputs
        self._network: PolicyNetwork = NETWORKS[task.network](dict(task.shapes), outputs=outputs, width=settings.width)
        self._averaged = AveragedModel(self._network, multi_avg_fn=get_ema_multi_avg_fn(settings.averaging))
        self._present = folder / "present" / WEIGHTS
        self._take_scale(scale_of(self._network))
        self._point = (parameters_to_vector(self._network.parameters()).detach() / self._scale).requires_grad_()
        self._optimizer = torch.optim.Adam([self._point], lr=settings.learning_rate)
        self._updates = 0
        self._make = partial(_disturbed, task.network, settings.width)
        self._open: EpisodePool | None = None

    def _take_scale(self, scale: Tensor) -> None:
        """Set the perturbation's size for each weight, here and in the processes that run episodes."""
        self._scale = scale
        buffer = io.BytesIO()
        np.save(buffer, scale.numpy())
        write_whole(self._present.with_name(SCALE), buffer.getvalue())

    @property
    def _pool(self) -> EpisodePool:
        if self._open is None:
            self._open = EpisodePool(self._scenarios, cores(), self._make)
        return self._open

    def update(self, fraction: float) -> Mapping[str, Any]:
        """See `Learner.update`."""
        settings = self._settings
        for group in self._optimizer.param_groups:
            group["lr"] = settings.at(fraction)["learning_rate"]
        write_weights(self._present, self._network)
        rng = np.random.default_rng([settings.seed, self._updates])
        noises = [int(seed) for seed in rng.integers(2**31, size=settings.population // 2)]
        returns = self._returns([(seed, sign * settings.noise) for seed in noises for sign in (1, -1)])
        gains = returns[0::2] - returns[1::2]
        directions = np.stack([direction(seed, len(self._scale)) for seed in noises])
        gradient = (gains / max(gains.std(), 1e-9)) @ directions / len(gains)
        self._point.grad = torch.from_numpy(-gradient).to(self._point.dtype)
        self._optimizer.step()
        vector_to_parameters((self._point * self._scale).detach(), self._network.parameters())
        self._averaged.update_parameters(self._network)
        self._updates += 1
        figures = {
            "return_spread": float(returns.std()),
            "gain": float(np.abs(gains).mean()),
            "grad_norm": float(np.linalg.norm(gradient)),
            "learning_rate": self._optimizer.param_groups[0]["lr"],
        }
        return {
            "env_runners": {"episode_return_mean": float(returns.mean())},
            "learners": {"default_policy": figures},
        }

    def _returns(self, disturbances: Sequence[tuple[int, float]]) -> np.ndarray:
        """Mean return of each perturbed policy over the same episodes."""
        tasks = [
            EpisodeTask(f"{self._present}#{self._updates}#{noise}#{size:g}", seed, place)
            for noise, size in disturbances
            for place, scenario in enumerate(self._scenarios)
            for seed in self._seeds(scenario)
        ]
        rewards = [episode.reward for episode in self._pool.run(tasks)]
        return np.asarray(rewards).reshape(len(disturbances), -1).mean(axis=1)

    def _seeds(self, scenario: Scenario) -> list[int]:
        """Seeds of this update's episodes."""
        seeds, count = scenario.seeds.train, self._settings.workers
        done = count * (self._updates + self._settings.seed * SEED_STRIDE)
        return [seeds.first + (done + k) % (seeds.last - seeds.first + 1) for k in range(count)]

    def begin(self, start: Start) -> None:
        """See `Learner.begin`."""
        for network in (self._network, self._averaged.module):
            adopt(network, start.policy, start.run)
        self._take_scale(scale_of(self._network))
        with torch.no_grad():
            self._point.copy_(parameters_to_vector(self._network.parameters()) / self._scale)

    @property
    def policy(self) -> PolicyNetwork:
        """The mean of the last updates' weights."""
        return cast(PolicyNetwork, self._averaged.module)

    def save(self, path: Path) -> None:
        """Write weights, the optimizer, and which episodes come next."""
        state = {
            "point": self._point.detach(),
            "averaged": self._averaged.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "updates": self._updates,
            "scale": self._scale,
        }
        write_state(path / STATE, state)

    def restore(self, path: Path) -> None:
        """Restore a checkpoint. Like RLlib's it is a pickle, so only the user's own may be loaded."""
        state = torch.load(path / STATE, weights_only=False)
        self._take_scale(state.get("scale", self._scale))  # older checkpoints have that of the seed's own weights
        with torch.no_grad():
            self._point.copy_(state["point"])
        vector_to_parameters((self._point * self._scale).detach(), self._network.parameters())
        self._averaged.load_state_dict(state["averaged"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._updates = state["updates"]

    def stop(self) -> None:
        """Stop the processes that run episodes."""
        if self._open is not None:
            self._open.close()
            self._open = None


def scale_of(network: torch.nn.Module) -> Tensor:
    """Size of a unit perturbation for every weight, ``(n,)``; see `LEAST_SCALE`."""
    weights = [p.detach() for p in network.parameters()]
    sizes = [torch.full_like(w, max(float(w.square().mean().sqrt()), LEAST_SCALE)) for w in weights]
    return parameters_to_vector(sizes)


def direction(seed: int, size: int) -> np.ndarray:
    """Standard normal direction ``(size,)`` that a seed generates."""
    return np.random.default_rng([seed, 19]).standard_normal(size)


def _disturbed(network: str, width: int, name: str, site: Any) -> Controller:
    """The perturbed policy of a task name, which encodes a file of weights, its update, a direction and a step size."""
    path, _, seed, size = name.rsplit("#", 3)

    def disturb(policy: PolicyNetwork) -> None:
        scale = torch.from_numpy(np.load(Path(path).with_name(SCALE)))
        way = torch.from_numpy(direction(int(seed), len(scale))).to(scale.dtype)
        with torch.no_grad():
            weights = parameters_to_vector(policy.parameters())
            vector_to_parameters(weights + float(size) * scale * way, policy.parameters())

    return network_controller(network, width, Path(path), site, name, disturb)
