"""How much of a simulator's own speed training leaves: whole iterations beside bare libsumo loops on the same cores.

Both sides simulate the same hour of traffic in as many processes. Training reads, encodes, decides, guards, rewards,
learns and sends weights; the bare loops replay changes of signals and read nothing, once before training and once after
it, so that other work on the machine hits both. Validation is left out.
"""

from __future__ import annotations

import multiprocessing as mp
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

from envs.core.env import make_loop
from envs.core.errors import CityloopError
from envs.core.registry import load_scenario
from envs.core.rollout import timed_episode
from envs.core.scenario import Scenario
from training.bench.intersections import SEED, bare, switches
from training.rllib.algorithm import build_algorithm
from training.session import ray_session
from training.settings import Settings
from training.task import task_of

UNVARIED = {"training_demand.scale": [1.0, 1.0], "training_demand.shift_s": 0.0, "training_demand.jitter_s": 0.0}
"""Training on the very demand that the bare loop runs, so that both carry the same traffic."""

WARM_UP = 2


def efficiency(ref: str, processes: int = 2, iterations: int = 9, **changes: Any) -> tuple[float, float]:
    """Decisions of plants a second: in training, and of bare libsumo.

    Args:
        ref: a scenario of intersections.
        processes: plants at a time, on either side.
        iterations: of training; the median after a warm-up counts.
        changes: to the scenario, e.g. ``regime="resco"``.
    """
    scenario = load_scenario(ref, **changes)
    before = bare_rate(scenario, processes)
    training = training_rate(scenario.override(UNVARIED), processes, iterations)
    return training, (before + bare_rate(scenario, processes)) / 2


def training_rate(scenario: Scenario, processes: int, iterations: int) -> float:
    """Decisions of plants a second over whole iterations with the trainer's own settings."""
    settings = Settings(workers=processes)
    with tempfile.TemporaryDirectory() as folder, ray_session(cpus=1):
        algorithm = build_algorithm(task_of([scenario], settings), settings, Path(folder))
        try:
            seconds = []
            for _ in range(WARM_UP + iterations):
                start = time.perf_counter()
                algorithm.train()
                seconds.append(time.perf_counter() - start)
        finally:
            algorithm.stop()
    return processes * settings.fragment / median(seconds[WARM_UP:])


def bare_rate(scenario: Scenario, processes: int) -> float:
    """Decisions a second of bare loops that run side by side, each a whole episode; the slowest counts.

    Raises:
        CityloopError: if the process of one dies.
    """
    context = mp.get_context("spawn")
    start = context.Barrier(processes)
    try:
        with ProcessPoolExecutor(processes, context, _await, (start,)) as pool:
            seconds = list(pool.map(_bare, [scenario] * processes))
    except BrokenProcessPool:
        raise CityloopError(f"a bare loop of {scenario.ref} died: is there enough memory?") from None
    return processes * scenario.decisions / max(seconds)


_start: Any = None
"""Where the loops of a process's side wait for each other."""


def _await(start: Any) -> None:
    global _start  # noqa: PLW0603 - what a pool gives to its processes, it gives once
    _start = start


def _bare(scenario: Scenario) -> float:
    with closing(make_loop(scenario)) as loop:
        plan = switches(loop, timed_episode(loop, SEED)[1])
        _start.wait(600)
        return bare(loop, plan)
