"""Whole episodes of frozen controllers in parallel processes: a task is one controller on one seed of a scenario.

The result of a task depends on the task alone, not on the number or speed of processes: every episode has a controller
of its own. Workers end on request, and by themselves if the caller has ended.
"""

from __future__ import annotations

import os
import re
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from agents import make_controller
from envs.core.env import make_loop
from envs.core.errors import CityloopError
from envs.core.loop import ControlLoop
from envs.core.machine.children import CONTEXT, MAIN_HINT, UNSTARTED, start_child
from envs.core.scenario import Scenario
from envs.core.world import Controller

STALL_S = 300.0
"""Seconds of silence after which a worker counts as dead."""

PLACED = re.compile(r'File "(.+)", line (\d+)')
"""Pattern of a position in Python's tracebacks."""

BEAT_S = 5.0
"""Seconds between two heartbeats of a worker."""

KEPT = 64
"""Most controllers that a worker keeps, because a long training run validates many of them."""

Maker = Callable[[str, Any], Controller]

Progress = Callable[[int, int], None]
"""Called with (episodes done, episodes in all)."""


@dataclass(frozen=True)
class EpisodeTask:
    """One controller on one seed.

    Attributes:
        controller: its name, or another text that the pool's ``make`` accepts.
        seed: seed of the episode.
        place: index into the pool's scenarios.
    """

    controller: str
    seed: int
    place: int = 0


@dataclass(frozen=True)
class Episode:
    """Result of one task.

    Attributes:
        controller, seed: the task.
        kpis: the plant's indicators.
        reward: sum over decisions of the agents' mean reward. If an episode ends early in a deadlock (`World.locked`),
            every remaining decision counts like the last one.
        interventions: number of requests that the guard changed.
        time_s: simulated time of every decision, ``(T,)``.
        trace: the world's totals at every decision, each ``(T,)``.
        drawn: the readings in `System.drawn`, e.g. ``stage``, at every decision, each ``(T, …)``; int64 for choices,
            float32 for quantities.
        places: indicators by place: indicator → place → value.
        periods: indicators by period: period → indicator → value.
    """

    controller: str
    seed: int
    kpis: dict[str, float]
    reward: float
    interventions: int
    time_s: np.ndarray
    trace: dict[str, np.ndarray]
    drawn: dict[str, np.ndarray]
    places: dict[str, dict[str, float]] = field(default_factory=dict)
    periods: dict[str, dict[str, float]] = field(default_factory=dict)


def play(loop: ControlLoop, controller: Controller, task: EpisodeTask, check: Callable[[], None]) -> Episode:
    """Run one episode; ``check`` is called at every decision and may raise to end it."""
    controller.reset()
    loop.reset(task.seed, controller.program)
    columns = {name: name in loop.system.choices for name in loop.system.drawn}
    times: list[float] = []
    samples: list[dict[str, float]] = []
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in columns}
    reward, interventions = 0.0, 0
    step = None
    while step is None or not step.done:
        check()
        times.append(loop.world.time_s)
        samples.append(loop.world.trace())
        for name, whole in columns.items():
            drawn[name].append(loop.readings[name].astype(np.int64 if whole else np.float32))
        program = controller.program is not None
        step = loop.step(None if program else controller.act(dict(loop.readings), loop.observation))
        reward += float(step.reward.mean())
        interventions += len(step.interventions)
        if not np.isfinite(reward):
            wrong = [name for name, values in step.terms.items() if not np.isfinite(values).all()]
            raise CityloopError(
                f"{loop.scenario.ref}: the reward is {reward} at {times[-1]:g} s, with which nothing compares: let its "
                f"terms be finite ({', '.join(wrong) or 'their sum'} is not)"
            )
    for name, value in step.kpis.items():
        if not np.isfinite(value):
            raise CityloopError(
                f"{loop.scenario.ref}: indicator {name!r} is {value}, with which nothing compares: let the world give "
                "a number, such as 0 if nothing was measured"
            )
    if loop.world.locked:
        reward += (loop.scenario.decisions - len(times)) * float(step.reward.mean())
    trace = {name: np.array([sample[name] for sample in samples]) for name in samples[0]}
    history = {name: np.array(values) for name, values in drawn.items()}
    return Episode(
        controller=task.controller,
        seed=task.seed,
        kpis=step.kpis,
        reward=reward,
        interventions=interventions,
        time_s=np.array(times),
        trace=trace,
        drawn=history,
        places=loop.world.places(),
        periods=loop.world.periods(),
    )


def run_episodes(
    scenario: Scenario,
    tasks: Sequence[EpisodeTask],
    processes: int | None = None,
    on_progress: Progress | None = None,
    make: Maker = make_controller,
) -> list[Episode]:
    """Run all tasks on one scenario and return their episodes in the tasks' order.

    Args:
        scenario: the scenario.
        tasks: the tasks.
        processes: number of processes; None: one per core.
        on_progress: called after every episode.
        make: as for `EpisodePool`.

    Raises:
        CityloopError: if an episode fails, with its controller and seed. No process is left behind.
    """
    with closing(EpisodePool([scenario], min(processes or cores(), len(tasks)), make)) as pool:
        return pool.run(tasks, on_progress)


def cores() -> int:
    """Number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


ANSWERED = 86
"""Exit code of an episode's process that has sent its answer; a controller may end the process with any other."""

LARGEST_EXIT = 191
"""Largest exit code of a process that was not killed by a signal."""


def _how_it_ended(code: int | None, begun: bool) -> str:
    """Cause of a process's silent end. Signals have negative exit codes, or 256 less their number for an episode."""
    if code == UNSTARTED and not begun:
        return f"ended as it started: {MAIN_HINT}"
    number = (256 - code if code > LARGEST_EXIT else -code) if code is not None else 0
    with suppress(ValueError):
        name = signal.Signals(number).name
        return f"was killed ({name}); is there enough memory?" if name == "SIGKILL" else f"crashed ({name})"
    return f"ended (exit code {code}); is there enough memory?"


class _Worker:
    """The caller's end of one process."""

    def __init__(self, scenarios: Sequence[Scenario], make: Maker):
        self.pipe, theirs = CONTEXT.Pipe()
        self.process = start_child(_work, theirs, scenarios, make)
        theirs.close()
        self.task = -1
        self.heard = time.monotonic()
        self.begun = False

    def give(self, k: int, task: EpisodeTask) -> None:
        self.task, self.heard = k, time.monotonic()
        with suppress(OSError):  # the worker is dead: its missing answer will be noticed
            self.pipe.send(task)


class EpisodePool:
    """A pool of processes that take tasks from a queue. Unlike in standard pools, they end if this process is killed.

    Args:
        scenarios: scenarios of the episodes.
        processes: number of processes.
        make: picklable function that makes a controller from a task's name and a site.
    """

    def __init__(self, scenarios: Sequence[Scenario], processes: int, make: Maker = make_controller):
        self._workers: list[_Worker] = []
        try:
            for _ in range(processes):
                self._workers.append(_Worker(scenarios, make))
        except BaseException:
            self.close()
            raise

    def run(self, tasks: Sequence[EpisodeTask], on_progress: Progress | None = None) -> list[Episode]:
        """Run all tasks and return their episodes in the tasks' order.

        Raises:
            CityloopError: if an episode fails, with its controller and seed. The pool is then closed.
        """
        episodes: dict[int, Episode] = {}
        try:
            for k, episode in self._run(tasks):
                episodes[k] = episode
                if on_progress is not None:
                    on_progress(len(episodes), len(tasks))
        except BaseException:
            self.close()
            raise
        return [episodes[k] for k in range(len(tasks))]

    def _run(self, tasks: Sequence[EpisodeTask]) -> Iterator[tuple[int, Episode]]:
        """Yield (task's index, episode) as they come."""
        queue = iter(enumerate(tasks))
        busy = {}
        for worker, (k, task) in zip(self._workers, queue, strict=False):
            worker.give(k, task)
            busy[worker.pipe] = worker
        while busy:
            turn_s = time.monotonic()
            for pipe in wait(list(busy), timeout=BEAT_S):
                worker = busy[pipe]  # type: ignore[index]
                episode = self._hear(worker, tasks[worker.task])
                if episode is None:
                    continue
                yield worker.task, episode
                following = next(queue, None)
                if following is None:
                    del busy[worker.pipe]
                else:
                    worker.give(*following)
            if time.monotonic() - turn_s > 2 * BEAT_S:  # this process was stopped (Ctrl-Z), maybe workers too
                for worker in busy.values():
                    worker.heard = time.monotonic()
            self._refuse_stalled(busy.values(), tasks)

    def _hear(self, worker: _Worker, task: EpisodeTask) -> Episode | None:
        """An episode, or None for a sign of life."""
        where = f"controller {task.controller!r} with seed {task.seed}"
        worker.heard = time.monotonic()
        try:
            kind, content = worker.pipe.recv()
            worker.begun = True
        except (EOFError, ConnectionResetError):
            worker.process.join(5)
            how = _how_it_ended(worker.process.exitcode, worker.begun)
            raise CityloopError(f"{where}: its process {how}") from None
        if kind == "error":
            raise CityloopError(f"{where}: {content}")
        if kind == "trace":
            last = content.strip().splitlines()[-1]
            file, line = PLACED.findall(content)[-1]
            raise CityloopError(f"{where} failed: {last} ({Path(file).name}, line {line})") from RuntimeError(content)
        return content

    def _refuse_stalled(self, workers: Any, tasks: Sequence[EpisodeTask]) -> None:
        for worker in workers:
            if time.monotonic() - worker.heard > STALL_S:
                task = tasks[worker.task]
                raise CityloopError(
                    f"controller {task.controller!r} with seed {task.seed}: no sign of life for {STALL_S:g} s"
                )

    def close(self) -> None:
        """Stop all workers. A worker in the middle of an episode stops at its next decision."""
        for worker in self._workers:
            if not (worker.begun or worker.pipe.poll()):  # the worker is still importing, and has nothing to clean up
                worker.process.kill()
            worker.pipe.close()
        for worker in self._workers:
            worker.process.join(10)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        self._workers = []


class _StopError(Exception):
    """The caller has cancelled the episode."""


def _work(pipe: Connection, scenarios: Sequence[Scenario], make: Maker) -> None:
    """Main function of a worker: it keeps the sites and the controllers, and forks a child for every episode.

    Simulators leave state behind in a process: with SUMO 1.28 a later episode in the same process can differ from the
    same episode in a fresh one. Therefore each episode runs in a process that has not simulated before.
    """
    os.dup2(2, 1)  # simulators print; standard output belongs to the caller's results
    kit = _Kit(scenarios, make)
    try:
        while True:
            task = pipe.recv()
            try:
                loop, controller = kit.prepare(task)
            except CityloopError as error:
                pipe.send(("error", str(error)))
                continue
            except Exception:  # whatever went wrong belongs to the caller
                pipe.send(("trace", traceback.format_exc()))
                continue
            child = os.fork()
            if child == 0:
                _child(pipe, loop, controller, task)
            _, status = os.waitpid(child, 0)
            code = os.waitstatus_to_exitcode(status)
            if code != ANSWERED:  # killed or out of memory: this worker's exit tells the caller
                os._exit(code % 256)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the caller is gone


class _Kit:
    """Loops and controllers of a worker, made once; none of them has simulated."""

    def __init__(self, scenarios: Sequence[Scenario], make: Maker):
        self._scenarios, self._make = scenarios, make
        self._loops: dict[int, ControlLoop] = {}
        self._controllers: dict[tuple[int, str, tuple[int, int] | None], Controller] = {}

    def prepare(self, task: EpisodeTask) -> tuple[ControlLoop, Controller]:
        """The loop and the controller of a task."""
        if task.place not in self._loops:
            self._loops[task.place] = make_loop(self._scenarios[task.place])
            self._loops[task.place].world.prepare()
        loop, key = self._loops[task.place], (task.place, task.controller, _stamp(task.controller))
        if key not in self._controllers:
            if len(self._controllers) >= KEPT:
                self._controllers.clear()
            self._controllers[key] = self._make(task.controller, loop.site)
        return loop, self._controllers[key]


def _stamp(name: str) -> tuple[int, int] | None:
    """Stamp that changes if a file is replaced; None: there is no such file."""
    try:
        found = os.stat(name)
    except (OSError, ValueError):
        return None
    return found.st_ino, found.st_mtime_ns


def _child(pipe: Connection, loop: ControlLoop, controller: Controller, task: EpisodeTask) -> NoReturn:
    """Run one episode, send its result, and exit without the parent's clean-up."""
    try:
        answer = _answer(pipe, loop, controller, task)
        if answer is not None:
            with suppress(BrokenPipeError, ConnectionResetError):  # the caller is gone
                _send(pipe, answer)
    finally:
        with suppress(Exception):  # the child must exit, and never continue as its parent
            loop.close()
        os._exit(ANSWERED)


def _send(pipe: Connection, answer: tuple[str, Any]) -> None:
    """Send an answer, or the reason why it cannot be sent: what a world or a controller of one's own gave is in it."""
    try:
        pipe.send(answer)
    except (BrokenPipeError, ConnectionResetError):
        raise
    except Exception:  # it cannot be pickled; nothing of it was sent
        pipe.send(("trace", traceback.format_exc()))


def _answer(pipe: Connection, loop: ControlLoop, controller: Controller, task: EpisodeTask) -> tuple[str, Any] | None:
    """Message to the caller: an episode, or an error; None: the caller has cancelled."""
    try:
        check = _Checker(pipe)
        check()
        return "ok", play(loop, controller, task, check)
    except CityloopError as error:
        return "error", str(error)
    except _StopError:
        return None
    except (Exception, SystemExit):  # whatever went wrong belongs to the caller
        return "trace", traceback.format_exc()


class _Checker:
    """Called first and at every decision: cancels the episode if the caller closed the pipe, else sends a heartbeat."""

    def __init__(self, pipe: Connection):
        self._pipe, self._next = pipe, time.monotonic()

    def __call__(self) -> None:
        if self._pipe.poll():  # nothing is ever sent during an episode, so this is the end of the pipe
            raise _StopError
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + BEAT_S
            try:
                self._pipe.send(("alive", None))
            except (BrokenPipeError, ConnectionResetError):
                raise _StopError from None
