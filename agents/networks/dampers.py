"""Policy network of dampers, which sets the voltage of each damper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from agents.networks.pieces import Parts, PolicyNetwork, Shapes
from envs.dampers.features import FRAME_FEATURES


class DamperPolicy(PolicyNetwork):
    """The voltage of each damper: a regulator's voltage plus a learned correction.

    The correction depends on the damper's own measurements, those of neighbouring dampers, and the motion of the whole
    frame. Its last layer starts at zero, so an untrained policy is an LQG with continuous voltage. All dampers share
    the network, so one policy fits any number of them, in any building.

    Args:
        shapes: shapes of the observation's parts.
        outputs: not used: there are always a mean and the logarithm of a standard deviation.
        width: width of the hidden layers.
    """

    DIMS: Mapping[str, tuple[str | None, ...]] = {"damper": (None,), "neighbours": (None,), "frame": (None,)}
    RULE: ClassVar[int] = FRAME_FEATURES.index("level_soon")
    BEYOND: ClassVar[float] = 0.1
    """What is left of a mean beyond none and full: enough to learn the way back, too little to get lost."""

    def __init__(self, shapes: Shapes, outputs: int = 2, width: int = 64):
        super().__init__()
        size = sum(shapes[name][-1] for name in self.DIMS)
        self.hidden = nn.Sequential(nn.Linear(size, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh())
        self.correction = nn.Linear(width, 1)
        nn.init.zeros_(self.correction.weight)
        nn.init.zeros_(self.correction.bias)
        self.log_std = nn.Parameter(torch.tensor(-1.0))

    def forward(self, parts: Parts) -> Tensor:
        """Mean and log standard deviation ``(…, 2)``; the mean in units of `training.actions`: -1 none, 1 full."""
        rule = 2.0 * parts["frame"][..., self.RULE : self.RULE + 1] - 1.0
        mean = rule + self.correction(self.hidden(torch.cat([parts[name] for name in self.DIMS], dim=-1)))
        within = mean.clamp(-1.0, 1.0)
        mean = within + self.BEYOND * (mean - within)
        return torch.cat([mean, self.log_std.expand_as(mean)], dim=-1)
