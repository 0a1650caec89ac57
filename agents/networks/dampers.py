"""Networks of dampers: the voltage of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from agents.networks.pieces import Parts, PolicyNetwork, Shapes


class DamperPolicy(PolicyNetwork):
    """The voltage of each damper, from what it feels itself and what the dampers beside it say.

    Every damper is looked at alike: one policy fits any number of them, in any building. Untrained, it holds about a
    third of full voltage, which no building minds.

    Args:
        shapes: the observation's parts.
        outputs: not needed: a mean and the logarithm of a standard deviation.
        width: of the hidden layers.
    """

    DIMS: Mapping[str, tuple[str | None, ...]] = {"damper": (None,), "neighbours": (None,)}
    BEYOND: ClassVar[float] = 0.1
    """What is left of a mean beyond none and full: enough to learn the way back, too little to get lost."""

    def __init__(self, shapes: Shapes, outputs: int = 2, width: int = 64):
        super().__init__()
        size = shapes["damper"][-1] + shapes["neighbours"][-1]
        self.hidden = nn.Sequential(nn.Linear(size, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh())
        self.level = nn.Linear(width, 1)
        nn.init.normal_(self.level.weight, std=0.01)
        nn.init.constant_(self.level.bias, -0.35)
        self.log_std = nn.Parameter(torch.tensor(-1.0))

    def forward(self, parts: Parts) -> Tensor:
        """Mean and log standard deviation ``(…, 2)``; the mean in units of `training.actions`: -1 none, 1 full."""
        seen = torch.cat([parts["damper"], parts["neighbours"]], dim=-1)
        mean = self.level(self.hidden(seen))
        within = mean.clamp(-1.0, 1.0)
        mean = within + self.BEYOND * (mean - within)
        return torch.cat([mean, self.log_std.expand_as(mean)], dim=-1)
