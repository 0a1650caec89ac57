"""Vectorised plants of any system: one simulator process per plant, with observations in shared memory.

Results depend on seeds alone, not on the speed of processes: every step waits for all plants, and each plant draws the
seeds of its own episodes.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.shared_memory import SharedMemory
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from envs.core.env import SeedStream, make_loop
from envs.core.errors import CityloopError
from envs.core.machine.children import CONTEXT, MAIN_HINT, UNSTARTED, start_child
from envs.core.plant import Begin, Failure, Replaying, Report, Step, views, work
from envs.core.registry import get_system
from envs.core.scenario import Scenario
from envs.core.vector import Batch, Vector, check_shape

STEP_TIMEOUT_S = 300.0
"""Seconds without an answer, or a sign of life, after which a plant counts as dead."""

DEATHS = 3
"""Deaths in a row, without a step in between, after which a plant is not replaced again."""

LOGGER = logging.getLogger(__name__)


def make_vector(scenario: Scenario, num_envs: int, seed: int = 0) -> Vector:
    """Plants of a scenario: array code in this process if the system provides it, otherwise one process per plant.

    Args:
        scenario: the scenario.
        num_envs: number of plants.
        seed: plant k begins with seed ``seed + k``.
    """
    make = get_system(scenario.system).make_vector
    return VectorEnv(scenario, num_envs, seed) if make is None else make(scenario, num_envs, seed)


class VectorEnv:
    """Plants of one scenario, each in a process of its own, that start a new episode when one ends.

    A plant that dies is replaced: its episode counts as ended, without indicators, and the next one begins.

    Args:
        scenario: a scenario or its reference.
        num_envs: number of plants.
        seed: plant k begins with seed ``seed + k``.
        settings: changes to the scenario.

    Attributes:
        loop: the scenario's loop, for its site and parts; it never runs in this process.
        lost: number of plants that have died.

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
        """Start an episode in every plant.

        Args:
            seed: plant k begins with seed ``seed + k``; None: the seed of the constructor.

        Raises:
            CityloopError: if the plants are closed, or the seed is not a whole number from 0 up.
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
        """Begin a step with requests ``(E, N, *action_space.shape)``; `receive` ends it.

        The caller may compute in between. If an agent sets one number, the shape ``(E, N)`` is accepted too.

        Raises:
            CityloopError: if no episode has begun, or the requests have another shape.
        """
        if not self._begun:
            raise CityloopError("no episode is under way: call reset() before step()")
        check_shape(requests, self)
        for plant, rows in zip(self._plants, requests, strict=True):
            plant.step(np.array(rows))

    def receive(self) -> Batch:
        """Wait for the step that `send` began.

        Raises:
            CityloopError: if a plant reports that its scenario cannot be used, or dies `DEATHS` times in a row.
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
        """Each plant's seeds, and the requests of its running episode, whose replay leads to the same point."""
        return [plant.get_state() for plant in self._plants]

    def set_state(self, state: Any) -> Batch:
        """Replay every plant's running episode up to the saved point, and return the batch there."""
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
    """A plant's process has ended, or has not answered in time."""


class _Plant:
    """The caller's end of one plant: its process, its seeds, and the requests of its running episode."""

    def __init__(self, scenario: Scenario, memory: str, fields: Any, k: int):
        self._arguments = (scenario, memory, fields, k)
        self._name = f"plant {k} of {scenario.ref}"
        self.seeds = SeedStream(scenario, 0)
        self._seed, self._requests, self._deaths = 0, [], 0  # type: tuple[int, list[np.ndarray], int]
        self._heard = False
        self._start()

    def _start(self) -> None:
        self._pipe, theirs = CONTEXT.Pipe()
        # Removed by this process: a killed worker cannot, and its child may live a moment longer.
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
        with suppress(OSError):  # the plant is dead: `answer` will notice
            self._pipe.send(message)

    def answer(self) -> Report:
        """Wait for the report on the last message.

        Raises:
            _DeathError: if the plant is dead.
            CityloopError: if the scenario cannot be used, or the plant's process failed to start.
        """
        try:
            while isinstance(answer := self._hear(), Replaying):
                pass
        except (EOFError, ConnectionResetError):
            self._process.join(5)
            code = self._process.exitcode
            if code == UNSTARTED and not self._heard:
                raise CityloopError(f"{self._name}: its process ended as it started: {MAIN_HINT}") from None
            raise _DeathError(f"exit code {code}") from None
        self._heard = True
        if isinstance(answer, Failure):
            if answer.expected:
                raise CityloopError(answer.text)
            raise CityloopError(f"{self._name} failed: {answer.text.splitlines()[-1]}") from RuntimeError(answer.text)
        if self._requests:
            self._deaths = 0
        if answer.done:
            self._seed, self._requests = self.seeds.take(), []
        return answer

    def _hear(self) -> Any:
        """The plant's next message."""
        pipe: Connection = self._pipe
        if not pipe.poll(STEP_TIMEOUT_S):
            raise _DeathError(f"no answer for {STEP_TIMEOUT_S:g} s")
        return pipe.recv()

    def replace(self) -> None:
        """Replace a dead process, and begin an episode in the new one.

        Raises:
            CityloopError: if the plant has died `DEATHS` times in a row.
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
        """State of the seed stream, seed of the running episode, and its requests."""
        return self.seeds.get_state(), self._seed, np.array(self._requests)

    def set_state(self, state: tuple[Any, int, np.ndarray]) -> None:
        """Begin the replay of a saved episode."""
        seeds, self._seed, requests = state
        self.seeds.set_state(seeds)
        self._requests = list(requests)
        self._post(Begin(self._seed, self._requests))

    def close(self) -> None:
        """Tell the process to end."""
        self._post(None)
        self._pipe.close()

    def join(self) -> None:
        """Wait for the process to end; kill it after five seconds."""
        self._process.join(5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._folder.cleanup()
