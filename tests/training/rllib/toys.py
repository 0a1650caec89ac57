"""Tiny plants in this process, for tests of the trainer: agents observe the right action and are rewarded for it.

Episodes end at different times in different plants, at a time limit or, optionally, in a terminal state. A plant is a
function of its seed and its requests.
"""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import numpy as np
from gymnasium import spaces

from envs.core.layout import Layout
from envs.core.vector import Batch
from training.actions import ActionCodec
from training.task import Plants, Task

OPTIONS = 4
"""Choices of a discrete action."""

LOW, HIGH = -2.0, 6.0
"""Bounds of a continuous action."""

SPACES: dict[str, spaces.Space] = {
    "discrete": spaces.Discrete(OPTIONS),
    "numbers": spaces.Box(LOW, HIGH, (2,), np.float64),
    "mixed": spaces.Dict(mode=spaces.Discrete(OPTIONS), setpoint=spaces.Box(LOW, HIGH, (2,), np.float64)),
}
EXTRA = 3
"""Features that mean nothing."""

STATE = (2, 3)


class Matching:
    """``num_envs`` plants whose agents should choose the option, and set the numbers, that they are shown.

    Args:
        num_envs: how many plants.
        seed: plant k draws everything from ``seed + k``.
        agents: of each plant.
        kind: of the actions, a key of `SPACES`. The discrete ones are masked.
        scale: of the rewards.
        shortest, longest: decisions of an episode.
        terminates: share of the episodes that terminate.
    """

    def __init__(
        self,
        num_envs: int,
        seed: int,
        agents: int = 4,
        kind: str = "discrete",
        scale: float = 1.0,
        shortest: int = 5,
        longest: int = 9,
        terminates: float = 0.0,
    ):
        self.num_envs, self.agents, self.kind, self.scale = num_envs, agents, kind, scale
        self.lengths, self.terminates, self._seed = (shortest, longest + 1), terminates, seed
        self.action_space, self.layout, self.state_shape = SPACES[kind], Layout(shapes(kind)), STATE
        self.closed = False
        self._asked: Any = None

    def reset(self, seed: int | None = None) -> Batch:
        first = self._seed if seed is None else seed
        e, n = self.num_envs, self.agents
        self.rngs = [np.random.default_rng(first + k) for k in range(e)]
        self.left, self.terminal = np.zeros(e, int), np.zeros(e, bool)
        self.choice, self.numbers = np.zeros((e, n), int), np.zeros((e, n, 2))
        self.observation = np.zeros((e, n, self.layout.size), np.float32)
        self.state = np.zeros((e, *STATE), np.float32)
        for k in range(e):
            self._begin(k)
        return self._batch(np.zeros((e, n)), np.zeros(e, bool), self.observation.copy(), self.state.copy())

    def send(self, requests: np.ndarray) -> None:
        assert self._asked is None, "the last step was not received"
        self._asked = np.array(requests)

    def receive(self) -> Batch:
        right, self._asked = self._right(self._asked), None
        reward = self.scale * (0.5 * right + 0.5 * right.mean(axis=1, keepdims=True))
        self.left -= 1
        for k in range(self.num_envs):
            self._draw(k)
        done, last, last_state = self.left == 0, self.observation.copy(), self.state.copy()
        terminated = done & self.terminal
        for k in np.flatnonzero(done):
            self._begin(k)
        return self._batch(reward, done, last, last_state, terminated)

    def close(self) -> None:
        self.closed = True

    def get_state(self) -> dict[str, Any]:
        return copy.deepcopy(
            {name: getattr(self, name) for name in self.__dict__ if name not in ("layout", "action_space")}
        )

    def set_state(self, state: dict[str, Any]) -> Batch:
        self.__dict__.update(copy.deepcopy(state))
        nothing = np.zeros((self.num_envs, self.agents)), np.zeros(self.num_envs, bool)
        return self._batch(*nothing, self.observation.copy(), self.state.copy())

    def _begin(self, k: int) -> None:
        self.left[k] = self.rngs[k].integers(*self.lengths)
        self.terminal[k] = self.rngs[k].random() < self.terminates
        self._draw(k)

    def _draw(self, k: int) -> None:
        rng, n = self.rngs[k], self.agents
        self.choice[k] = rng.integers(0, OPTIONS, n)
        self.numbers[k] = rng.uniform(LOW, HIGH, (n, 2))
        self.state[k] = rng.random(STATE)
        shown = {"extra": rng.random((n, EXTRA)), "option": np.eye(OPTIONS)[self.choice[k]]}
        shown["number"] = (2 * self.numbers[k] - LOW - HIGH) / (HIGH - LOW)
        barred = (self.choice[k] + rng.integers(1, OPTIONS, n)) % OPTIONS  # never the right one
        shown["action_mask"] = 1.0 - np.eye(OPTIONS)[barred]
        self.observation[k] = self.layout.flatten({name: shown[name] for name in self.layout.shapes})

    def _right(self, asked: np.ndarray) -> np.ndarray:
        """From 0 to 1, how well each agent did."""
        if self.kind == "discrete":
            assert asked.shape == self.choice.shape
            assert asked.dtype == np.int64
            return (asked == self.choice).astype(float)
        numbers = asked[..., -2:]
        assert numbers.min() >= LOW
        assert numbers.max() <= HIGH
        near = 1.0 - np.abs(numbers - self.numbers).mean(axis=-1) / (HIGH - LOW)
        return near if self.kind == "numbers" else 0.5 * near + 0.5 * (asked[..., 0] == self.choice)

    def _batch(
        self,
        reward: np.ndarray,
        done: np.ndarray,
        last: np.ndarray,
        last_state: np.ndarray,
        terminated: np.ndarray | None = None,
    ) -> Batch:
        return Batch(
            observation=self.observation.copy(),
            state=self.state.copy(),
            last_observation=last,
            last_state=last_state,
            reward=reward,
            done=done,
            terminated=np.zeros_like(done) if terminated is None else terminated,
            kpis=[{"score": 1.0} if end else {} for end in done],
            interventions=np.zeros(self.num_envs, int),
        )


def shapes(kind: str) -> dict[str, tuple[int, ...]]:
    """Parts of an observation: what counts comes first, then noise, then the mask of what is discrete alone."""
    parts: dict[str, tuple[int, ...]] = {"option": (OPTIONS,), "number": (2,), "extra": (EXTRA,)}
    return parts | {"action_mask": (OPTIONS,)} if kind == "discrete" else parts


def plants(label: str = "a", num_envs: int = 4, seed: int = 0, **options: Any) -> Plants:
    """Toy plants for a runner; options are those of `Matching`."""
    return Plants(label, partial(Matching, **options), num_envs, seed)


def task(*scenarios: Plants, gamma: float = 0.9) -> Task:
    """What is to be learned of toys of one kind."""
    scenarios = scenarios or (plants(),)
    toys = [scenario.make(1, 0) for scenario in scenarios]
    return Task(
        plants=scenarios,
        shapes=toys[0].layout.shapes,
        state_columns=STATE[1],
        action_space=toys[0].action_space,
        network="flat",
        agents=[toy.agents for toy in toys],
        discounts=[gamma] * len(toys),
    )


def outputs(kind: str) -> int:
    """Numbers that a policy has to give."""
    return ActionCodec(SPACES[kind]).inputs
