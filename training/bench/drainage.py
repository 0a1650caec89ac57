"""``cityloop bench drainage``: how much of SWMM's own speed is left, and how fast and true its surrogate is.

Ratios come from alternating runs on this machine in one go, over the same rain: our loop with random settings, read,
encoded, guarded and rewarded; and a bare pyswmm loop with the same stride that carries out the very same settings and
reads nothing. That one runs twice: with as little written to SWMM's own output as ours writes, and with what the input
asks for, as whoever gives it to pyswmm gets it. A run is timed from its first decision until SWMM is closed.

The surrogate plays whole storms of test seeds, many at once, under the static plan, and is held to what overflows of
them in SWMM, tank by tank. Its speed is that of playing a storm again whose inflow is known; to know it takes a whole
run of SWMM for each storm, which a second ratio includes. Both sides run by turns on one thread, once untimed; seconds
are those of this process (`time.process_time`).
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from copy import deepcopy
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from envs.core.env import make_loop
from envs.core.loop import ControlLoop
from envs.core.registry import load_scenario
from envs.core.rollout import timed_episode
from envs.drainage.network import load_site
from envs.drainage.scenarios import DrainageScenario
from envs.drainage.swmm.inp import Inp
from envs.drainage.world import SwmmWorld

SEED = 0

BATCH = 256
"""Episodes that the surrogate plays at once, at least."""


def bench_drainage(
    scenarios: Sequence[str] = ("drainage/astlingen-oct2000", "drainage/astlingen-oct2005"),
    repeats: int = 7,
    storms: int = 6,
) -> dict[str, Any]:
    """Measure decision steps a second, and the surrogate.

    Args:
        scenarios: where; they must take their rain from the input.
        repeats: of every run, the surrogate's rounds included; medians are reported.
        storms: that the surrogate is measured on.

    Returns:
        ``{"bench", "ratios", "figures"}``: ours divided by the bare loop's, and decisions a second; the surrogate's
        speed divided by SWMM's, its episodes a second, and its errors.
    """
    ratios: dict[str, float] = {}
    figures: dict[str, float] = {}
    for ref in scenarios:
        rows = []
        with closing(make_loop(ref)) as loop:
            name, count = loop.scenario.name, loop.scenario.decisions
            for _ in range(repeats):
                took, settings = timed_episode(loop, SEED)
                rows.append((count / took, count / bare(loop, settings), count / bare(loop, settings, reports=True)))
        figures[f"{name}, ours (decisions/s)"] = median(mine for mine, *_ in rows)
        for k, peer in enumerate(("bare pyswmm", "bare pyswmm with the input's reports"), 1):
            figures[f"{name}, {peer} (decisions/s)"] = median(row[k] for row in rows)
            ratios[f"{name}, ours / {peer}"] = median(row[0] / row[k] for row in rows)
    more, found = _surrogate("drainage/astlingen", storms, repeats)
    return {"bench": "drainage", "ratios": ratios | more, "figures": figures | found}


def _surrogate(ref: str, storms: int, rounds: int) -> tuple[dict[str, float], dict[str, float]]:
    """Ratios and figures of a scenario's surrogate."""
    import torch

    from envs.drainage.surrogate.calibration import calibrate
    from envs.drainage.surrogate.model import Basin, play
    from envs.drainage.surrogate.recording import Recorder

    scenario = load_scenario(ref)
    assert isinstance(scenario, DrainageScenario)
    site = load_site(scenario)
    fit = calibrate(scenario, site)
    recorder, static = Recorder(scenario, site, fit.parts), [gate.static for gate in site.gates]
    plan = np.tile(static, (scenario.decisions, 1))
    seeds = range(scenario.seeds.test.first, scenario.seeds.test.first + storms)
    basin, copies = Basin(fit, scenario.decision_s), -(-BATCH // storms)
    taken: list[tuple[float, float, float]] = []  # seconds of a storm: inflow, SWMM, surrogate
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(1 + rounds):  # the first warms up
            begun_s = time.process_time()
            inflow = np.array([recorder.inflow_cms(seed) for seed in seeds])
            known_s = time.process_time()
            true = np.array([recorder.trace(seed, plan).overflow_m3[-1] for seed in seeds])
            run_s = time.process_time()
            many = np.tile(inflow, (copies, 1, 1))
            found = play(basin, np.broadcast_to(plan, (len(many), *plan.shape)), many)[:storms]
            played_s = time.process_time()
            taken.append(((known_s - begun_s) / storms, (run_s - known_s) / storms, (played_s - run_s) / len(many)))
    finally:
        torch.set_num_threads(threads)
    errors = np.abs(found - true).sum(axis=0) / np.maximum(true.sum(axis=0), 1.0)
    name, rows = f"{scenario.name}, surrogate", taken[1:]
    figures = {f"{name} (replays/s of a core)": 1.0 / median(ours for *_, ours in rows)}
    for tank, error in zip(fit.parts.names, errors.tolist(), strict=True):
        figures[f"{name}'s error at {tank} (% of {storms} storms' overflow)"] = 100.0 * error
    ratios = {
        f"{name} / SWMM, a replay of a storm whose inflow is known": median(swmm / ours for _, swmm, ours in rows),
        f"{name} with the run of SWMM that tells a storm's inflow / SWMM": median(
            swmm / (known + ours) for known, swmm, ours in rows
        ),
    }
    return ratios, figures


def bare(loop: ControlLoop, settings: Sequence[np.ndarray], reports: bool = False) -> float:
    """Seconds that pyswmm takes for the same rain and the same settings, with nothing read.

    Args:
        loop: ours, after its episode.
        settings: what it carried out.
        reports: whether SWMM writes what the scenario's input asks for, not the little that ours does.

    Raises:
        RuntimeError: if it ends with another overflow than ours did: then there is nothing to compare.
    """
    from pyswmm import Links, Nodes, Simulation

    world = loop.world
    assert isinstance(world, SwmmWorld)
    with tempfile.TemporaryDirectory(prefix="cityloop-") as folder:
        paths = [Path(folder) / f"bare.{kind}" for kind in ("inp", "rpt", "out")]
        inp = deepcopy(world.input)
        if reports:
            inp.replace("REPORT", Inp(world.scenario.inp).rows("REPORT"))
        inp.write(paths[0])
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
