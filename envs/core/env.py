"""Public environments around a control loop: PettingZoo for many agents, Gymnasium for one."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

from envs.core.errors import CityloopError
from envs.core.layout import in_shape
from envs.core.loop import ControlLoop, Step
from envs.core.registry import get_system, load_scenario
from envs.core.scenario import Scenario, SeedRange


def make_loop(scenario: str | Scenario, **settings: Any) -> ControlLoop:
    """A control loop by scenario or reference; settings as in `load_scenario`."""
    chosen = load_scenario(scenario, **settings)
    return ControlLoop(get_system(chosen.system), chosen)


class RenderError(CityloopError, TypeError):
    """Rendering is not supported.

    It is also a TypeError: stable-baselines3 asks every environment that it makes by name to render, and continues
    without rendering if it gets one.
    """


class SeedStream:
    """Seeds of successive episodes: first the given seed, then seeds drawn from a generator that it starts.

    All seeds lie in the split of the first one, or in the test split if it lies in none.

    Args:
        scenario: the scenario that defines the splits.
        seed: first seed, as in `start`.
    """

    def __init__(self, scenario: Scenario, seed: int | None):
        self._scenario = scenario
        self.start(seed)

    def start(self, seed: int | None) -> None:
        """Restart at a seed.

        Args:
            seed: first seed, taken modulo 2**31; None: a random test seed.

        Raises:
            CityloopError: if the seed is not a whole number from 0 up.
        """
        if seed is None:
            test = self._scenario.seeds.test
            seed = int(np.random.default_rng().integers(test.first, test.last + 1))
        if not isinstance(seed, (int, np.integer)) or seed < 0:
            raise CityloopError(f"seed is {seed!r}: give a whole number from 0 up")
        seed = int(seed) % 2**31
        self._next = seed
        self._rng = np.random.default_rng([seed, 3])
        split = self._scenario.seeds.split(seed)
        self._range = getattr(self._scenario.seeds, split) if split else self._scenario.seeds.test

    @property
    def next(self) -> int:
        """Seed of the next episode, which `take` will return."""
        return self._next

    def take(self) -> int:
        """Return the seed of the next episode, and draw the one after it."""
        seed = self._next
        self._next = int(self._rng.integers(self._range.first, self._range.last + 1))
        return seed

    def get_state(self) -> tuple[int, Any, Any]:
        """The state that determines all later seeds, as plain data."""
        return self._next, self._rng.bit_generator.state, self._range.model_dump()

    def set_state(self, state: tuple[int, Any, Any]) -> None:
        """Continue from a state of `get_state`."""
        self._next, generator, bounds = state
        self._rng.bit_generator.state = generator
        self._range = SeedRange.model_validate(bounds)


class CityParallelEnv(ParallelEnv[str, dict[str, np.ndarray], Any]):
    """A system as a PettingZoo environment with a constant set of agents.

    An observation is ``{"observation": float32 (size,), "action_mask": int8 (actions,)}``; `loop.layout` gives the
    slice of each part. The reward is the sum of the system's named terms. ``infos[agent]["terms"]`` holds each term,
    ``infos[agent]["intervention"]`` the guard's reason if it changed the request, and ``infos[agent]["kpis"]`` the
    episode's indicators after the last decision. Episodes end by truncation.

    The seed determines the split of an episode (``loop.scenario.seeds``); later episodes without a seed stay in that
    split. Without any seed, episodes are test episodes.

    Args:
        scenario: a scenario or its reference.
        seed: seed of the first episode if `reset` gets none.
        settings: changes to the scenario, e.g. ``regime="resco"``.

    Raises:
        CityloopError: if the scenario cannot be used.
    """

    metadata: ClassVar[dict[str, Any]] = {"name": "cityloop_v0", "render_modes": [], "is_parallelizable": True}

    def __init__(self, scenario: str | Scenario, seed: int | None = None, **settings: Any):
        self.loop = make_loop(scenario, **settings)
        self.render_mode = None
        self.possible_agents = list(self.loop.site.agents)
        self.agents: list[str] = []
        self._seeds = SeedStream(self.loop.scenario, seed)
        one = self.loop.action_space
        # each agent's own, so that seeding one does not seed the others
        self._action_spaces = {agent: deepcopy(one) for agent in self.possible_agents}
        self._observation_spaces = {agent: self._observation_space() for agent in self.possible_agents}
        shape = self.loop.features.state_shape
        self.state_space = spaces.Box(-np.inf, np.inf, shape, np.float32)

    def _observation_space(self) -> spaces.Space[Any]:
        box = spaces.Box(-np.inf, np.inf, (self.loop.layout.size,), np.float32)
        actions = self.loop.layout.shapes.get("action_mask")
        if actions is None:
            return spaces.Dict({"observation": box})
        return spaces.Dict({"observation": box, "action_mask": spaces.Box(0, 1, actions, np.int8)})

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """Observation space of an agent; always the same object."""
        return self._observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """Action space of an agent; always the same object."""
        return self._action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        """Start an episode."""
        if seed is not None:
            self._seeds.start(seed)
        self.loop.reset(self._seeds.take())
        self.agents = list(self.possible_agents)
        return self._observations(), {agent: {} for agent in self.agents}

    def _observations(self) -> dict[str, Any]:
        flat = self.loop.layout.flatten(self.loop.observation)
        out = {agent: {"observation": flat[k]} for k, agent in enumerate(self.possible_agents)}
        if "action_mask" in self.loop.layout.shapes:
            masks = self.loop.mask.astype(np.int8)
            for k, agent in enumerate(self.possible_agents):
                out[agent]["action_mask"] = masks[k]
        return out

    def step(
        self, actions: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]:
        """Carry out one decision of every agent; the guard corrects requests that are not allowed.

        Raises:
            CityloopError: if the episode is over, or an agent's action is missing or does not have its space's shape.
        """
        if not self.agents:
            raise CityloopError("the episode is over: call reset() before step()")
        missing = [agent for agent in self.agents if agent not in actions]
        if missing:
            raise CityloopError(f"actions lack agent {missing[0]!r}: give one action for every agent in env.agents")
        one = self.loop.action_space
        requests = [in_shape(actions[agent], one, f"action of agent {agent!r}") for agent in self.agents]
        step = self.loop.step(np.array(requests))
        agents = self.agents
        rewards = dict(zip(agents, step.reward.tolist(), strict=True))
        infos = self._infos(step)
        if step.done:
            self.agents = []
        ends = dict.fromkeys(agents, step.done)
        return self._observations(), rewards, dict.fromkeys(agents, False), ends, infos

    def _infos(self, step: Step) -> dict[str, dict[str, Any]]:
        infos: dict[str, dict[str, Any]] = {agent: {"kpis": step.kpis} for agent in self.agents}
        for name, values in step.terms.items():
            for agent, value in zip(self.agents, values.tolist(), strict=True):
                infos[agent].setdefault("terms", {})[name] = value
        for change in step.interventions:
            infos[change.agent]["intervention"] = change.reason
        return infos

    def state(self) -> np.ndarray:
        """State of the plant for a central critic, float32 in `state_space`.

        Raises:
            CityloopError: before the first episode.
        """
        _need_readings(self.loop, "state()")
        return self.loop.features.state(self.loop.readings)

    def render(self) -> None:
        """Nothing is drawn; `cityloop evaluate` plots episodes."""

    def close(self) -> None:
        """Stop the simulator."""
        self.loop.close()


class CityGymEnv(gymnasium.Env[np.ndarray, Any]):
    """A system as a Gymnasium environment that controls all its agents jointly.

    The observation is the concatenation of the agents' flat observations, float32 ``(N * size,)``. The action space is
    Discrete for one discrete agent, MultiDiscrete for several, and a Box ``(N, k)`` for agents that set ``k`` numbers.
    The guard corrects requests that are not allowed; ``action_masks()`` tells which are. The reward is the mean over
    agents. ``info["interventions"]`` is the number of requests that the guard changed, and ``info["kpis"]`` holds the
    episode's indicators after the last decision. Episodes end by truncation. Seeds are as in `CityParallelEnv`.

    Args:
        scenario: a scenario or its reference.
        render_mode: must be None, as nothing is drawn; `cityloop evaluate` plots episodes.
        settings: changes to the scenario.

    Raises:
        CityloopError: if the scenario cannot be used.
        RenderError: if a render mode is given.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 - Gymnasium declares it so

    def __init__(self, scenario: str | Scenario, render_mode: str | None = None, **settings: Any):
        if render_mode is not None:
            raise RenderError(f"render_mode is {render_mode!r}: leave it out, `cityloop evaluate` plots episodes")
        self.loop = make_loop(scenario, **settings)
        self.render_mode = None
        n = len(self.loop.site.agents)
        one = self.loop.action_space
        self._single = n == 1
        self.observation_space = spaces.Box(-np.inf, np.inf, (n * self.loop.layout.size,), np.float32)
        self.action_space = one if self._single else _joint(one, n)
        self._seeds = SeedStream(self.loop.scenario, None)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode."""
        super().reset(seed=seed)
        if seed is not None:
            self._seeds.start(seed)
        self.loop.reset(self._seeds.take())
        return self._observation(), {}

    def _observation(self) -> np.ndarray:
        return self.loop.layout.flatten(self.loop.observation).reshape(-1)

    def action_masks(self) -> np.ndarray:
        """Mask of the actions that are allowed now: bool ``(N * actions,)``; empty for continuous actions.

        Raises:
            CityloopError: before the first episode.
        """
        _need_readings(self.loop, "action_masks()")
        return self.loop.mask.reshape(-1).copy()

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Carry out one decision.

        Raises:
            CityloopError: if no episode is under way, or the action does not have its space's shape.
        """
        one = self.loop.action_space.shape or ()
        step = self.loop.step(in_shape(action, self.action_space, "action").reshape(-1, *one))
        info: dict[str, Any] = {"interventions": len(step.interventions), **({"kpis": step.kpis} if step.done else {})}
        return self._observation(), float(step.reward.mean()), False, step.done, info

    def render(self) -> None:
        """Nothing is drawn; `cityloop evaluate` plots episodes."""

    def close(self) -> None:
        """Stop the simulator."""
        self.loop.close()


def _need_readings(loop: ControlLoop, asked: str) -> None:
    if not loop.readings:
        raise CityloopError(f"no episode has begun: call reset() before {asked}")


def _joint(space: spaces.Space[Any], n: int) -> spaces.Space[Any]:
    if isinstance(space, spaces.Discrete):
        return spaces.MultiDiscrete([int(space.n)] * n)
    assert isinstance(space, spaces.Box)
    return spaces.Box(np.stack([space.low] * n), np.stack([space.high] * n), dtype=space.dtype)  # type: ignore[arg-type]
