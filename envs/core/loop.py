"""The control loop of five steps: read, encode, decide, guard, apply. Every episode runs through it.

`ControlLoop` works on arrays, without dictionaries of agents. The PettingZoo and Gymnasium environments, the vector
layer and the evaluator are thin wrappers around it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from envs.core.errors import CityloopError
from envs.core.readings import Readings, consecutive_slices
from envs.core.world import Commands, Controller, Intervention, Observation, Requests, World

if TYPE_CHECKING:
    from gymnasium import Space

    from envs.core.registry import System
    from envs.core.scenario import Scenario


class Layout:
    """Positions of an observation's parts in the flat vector that learners read.

    Args:
        shapes: part name → shape of one agent's part, in order.

    Attributes:
        size: length of one agent's vector.
        slices: part name → its slice of the vector.
    """

    def __init__(self, shapes: dict[str, tuple[int, ...]]):
        self.shapes = {name: tuple(shape) for name, shape in shapes.items()}
        sizes = {name: int(np.prod(shape)) for name, shape in self.shapes.items()}
        self.size, self.slices = sum(sizes.values()), consecutive_slices(sizes)
        self._rows = next(iter(self.shapes)) if [len(shape) for shape in self.shapes.values()] == [1] else None

    def flatten(self, observation: Observation) -> np.ndarray:
        """Parts ``(N, …)`` → float32 ``(N, size)``. A single float32 part of rank 1 is returned without a copy."""
        if self._rows is not None:  # the only part is flat already
            return np.asarray(observation[self._rows], dtype=np.float32)
        rows = len(next(iter(observation.values())))
        parts = [observation[name].reshape(rows, -1) for name in self.shapes]
        return np.concatenate(parts, axis=1, dtype=np.float32)

    def unflatten(self, flat: Any) -> dict[str, Any]:
        """``(…, size)`` → parts ``(…, *shape)``; works on numpy arrays and torch tensors alike."""
        lead = tuple(flat.shape[:-1])
        return {name: flat[..., self.slices[name]].reshape(lead + shape) for name, shape in self.shapes.items()}


@dataclass
class Step:
    """Result of one decision.

    Attributes:
        reward: ``(N,)``.
        terms: the reward's named terms, each ``(N,)``.
        commands: commands that the plant carried out; None if its local program decided.
        interventions: changes that the guard made.
        done: whether the episode is over.
        kpis: key performance indicators; empty before the end.
    """

    reward: np.ndarray
    terms: dict[str, np.ndarray]
    commands: Commands | None
    interventions: list[Intervention]
    done: bool
    kpis: dict[str, float] = field(default_factory=dict)


class ControlLoop:
    """One plant under control.

    Args:
        system: the system's parts.
        scenario: the scenario to run.

    Attributes:
        action_space: action space of one agent.
    """

    def __init__(self, system: System, scenario: Scenario):
        self.system, self.scenario = system, scenario
        self.site = system.load_site(scenario)
        self.action_space = system.action_space(self.site)
        self.guard = system.make_guard(self.site)
        self.features = system.make_features(self.site)
        self.reward = system.make_reward(self.site)
        self.world: World = system.make_world(scenario, self.site)
        self.layout = Layout({name: tuple(shape) for name, shape in self.features.shapes.items()})
        self.readings: Readings = {}
        self.mask = np.zeros((0, 0), dtype=bool)
        self._under_way = False

    def reset(self, seed: int, program: Any = None) -> None:
        """Start an episode; if a local program of the plant is given, that program decides."""
        self._local, self._under_way = program is not None, False
        self._take(self.world.reset(seed, program))
        self._under_way = True

    def _take(self, readings: Readings) -> None:
        for column in readings.values():
            column.flags.writeable = False  # a controller that normalised them in place would mislead the guard
        self.readings = readings
        self.mask = self.guard.mask(readings)

    @property
    def observation(self) -> Observation:
        """The observation of all agents at this moment."""
        return self.features.encode(self.readings, self.mask)

    def step(self, requests: Requests | None) -> Step:
        """Guard the requests, carry them out, advance to the next decision.

        Raises:
            CityloopError: if no episode is under way, or there is not one request of `action_space` for each agent.
        """
        if not self._under_way:
            raise CityloopError("no episode is under way: call reset() before step()")
        commands: Commands | None = None
        interventions: list[Intervention] = []
        if not self._local:
            given = in_shape(requests, self.action_space, "what the agents ask for", len(self.mask))
            commands, interventions = self.guard.check(self.readings, given, self.mask)
        self._under_way = False  # it stays so if the plant fails, because its state is then unknown
        self._take(self.world.step(commands))
        terms = self.reward.terms(self.world.truth)
        done = self.world.done
        self._under_way = not done
        reward = np.asarray(reduce(np.add, terms.values()), dtype=np.float64)
        return Step(reward, terms, commands, interventions, done, self.world.kpis() if done else {})

    def episode(self, controller: Controller, seed: int) -> Step:
        """Run a whole episode and return its last step.

        Raises:
            RuntimeError: if the scenario has no decision.
        """
        controller.reset()
        self.reset(seed, controller.program)
        step = None
        while step is None or not step.done:
            requests = None if self._local else controller.act(dict(self.readings), self.observation)
            step = self.step(requests)
        return step

    def close(self) -> None:
        """Stop the simulator."""
        self._under_way = False
        self.world.close()


def in_shape(asked: Any, space: Space[Any], name: str, agents: int | None = None) -> np.ndarray:
    """Requests in the shape of their action space, one row per agent; axes of length one may be missing or extra.

    Any other shape is refused. The guard would treat it as no request, and the controller would learn from, or be
    evaluated on, decisions that it did not take.

    Args:
        asked: request of one agent, or of all.
        space: action space of one agent.
        name: name of the request in error messages.
        agents: number of agents; None: the request of a single agent, without a leading axis.

    Raises:
        CityloopError: if the request is not numeric or has another shape.
    """
    shape = (space.shape or ()) if agents is None else (agents, *(space.shape or ()))
    try:
        given = np.asarray(asked)
    except ValueError:
        given = np.array(None)  # lists of unequal length
    if given.dtype.kind not in "biuf" or (given.shape != shape and long_axes(given.shape) != long_axes(shape)):
        found = " ".join(str(asked).split())[:60]
        row = "" if agents is None else ", a row an agent"
        raise CityloopError(f"{name} is {found}: give numbers in the shape {shape} of {space}{row}")
    return given if given.shape == shape else given.reshape(shape)


def long_axes(shape: tuple[int, ...]) -> list[int]:
    """Lengths of a shape's axes, without those of length one."""
    return [size for size in shape if size != 1]
