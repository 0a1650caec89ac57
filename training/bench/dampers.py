"""``cityloop bench dampers``: how quickly a core simulates buildings, a policy learns from them, and drivers are told.

Simulation: substeps of the six-storey frame with dampers on two storeys, peaks kept as an episode keeps them; a batch
beside a batch of one, both by the core's own time. Learning: whole updates of PPO and of back-propagation with their
own settings, by the clock and by the time of all cores. Decision: observer, features, policy and guard for six dampers,
in this process, without Ray or torch at work; the policy is the one that ships for them, or one of the same shape.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from agents import POLICY, find_bundle
from agents.card import Bounds, PolicyCard, Training
from agents.edge import EdgeLoop
from agents.policy import Policy, write_bundle
from envs.core.registry import load_scenario
from envs.dampers import SYSTEM
from envs.dampers.assembly import load_site
from envs.dampers.block import Block
from envs.dampers.features import DampersFeatures
from envs.dampers.mechanics.structure import Structure
from envs.dampers.scenarios import DampersScenario
from training.settings import Settings

BATCH = 1024


def bench_dampers(
    substeps: int = 2000,
    repeats: int = 5,
    decisions: int = 3000,
    updates: int = 7,
    learners: Sequence[str] = ("mappo", "backprop"),
    **settings: Any,
) -> dict[str, Any]:
    """Measure simulation, training and decisions.

    Args:
        substeps: of each run of the simulation.
        repeats: of every run; medians are reported.
        decisions: at the edge that are timed.
        updates: of each learner.
        learners: algorithms that are measured.
        settings: of the learners, instead of their own.

    Returns:
        ``{"bench", "ratios", "figures"}``.
    """
    scenario = load_scenario("dampers/jansen")
    assert isinstance(scenario, DampersScenario)
    rates = {}
    for copies in (1, BATCH):
        count = substeps if copies > 1 else 5 * substeps
        rates[copies] = median(simulate(scenario, copies, count) for _ in range(repeats))
    wall_us, own_us = (1e6 * times for times in edge_times_s(decisions))
    whole = median(episodes(scenario, BATCH, max(20, substeps // 50)) for _ in range(repeats))
    learned = {}
    for name in learners:
        by_clock, by_cores = training_rates(scenario, name, updates, **settings)
        learned[f"training, {name} (decisions of agents/s)"] = by_clock
        learned[f"training, {name} (decisions of agents/s of a core)"] = by_cores
    return {
        "bench": "dampers",
        "ratios": {f"batch of {BATCH} / batch of one": rates[BATCH] / rates[1]},
        "figures": {
            f"simulation, batch of {BATCH} (substeps/s)": rates[BATCH],
            "simulation, batch of one (substeps/s)": rates[1],
            f"with sensors, observer and indicators, batch of {BATCH} (substeps/s)": whole,
            **learned,
            "edge decision, six dampers, median (us)": float(np.median(wall_us)),
            "edge decision, six dampers, p99 (us)": float(np.quantile(wall_us, 0.99)),
            "edge decision, six dampers, p99 of the core's own time (us)": float(np.quantile(own_us, 0.99)),
        },
    }


def simulate(scenario: DampersScenario, copies: int, substeps: int) -> float:
    """Substeps of buildings a second: frame, dampers, and peaks of every drift and acceleration."""
    plant = Structure(scenario.mounted, 1e-3, dtype=np.float32)
    rng = np.random.default_rng(0)
    ground = rng.normal(scale=0.1, size=(64, 1, copies)).astype(np.float32)
    volts = rng.uniform(0, 5, (64, plant.d, copies)).astype(np.float32)
    moment, peaks = plant.rest(copies), np.zeros((2 * plant.n + 1, copies), np.float32)
    start = time.process_time()
    for k in range(substeps):
        moment, seen = plant.step(moment, volts[k // 10 % 64], ground[k % 64], plant.matrix)
        np.maximum(peaks, abs(seen), out=peaks)
    took = time.process_time() - start
    if not np.isfinite(peaks).all():
        raise RuntimeError("the simulation gave values that are not finite: nothing was measured")
    return copies * substeps / took


def episodes(scenario: DampersScenario, copies: int, decisions: int) -> float:
    """The same with everything that an episode needs around it."""
    short = scenario.override({"duration_s": decisions * scenario.decision_s})
    block = Block(short, load_site(short), np.float32)
    block.begin(range(copies))
    levels = np.random.default_rng(0).uniform(0, 1, (decisions, copies, len(block.site.agents)))
    start = time.process_time()
    for level in levels:
        block.step(level)
    return copies * decisions * short.timing.substeps / (time.process_time() - start)


def training_rates(scenario: DampersScenario, algorithm: str, updates: int, **changes: Any) -> tuple[float, float]:
    """Decisions of agents that enter an update, for each second by the clock, and for each of a core's time.

    Args:
        scenario: where.
        algorithm: whose own settings for dampers they are.
        updates: after one that warms up; the median counts.
        changes: to the algorithm's own settings.
    """
    from training.backprop import Backprop
    from training.rllib.algorithm import Ppo
    from training.session import ray_session
    from training.task import task_of

    kind = Backprop if algorithm == "backprop" else Ppo
    settings = Settings.model_validate({**SYSTEM.training[algorithm], "algorithm": algorithm, **changes})
    task, clock, cores = task_of([scenario], settings), [], []
    session = nullcontext() if kind is Backprop else ray_session(cpus=1)
    with tempfile.TemporaryDirectory() as folder, session:
        learner = kind(task, [scenario], settings, Path(folder))
        try:
            for _ in range(1 + updates):
                start, busy = time.perf_counter(), time.process_time()
                learner.update(0.0)
                clock.append(time.perf_counter() - start)
                cores.append(time.process_time() - busy)
        finally:
            learner.stop()
    decisions = task.plants[0].num_envs * settings.fragment * task.agents[0]
    return decisions / median(clock[1:]), decisions / median(cores[1:])


def edge_times_s(decisions: int) -> tuple[np.ndarray, np.ndarray]:
    """How long each decision takes at the edge, by the clock and of the core's own time, both ``(decisions,)``.

    They differ by what else the machine does: an edge node does nothing else.
    """
    scenario = load_scenario("dampers/jansen-all")
    assert isinstance(scenario, DampersScenario)
    site = load_site(scenario)
    samples = _samples(scenario, min(decisions, scenario.decisions))
    with tempfile.TemporaryDirectory() as folder:
        bundle = find_bundle(POLICY, site) or _untrained(Path(folder) / "edge")
        loop = EdgeLoop(site, Policy.load(bundle, site.system))
        wall, own = np.empty(decisions), np.empty(decisions)
        for k in range(-50, decisions):  # the first ones warm up
            row = samples[k % len(samples)]
            start, busy = time.perf_counter(), time.thread_time()
            loop.decide(row)
            wall[max(k, 0)], own[max(k, 0)] = time.perf_counter() - start, time.thread_time() - busy
        if loop.failures:
            raise RuntimeError(f"the policy failed in {loop.failures} decisions: nothing was measured")
    return wall, own


def _samples(scenario: DampersScenario, decisions: int) -> np.ndarray:
    """What sensors say while the dampers hold a third of full voltage, ``(decisions, floors + 2 N + 1)``."""
    block, rows = Block(scenario, load_site(scenario)), []
    readings = block.begin([scenario.seeds.validation.first])
    for _ in range(decisions):
        parts = ("accel_m_s2", "stroke_mm", "force_n", "ground_m_s2")
        row = [readings[name][0] * (1e-3 if name == "stroke_mm" else 1.0) for name in parts]
        rows.append(np.concatenate(row))
        readings = block.step(np.full((1, len(block.site.agents)), 0.3))
    return np.array(rows)


def _untrained(folder: Path) -> Path:
    """A policy of the same shape that was never trained."""
    from agents.networks import NETWORKS
    from training.bundles.export import to_onnx

    scenario = load_scenario("dampers/jansen")
    assert isinstance(scenario, DampersScenario)
    shapes = dict(DampersFeatures(load_site(scenario)).shapes)
    network = NETWORKS["dampers"](shapes, width=SYSTEM.training["backprop"]["width"])
    card = PolicyCard(
        system="dampers",
        name="untrained",
        observation={part: tuple(shape) for part, shape in shapes.items()},
        readings=SYSTEM.readings.describe(),
        bounds=Bounds(low=(0.0,), high=(1.0,)),
        training=Training(scenarios={}, seeds="none", decisions=0, algorithm="none", command="none"),
        versions={},
        created=datetime.now(UTC).date(),
    )
    write_bundle(folder, to_onnx(network, shapes), card)
    return folder
