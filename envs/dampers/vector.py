"""Many buildings as the trainer's plants, arrays in this process: see `envs.core.vector.Vector`.

Buildings of a block begin together; blocks begin at different times, so that batches hold all phases of a motion. Each
block of training seeds has a stiffness and a delay of its own.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Space

from envs.core.env import SeedStream
from envs.core.errors import CityloopError
from envs.core.layout import Layout
from envs.core.vector import Batch, check_shape
from envs.dampers.assembly import load_site
from envs.dampers.block import Block
from envs.dampers.features import DampersFeatures
from envs.dampers.guard import DampersGuard
from envs.dampers.reward import DampersReward
from envs.dampers.scenarios import DampersScenario

SHARED = 128
"""Largest number of buildings of a block, until there are `BLOCKS` of them."""

BLOCKS = 16
"""Largest number of blocks."""


class DampersVector:
    """``num_envs`` buildings of one scenario.

    Args:
        scenario: of the buildings.
        num_envs: number of buildings.
        seed: building k begins with seed ``seed + k``.
    """

    def __init__(self, scenario: DampersScenario, num_envs: int, seed: int):
        self.scenario, self.num_envs, self._seed = scenario, num_envs, seed
        site = self.site = load_site(scenario)
        self.agents = len(site.agents)
        self._guard, self._features, self._reward = DampersGuard(site), DampersFeatures(site), DampersReward(site)
        self.layout = Layout({name: tuple(shape) for name, shape in self._features.shapes.items()})
        self.state_shape: tuple[int, ...] = self._features.state_shape
        self.action_space: Space[Any] = Box(0.0, 1.0, (1,), np.float64)
        count = min(BLOCKS, -(-num_envs // SHARED))
        self._spans = np.array_split(np.arange(num_envs), count)
        self._blocks = [Block(scenario, site, np.float32) for _ in self._spans]
        self._streams: list[SeedStream] = []
        self._requests = np.zeros((num_envs, self.agents, 1))

    def reset(self, seed: int | None = None) -> Batch:
        """Start an episode in every building. The first episodes of later blocks begin in the middle, at 0 V."""
        first = self._seed if seed is None else seed
        self._streams = [SeedStream(self.scenario, first + k) for k in range(self.num_envs)]
        for k, block in enumerate(self._blocks):
            self._begin(k)
            ahead = k * self.scenario.decisions // len(self._blocks)
            for _ in range(ahead):
                block.step(np.zeros((len(self._spans[k]), self.agents)))
        self._batch = self._see(np.zeros((self.num_envs, self.agents)), np.zeros(self.num_envs, dtype=bool))
        return self._batch

    def _begin(self, k: int) -> None:
        self._blocks[k].begin([self._streams[env].take() for env in self._spans[k]])

    def send(self, requests: np.ndarray) -> None:
        """Keep the requests ``(E, N, 1)``, or ``(E, N)``, for `receive`: all happens in this process.

        Raises:
            CityloopError: if no episode has begun, or the requests are of another shape.
        """
        if not self._streams:
            raise CityloopError("no episode is under way: call reset() before step()")
        self._requests = np.asarray(requests, dtype=np.float64).reshape(check_shape(requests, self))

    def receive(self) -> Batch:
        """Guard and carry out the requests."""
        reward = np.empty((self.num_envs, self.agents))
        changed = np.empty(self.num_envs, dtype=np.int64)
        done = np.zeros(self.num_envs, dtype=bool)
        for block, span in zip(self._blocks, self._spans, strict=True):
            asked = self._requests[span, :, 0]
            levels, why = self._guard.limit(block.readings, asked)
            changed[span] = ((why > 0) & (levels != asked)).sum(axis=1)
            block.step(levels)
            reward[span] = sum(self._reward.terms(block.truth).values())
            done[span] = block.done
        batch = self._see(reward, done)
        batch.interventions = changed
        if done.any():
            batch.last_observation, batch.last_state = batch.observation.copy(), batch.state.copy()
            for k, (block, span) in enumerate(zip(self._blocks, self._spans, strict=True)):
                if block.done:
                    for env, kpis in zip(span, block.kpis(), strict=True):
                        batch.kpis[env] = kpis
                    self._begin(k)
                    self._look(k, batch.observation, batch.state)
        self._batch = batch
        return batch

    def _see(self, reward: np.ndarray, done: np.ndarray) -> Batch:
        observation = np.empty((self.num_envs, self.agents, self.layout.size), np.float32)
        state = np.empty((self.num_envs, *self.state_shape), np.float32)
        for k in range(len(self._blocks)):
            self._look(k, observation, state)
        kpis: list[dict[str, float]] = [{} for _ in range(self.num_envs)]
        none = np.zeros(self.num_envs, dtype=np.int64)
        return Batch(observation, state, observation, state, reward, done, kpis, none)

    def _look(self, k: int, observation: np.ndarray, state: np.ndarray) -> None:
        readings, span = self._blocks[k].readings, self._spans[k]
        observation[span] = np.concatenate(list(self._features.columns(readings).values()), axis=-1)
        state[span] = self._features.state(readings)

    def step(self, requests: np.ndarray) -> Batch:
        """Send requests, and receive their results."""
        self.send(requests)
        return self.receive()

    def get_state(self) -> Any:
        """State from which the episodes can be continued."""
        return copy.deepcopy((self._blocks, [stream.get_state() for stream in self._streams], self._batch))

    def set_state(self, state: Any) -> Batch:
        """Continue from a state."""
        self._blocks, streams, self._batch = copy.deepcopy(state)
        self._streams = [SeedStream(self.scenario, 0) for _ in streams]
        for stream, saved in zip(self._streams, streams, strict=True):
            stream.set_state(saved)
        return self._batch

    def close(self) -> None:
        """Nothing runs."""
