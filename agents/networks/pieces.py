"""Building blocks of the networks, and the base class of policy networks."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

Parts = Mapping[str, Tensor]
Shapes = Mapping[str, tuple[int, ...]]
NOT_ALLOWED = -1e9
"""Logit of a masked action."""


def mlp(*sizes: int) -> nn.Sequential:
    """Linear layers with ReLU between and after."""
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers)


class InContext(nn.Module):
    """A linear layer over items and their common context, with ReLU.

    It equals a layer over each item with the context appended, but multiplies the context once for all items.

    Args:
        item: number of features of an item.
        context: number of features of the context.
        width: number of outputs.
    """

    def __init__(self, item: int, context: int, width: int):
        super().__init__()
        self.item = nn.Linear(item, width)
        self.context = nn.Linear(context, width, bias=False)

    def forward(self, items: Tensor, context: Tensor) -> Tensor:
        """``(…, K, width)`` from items ``(…, K, item)`` and context ``(…, context)``."""
        return torch.relu(self.item(items) + self.context(context).unsqueeze(-2))


class PolicyNetwork(nn.Module):
    """Base of the policy networks: observation parts → outputs for `training.actions`, e.g. masked logits.

    Attributes:
        DIMS: part name → a name for every size that may differ from site to site, None for fixed sizes.
        ACROSS: whether the network has layers across the agents of a plant, e.g. attention. It then always gets them
            together, ``(…, N, …)``; otherwise rows of several plants may be mixed, which is faster.
        ADDED: names of weights that older policies lack. They begin as in a new network.
    """

    DIMS: Mapping[str, tuple[str | None, ...]]
    ACROSS: ClassVar[bool] = False
    ADDED: ClassVar[tuple[str, ...]] = ()

    def older(self) -> Self:
        """Leave out the weights `ADDED`, and what they do."""
        for name in self.ADDED:
            setattr(self, name, None)
        return self


def pooled(encode: nn.Module | None, state: Tensor) -> Tensor:
    """Pooled rows of a state, for any number and order of rows: mean and maximum; a single zero without a state."""
    if encode is None:
        return state.new_zeros(*state.shape[:-2], 1)
    rows = encode(state)
    return torch.cat([rows.mean(dim=-2), rows.amax(dim=-2)], dim=-1)
