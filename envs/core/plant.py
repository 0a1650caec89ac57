"""One plant in a process of its own, for `envs.core.vector`: a worker that forks a child for every episode.

Simulators do not leave a process as they found it: with SUMO 1.28 a later episode in the same process can part ways
with the same episode in a fresh one. So the worker, which keeps the site and all that is costly to build, never
simulates; each episode runs in a child that never simulated before. An episode is thus a function of its seed and the
requests alone, and can be played again to any point of it.
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
"""Name of an array in shared memory → shape and kind."""

PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Report:
    """What a plant answers to a step, beside what it writes into shared memory."""

    done: bool = False
    kpis: dict[str, float] = field(default_factory=dict)
    interventions: int = 0
    locked: bool = False


@dataclass(frozen=True)
class Begin:
    """Start an episode, carry out requests that were carried out before, then answer with a report."""

    seed: int
    requests: Sequence[np.ndarray] = ()
    report: Report = Report()


@dataclass(frozen=True)
class Step:
    """Carry out requests; if that ends the episode, begin the next with this seed."""

    requests: np.ndarray
    next_seed: int


@dataclass(frozen=True)
class Failure:
    """What went wrong: a sentence for users, or a trace."""

    text: str
    expected: bool


def views(memory: SharedMemory, fields: Fields) -> dict[str, np.ndarray]:
    """Arrays on shared memory, one after the other."""
    arrays, offset = {}, 0
    for name, (shape, kind) in fields.items():
        arrays[name] = np.ndarray(shape, kind, memory.buf, offset)
        offset += arrays[name].nbytes
    return arrays


def work(pipe: Connection, folder: str, scenario: Scenario, memory_name: str, fields: Fields, k: int) -> None:
    """The worker's life: begin episodes until the pipe says close (None), or is closed because the caller is gone.

    Temporary files lie in a folder that is the caller's to remove.
    """
    tempfile.tempdir = folder
    memory = SharedMemory(name=memory_name)
    mine = {name: view[k] for name, view in views(memory, fields).items()}
    loop = make_loop(scenario)
    gc.freeze()  # what children share is not copied because it was counted
    try:
        message = pipe.recv()
        while message is not None:
            message = _episode(pipe, loop, mine, message) if isinstance(message, Begin) else pipe.recv()
    except (EOFError, ConnectionResetError, BrokenPipeError):
        pass  # the caller is gone
    finally:
        mine.clear()


def _episode(pipe: Connection, loop: ControlLoop, mine: dict[str, np.ndarray], begin: Begin) -> Any:
    """Run an episode in a child; what is to be done after it."""
    ours, theirs = Pipe(duplex=False)
    child = os.fork()
    if child == 0:
        _child(pipe, theirs, loop, mine, begin)
    theirs.close()
    try:
        return ours.recv()
    except EOFError:
        os._exit(1)  # the child was killed, or out of memory: the caller is told by our end
    finally:
        ours.close()
        with suppress(ChildProcessError):
            os.waitpid(child, 0)


def _child(
    pipe: Connection, after: Connection, loop: ControlLoop, mine: dict[str, np.ndarray], begin: Begin
) -> NoReturn:
    """Play one episode, say what comes next, and end without the worker's clean-up."""
    if os.uname().sysname == "Linux":  # should the worker be killed, so are we
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    following: Any = "wait"
    try:
        following = _play(pipe, loop, mine, begin)
    except (EOFError, ConnectionResetError, BrokenPipeError):
        following = None
    except CityloopError as error:
        pipe.send(Failure(str(error), expected=True))
    except Exception:  # whatever went wrong belongs to the caller
        pipe.send(Failure(traceback.format_exc(), expected=False))
    finally:
        with suppress(Exception):
            loop.close()
        with suppress(OSError):
            after.send(following)
        os._exit(0)


def _play(pipe: Connection, loop: ControlLoop, mine: dict[str, np.ndarray], begin: Begin) -> Any:
    """An episode from its beginning to its end, or to another message than a step; that message, or the next begin."""
    loop.reset(begin.seed)
    for requests in begin.requests:
        loop.step(requests)
    if not begin.report.done:  # else the reward of the step that ended the episode before stands there
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
