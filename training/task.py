"""A learning task, and the interface of what learns it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from gymnasium import spaces

from agents.networks import NETWORK_OF, NETWORKS, PolicyNetwork
from envs.core.env import make_loop
from envs.core.errors import CityloopError
from envs.core.loop import ControlLoop
from envs.core.registry import get_system
from envs.core.scenario import Scenario
from envs.core.vector import Vector
from envs.core.vector_env import make_vector
from training.actions import ActionCodec
from training.settings import PROCESSES, Settings
from training.weights import Start

KPI, INTERVENTION_RATE, ACTION_RATE, LOST = "kpi", "intervention_rate", "action_rate", "lost_plants"
"""Names of a learner's metrics beside RLlib's own; `training.tracking.journal` gives them their tags."""


class Learner(Protocol):
    """Interface of a learning algorithm to a run: it samples, learns, and saves and restores its full state."""

    def update(self, fraction: float) -> Mapping[str, Any]:
        """Sample and learn once.

        Args:
            fraction: fraction of the budget that is spent, for schedules.

        Returns:
            Metrics in the form that `training.tracking.journal` reads.
        """
        ...

    def begin(self, start: Start) -> None:
        """Start from what another run has learned."""
        ...

    @property
    def policy(self) -> PolicyNetwork:
        """The policy as it would be stored now."""
        ...

    def save(self, path: Path) -> None:
        """Write the full state that determines further training into a new folder."""
        ...

    def restore(self, path: Path) -> None:
        """Continue from a folder that `save` wrote."""
        ...

    def stop(self) -> None:
        """Stop the plants."""
        ...


@dataclass(frozen=True)
class Plants:
    """Plants of one scenario from which a runner samples.

    Attributes:
        label: label of the scenario in metrics.
        make: ``(num_envs, seed)`` → plants; a picklable function or object.
        num_envs: number of plants.
        seed: seed of the first plant's first episode.
        lots: number of lots that take turns. Two are quicker if plants step in other processes while this one computes,
            one is quicker if they step in this process.
    """

    label: str
    make: Any
    num_envs: int
    seed: int
    lots: int = 2


@dataclass(frozen=True)
class Task:
    """A learning task: all facts about the plants that an algorithm needs.

    Attributes:
        plants: one entry per scenario.
        shapes: part of the observation → shape of one agent's part, the largest of all scenarios.
        state_columns: number of columns of the plants' state.
        action_space: action space of one agent, the largest of all scenarios.
        network: a key of `agents.networks.NETWORKS`.
        agents: number of agents in each scenario.
        discounts: discount factor per decision in each scenario.
    """

    plants: Sequence[Plants]
    shapes: Mapping[str, tuple[int, ...]]
    state_columns: int
    action_space: spaces.Space
    network: str
    agents: Sequence[int]
    discounts: Sequence[float]


class _Maker:
    """Makes the plants of a scenario, here or in another process."""

    def __init__(self, scenario: Scenario):
        self.scenario = scenario

    def __call__(self, num_envs: int, seed: int) -> Vector:
        try:
            first = self.scenario.seeds.train.wrapped(seed, num_envs)
        except CityloopError as error:
            raise CityloopError(f"{self.scenario.ref}: training {error}: set fewer workers, or give it more") from None
        return make_vector(self.scenario, num_envs, first)


def task_of(scenarios: Sequence[Scenario], settings: Settings) -> Task:
    """The task of training on scenarios of one system.

    Raises:
        CityloopError: if they cannot share a policy, one is reserved for tests, too many processes would be needed, or
            no weight of the policy would learn.
    """
    check_together(scenarios)
    with ExitStack() as stack:
        task = _task(scenarios, [stack.enter_context(closing(make_loop(each))) for each in scenarios], settings)
    if settings.only:
        _check_only(task, settings)
    return task


def check_together(scenarios: Sequence[Scenario]) -> None:
    """Refuse scenarios that cannot be trained on, or not together.

    Raises:
        CityloopError: naming the one that cannot.
    """
    if len({scenario.system for scenario in scenarios}) != 1:
        raise CityloopError("scenarios of several systems cannot share a policy: give scenarios of one system")
    held_out = next((scenario for scenario in scenarios if scenario.held_out), None)
    if held_out is not None:
        raise CityloopError(f"scenario {held_out.ref} is for tests alone: train on another")
    headlines = {get_system(scenario.system).headline(scenario) for scenario in scenarios}
    if len(headlines) > 1:
        raise CityloopError(
            f"scenarios that are judged by {' and by '.join(sorted(headlines))} cannot share a score: train on either"
        )
    labels = [scenario.label for scenario in scenarios]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice:
        raise CityloopError(f"scenario {twice} is given twice: give each once, or rename one")


def _task(scenarios: Sequence[Scenario], loops: Sequence[ControlLoop], settings: Settings) -> Task:
    network = NETWORK_OF.get(scenarios[0].system, "flat")
    shortest = min(scenario.decision_s for scenario in scenarios)
    return Task(
        plants=[_plants(loop, settings) for loop in loops],
        shapes=_shapes([loop.layout.shapes for loop in loops], network),
        state_columns=loops[0].features.state_shape[1],
        action_space=max((loop.action_space for loop in loops), key=lambda space: ActionCodec(space).inputs),
        network=network,
        agents=[len(loop.site.agents) for loop in loops],
        discounts=[settings.gamma ** (scenario.decision_s / shortest) for scenario in scenarios],
    )


def _check_only(task: Task, settings: Settings) -> None:
    """Refuse a prefix with which no weight of the policy begins."""
    outputs = ActionCodec(task.action_space).inputs
    network: PolicyNetwork = NETWORKS[task.network](dict(task.shapes), outputs=outputs, width=settings.width)
    names = [name for name, _ in network.named_parameters()]
    if not any(name.startswith(settings.only) for name in names):
        layers = ", ".join(sorted({name.partition(".")[0] for name in names}))
        raise CityloopError(
            f"only is {settings.only!r}, and no weight of the policy begins with it: give one of {layers}"
        )


def _plants(loop: ControlLoop, settings: Settings) -> Plants:
    """The plants of a scenario; plants in processes of their own are split into two lots that take turns."""
    scenario, processes = loop.scenario, loop.system.make_vector is None
    if processes and settings.workers > PROCESSES:
        where = f"plants of {scenario.system} are processes, {PROCESSES} at most"
        raise CityloopError(f"workers is {settings.workers}: {where}")
    count = settings.plants(len(loop.site.agents))
    first = scenario.seeds.train.first + settings.seed * count
    return Plants(scenario.label, _Maker(scenario), count, first, 2 if processes else 1)


def _shapes(each: Sequence[Mapping[str, tuple[int, ...]]], network: str) -> dict[str, tuple[int, ...]]:
    """Part of the observation → the largest shape that it has anywhere."""
    largest = {name: tuple(np.max([shapes[name] for shapes in each], axis=0).tolist()) for name in each[0]}
    if network == "flat" and any(shapes != largest for shapes in each):
        raise CityloopError(
            "these scenarios' observations differ in size, and the flat network fits one size only: train on one"
        )
    return largest
