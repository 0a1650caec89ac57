"""``cityloop bench training``: what our trainer costs beside RLlib's stock one, stable-baselines3 and a bare loop.

On a free task, whole iterations of all contestants in turn, in this process, on one thread. On a real simulator, whole
iterations beside bare loops in as many processes. And the memory of a thousand iterations.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch

from training.bench.contestants import CONTESTANTS, Sizes
from training.bench.simulator import efficiency
from training.session import ray_session

FULL = Sizes()

SMALL = Sizes(envs=4, steps=16, agents=4, minibatch=64)
"""For the memory: an iteration of milliseconds."""


def bench_training(
    sizes: Sizes = FULL,
    rounds: int = 5,
    simulators: Sequence[str] = ("intersections/cologne8",),
    iterations: int = 1000,
) -> dict[str, Any]:
    """Measure training.

    Args:
        sizes: of the free task.
        rounds: iterations that count, of each contestant; medians are reported.
        simulators: where training is compared with the bare simulator, in both regimes.
        iterations: over which memory is watched.

    Returns:
        ``{"bench", "ratios", "figures"}``.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        seconds = _compete(sizes, rounds)
        growth = memory(iterations)
    finally:
        torch.set_num_threads(threads)
    figures = {f"{name} (agent-steps/s)": sizes.decisions / took for name, took in seconds.items()}
    ratios = {f"ours / {name}": took / seconds["ours"] for name, took in seconds.items() if name != "ours"}
    for ref in simulators:
        for regime in ("engineer", "resco"):
            training, bare = efficiency(ref, regime=regime)
            label = f"{ref.partition('/')[2]}, {regime}"
            figures |= {f"{label}: training (decisions/s)": training, f"{label}: bare libsumo (decisions/s)": bare}
            ratios[f"{label}: training / bare libsumo, 2 processes"] = training / bare
    ratios[f"memory after {iterations} iterations / after {iterations // 10}"] = growth
    return {"bench": "training", "ratios": ratios, "figures": figures}


def _compete(sizes: Sizes, rounds: int) -> dict[str, float]:
    """Contestant → seconds an iteration, the median of rounds in which they take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
    with ray_session(cpus=1):
        contestants = {name: make(sizes) for name, make in CONTESTANTS.items()}
        try:
            for _ in range(1 + rounds):  # the first warms up
                for name, contestant in contestants.items():
                    start = time.perf_counter()
                    contestant.iterate()
                    seconds[name].append(time.perf_counter() - start)
        finally:
            for contestant in contestants.values():
                contestant.close()
    return {name: median(took[1:]) for name, took in seconds.items()}


def memory(iterations: int) -> float:
    """Resident memory of this process after so many small iterations, as a ratio to that after a tenth of them."""
    with ray_session(cpus=1):
        ours = CONTESTANTS["ours"](SMALL)
        try:
            for _ in range(iterations // 10):
                ours.iterate()
            before = _resident_bytes()
            for _ in range(iterations - iterations // 10):
                ours.iterate()
            return _resident_bytes() / before
        finally:
            ours.close()


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
