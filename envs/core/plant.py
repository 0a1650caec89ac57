"""Worker process of one plant, for `envs.core.vector_env`; it forks a child for every episode.

Simulators leave state behind in a process: with SUMO 1.28 a later episode in the same process can differ from the same
episode in a fresh one. Therefore the worker, which keeps the site and everything that is costly to build, never
simulates, and each episode runs in a child that has not simulated before. An episode is thus a function of its seed
and the requests alone, and can be replayed to any point.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from multiprocessing.shared_memory import SharedMemory
from typing import Any, NoReturn

import numpy as np

from envs.core.env import make_loop
from envs.core.errors import CityloopError
from envs.core.loop import ControlLoop
from envs.core.scenario import Scenario

Fields = Mapping[str, tuple[tuple[int, ...], Any]]
"""Name of an array in shared memory → shape and dtype."""

PR_SET_PDEATHSIG = 1
"""Option of Linux's prctl: the signal that a process gets when its parent dies."""

BEAT = 10
"""Decisions of a replay between two signs of life."""


@dataclass(frozen=True)
class Report:
    """Answer of a plant to a step, beside the arrays in shared memory."""

    done: bool = False
    kpis: dict[str, float] = field(default_factory=dict)
    interventions: int = 0
    locked: bool = False


@dataclass(frozen=True)
class Begin:
    """Message: start an episode, replay earlier requests, then answer with a report."""

    seed: int
    requests: Sequence[np.ndarray] = ()
    report: Report = Report()


@dataclass(frozen=True)
class Step:
    """Message: carry out requests; if the episode ends, start the next one with the given seed."""

    requests: np.ndarray
    next_seed: int


@dataclass(frozen=True)
class Replaying:
    """Sign of life during a replay, which takes as long as all its steps; the report follows."""


@dataclass(frozen=True)
class Failure:
    """Answer after an error: a sentence for users if it was expected, otherwise a traceback."""

    text: str
    expected: bool


def views(memory: SharedMemory, fields: Fields) -> dict[str, np.ndarray]:
    """Arrays on shared memory, laid out one after the other."""
    arrays, offset = {}, 0
    for name, (shape, kind) in fields.items():
        arrays[name] = np.ndarray(shape, kind, memory.buf, offset)
        offset += arrays[name].nbytes
    return arrays


def work(pipe: Connection, folder: str, scenario: Scenario, memory_name: str, fields: Fields, k: int) -> None:
    """Main function of a worker: run episodes until the pipe delivers None, or is closed because the caller has ended.

    Args:
        pipe: connection to the caller.
        folder: folder for temporary files; the caller removes it.
        scenario: scenario of the plant.
        memory_name: name of the shared memory of all plants.
        fields: arrays in the shared memory.
        k: index of this plant in the arrays.
    """
    tempfile.tempdir = folder
    memory = SharedMemory(name=memory_name)
    mine = {name: view[k] for name, view in views(memory, fields).items()}
    loop = make_loop(scenario)
    with suppress(Exception):  # raised again, and reported, when an episode begins
        loop.world.prepare()
    gc.freeze()  # collections in children then do not touch, and so do not copy, shared memory pages
    try:
        message = pipe.recv()
        while message is not None:
            message = _episode(pipe, loop, mine, message) if isinstance(message, Begin) else pipe.recv()
    except (EOFError, ConnectionResetError, BrokenPipeError):
        pass  # the caller has ended
    finally:
        mine.clear()


def _episode(pipe: Connection, loop: ControlLoop, mine: dict[str, np.ndarray], begin: Begin) -> Any:
    """Run an episode in a child process, and return the message to handle next."""
    ours, theirs = Pipe(duplex=False)
    child = os.fork()
    if child == 0:
        _child(pipe, theirs, loop, mine, begin)
    theirs.close()
    try:
        return ours.recv()
    except EOFError:
        os._exit(1)  # the child was killed or ran out of memory: this worker's exit tells the caller
    finally:
        ours.close()
        with suppress(ChildProcessError):
            os.waitpid(child, 0)


def _child(
    pipe: Connection, after: Connection, loop: ControlLoop, mine: dict[str, np.ndarray], begin: Begin
) -> NoReturn:
    """Run one episode, send the message to handle next, and exit without the worker's clean-up."""
    if os.uname().sysname == "Linux":  # this child is killed together with the worker
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    following: Any = "wait"
    try:
        following = _play(pipe, loop, mine, begin)
    except (EOFError, ConnectionResetError, BrokenPipeError):
        following = None
    except CityloopError as error:
        pipe.send(Failure(str(error), expected=True))
    except Exception:  # every other error is reported to the caller
        pipe.send(Failure(traceback.format_exc(), expected=False))
    finally:
        with suppress(Exception):
            loop.close()
        with suppress(OSError):
            after.send(following)
        os._exit(0)


def _play(pipe: Connection, loop: ControlLoop, mine: dict[str, np.ndarray], begin: Begin) -> Any:
    """Run an episode until it ends or a message other than `Step` comes.

    Returns:
        The `Begin` of the next episode, or that message.
    """
    loop.reset(begin.seed)
    for k, requests in enumerate(begin.requests, 1):
        loop.step(requests)
        if k % BEAT == 0:
            pipe.send(Replaying())
    if not begin.report.done:  # otherwise the array holds the reward of the step that ended the previous episode
        mine["reward"][:] = 0.0
    _see(loop, mine)
    pipe.send(begin.report)
    while isinstance(message := pipe.recv(), Step):
        step = loop.step(message.requests)
        mine["reward"][:] = step.reward
        report = Report(step.done, step.kpis, len(step.interventions), step.done and loop.world.locked)
        if step.done:
            _see(loop, mine, "last_")
            return Begin(message.next_seed, report=report)
        _see(loop, mine)
        pipe.send(report)
    return message


def _see(loop: ControlLoop, mine: dict[str, np.ndarray], prefix: str = "") -> None:
    mine[prefix + "observation"][:] = loop.layout.flatten(loop.observation)
    mine[prefix + "state"][:] = loop.features.state(loop.readings)
