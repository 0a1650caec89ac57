"""Policy network of zones, which distributes a fleet's idle vehicles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from agents.networks.pieces import Parts, PolicyNetwork, Shapes, mlp
from envs.transit.features import ZONE_FEATURES


class ZonePolicy(PolicyNetwork):
    """Scores of zones for idle vehicles, and the urgency of waits: a rule plus a learned correction.

    The rule is standing by (`agents.baselines.transit.Standby`), whose scores and urgency are among the features. The
    correction's last layer starts at zero, so an untrained policy is exactly that rule. The network processes each zone
    separately, so one policy fits any number of zones.

    Args:
        shapes: shapes of the observation's parts.
        outputs: not used: there are always two means and the logarithms of two standard deviations.
        width: width of the hidden layers.
    """

    DIMS: Mapping[str, tuple[str | None, ...]] = {"zone": (None,)}
    RULE: ClassVar[list[int]] = [ZONE_FEATURES.index(name) for name in ("standby", "urgency")]

    def __init__(self, shapes: Shapes, outputs: int = 4, width: int = 64):
        super().__init__()
        self.hidden = mlp(shapes["zone"][-1], width, width)
        self.correction = nn.Linear(width, 2)
        nn.init.zeros_(self.correction.weight)
        nn.init.zeros_(self.correction.bias)
        # A score's unit is a factor of e^8 on a zone's share: its exploration has to be much finer than that of the
        # urgency, and fine enough that it seldom sends vehicles about every minute.
        self.log_std = nn.Parameter(torch.tensor([-4.0, -1.5]))

    def forward(self, parts: Parts) -> Tensor:
        """Means and log standard deviations ``(…, 4)`` of score and urgency, both from -1 to 1."""
        zones = parts["zone"]
        mean = zones[..., self.RULE] + self.correction(self.hidden(zones))
        return torch.cat([mean, self.log_std.expand_as(mean)], dim=-1)
