"""Many plants at once, array first: one simulator process each, observations through shared memory.

Results depend on seeds alone, not on which process is quicker: every step waits for all plants, and each plant draws
its own episodes' seeds.
"""

from __future__ import annotations

import multiprocessing as mp
import os
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import numpy as np

from envs.core.env import SeedStream, make_loop
from envs.core.errors import CityloopError
from envs.core.loop import ControlLoop
from envs.core.scenario import Scenario

STEP_TIMEOUT_S = 300.0
"""A plant that does not answer for so long is taken for dead."""


@dataclass
class Batch:
    """What all plants report after a step, ``E`` environments of ``N`` agents.

    Attributes:
        observation: float32 ``(E, N, size)``, the first of the next episode where one has just ended.
        state: float32 ``(E, *state_shape)``.
        last_observation, last_state: what an episode that has just ended ended with; stale elsewhere.
        reward: float64 ``(E, N)``.
        done: bool ``(E,)``, whether an episode has just ended (by truncation).
        kpis: for each plant the indicators of the episode that has just ended, else empty.
        interventions: number of requests that the guard changed, ``(E,)``.
    """

    observation: np.ndarray
    state: np.ndarray
    last_observation: np.ndarray
    last_state: np.ndarray
    reward: np.ndarray
    done: np.ndarray
    kpis: list[dict[str, float]]
    interventions: np.ndarray


class VectorEnv:
    """``num_envs`` plants of one scenario, each in a process of its own, starting a new episode when one ends.

    Args:
        scenario: a scenario or its reference.
        num_envs: how many plants.
        seed: plant k begins with seed ``seed + k``.
        settings: changes to the scenario.

    Raises:
        CityloopError: if the scenario cannot be used.
    """

    def __init__(self, scenario: str | Scenario, num_envs: int, seed: int = 0, **settings: Any):
        loop = make_loop(scenario, **settings)
        self.loop, self.num_envs, self._seed = loop, num_envs, seed
        n = len(loop.site.agents)
        self._fields = {
            "reward": ((num_envs, n), np.float64),  # first: eight-byte alignment
            "observation": ((num_envs, n, loop.layout.size), np.float32),
            "state": ((num_envs, *loop.features.state_shape), np.float32),
            "last_observation": ((num_envs, n, loop.layout.size), np.float32),
            "last_state": ((num_envs, *loop.features.state_shape), np.float32),
        }
        size = sum(int(np.prod(shape)) * np.dtype(kind).itemsize for shape, kind in self._fields.values())
        self._memory: SharedMemory | None = SharedMemory(create=True, size=size)
        self._arrays = _views(self._memory, self._fields)
        context = mp.get_context("spawn")
        self._pipes: list[Connection] = []
        self._workers = []
        for k in range(num_envs):
            ours, theirs = context.Pipe()
            arguments = (theirs, loop.scenario, self._memory.name, self._fields, k)
            worker = context.Process(target=_worker, args=arguments, daemon=True)
            worker.start()
            theirs.close()
            self._pipes.append(ours)
            self._workers.append(worker)

    def reset(self, seed: int | None = None) -> Batch:
        """Start an episode in every plant."""
        first = self._seed if seed is None else seed
        for k in range(self.num_envs):
            self._post(k, ("reset", first + k))
        return self.receive()

    def step(self, requests: np.ndarray) -> Batch:
        """Carry out one decision in every plant; requests ``(E, N)`` or ``(E, N, …)``."""
        self.send(requests)
        return self.receive()

    def send(self, requests: np.ndarray) -> None:
        """Begin a step; `receive` ends it. In between the caller may compute."""
        for k, rows in enumerate(requests):
            self._post(k, ("step", np.asarray(rows)))

    def receive(self) -> Batch:
        """Wait for the step that `send` began.

        Raises:
            CityloopError: if a plant failed or died.
        """
        answers = [self._answer(k) for k in range(self.num_envs)]
        copies = {name: array.copy() for name, array in self._arrays.items()}
        done, kpis, interventions = zip(*answers, strict=True)
        return Batch(**copies, done=np.array(done), kpis=list(kpis), interventions=np.array(interventions))

    def _post(self, k: int, message: tuple[str, Any]) -> None:
        try:
            self._pipes[k].send(message)
        except OSError:
            raise self._death(k) from None

    def _answer(self, k: int) -> tuple[bool, dict[str, float], int]:
        pipe = self._pipes[k]
        try:
            if not pipe.poll(STEP_TIMEOUT_S):
                raise CityloopError(f"plant {k} did not answer for {STEP_TIMEOUT_S:g} s: it was taken for dead")
            kind, content = pipe.recv()
        except (EOFError, ConnectionResetError):
            raise self._death(k) from None
        if kind == "error":
            raise CityloopError(content)
        if kind == "trace":
            raise RuntimeError(f"plant {k} failed:\n{content}")
        return content

    def _death(self, k: int) -> CityloopError:
        self._workers[k].join(5)
        return CityloopError(f"plant {k} died (exit code {self._workers[k].exitcode}): start anew")

    def close(self) -> None:
        """Stop all plants and free the memory. May be called twice."""
        for pipe in self._pipes:
            try:
                pipe.send(("close", None))
                pipe.close()
            except OSError:
                continue  # already dead
        for worker in self._workers:
            worker.join(5)
            if worker.is_alive():
                worker.kill()
                worker.join()
        self._pipes, self._workers = [], []
        self._arrays = {}
        if self._memory is not None:
            self._memory.close()
            self._memory.unlink()
            self._memory = None

    def __enter__(self) -> VectorEnv:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _views(memory: SharedMemory, fields: dict[str, Any]) -> dict[str, np.ndarray]:
    views, offset = {}, 0
    for name, (shape, kind) in fields.items():
        views[name] = np.ndarray(shape, kind, memory.buf, offset)
        offset += views[name].nbytes
    return views


def _worker(pipe: Connection, scenario: Scenario, memory_name: str, fields: dict[str, Any], k: int) -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    memory = SharedMemory(name=memory_name)
    mine = {name: view[k] for name, view in _views(memory, fields).items()}
    loop = make_loop(scenario)
    try:
        _serve(pipe, loop, mine)
    except (EOFError, KeyboardInterrupt, BrokenPipeError):
        pass  # the parent is gone or is going
    finally:
        loop.close()
        mine.clear()


def _serve(pipe: Connection, loop: ControlLoop, mine: dict[str, np.ndarray]) -> None:
    seeds = SeedStream(loop.scenario, 0)
    while True:
        verb, content = pipe.recv()
        if verb == "close":
            return
        try:
            pipe.send(("ok", _do(verb, content, loop, seeds, mine)))
        except CityloopError as error:
            pipe.send(("error", str(error)))
        except Exception:  # whatever went wrong belongs to the parent
            pipe.send(("trace", traceback.format_exc()))


def _do(
    verb: str, content: Any, loop: ControlLoop, seeds: SeedStream, mine: dict[str, np.ndarray]
) -> tuple[bool, dict[str, float], int]:
    done, kpis, interventions = False, {}, 0
    if verb == "reset":
        seeds.start(content)
        loop.reset(seeds.take())
        mine["reward"][:] = 0.0
    else:
        step = loop.step(content)
        mine["reward"][:] = step.reward
        done, kpis, interventions = step.done, step.kpis, len(step.interventions)
        if done:
            _see(loop, mine, "last_")
            loop.reset(seeds.take())
    _see(loop, mine)
    return done, kpis, interventions


def _see(loop: ControlLoop, mine: dict[str, np.ndarray], prefix: str = "") -> None:
    mine[prefix + "observation"][:] = loop.layout.flatten(loop.observation)
    mine[prefix + "state"][:] = loop.features.state(loop.readings)
