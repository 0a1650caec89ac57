"""The torch modules that are trained: a policy that fits any plant of its system, and a critic for training only.

Nothing here knows RLlib; `training.module` wraps these. Observations come as named parts (see `Features.shapes`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

Parts = Mapping[str, Tensor]
NOT_ALLOWED = -1e9
"""Logit of an action that is masked."""


def mlp(*sizes: int) -> nn.Sequential:
    """Linear layers with ReLU between and after."""
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers)


class StageEncoder(nn.Module):
    """Approaches and stages of a junction → an embedding of each stage and of the junction.

    Each approach is encoded alike and summed over the stages that serve it, so neither the number nor the order of
    approaches and stages matters (a deep set over a bipartite graph).

    Args:
        approach: features of an approach.
        stage: features of a stage.
        width: of every hidden layer.
    """

    def __init__(self, approach: int, stage: int, width: int):
        super().__init__()
        self.approach = mlp(approach, width, width)
        self.stage = mlp(3 * width + stage, width, width)

    def forward(self, parts: Parts) -> tuple[Tensor, Tensor]:
        """Embeddings ``(B, S, width)`` of the stages and ``(B, 2 width)`` of the junction."""
        approaches = self.approach(parts["approaches"]) * (parts["approaches"][..., 8:9] > 0)  # padding has no length
        served = torch.matmul(parts["serves"], approaches.unsqueeze(1))  # (B, S, 2, width)
        everything = approaches.sum(dim=1)
        stages = parts["stages"]
        count = stages.shape[1]
        context = everything.unsqueeze(1).expand(-1, count, -1)
        embedded = self.stage(torch.cat([served.flatten(2), context, stages], dim=-1)) * stages[..., 0:1]
        pooled = embedded.sum(dim=1) / stages[..., 0].sum(dim=1, keepdim=True)
        return embedded, torch.cat([everything, pooled], dim=-1)


class PolicyNetwork(nn.Module):
    """Base of the policy networks: observation parts → masked logits.

    Attributes:
        DIMS: part name → a name for every size that may differ from site to site, None for those that may not.
    """

    DIMS: Mapping[str, tuple[str | None, ...]]


class StagePolicy(PolicyNetwork):
    """Scores every green stage of a junction; the highest is asked for.

    A learned share of the plain demand of a stage (standing and arriving vehicles that it serves) is added to the
    scores, so that an untrained policy already serves the longest queue instead of gridlocking the network.

    Args:
        shapes: the observation's parts.
        width: of every hidden layer.
    """

    DIMS: Mapping[str, tuple[str | None, ...]] = {
        "approaches": ("approaches", None),
        "stages": ("stages", None),
        "serves": ("stages", None, "approaches"),
        "action_mask": ("stages",),
    }

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], width: int = 64):
        super().__init__()
        self.encoder = StageEncoder(shapes["approaches"][-1], shapes["stages"][-1], width)
        last = nn.Linear(width, 1)
        nn.init.normal_(last.weight, std=0.01)
        nn.init.zeros_(last.bias)
        self.score = nn.Sequential(mlp(3 * width, width), last)
        self.prior = nn.Parameter(torch.tensor([4.0, 2.0, 1.0]))

    def forward(self, parts: Parts) -> Tensor:
        """Logits ``(B, S)``; a masked stage has -1e9."""
        stages, junction = self.encoder(parts)
        context = junction.unsqueeze(1).expand(-1, stages.shape[1], -1)
        scores = self.score(torch.cat([stages, context], dim=-1)).squeeze(-1)
        scores = scores + self._demand(parts)
        return torch.where(parts["action_mask"] > 0.5, scores, torch.full_like(scores, NOT_ALLOWED))

    def _demand(self, parts: Parts) -> Tensor:
        waiting = parts["approaches"][..., 2] + parts["approaches"][..., 4]  # queue and arrivals
        served = torch.matmul(parts["serves"], waiting.unsqueeze(1).unsqueeze(-1)).squeeze(-1)  # (B, S, 2)
        current = parts["stages"][..., 1]
        return self.prior[0] * served[..., 0] + self.prior[1] * served[..., 1] + self.prior[2] * current


class CentralCritic(nn.Module):
    """Value of a junction from its own observation and the state of the whole network; used in training alone.

    Args:
        shapes: the observation's parts.
        columns: columns of the network's state.
        width: of every hidden layer.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], columns: int, width: int = 64):
        super().__init__()
        self.encoder = StageEncoder(shapes["approaches"][-1], shapes["stages"][-1], width)
        self.network = mlp(columns, width)
        self.value = nn.Sequential(mlp(4 * width, width, width), nn.Linear(width, 1))

    def forward(self, parts: Parts, state: Tensor) -> Tensor:
        """Values ``(B,)`` from parts and state ``(B, N, columns)``."""
        _, junction = self.encoder(parts)
        rows = self.network(state)
        return self.value(torch.cat([junction, rows.mean(dim=1), rows.amax(dim=1)], dim=-1)).squeeze(-1)


class FlatPolicy(PolicyNetwork):
    """A plain two-layer perceptron over the whole observation: fits one plant only.

    The shape of stable-baselines3's default policy, for the reference that guards the training path.

    Args:
        shapes: the observation's parts.
        width: of the hidden layers.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], width: int = 64):
        super().__init__()
        size = sum(math.prod(shape) for shape in shapes.values())
        self.names = list(shapes)
        self.DIMS = {name: (None,) * len(shape) for name, shape in shapes.items()}
        self.hidden = nn.Sequential(nn.Linear(size, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh())
        self.score = nn.Linear(width, shapes["action_mask"][0])

    def forward(self, parts: Parts) -> Tensor:
        """Logits ``(B, actions)``; a masked action has -1e9."""
        scores = self.score(self.hidden(torch.cat([parts[name].flatten(1) for name in self.names], dim=1)))
        return torch.where(parts["action_mask"] > 0.5, scores, torch.full_like(scores, NOT_ALLOWED))


NETWORKS: dict[str, Any] = {"stages": StagePolicy, "flat": FlatPolicy}
"""Policy networks by name."""

CRITICS: dict[str, Any] = {"stages": CentralCritic}
"""Policy network → the critic that goes with it."""

NETWORK_OF = {"intersections": "stages"}
"""System → its policy network."""
