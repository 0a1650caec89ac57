"""Plants that are learned through: a window of decisions as one differentiable computation. No system is known here.

For systems whose physics is arrays: there the gradient of what an episode is worth with respect to a policy can be
computed instead of estimated. Tensors are torch's; nothing here imports it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

Levels = Callable[[dict[str, Any]], Any]
"""Observation parts ``(E, N, …)`` → what each agent asks for, in units of its range from 0 to 1, ``(E, N)``."""


@dataclass(frozen=True)
class Window:
    """What a window of decisions led to.

    Attributes:
        cost: a scalar tensor, to be minimised.
        reached: the headline indicator's stand-in of the episodes that ended, their mean; NaN if none ended.
        decisions: of agents, that were taken.
    """

    cost: Any
    reached: float
    decisions: int


class Differentiable(Protocol):
    """Plants of one scenario that step together.

    Attributes:
        num_envs, agents: how many plants, and agents of each.
    """

    num_envs: int
    agents: int

    def window(self, policy: Levels, decisions: int) -> Window:
        """Take decisions in all plants from where the last window ended; episodes that end begin anew after it."""
        ...

    def get_state(self) -> Any:
        """Everything that decides what comes next, to be pickled."""
        ...

    def set_state(self, state: Any) -> None:
        """Go on from a state."""
        ...
