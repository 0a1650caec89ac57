"""What a runner brings home: some steps of several plants of one scenario, as arrays; and their advantages."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envs.core.loop import Layout


@dataclass
class Fragment:
    """``T`` steps of ``E`` plants with ``N`` agents. Its length, as RLlib asks for it, is its environment steps, T E.

    Attributes:
        scenario: index into the run's scenarios.
        layout: where each part of an observation lies.
        observation: float32 ``(T + 1, E, N, size)``; the last row is where the next fragment goes on.
        state: float32 ``(T + 1, E, *state_shape)``.
        actions: float32 ``(T, E, N, width)``, see `training.actions`.
        logp: float32 ``(T, E, N)``, log-probabilities when drawn.
        reward: float32 ``(T, E, N)``, scaled.
        done: bool ``(T, E)``, whether the episode ended with this step.
        terminated: bool ``(T, E)``, whether it ended because nothing follows, rather than at a limit of time.
        locked: bool ``(T, E)``, whether it ended because what follows is for ever like this step.
        last_observation, last_state: ``(K, N, size)`` and ``(K, *state_shape)``, what the K ended episodes ended with,
            in the order of ``np.argwhere(done)``.
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
        """Agents' decisions in it."""
        return self.logp.size


def advantages(
    fragment: Fragment, values: np.ndarray, last_values: np.ndarray, gamma: float, lambda_: float
) -> tuple[np.ndarray, np.ndarray]:
    """Generalised advantage estimation (Schulman et al., arXiv 1506.02438), for all plants and agents at once.

    Args:
        fragment: the steps.
        values: ``(T + 1, E, N)``, of its observations.
        last_values: ``(K, N)``, of what its ended episodes ended with; not used where they terminated, nor
            where they locked: of a plant that nothing moves any more a critic never sees what it goes on to cost, so it
            thinks too well of it, and a policy that cannot do without queues would learn to seek it.
        gamma: discount a step.
        lambda_: decay.

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
