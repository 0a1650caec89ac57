"""Policy network of gates, which sets the opening of each gate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from agents.baselines.drainage import LevelLaw
from agents.networks.pieces import Parts, PolicyNetwork, Shapes, mlp
from envs.drainage.features import GATE_FEATURES


class GatePolicy(PolicyNetwork):
    """The opening of each gate as a multiple of its static setting: a law on levels with a learned correction.

    The law starts with the tuned parameters of an operator's controller (`agents.baselines.drainage.LevelLaw`), so an
    untrained policy is as good as that one. Gates are processed separately by the same network, so one policy fits any
    number of gates.

    Args:
        shapes: shapes of the observation's parts.
        outputs: not used: there are always a mean and the logarithm of a standard deviation.
        width: width of the hidden layers.
    """

    DIMS: Mapping[str, tuple[str | None, ...]] = {"gate": (None,)}
    STATIC: ClassVar[int] = GATE_FEATURES.index("static")
    BEYOND: ClassVar[float] = 0.1
    """What is left of a mean beyond shut and open: enough to learn the way back, too little to get lost."""

    def __init__(self, shapes: Shapes, outputs: int = 2, width: int = 64):
        super().__init__()
        self.law = nn.Linear(shapes["gate"][-1], 1)
        a, b, c, d, e, f = LevelLaw.NUMBERS.values()
        nn.init.zeros_(self.law.weight)
        nn.init.constant_(self.law.bias, a + c * d - e * f)
        with torch.no_grad():
            unheard = {"below_exists": -c * d, "below_known": c * d}  # missing levels have no effect
            for name, weight in {"above_mean": b, "below_fill": -c, "fill": e, **unheard}.items():
                self.law.weight[0, GATE_FEATURES.index(name)] = weight
        self.hidden = mlp(shapes["gate"][-1], width, width)
        self.more = nn.Linear(width, 1)
        nn.init.normal_(self.more.weight, std=0.01)
        nn.init.zeros_(self.more.bias)
        self.log_std = nn.Parameter(torch.tensor(-1.5))

    def forward(self, parts: Parts) -> Tensor:
        """Mean and log standard deviation ``(…, 2)``; the mean in units of `training.actions`: -1 shut, 1 open."""
        gates = parts["gate"]
        static = gates[..., self.STATIC : self.STATIC + 1]
        setting = static * self.law(gates) + static.clamp(min=0.1) * self.more(self.hidden(gates))
        within = setting.clamp(0.0, 1.0)
        mean = 2.0 * (within + self.BEYOND * (setting - within)) - 1.0
        return torch.cat([mean, self.log_std.expand_as(mean)], dim=-1)
