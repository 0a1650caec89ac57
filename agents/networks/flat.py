"""Plain perceptrons over the whole observation, for any system; the policy has stable-baselines3's architecture."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from agents.networks.pieces import NOT_ALLOWED, InContext, Parts, PolicyNetwork, Shapes, mlp, pooled


class FlatPolicy(PolicyNetwork):
    """A plain two-layer perceptron over the whole observation: fits one plant only, of any system.

    It has the architecture of stable-baselines3's default policy, whose weights `training.reference` copies into it.

    Args:
        shapes: shapes of the observation's parts.
        outputs: number of outputs that the actions need (`training.actions`).
        width: width of the hidden layers.
    """

    def __init__(self, shapes: Shapes, outputs: int, width: int = 64):
        super().__init__()
        size = sum(math.prod(shape) for shape in shapes.values())
        self.names = list(shapes)
        self.ranks = {name: len(shape) for name, shape in shapes.items()}
        self.DIMS = {name: (None,) * len(shape) for name, shape in shapes.items()}
        self.hidden = nn.Sequential(nn.Linear(size, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh())
        self.score = nn.Linear(width, outputs)
        nn.init.normal_(self.score.weight, std=0.01)
        nn.init.zeros_(self.score.bias)

    def forward(self, parts: Parts) -> Tensor:
        """Outputs ``(…, outputs)``; a masked action has -1e9."""
        scores = self.score(self.hidden(_flat(parts, self.ranks)))
        if "action_mask" not in parts:
            return scores
        return torch.where(parts["action_mask"] > 0.5, scores, torch.full_like(scores, NOT_ALLOWED))


class FlatCritic(nn.Module):
    """Values of all agents of a plant, each from its whole observation and, if central, the plant's state.

    Args:
        shapes: shapes of the observation's parts.
        columns: number of columns of the plant's state.
        width: width of the hidden layers.
        central: whether the critic gets the plant's state.
    """

    def __init__(self, shapes: Shapes, columns: int, width: int = 64, central: bool = True):
        super().__init__()
        self.ranks = {name: len(shape) for name, shape in shapes.items()}
        self.plant = mlp(columns, width) if central else None
        size = sum(math.prod(shape) for shape in shapes.values())
        self.hidden = InContext(size, 2 * width if central else 1, width)
        self.value = nn.Sequential(mlp(width, width), nn.Linear(width, 1))

    def forward(self, parts: Parts, state: Tensor) -> Tensor:
        """Values ``(…, N)`` from parts ``(…, N, …)`` and state ``(…, rows, columns)``."""
        return self.value(self.hidden(_flat(parts, self.ranks), pooled(self.plant, state))).squeeze(-1)


def _flat(parts: Parts, ranks: Mapping[str, int]) -> Tensor:
    return torch.cat([parts[name].flatten(-rank) if rank > 1 else parts[name] for name, rank in ranks.items()], dim=-1)
