"""Policy and critic of a system as an RLlib module: shared by all agents, with a central critic and masks (MAPPO).

Only learners have the critic; runners and bundles are built without it.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI, ValueFunctionAPI
from ray.rllib.core.rl_module.torch import TorchRLModule
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from agents.networks import CRITICS, NETWORKS

STATE = "state"
"""Column of a batch: the state of the whole plant."""

MOMENTUM = 0.99
"""Decay per update of the running moments of returns."""


class CooperativeModule(TorchRLModule, ValueFunctionAPI, InferenceOnlyAPI):
    """Module for batches whose observations are named parts ``(…, N, …)`` and whose `STATE` is the plant's state.

    ``model_config``: ``network`` (a name in `agents.networks.NETWORKS`), ``shapes`` (the observation's parts),
    ``outputs`` (of the policy), ``columns`` (of the state), ``width``, ``central`` (whether the critic sees the state),
    ``scenarios`` (how many there are) and ``averaging``.

    The critic works in standard deviations of a scenario's own returns; `returns` keeps their running moments.
    `averaged` is the running mean of the policy's weights (Polyak averaging), see `Settings.averaging`.
    """

    def setup(self) -> None:
        """Build the networks; without the critic for inference only."""
        config = self.model_config
        shapes = {name: tuple(shape) for name, shape in config["shapes"].items()}
        self.policy = NETWORKS[config["network"]](shapes, outputs=config["outputs"], width=config["width"])
        if not self.inference_only:
            self.critic = CRITICS[config["network"]](
                shapes, config["columns"], width=config["width"], central=config["central"]
            )
            self.returns = RunningMoments(config["scenarios"])
            self.averaged = AveragedModel(self.policy, multi_avg_fn=get_ema_multi_avg_fn(config["averaging"]))
            self.averaged.requires_grad_(False)

    def get_non_inference_attributes(self) -> list[str]:
        """Attributes that runners do not need."""
        return ["critic", "returns", "averaged"]

    def _forward(self, batch: dict[str, Any], **_: Any) -> dict[str, Any]:
        return {Columns.ACTION_DIST_INPUTS: self.policy(batch[Columns.OBS])}

    def compute_values(self, batch: dict[str, Any], embeddings: Any = None) -> Tensor:
        """Values ``(…, N)``, in standard deviations of the scenario's returns."""
        return self.critic(batch[Columns.OBS], batch[STATE])


class RunningMoments(torch.nn.Module):
    """Mean and standard deviation of each scenario's returns, over the last hundred updates or so.

    They are buffers, so that they are saved with the weights. They have single precision, as in RLlib's checkpoints, so
    that a resumed run is equal to the last digit. Variances are stored rather than mean squares, whose difference to
    squared means would lose precision. The bias from starting at zero is corrected, as for Adam's moments.
    """

    mean: torch.Tensor
    variance: torch.Tensor
    weight: torch.Tensor

    def __init__(self, scenarios: int):
        super().__init__()
        for name in ("mean", "variance", "weight"):
            self.register_buffer(name, torch.zeros(scenarios))

    def update(self, scenario: int, values: Tensor) -> None:
        """Add the returns of one update, unless some are not finite: one bad fragment must not ruin a long run."""
        mean, variance = float(values.mean()), float(values.var(correction=0))
        if not math.isfinite(mean + variance):
            return
        weight = MOMENTUM * float(self.weight[scenario]) + 1 - MOMENTUM
        share = (1 - MOMENTUM) / weight
        away = mean - float(self.mean[scenario])
        before = float(self.variance[scenario]) + share * away**2
        self.variance[scenario] = (1 - share) * before + share * variance
        self.mean[scenario] += share * away
        self.weight[scenario] = weight

    def of(self, scenario: int) -> tuple[float, float]:
        """Mean and standard deviation; 0 and 1 before the first update."""
        if not self.weight[scenario]:
            return 0.0, 1.0
        return float(self.mean[scenario]), max(float(self.variance[scenario]), 1e-8) ** 0.5
