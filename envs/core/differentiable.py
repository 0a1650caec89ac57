"""Differentiable plants: a window of decisions as one differentiable computation, independent of the system.

For systems whose physics is array code, the gradient of an episode's cost with respect to a policy can be computed
instead of estimated. Tensors are torch tensors, but this module does not import torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

Levels = Callable[[dict[str, Any]], Any]
"""Observation parts ``(E, N, …)`` → each agent's request as a fraction of its range, from 0 to 1, ``(E, N)``."""


@dataclass(frozen=True)
class Window:
    """Result of a window of decisions.

    Attributes:
        cost: scalar tensor, to be minimised.
        reached: mean over the episodes that ended of the proxy for the headline indicator; NaN if none ended.
        decisions: number of agents' decisions in the window.
    """

    cost: Any
    reached: float
    decisions: int


class Differentiable(Protocol):
    """Plants of one scenario that step together.

    Attributes:
        num_envs: number of plants.
        agents: number of agents in each plant.
    """

    num_envs: int
    agents: int

    def window(self, policy: Levels, decisions: int) -> Window:
        """Take decisions in all plants, continuing where the last window ended; ended episodes restart after it.

        Args:
            policy: what decides.
            decisions: their number; at most those of an episode are taken.
        """
        ...

    def get_state(self) -> Any:
        """The full state that determines the future, picklable."""
        ...

    def set_state(self, state: Any) -> None:
        """Continue from a state of `get_state`."""
        ...
