"""Vectorised plants: many plants of one scenario that step together as arrays.

Systems whose plants are array code provide a `Vector` of their own; `envs.core.vector_env` has one for all others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from gymnasium.spaces import Space

from envs.core.errors import CityloopError
from envs.core.layout import Layout, long_axes


@dataclass
class Batch:
    """Results of a step of ``E`` plants with ``N`` agents each.

    Attributes:
        observation: float32 ``(E, N, size)``; if an episode has just ended, the first of the next one.
        state: float32 ``(E, *state_shape)``; likewise.
        last_observation, last_state: the final ones of an episode that has just ended; stale elsewhere.
        reward: float64 ``(E, N)``.
        done: bool ``(E,)``, whether an episode has just ended.
        kpis: for each plant, the indicators of the episode that has just ended, otherwise empty.
        interventions: number of requests that the guard changed, ``(E,)``.
        terminated: bool ``(E,)``, whether the episode ended in a terminal state; None: all end at their time limit.
        locked: bool ``(E,)``, whether the episode ended early in a deadlock (`World.locked`); None: never.
    """

    observation: np.ndarray
    state: np.ndarray
    last_observation: np.ndarray
    last_state: np.ndarray
    reward: np.ndarray
    done: np.ndarray
    kpis: list[dict[str, float]]
    interventions: np.ndarray
    terminated: np.ndarray | None = None
    locked: np.ndarray | None = None


class Vector(Protocol):
    """Plants that step together, in this process or in others.

    Attributes:
        num_envs: number of plants.
        agents: number of agents in each plant.
        layout: layout of the flat observations.
        state_shape: shape of one plant's state.
        action_space: action space of one agent.
    """

    num_envs: int
    agents: int
    layout: Layout
    state_shape: tuple[int, ...]
    action_space: Space[Any]

    def reset(self, seed: int | None = None) -> Batch:
        """Start an episode in every plant."""
        ...

    def send(self, requests: np.ndarray) -> None:
        """Begin a step with requests ``(E, N)`` or ``(E, N, …)``; `receive` ends it. In between, one may compute."""
        ...

    def receive(self) -> Batch:
        """Wait for the step that `send` began."""
        ...

    def get_state(self) -> Any:
        """The full state that determines the future, picklable."""
        ...

    def set_state(self, state: Any) -> Batch:
        """Continue from a state; returns the batch last received before it, except for rewards and episode ends."""
        ...

    def close(self) -> None:
        """Stop all plants. May be called twice."""
        ...


def check_shape(requests: np.ndarray, plants: Vector) -> tuple[int, ...]:
    """Check the shape of requests; if an agent sets one number, ``(E, N)`` is accepted too.

    Returns:
        The full shape ``(E, N, *action_space.shape)``.

    Raises:
        CityloopError: if the requests have another shape.
    """
    found, wanted = np.shape(requests), (plants.num_envs, plants.agents, *(plants.action_space.shape or ()))
    if found[:2] != wanted[:2] or long_axes(found[2:]) != long_axes(wanted[2:]):
        raise CityloopError(f"requests have shape {found}: give {wanted}")
    return wanted
