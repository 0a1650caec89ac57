"""Many plants at once, array first: one simulator process each, observations through shared memory.

Results depend on seeds alone, not on which process is quicker: every step waits for all plants, and each plant draws
its own episodes' seeds. Systems whose plants are arrays themselves bring a `Vector` of their own instead.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.shared_memory import SharedMemory
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import numpy as np
from gymnasium.spaces import Space

from envs.core.children import CONTEXT, GUARD, UNSTARTED, start_child
from envs.core.env import SeedStream, make_loop
from envs.core.errors import CityloopError
from envs.core.loop import Layout, long_axes
from envs.core.plant import Begin, Failure, Report, Step, views, work
from envs.core.registry import get_system
from envs.core.scenario import Scenario

STEP_TIMEOUT_S = 300.0
"""A plant that does not answer for so long is taken for dead."""

DEATHS = 3
"""A plant that dies so often in a row, without a step in between, is given up."""

LOGGER = logging.getLogger(__name__)


@dataclass
class Batch:
    """What all plants report after a step, ``E`` environments of ``N`` agents.

    Attributes:
        observation: float32 ``(E, N, size)``, the first of the next episode where one has just ended.
        state: float32 ``(E, *state_shape)``.
        last_observation, last_state: the final ones of an episode that has just ended; stale elsewhere.
        reward: float64 ``(E, N)``.
        done: bool ``(E,)``, whether an episode has just ended.
        kpis: for each plant the indicators of the episode that has just ended, else empty.
        interventions: number of requests that the guard changed, ``(E,)``.
        terminated: bool ``(E,)``, whether it ended in a terminal state; None: all are truncated at their time limit.
        locked: bool ``(E,)``, whether it ended early as nothing moves any more (`World.locked`); None: never.
    """

    observation: np.ndarray
    state: np.ndarray
    last_observation: np.ndarray
    last_state: np.ndarray
    reward: np.ndarray
    done: np.ndarray
    kpis: list[dict[str, float]]
    interventions: np.ndarray
    terminated: np.ndarray | None = None
    locked: np.ndarray | None = None


class Vector(Protocol):
    """Plants that step together, wherever they are simulated.

    Attributes:
        num_envs: how many plants.
        agents: of each.
        layout: where each part of an observation lies.
        state_shape: of one plant's state.
        action_space: of one agent.
    """

    num_envs: int
    agents: int
    layout: Layout
    state_shape: tuple[int, ...]
    action_space: Space[Any]

    def reset(self, seed: int | None = None) -> Batch:
        """Start an episode in every plant."""
        ...

    def send(self, requests: np.ndarray) -> None:
        """Begin a step with requests ``(E, N)`` or ``(E, N, …)``; `receive` ends it. In between one may compute."""
        ...

    def receive(self) -> Batch:
        """Wait for the step that `send` began."""
        ...

    def get_state(self) -> Any:
        """Everything that decides what comes next, to be pickled."""
        ...

    def set_state(self, state: Any) -> Batch:
        """Go on from a state; the batch that was last received then (rewards and ends aside)."""
        ...

    def close(self) -> None:
        """Stop all plants. May be called twice."""
        ...


def check_shape(requests: np.ndarray, plants: Vector) -> tuple[int, ...]:
    """The shape ``(E, N, *action_space.shape)`` of requests; where an agent sets one number, ``(E, N)`` will do.

    Raises:
        CityloopError: if they are of another.
    """
    found, wanted = np.shape(requests), (plants.num_envs, plants.agents, *(plants.action_space.shape or ()))
    if found[:2] != wanted[:2] or long_axes(found[2:]) != long_axes(wanted[2:]):
        raise CityloopError(f"requests have shape {found}: give {wanted}")
    return wanted


def make_vector(scenario: Scenario, num_envs: int, seed: int = 0) -> Vector:
    """Plants of a scenario: as arrays in this process where the system has them, else in processes of their own.

    Args:
        scenario: what they simulate.
        num_envs: how many.
        seed: plant k begins with seed ``seed + k``.
    """
    make = get_system(scenario.system).make_vector
    return VectorEnv(scenario, num_envs, seed) if make is None else make(scenario, num_envs, seed)


class VectorEnv:
    """``num_envs`` plants of one scenario, each in a process of its own, starting a new episode when one ends.

    A plant that dies is replaced: its episode counts as ended, without indicators, and the next one begins.

    Args:
        scenario: a scenario or its reference.
        num_envs: how many plants.
        seed: plant k begins with seed ``seed + k``.
        settings: changes to the scenario.

    Attributes:
        loop: the scenario's loop, which never runs here; for its site and parts.
        lost: plants that died so far.

    Raises:
        CityloopError: if the scenario cannot be used, or there is no plant.
    """

    def __init__(self, scenario: str | Scenario, num_envs: int, seed: int = 0, **settings: Any):
        if not isinstance(num_envs, int) or num_envs < 1:
            raise CityloopError(f"num_envs is {num_envs!r}: give a whole number from 1 on")
        loop = make_loop(scenario, **settings)
        self.loop, self.num_envs, self._seed = loop, num_envs, seed
        self.agents, self.layout = len(loop.site.agents), loop.layout
        self.state_shape: tuple[int, ...] = loop.features.state_shape
        self.action_space = loop.action_space
        self._fields = {
            "reward": ((num_envs, self.agents), np.float64),  # first: eight-byte alignment
            "observation": ((num_envs, self.agents, loop.layout.size), np.float32),
            "state": ((num_envs, *loop.features.state_shape), np.float32),
            "last_observation": ((num_envs, self.agents, loop.layout.size), np.float32),
            "last_state": ((num_envs, *loop.features.state_shape), np.float32),
        }
        size = sum(int(np.prod(shape)) * np.dtype(kind).itemsize for shape, kind in self._fields.values())
        self._memory: SharedMemory | None = SharedMemory(create=True, size=size)
        self._arrays = views(self._memory, self._fields)
        self._plants: list[_Plant] = []
        self.lost = 0
        self._begun = False
        try:
            for k in range(num_envs):
                self._plants.append(_Plant(loop.scenario, self._memory.name, self._fields, k))
        except BaseException:
            self.close()
            raise

    def reset(self, seed: int | None = None) -> Batch:
        """Start an episode in every plant: plant k at ``seed + k``; None: at the seed that it was made with.

        Raises:
            CityloopError: if the plants are closed, or the seed is no whole number from 0 up.
        """
        if self._memory is None:
            raise CityloopError("the plants are closed: make new ones")
        first = self._seed if seed is None else seed
        for k, plant in enumerate(self._plants):
            plant.seeds.start(first + k)
        for plant in self._plants:
            plant.begin()
        self._begun = True
        return self.receive()

    def step(self, requests: np.ndarray) -> Batch:
        """Carry out one decision in every plant; see `send`."""
        self.send(requests)
        return self.receive()

    def send(self, requests: np.ndarray) -> None:
        """Begin a step with requests ``(E, N, *action_space.shape)``; `receive` ends it. In between one may compute.

        Where an agent sets one number, ``(E, N)`` will do.

        Raises:
            CityloopError: if no episode has begun, or the requests are of another shape.
        """
        if not self._begun:
            raise CityloopError("no episode is under way: call reset() before step()")
        check_shape(requests, self)
        for plant, rows in zip(self._plants, requests, strict=True):
            plant.step(np.array(rows))

    def receive(self) -> Batch:
        """Wait for the step that `send` began.

        Raises:
            CityloopError: if a plant says that its scenario cannot be used, or dies again and again.
        """
        reports = [self._answer(k) for k in range(self.num_envs)]
        copies = {name: array.copy() for name, array in self._arrays.items()}
        return Batch(
            **copies,
            done=np.array([report.done for report in reports]),
            kpis=[report.kpis for report in reports],
            interventions=np.array([report.interventions for report in reports]),
            locked=np.array([report.locked for report in reports]),
        )

    def _answer(self, k: int) -> Report:
        plant = self._plants[k]
        try:
            return plant.answer()
        except _DeathError as death:
            self.lost += 1
            LOGGER.warning("plant %d of %s died (%s); it was replaced", k, self.loop.scenario.ref, death)
            for name in ("observation", "state"):
                self._arrays[f"last_{name}"][k] = self._arrays[name][k]
            plant.replace()
            self._answer(k)
            self._arrays["reward"][k] = 0.0
            return Report(done=True)

    def get_state(self) -> Any:
        """Each plant's seeds, and the requests of its running episode: played again, they lead to the same point."""
        return [plant.get_state() for plant in self._plants]

    def set_state(self, state: Any) -> Batch:
        """Play every plant's running episode again to the point of the state; the batch at that point."""
        for plant, saved in zip(self._plants, state, strict=True):
            plant.set_state(saved)
        self._begun = True
        return self.receive()

    def close(self) -> None:
        """Stop all plants and free the memory. May be called twice."""
        for plant in self._plants:
            plant.close()
        for plant in self._plants:
            plant.join()
        self._plants, self._begun = [], False
        self._arrays = {}
        if self._memory is not None:
            self._memory.close()
            self._memory.unlink()
            self._memory = None

    def __enter__(self) -> VectorEnv:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _DeathError(Exception):
    """A plant's process is gone, or silent for too long."""


class _Plant:
    """The caller's end of one plant: its process, its seeds, and what its running episode was asked for."""

    def __init__(self, scenario: Scenario, memory: str, fields: Any, k: int):
        self._arguments = (scenario, memory, fields, k)
        self._name = f"plant {k} of {scenario.ref}"
        self.seeds = SeedStream(scenario, 0)
        self._seed, self._requests, self._deaths = 0, [], 0  # type: tuple[int, list[np.ndarray], int]
        self._heard = False
        self._start()

    def _start(self) -> None:
        self._pipe, theirs = CONTEXT.Pipe()
        # Ours to remove: a process that is killed takes nothing along, and its child may live a moment longer.
        self._folder = TemporaryDirectory(prefix="cityloop-", ignore_cleanup_errors=True)
        self._process = start_child(work, theirs, self._folder.name, *self._arguments)
        theirs.close()

    def begin(self) -> None:
        """Begin the next episode."""
        self._seed, self._requests = self.seeds.take(), []
        self._post(Begin(self._seed))

    def step(self, requests: np.ndarray) -> None:
        """Carry out requests."""
        self._requests.append(requests)
        self._post(Step(requests, self.seeds.next))

    def _post(self, message: Any) -> None:
        with suppress(OSError):  # it is dead: the answer will not come
            self._pipe.send(message)

    def answer(self) -> Report:
        """The report on what was asked last.

        Raises:
            _DeathError: if the plant is dead.
            CityloopError: if the scenario cannot be used, or no process for it ever began.
        """
        pipe: Connection = self._pipe
        try:
            if not pipe.poll(STEP_TIMEOUT_S):
                raise _DeathError(f"no answer for {STEP_TIMEOUT_S:g} s")
            answer = pipe.recv()
        except (EOFError, ConnectionResetError):
            self._process.join(5)
            code = self._process.exitcode
            if code == UNSTARTED and not self._heard:
                raise CityloopError(f"{self._name}: its process ended as it started: {GUARD}") from None
            raise _DeathError(f"exit code {code}") from None
        self._heard = True
        if isinstance(answer, Failure):
            if answer.expected:
                raise CityloopError(answer.text)
            raise CityloopError(f"{self._name} failed: {answer.text.splitlines()[-1]}") from RuntimeError(answer.text)
        if answer.done:
            self._seed, self._requests = self.seeds.take(), []
        if self._requests:
            self._deaths = 0
        return answer

    def replace(self) -> None:
        """Start another process in place of a dead one, and an episode in it.

        Raises:
            CityloopError: if that was done `DEATHS` times in a row.
        """
        self._deaths += 1
        code = self._process.exitcode
        if self._deaths >= DEATHS:
            times = f"died {DEATHS} times in a row (exit code {code})"
            raise CityloopError(f"{self._name} {times}: is there enough memory?")
        self._pipe.close()
        self._process.kill()
        self._process.join()
        self._folder.cleanup()
        self._start()
        self.begin()

    def get_state(self) -> tuple[Any, int, np.ndarray]:
        """Seeds to come, the running episode's seed, and its requests."""
        return self.seeds.get_state(), self._seed, np.array(self._requests)

    def set_state(self, state: tuple[Any, int, np.ndarray]) -> None:
        """Begin to play an episode again."""
        seeds, self._seed, requests = state
        self.seeds.set_state(seeds)
        self._requests = list(requests)
        self._post(Begin(self._seed, self._requests))

    def close(self) -> None:
        """Tell the process to end."""
        self._post(None)
        self._pipe.close()

    def join(self) -> None:
        """Wait for its end; make it end if it does not."""
        self._process.join(5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._folder.cleanup()
