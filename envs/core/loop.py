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
from envs.core.layout import Layout, in_shape
from envs.core.readings import Readings
from envs.core.world import Commands, Controller, Intervention, Observation, Requests, World

if TYPE_CHECKING:
    from envs.core.scenario import Scenario
    from envs.core.system import System


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
