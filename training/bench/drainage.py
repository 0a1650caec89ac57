"""``cityloop bench drainage``: how much of SWMM's own speed is left.

Ratios come from alternating runs on this machine in one go, over the same rain: our loop with random settings, read,
encoded, guarded and rewarded; and a bare pyswmm loop with the same stride that carries out the very same settings and
reads nothing. A run is timed from its first decision until SWMM is closed.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from envs.core.env import make_loop
from envs.core.loop import ControlLoop
from envs.core.rollout import timed_episode
from envs.drainage.world import SwmmWorld

SEED = 0


def bench_drainage(
    scenarios: Sequence[str] = ("drainage/astlingen-oct2000", "drainage/astlingen-oct2005"), repeats: int = 7
) -> dict[str, Any]:
    """Measure decision steps a second.

    Args:
        scenarios: where; they must take their rain from the input.
        repeats: of every run; medians are reported.

    Returns:
        ``{"bench", "ratios", "figures"}``: ours divided by the bare loop's, and decisions a second.
    """
    ratios: dict[str, float] = {}
    figures: dict[str, float] = {}
    for ref in scenarios:
        loop = make_loop(ref)
        name, count = loop.scenario.name, loop.scenario.decisions
        rows = []
        for _ in range(repeats):
            took, settings = timed_episode(loop, SEED)
            rows.append((count / took, count / bare(loop, settings)))
        figures[f"{name}, ours (decisions/s)"] = median(mine for mine, _ in rows)
        figures[f"{name}, bare pyswmm (decisions/s)"] = median(other for _, other in rows)
        ratios[f"{name}, ours / bare pyswmm"] = median(mine / other for mine, other in rows)
    return {"bench": "drainage", "ratios": ratios, "figures": figures}


def bare(loop: ControlLoop, settings: Sequence[np.ndarray]) -> float:
    """Seconds that pyswmm takes for the same rain and the same settings, with nothing read.

    Raises:
        RuntimeError: if it ends with another overflow than ours did: then there is nothing to compare.
    """
    from pyswmm import Links, Nodes, Simulation

    world = loop.world
    assert isinstance(world, SwmmWorld)
    with tempfile.TemporaryDirectory(prefix="cityloop-") as folder:
        paths = [Path(folder) / f"bare.{kind}" for kind in ("inp", "rpt", "out")]
        world.input.write(paths[0])
        with Simulation(*map(str, paths)) as simulation:
            simulation.step_advance(int(loop.scenario.decision_s))
            simulation.start()
            links, nodes = Links(simulation), Nodes(simulation)
            gates = [links[gate] for gate in loop.site.agents]
            start = time.perf_counter()
            for row in settings:
                for gate, setting in zip(gates, row.ravel().tolist(), strict=True):
                    gate.target_setting = setting
                next(simulation)
            took = time.perf_counter() - start
            overflow = sum(nodes[name].statistics["flooding_volume"] for name in world.site.controllable)
            start = time.perf_counter()
        took += time.perf_counter() - start
    if abs(overflow - world.kpis()["controllable_m3"]) > 1e-6 * (1.0 + overflow):
        raise RuntimeError(f"the bare loop ended with {overflow:g} m³ of overflow, ours with {world.kpis()}")
    return took
