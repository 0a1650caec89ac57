"""Learning by truncated back-propagation through differentiable plants (`envs.core.differentiable`).

Each update runs a window of decisions in hundreds of plants. The gradient of the window's cost with respect to the
policy reaches back to the start of the window. There is no critic, no exploration, and no gradient estimate. Weights
are averaged over updates as with PPO, and runs are organised in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from agents.networks import NETWORKS, PolicyNetwork
from envs.core.errors import CityloopError
from envs.core.registry import get_system
from envs.core.scenario import Scenario
from training.actions import ActionCodec
from training.settings import Settings
from training.task import Task
from training.tracking.folders import write_state
from training.weights import Start, adopt

ASTRAY = 20.0
"""Multiple of `grad_clip` beyond which a gradient is discarded: the loop of plants and policy has become unstable, and
derivatives grow without bound. The policy is then reset to the running mean of its weights."""

BARREN = 5
"""Updates in a row whose gradient was not finite, after which training ends."""

MEND = "give a lower learning_rate"

STATE = "learner.pt"
"""Name of the file in a checkpoint."""


@contextmanager
def _tiny_is_zero() -> Iterator[None]:
    """Flush denormal numbers to zero: values that decay in a plant at rest would be ten times slower to compute."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)  # restore the caller's setting


class Backprop:
    """A `training.task.Learner`.

    Args:
        task: the learning task.
        scenarios: scenarios of one system.
        settings: ``workers`` plants of each scenario, windows of ``fragment`` decisions.
        folder: not used.

    Raises:
        CityloopError: if the system has no differentiable plants.
    """

    def __init__(self, task: Task, scenarios: Sequence[Scenario], settings: Settings, folder: Path):
        system = get_system(scenarios[0].system)
        if system.make_differentiable is None:
            raise CityloopError(f"plants of {system.name} cannot be learned through: choose another --algo")
        torch.manual_seed(settings.seed)
        self._settings, make = settings, system.make_differentiable
        outputs = ActionCodec(task.action_space).inputs
        self._network: PolicyNetwork = NETWORKS[task.network](dict(task.shapes), outputs=outputs, width=settings.width)
        self._averaged = AveragedModel(self._network, multi_avg_fn=get_ema_multi_avg_fn(settings.averaging))
        self._optimizer = torch.optim.Adam(self._network.parameters(), lr=settings.learning_rate, fused=True)
        self._barren = 0
        first = settings.seed * len(scenarios)
        self._plants = [make(scenario, settings.workers, first + k) for k, scenario in enumerate(scenarios)]

    def _levels(self, parts: dict[str, Tensor]) -> Tensor:
        """Means of the policy as levels from 0 to 1, clipped; the gradient passes through as if not clipped."""
        seen = {name: torch.lerp(part.detach(), part, self._settings.feedback) for name, part in parts.items()}
        mean: Tensor = self._network(seen)[..., 0]
        bounded = mean + (mean.clamp(-1.0, 1.0) - mean).detach()
        return (bounded + 1.0) / 2

    @_tiny_is_zero()
    def update(self, fraction: float) -> Mapping[str, Any]:
        """See `Learner.update`.

        Raises:
            CityloopError: if the weights are no longer finite, or no gradient of the last `BARREN` updates was.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = self._settings.at(fraction)["learning_rate"]
        self._optimizer.zero_grad(set_to_none=True)
        costs, reached = [], []
        for plants in self._plants:
            found = plants.window(self._levels, self._settings.fragment)
            (found.cost / len(self._plants)).backward()
            costs.append(float(found.cost.detach()))
            reached.append(found.reached)
        norm = float(torch.nn.utils.clip_grad_norm_(self._network.parameters(), self._settings.grad_clip))
        skipped = 0
        if norm < ASTRAY * self._settings.grad_clip:
            self._optimizer.step()
            self._averaged.update_parameters(self._network)
            if not all(bool(weight.isfinite().all()) for weight in self._averaged.parameters()):
                raise CityloopError(f"the policy's weights are not finite after an update: {MEND}")
        else:  # one bad window must not ruin a long run
            skipped = 1
            self._network.load_state_dict(self._averaged.module.state_dict())
        self._barren = 0 if math.isfinite(norm) else self._barren + 1
        if self._barren >= BARREN:
            raise CityloopError(f"no gradient of the last {BARREN} updates was finite, so nothing was learned: {MEND}")
        ended = [value for value in reached if math.isfinite(value)]
        figures = {
            "cost": sum(costs) / len(costs),
            "grad_norm": norm,
            "skipped_steps": skipped,
            "reached": sum(ended) / len(ended) if ended else None,
            "learning_rate": self._optimizer.param_groups[0]["lr"],
        }
        return {"env_runners": {}, "learners": {"default_policy": figures}}

    def begin(self, start: Start) -> None:
        """See `Learner.begin`."""
        for network in (self._network, self._averaged.module):
            adopt(network, start.policy, start.run)

    @property
    def policy(self) -> PolicyNetwork:
        """The mean of the last updates' weights."""
        return cast(PolicyNetwork, self._averaged.module)

    def save(self, path: Path) -> None:
        """Write weights, the optimizer, and the plants as they stand."""
        state = {
            "network": self._network.state_dict(),
            "averaged": self._averaged.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "plants": [plants.get_state() for plants in self._plants],
        }
        write_state(path / STATE, state)

    def restore(self, path: Path) -> None:
        """Restore a checkpoint. Like RLlib's it is a pickle, so only the user's own may be loaded."""
        state = torch.load(path / STATE, weights_only=False)
        self._network.load_state_dict(state["network"])
        self._averaged.load_state_dict(state["averaged"])
        self._optimizer.load_state_dict(state["optimizer"])
        for plants, saved in zip(self._plants, state["plants"], strict=True):
            plants.set_state(saved)

    def stop(self) -> None:
        """Nothing to stop."""
