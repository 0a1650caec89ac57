"""What a building's plant says, motion by motion, as the service's sinks hear it: healthy, or with lost stiffness."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import orjson

from agents import fallback_name, make_controller
from envs.core.readings import Readings
from envs.core.registry import load_scenario
from envs.dampers.assembly import load_site
from envs.dampers.block import Block
from envs.dampers.guard import DampersGuard
from envs.dampers.readings import READINGS
from envs.dampers.scenarios import DampersScenario
from serving.core.events import Decision

PLACE = ("dampers", "jansen")
DAMAGED = (1.0, 1.0, 1.0, 1.0, 0.85, 1.0)
"""Factors on the storeys' stiffness."""


def motion(seeds: list[int], factor: tuple[float, ...] = (1.0,)) -> Iterator[list[tuple[float, Readings]]]:
    """Clock and readings of every tick of a motion, one motion after another."""
    scenario = load_scenario("dampers/jansen")
    assert isinstance(scenario, DampersScenario)
    site = load_site(scenario)
    block, guard = Block(scenario, site, np.float32, None, factor), DampersGuard(site)
    controller = make_controller(fallback_name("dampers"), site)
    controller.reset()
    block.begin(seeds)
    seen = []
    while not block.done:
        seen.append((block.time_s, block.readings))
        block.step(guard.limit(block.readings, controller.act(block.readings, {})[..., 0])[0])
    for k in range(len(seeds)):
        yield [(time_s, {name: values[k] for name, values in readings.items()}) for time_s, readings in seen]


def decision(tick: int, time_s: float, readings: Readings) -> Decision:
    return Decision(
        *PLACE,
        site_hash="",
        tick=tick,
        time_s=time_s,
        at_s=1e9 + time_s,
        who="plant",
        body=orjson.dumps({"tick": tick, "time_s": time_s, "readings": READINGS.to_json(readings)}),
        readings_hash="",
        source="champion",
        controller="jansen",
        bundle=None,
        requests=None,
        commands={},
        interventions=[],
        fallback_reason=None,
        latency_ms=1.0,
        deadline_ms=10.0,
        begins=tick == 0,
    )


def decisions(seeds: list[int], factor: tuple[float, ...] = (1.0,)) -> list[list[Decision]]:
    motions = motion(seeds, factor)
    return [[decision(k, time_s, readings) for k, (time_s, readings) in enumerate(ticks)] for ticks in motions]
