"""A plant under the control of the service: simulator here, decisions over HTTP, and a way to go on when they fail.

The plant has a guard and a fallback controller of its own. An answer that is late, cannot be read, belongs to another
tick or is not safe is replaced by the local fallback's, tick by tick, so the service decides again as soon as it can.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from agents import fallback_name, make_controller
from envs.core.env import make_loop
from envs.core.errors import CityloopError
from envs.core.loop import ControlLoop, Step
from envs.core.scenario import Scenario
from envs.core.world import Controller, Requests
from serving.client import SiteClient, Unusable
from serving.deadline import Late

OnTick = Callable[[int, dict[str, Any]], None]
"""Told after every tick: its number, and ``{"of", "source", "reason", "latency_ms"}``."""


@dataclass
class Record:
    """What happened so far.

    Attributes:
        answered: ticks that the service's commands were used for.
        local_fallback: ticks that the local fallback decided.
        service_fallback: ticks answered by the service's own fallback.
        late: ticks whose answer was not there in time.
        guard_changes: commands of the service that the local guard would not let through.
        latency_ms: of each usable answer, seen from here.
        commands: what was carried out, tick by tick; empty for a program inside the plant.
        reasons: why answers were not used, and how often.
    """

    answered: int = 0
    local_fallback: int = 0
    service_fallback: int = 0
    late: int = 0
    guard_changes: int = 0
    latency_ms: list[float] = field(default_factory=list)
    commands: list[list[float]] = field(default_factory=list)
    reasons: dict[str, int] = field(default_factory=dict)

    def summary(self) -> dict[str, Any]:
        """The record as plain data."""
        times = self.latency_ms
        latency = {"median": float(np.median(times)), "p99": float(np.quantile(times, 0.99))} if times else {}
        return vars(self) | {"latency_ms": {"median": None, "p99": None} | latency}


class Plant:
    """One episode of a plant that asks the service.

    Args:
        loop: the plant; it is not closed here.
        client: the service.
        fallback: who decides where the service's answer cannot be used.

    Attributes:
        record: what happened so far.
        last: the last step; None before the first.
    """

    def __init__(self, loop: ControlLoop, client: SiteClient, fallback: Controller):
        self.loop, self.client, self.fallback = loop, client, fallback
        self.record = Record()
        self.last: Step | None = None

    def run(self, seed: int, program: Any, on_tick: OnTick | None = None) -> Step:
        """Run the episode; the plant's own program decides if the service says so.

        Returns:
            The last step.
        """
        self.fallback.reset()
        self.loop.reset(seed, program)
        tick, total = 0, self.loop.scenario.decisions
        while True:
            requests, source, reason = self._ask(tick, program is not None)
            self.last = step = self.loop.step(requests)
            if step.commands is not None:
                self.record.commands.append(step.commands.tolist())
            if on_tick is not None:
                latency = self.record.latency_ms[-1] if source == "service" else None
                on_tick(tick, {"of": total, "source": source, "reason": reason, "latency_ms": latency})
            tick += 1
            if step.done:
                return step

    def _ask(self, tick: int, local_program: bool) -> tuple[Requests | None, str, str | None]:
        """Requests for this tick, who they are from, and why not from the service."""
        record = self.record
        try:
            started = time.perf_counter()
            answer = self.client.act(tick, self.loop.world.time_s, self.loop.readings)
            took_ms = (time.perf_counter() - started) * 1e3
            requests = None if local_program else self._checked(answer)
        except (Late, Unusable) as error:
            record.late += isinstance(error, Late)
            record.local_fallback += 1
            record.reasons[str(error)] = record.reasons.get(str(error), 0) + 1
            requests = None if local_program else self.fallback.act(self.loop.readings, self.loop.observation)
            return requests, "local fallback", str(error)
        record.answered += 1
        record.service_fallback += answer.get("fallback") is True
        record.latency_ms.append(took_ms)
        return requests, "service", None

    def _checked(self, answer: dict[str, Any]) -> Requests:
        """The service's commands, if the local guard would let all of them through."""
        requests = self.client.commands(answer)
        _, changes = self.loop.guard.check(self.loop.readings, requests, self.loop.mask)
        self.record.guard_changes += len(changes)
        if changes:
            raise Unusable(f"the local guard does not let it through ({changes[0].reason})")
        return requests


def control(
    scenario: str | Scenario,
    url: str = "http://127.0.0.1:8000",
    seed: int | None = None,
    deadline_ms: float = 1000.0,
    on_tick: OnTick | None = None,
) -> dict[str, Any]:
    """Run one episode of a plant that is driven by the service.

    Args:
        scenario: a scenario or its reference; the service must serve the same site.
        url: the service's address.
        seed: of the episode; the first test seed if not given.
        deadline_ms: how long an answer may take before the local fallback decides.
        on_tick: told after every tick.

    Returns:
        ``{"scenario", "hash", "seed", "controller", "kpis", "ticks"}`` and what `Record` holds.

    Raises:
        CityloopError: if the scenario cannot be used, or no service answers that serves its site.
    """
    loop = make_loop(scenario)
    try:
        chosen = loop.scenario.seeds.test.first if seed is None else seed
        with SiteClient(loop.site, url, deadline_ms) as client:
            in_charge = client.info()["in_charge"]
            plant = Plant(loop, client, make_controller(fallback_name(loop.site.system), loop.site))
            last = plant.run(chosen, _program(in_charge, loop), on_tick)
    finally:
        loop.close()
    return {
        "scenario": loop.scenario.ref,
        "hash": loop.scenario.hash,
        "seed": chosen,
        "controller": in_charge["controller"],
        "kpis": last.kpis,
        "ticks": plant.record.answered + plant.record.local_fallback,
        **plant.record.summary(),
    }


def _program(in_charge: dict[str, Any], loop: ControlLoop) -> Any:
    """The program that the plant has to run from the start, if the service names one."""
    if not in_charge["program"]:
        return None
    program = make_controller(in_charge["controller"], loop.site).program
    if program is None:
        raise CityloopError(
            f"the service names program {in_charge['controller']!r}, which is none here: update one of them"
        )
    return program
