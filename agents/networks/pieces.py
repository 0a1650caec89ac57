"""What the networks are made of, and what every policy network is."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

Parts = Mapping[str, Tensor]
Shapes = Mapping[str, tuple[int, ...]]
NOT_ALLOWED = -1e9
"""Logit of an action that is masked."""


def mlp(*sizes: int) -> nn.Sequential:
    """Linear layers with ReLU between and after."""
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers)


class InContext(nn.Module):
    """A linear layer over items and what they have in common, with ReLU.

    The same as a layer over each item with the context appended, but the context is multiplied once for all items.

    Args:
        item: features of an item.
        context: features of what the items share.
        width: outputs.
    """

    def __init__(self, item: int, context: int, width: int):
        super().__init__()
        self.item = nn.Linear(item, width)
        self.context = nn.Linear(context, width, bias=False)

    def forward(self, items: Tensor, context: Tensor) -> Tensor:
        """``(…, K, width)`` from items ``(…, K, item)`` and context ``(…, context)``."""
        return torch.relu(self.item(items) + self.context(context).unsqueeze(-2))


class PolicyNetwork(nn.Module):
    """Base of the policy networks: observation parts → what `training.actions` reads as actions; masked logits, say.

    Attributes:
        DIMS: part name → a name for every size that may differ from site to site, None for those that may not.
        ACROSS: whether it has layers across the agents of a plant (attention, say). Then it always gets them together,
            ``(…, N, …)``; else rows of several plants may be mixed, which is quicker.
    """

    DIMS: Mapping[str, tuple[str | None, ...]]
    ACROSS: ClassVar[bool] = False


def pooled(encode: nn.Module | None, state: Tensor) -> Tensor:
    """The rows of a state as one vector whatever their number and order: mean and maximum; one zero without a state."""
    if encode is None:
        return state.new_zeros(*state.shape[:-2], 1)
    rows = encode(state)
    return torch.cat([rows.mean(dim=-2), rows.amax(dim=-2)], dim=-1)
