"""The contract of a plant and of what stands around it: world, guard, features, reward, controller.

A system implements these five, and a coordination where its agents may conflict; the loop, the
environments, the evaluator and the service know nothing else of it.
All of them speak arrays: ``N`` agents in the order of `Site.agents`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from envs.core.readings import Readings
from envs.core.scene import Thing

Requests = np.ndarray
"""What a controller asks for, one entry an agent: int64 ``(N,)``, or float64 ``(N, …)`` for continuous systems."""

Commands = np.ndarray
"""What the guard lets through; the same shape and type as the requests."""

Observation = dict[str, np.ndarray]
"""Part name → float32 array ``(N, …)``; always holds ``action_mask`` ``(N, actions)`` where actions are discrete."""


class Intervention(NamedTuple):
    """One change that a guard made.

    Attributes:
        agent: whose request was changed.
        requested: what was asked for.
        commanded: what is carried out instead.
        reason: a code of the system, e.g. ``min_green``.
    """

    agent: str
    requested: float | int | None
    commanded: float | int
    reason: str


class World(ABC):
    """A plant with sensors and actuators. It knows physics and nothing about learning.

    One world owns one simulator; close it (or use ``with``). It may be reset as often as wanted.
    """

    @abstractmethod
    def reset(self, seed: int, program: Any = None) -> Readings:
        """Start an episode and read the sensors.

        Args:
            seed: drives everything random in the episode.
            program: a program for the plant's own local control, which then decides instead of commands (the
                controllers that practitioners run inside the plant); None: the plant waits for commands.
        """

    def prepare(self) -> None:  # noqa: B027
        """Do what episodes have in common, such as loading the simulator; simulate nothing.

        Called before a process forks one for each episode. `reset` does without.
        """

    @abstractmethod
    def step(self, commands: Commands | None) -> Readings:
        """Carry out commands (None: leave it to the local program), advance one decision, read the sensors."""

    @property
    @abstractmethod
    def truth(self) -> Mapping[str, Any]:
        """What a simulator knows beyond the sensors: undamaged readings and totals, for rewards alone."""

    @property
    @abstractmethod
    def time_s(self) -> float:
        """Simulated time in seconds."""

    @property
    @abstractmethod
    def done(self) -> bool:
        """Whether the episode is over."""

    @property
    def locked(self) -> bool:
        """Whether the episode ended early because nothing moves any more: every decision that was left is taken to cost
        what the last one did.
        """
        return False

    @abstractmethod
    def kpis(self) -> dict[str, float]:
        """Key performance indicators of the finished episode, named with their unit."""

    def places(self) -> dict[str, dict[str, float]]:
        """What happened where in the finished episode: indicator with its unit → place → value, where there is one."""
        return {}

    def periods(self) -> dict[str, dict[str, float]]:
        """What happened when in the finished episode: period → indicator with its unit → value."""
        return {}

    def trace(self) -> dict[str, float]:
        """A few totals of this moment, for plots over time."""
        return {}

    def things(self) -> list[Thing]:
        """Moving objects at this moment, for display alone: a simulator knows them, readings do not tell."""
        return []

    @abstractmethod
    def close(self) -> None:
        """Stop the simulator and remove its files. May be called twice."""

    def __enter__(self) -> World:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Guard(Protocol):
    """Requests → commands that are always safe to carry out. Pure: the same readings and requests, the same answer."""

    reasons: tuple[str, ...]
    """All that it may tell as the reason of a change."""

    def mask(self, readings: Readings) -> np.ndarray:
        """What may be asked for now: bool ``(N, actions)``, at least one True a row."""
        ...

    def check(
        self, readings: Readings, requests: Requests, mask: np.ndarray | None = None
    ) -> tuple[Commands, list[Intervention]]:
        """The commands to carry out, and what was changed and why. Accepts any requests, NaN included.

        ``mask``, if given, is that of these readings.
        """
        ...


class Features(Protocol):
    """Readings → observation. Pure; fixed scales; padded and masked."""

    shapes: Mapping[str, tuple[int, ...]]
    """Part name → shape of one agent's part."""

    state_shape: tuple[int, int]
    """Rows and columns of the state that a central critic sees."""

    def encode(self, readings: Readings, mask: np.ndarray) -> Observation:
        """The observation of all agents."""
        ...

    def state(self, readings: Readings) -> np.ndarray:
        """What a central critic sees: float32 of `state_shape`."""
        ...


class Coordination(Protocol):
    """Makes agents whose requests may conflict agree on what they ask for. Pure, as a guard is."""

    def settle(self, preferences: np.ndarray, readings: Readings) -> np.ndarray:
        """What to ask for: int64 ``(N,)``, every agent's favourite where nothing speaks against it.

        Args:
            preferences: a policy's masked logits, ``(N, actions)``.
            readings: of this moment.
        """
        ...


class Reward(Protocol):
    """Truth of a step → named reward terms."""

    def terms(self, truth: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Term name → ``(N,)``, already weighted: their sum is the reward."""
        ...


@runtime_checkable
class Controller(Protocol):
    """Who decides: a learned policy or a rule. Evaluation, serving and fallbacks treat both alike.

    Attributes:
        name: how it is called on the command line and in tables.
        program: a program for the plant's own local control, or None where `act` decides.
    """

    name: str
    program: Any = None

    def reset(self) -> None:
        """Forget the episode."""
        return

    def act(self, readings: Readings, observation: Observation) -> Requests:
        """Requests for all agents."""
        ...


def as_numbers(requests: Requests, agents: int, columns: int = 1) -> np.ndarray:
    """Whatever was requested as float64 ``(agents, columns)``, an array of its own; NaN where it is no number.

    A single column may come as ``(agents,)``; requests of another shape, or of no numbers at all, are NaN throughout.
    """
    try:
        numbers = np.array(requests, dtype=np.float64)
    except (TypeError, ValueError):
        return np.full((agents, columns), np.nan)
    if numbers.shape == (agents,) and columns == 1:
        return numbers[:, None]
    return numbers if numbers.shape == (agents, columns) else np.full((agents, columns), np.nan)
