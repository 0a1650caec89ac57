"""Fragments of experience: consecutive steps of several plants of one scenario as arrays, and their advantages."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envs.core.layout import Layout


@dataclass
class Fragment:
    """``T`` steps of ``E`` plants with ``N`` agents. Its length, which RLlib uses, is the environment steps ``T * E``.

    Attributes:
        scenario: index into the run's scenarios.
        layout: layout of the flat observations.
        observation: float32 ``(T + 1, E, N, size)``; the last row is the first of the next fragment.
        state: float32 ``(T + 1, E, *state_shape)``.
        actions: float32 ``(T, E, N, width)``, see `training.actions`.
        logp: float32 ``(T, E, N)``, log-probabilities when drawn.
        reward: float32 ``(T, E, N)``, scaled.
        done: bool ``(T, E)``, whether the episode ended with this step.
        terminated: bool ``(T, E)``, whether it ended in a terminal state rather than at a time limit.
        locked: bool ``(T, E)``, whether it ended early in a deadlock (`envs.core.world.World.locked`).
        last_observation, last_state: ``(K, N, size)`` and ``(K, *state_shape)``, final observations and states of the
            K ended episodes, in the order of ``np.argwhere(done)``.
    """

    scenario: int
    layout: Layout
    observation: np.ndarray
    state: np.ndarray
    actions: np.ndarray
    logp: np.ndarray
    reward: np.ndarray
    done: np.ndarray
    terminated: np.ndarray
    locked: np.ndarray
    last_observation: np.ndarray
    last_state: np.ndarray

    def __len__(self) -> int:
        return self.done.size

    @property
    def decisions(self) -> int:
        """Number of agents' decisions in the fragment."""
        return self.logp.size


@dataclass(frozen=True)
class Refusal:
    """What a remote runner sends instead of fragments if it cannot go on.

    Attributes:
        sentence: of the error, if its plants cannot be used; otherwise the trace of a defect.
        defect: whether it is one.
    """

    sentence: str
    defect: bool = False

    def __len__(self) -> int:
        return 0


def advantages(
    fragment: Fragment, values: np.ndarray, last_values: np.ndarray, gamma: float, lambda_: float
) -> tuple[np.ndarray, np.ndarray]:
    """Generalised advantage estimation (Schulman et al., arXiv 1506.02438), for all plants and agents at once.

    Args:
        fragment: the steps.
        values: ``(T + 1, E, N)``, the critic's values of the observations.
        last_values: ``(K, N)``, the critic's values at the ends of the K ended episodes. They are not used after a
            terminal state, where the value is zero, nor after a deadlock, where the last reward is taken to recur for
            ever, so that the value is ``reward / (1 - gamma)``. A critic never sees what a deadlocked plant goes on to
            cost and overestimates it; a policy that cannot avoid queues would learn to seek deadlocks.
        gamma: discount factor per step.
        lambda_: decay per step.

    Returns:
        Advantages and value targets (advantages plus values), both float32 ``(T, E, N)``.
    """
    following = values[1:].copy()
    ends = fragment.done.nonzero()
    following[ends] = last_values * ~fragment.terminated[ends][:, None]
    if fragment.locked.any():
        following[fragment.locked] = fragment.reward[fragment.locked] / (1.0 - gamma)
    delta = fragment.reward + gamma * following - values[:-1]
    carried = gamma * lambda_ * ~fragment.done[..., None]
    found = np.empty_like(delta)
    ahead = np.zeros_like(delta[0])
    for t in range(len(delta) - 1, -1, -1):
        ahead = delta[t] + carried[t] * ahead
        found[t] = ahead
    return found.astype(np.float32), (found + values[:-1]).astype(np.float32)
