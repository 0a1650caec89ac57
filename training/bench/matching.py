"""A task that costs nothing to simulate: what is left of a trainer's time on it is the trainer's own.

Every agent sees which of several actions is right for it (a vector of values, the right one the largest), may not take
some of the others, and is paid half for being right and half for the share of all agents that are. Plants are arrays in
this process, the in-process sibling of `envs.core.vector_env.VectorEnv`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.spaces import Discrete, Space

from envs.core.errors import CityloopError
from envs.core.layout import Layout
from envs.core.vector import Batch, check_shape

LENGTH = 50
"""Steps of an episode."""

FEATURES, ACTIONS = 32, 8
"""Numbers that an agent sees, and actions to choose from."""

STATE = (16, 4)
"""Rows and columns of the state."""


class MatchingVector:
    """``num_envs`` plants of ``agents`` agents; see `envs.core.vector.Vector` for its methods.

    Args:
        num_envs: how many plants.
        seed: of everything random.
        agents: of each plant.
    """

    def __init__(self, num_envs: int, seed: int, agents: int = 16):
        self.num_envs, self.agents, self._seed = num_envs, agents, seed
        self.layout = Layout({"features": (FEATURES,), "action_mask": (ACTIONS,)})
        self.state_shape: tuple[int, ...] = STATE
        self.action_space: Space[Any] = Discrete(ACTIONS)
        self._plants, self._members = np.arange(num_envs)[:, None], np.arange(agents)[None, :]
        self._start(seed)
        self._begun = False

    def _start(self, seed: int) -> None:
        self._rng = np.random.default_rng([seed, 7])
        # Plants are at different points of their episodes, so that they do not all end at once.
        self._age = np.arange(self.num_envs) * LENGTH // max(1, self.num_envs)
        self._total = np.zeros(self.num_envs)

    def reset(self, seed: int | None = None) -> Batch:
        """Start anew."""
        self._start(self._seed if seed is None else seed)
        self._begun = True
        return self._report(np.zeros((self.num_envs, self.agents)), np.zeros(self.num_envs, bool))

    def _see(self) -> np.ndarray:
        shape = (self.num_envs, self.agents)
        seen = self._rng.random((*shape, FEATURES + ACTIONS), dtype=np.float32)
        self._right = self._rng.integers(0, ACTIONS, shape)
        seen[self._plants, self._members, self._right] += 1.0
        mask = seen[..., FEATURES:]
        np.less(mask, 0.8, out=mask)
        mask[self._plants, self._members, self._right] = 1.0
        return seen

    def _report(self, reward: np.ndarray, done: np.ndarray) -> Batch:
        observation = self._see()
        state = self._rng.random((self.num_envs, *self.state_shape), dtype=np.float32)
        kpis: list[dict[str, float]] = [{} for _ in range(self.num_envs)]
        for k in np.flatnonzero(done):
            kpis[k] = {"matched": float(self._total[k]) / LENGTH}
            self._total[k] = 0.0
        # Nothing of the next moment depends on this one, so any observation may be what an episode ended with.
        interventions = np.zeros(self.num_envs, np.int64)
        self._batch: Batch = Batch(observation, state, observation, state, reward, done, kpis, interventions)
        return self._batch

    def send(self, requests: np.ndarray) -> None:
        """Keep the requests ``(E, N)`` for `receive`.

        Raises:
            CityloopError: if no episode has begun, or the requests are of another shape.
        """
        if not self._begun:
            raise CityloopError("no episode is under way: call reset() before step()")
        check_shape(requests, self)
        self._requests = requests

    def receive(self) -> Batch:
        """Carry them out."""
        right = (self._requests == self._right).astype(np.float64)
        share = right.mean(axis=1)
        self._total += share
        self._age += 1
        done = self._age >= LENGTH
        self._age[done] = 0
        return self._report(0.5 * right + 0.5 * share[:, None], done)

    def step(self, requests: np.ndarray) -> Batch:
        """Both at once."""
        self.send(requests)
        return self.receive()

    def get_state(self) -> Any:
        """Everything that decides what comes next."""
        return self._rng.bit_generator.state, self._age.copy(), self._total.copy(), self._right.copy(), self._batch

    def set_state(self, state: Any) -> Batch:
        """Go on from a state."""
        generator, age, total, right, self._batch = state
        self._rng.bit_generator.state = generator
        self._age, self._total, self._right = age.copy(), total.copy(), right.copy()
        self._begun = True
        return self._batch

    def close(self) -> None:
        """Nothing runs."""
