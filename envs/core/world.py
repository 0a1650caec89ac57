"""Interfaces of the parts of a system: world, guard, features, reward, controller.

A system implements these five, and a coordination if requests of its agents may conflict. The loop, the environments,
the evaluator and the service use nothing else of it. All parts exchange arrays of ``N`` agents, in the order of
`Site.agents`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from envs.core.readings import Readings
from envs.core.scene import Thing

Requests = np.ndarray
"""Requests of a controller, one entry per agent: int64 ``(N,)``, or float64 ``(N, …)`` for continuous systems."""

Commands = np.ndarray
"""Commands of the guard to the plant; the same shape and type as the requests."""

Observation = dict[str, np.ndarray]
"""Part name → float32 array ``(N, …)``; includes ``action_mask`` ``(N, actions)`` if actions are discrete."""


class Intervention(NamedTuple):
    """One change of a request by a guard.

    Attributes:
        agent: agent whose request was changed.
        requested: the request.
        commanded: the command that replaces it.
        reason: the system's code for the reason, e.g. ``min_green``.
    """

    agent: str
    requested: float | int | None
    commanded: float | int
    reason: str


class World(ABC):
    """A plant with sensors and actuators: physics only, nothing about learning.

    A world owns one simulator; close it, or use ``with``. It may be reset any number of times.
    """

    @abstractmethod
    def reset(self, seed: int, program: Any = None) -> Readings:
        """Start an episode and read the sensors.

        Args:
            seed: seed of all randomness in the episode.
            program: a program for the plant's own local control (controllers that practitioners run inside the plant),
                which then decides instead of commands; None: the plant waits for commands.
        """

    def prepare(self) -> None:  # noqa: B027
        """Do the work that all episodes share, such as loading the simulator, without simulating.

        It is optional: `reset` works without it. Workers that fork a process for each episode (`envs.core.plant`,
        `training.episodes`) call it once beforehand.
        """

    @abstractmethod
    def step(self, commands: Commands | None) -> Readings:
        """Carry out commands (None: the local program decides), advance to the next decision, and read the sensors."""

    @property
    @abstractmethod
    def truth(self) -> Mapping[str, Any]:
        """Ground truth of the simulator: undisturbed readings and totals, for rewards only."""

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
        """Whether the episode ended early in a deadlock, where nothing moves any more.

        The last step's reward is extrapolated over what is left: `training.rllib.fragment.advantages` values what
        follows as if that reward recurred for ever, discounted, and `training.episodes` adds it for every decision not
        taken.
        """
        return False

    @abstractmethod
    def kpis(self) -> dict[str, float]:
        """Key performance indicators of the finished episode, named with their unit."""

    def places(self) -> dict[str, dict[str, float]]:
        """Indicators of the finished episode by place: indicator with its unit → place → value, if available."""
        return {}

    def periods(self) -> dict[str, dict[str, float]]:
        """Indicators of the finished episode by period: period → indicator with its unit → value."""
        return {}

    def trace(self) -> dict[str, float]:
        """A few totals at this moment, for plots over time."""
        return {}

    def things(self) -> list[Thing]:
        """Moving objects at this moment, for display only; readings do not include them."""
        return []

    @abstractmethod
    def close(self) -> None:
        """Stop the simulator and remove its files. May be called twice."""

    def __enter__(self) -> World:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Guard(Protocol):
    """Requests → commands that are always safe. Pure: equal readings and requests give equal commands."""

    reasons: tuple[str, ...]
    """All codes that it may give as the reason for a change."""

    def mask(self, readings: Readings) -> np.ndarray:
        """Allowed actions: bool ``(N, actions)``, at least one True per row."""
        ...

    def check(
        self, readings: Readings, requests: Requests, mask: np.ndarray | None = None
    ) -> tuple[Commands, list[Intervention]]:
        """Turn requests into commands, and report every change with its reason.

        Args:
            readings: readings at this moment.
            requests: any requests; wrong shapes and NaN are accepted too.
            mask: `mask` of these readings, if the caller has it.
        """
        ...


class Features(Protocol):
    """Readings → observation. Pure; fixed scales; padded and masked."""

    shapes: Mapping[str, tuple[int, ...]]
    """Part name → shape of one agent's part."""

    state_shape: tuple[int, int]
    """Rows and columns of the state for a central critic."""

    def encode(self, readings: Readings, mask: np.ndarray) -> Observation:
        """The observation of all agents."""
        ...

    def state(self, readings: Readings) -> np.ndarray:
        """State for a central critic: float32 of shape `state_shape`."""
        ...


class Coordination(Protocol):
    """Resolves conflicts between the requests of several agents. Pure, like a guard."""

    def settle(self, preferences: np.ndarray, readings: Readings) -> np.ndarray:
        """Choose requests int64 ``(N,)``: each agent's most preferred action, unless it conflicts with another's.

        Args:
            preferences: a policy's masked logits, ``(N, actions)``.
            readings: readings at this moment.
        """
        ...


class Reward(Protocol):
    """Ground truth of a step → named reward terms."""

    def terms(self, truth: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Term name → weighted values ``(N,)``; the sum of all terms is the reward."""
        ...


@runtime_checkable
class Controller(Protocol):
    """A learned policy or a rule. Evaluation, serving and fallbacks treat both alike.

    Attributes:
        name: name on the command line and in tables.
        program: a program for the plant's own local control; None: `act` decides.
        timed: whether `act` searches for as long as its time allows. Its result then depends on the machine.
    """

    name: str
    program: Any = None
    timed: bool = False

    def reset(self) -> None:
        """Forget everything about the last episode."""
        return

    def act(self, readings: Readings, observation: Observation) -> Requests:
        """Requests for all agents."""
        ...


def as_numbers(requests: Requests, agents: int, columns: int = 1) -> np.ndarray:
    """Copy requests into a float64 array ``(agents, columns)``.

    A single column may come as ``(agents,)``. Requests of another shape, or that are not numeric, give NaN everywhere.
    """
    try:
        numbers = np.array(requests, dtype=np.float64)
    except (TypeError, ValueError):
        return np.full((agents, columns), np.nan)
    if numbers.shape == (agents,) and columns == 1:
        return numbers[:, None]
    return numbers if numbers.shape == (agents, columns) else np.full((agents, columns), np.nan)
