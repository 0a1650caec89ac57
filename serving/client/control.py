"""A simulated plant under the control of a service: decisions over HTTP, and a local way to go on when they fail.

The plant's client has a guard and a fallback controller of its own. An answer that is late, unreadable, for another
tick or unsafe is a missed tick; `takeover` defines what is carried out instead, and when the service decides again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from agents import make_controller
from envs.core.env import make_loop
from envs.core.errors import CityloopError
from envs.core.loop import ControlLoop, Step
from envs.core.scenario import Scenario
from envs.core.world import Requests
from serving.client.site_client import SiteClient
from serving.client.takeover import Unusable
from serving.core.deadline import Late

OnTick = Callable[[int, dict[str, Any]], None]
"""Called after every tick with its number and ``{"of", "source", "reason", "latency_ms"}``."""

SOURCES = {"held": "held", "fallback": "local fallback"}
"""Labels of commands that are not the service's."""


@dataclass
class Record:
    """Counts of an episode so far.

    Attributes:
        answered: ticks at which the service's commands were used.
        held: ticks at which the last safe command was held.
        local_fallback: ticks that the local fallback decided.
        service_fallback: ticks answered by the service's own fallback.
        late: ticks whose answer was not there in time.
        guard_changes: answers of the service that the local guard would not let through.
        latency_ms: of each usable answer, seen from here.
        commands: carried out, tick by tick; empty for a program inside the plant.
        reasons: reason why answers were not used → count.
    """

    answered: int = 0
    held: int = 0
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
        client: asks the service, and decides without it.

    Attributes:
        record: counts so far.
        last: the last step; None before the first.
    """

    def __init__(self, loop: ControlLoop, client: SiteClient):
        self.loop, self.client = loop, client
        self.record = Record()
        self.last: Step | None = None

    def run(self, seed: int, program: Any, on_tick: OnTick | None = None) -> Step:
        """Run the episode; the plant's own program decides if the service says so.

        Returns:
            The last step.
        """
        self.client.begin()
        self.loop.reset(seed, program)
        tick, total = 0, self.loop.scenario.decisions
        while True:
            requests, source, reason = self._report(tick) if program is not None else self._ask(tick)
            self.last = step = self.loop.step(requests)
            if step.commands is not None:
                self.record.commands.append(step.commands.tolist())
            if on_tick is not None:
                latency = self.record.latency_ms[-1] if source == "service" else None
                on_tick(tick, {"of": total, "source": source, "reason": reason, "latency_ms": latency})
            tick += 1
            if step.done:
                return step

    def _ask(self, tick: int) -> tuple[Requests, str, str | None]:
        """Commands for this tick, their source, and the reason if they are not the service's."""
        record, loop = self.record, self.loop
        decided = self.client.decide(tick, loop.world.time_s, loop.readings)
        record.late += decided.late
        record.guard_changes += decided.unsafe
        if decided.source == "service":
            self._note(decided.answer, decided.latency_ms or 0.0)
            return decided.commands, "service", None
        record.held += decided.source == "held"
        record.local_fallback += decided.source == "fallback"
        reason = decided.reason or ""
        record.reasons[reason] = record.reasons.get(reason, 0) + 1
        return decided.commands, SOURCES[decided.source], reason

    def _report(self, tick: int) -> tuple[None, str, str | None]:
        """Report the readings of a program inside the plant to the service; the answer is not carried out."""
        started = time.perf_counter()
        try:
            answer = self.client.report(tick, self.loop.world.time_s, self.loop.readings)
        except (Late, Unusable) as error:
            self.record.late += isinstance(error, Late)
            self.record.local_fallback += 1
            self.record.reasons[str(error)] = self.record.reasons.get(str(error), 0) + 1
            return None, SOURCES["fallback"], str(error)
        self._note(answer, (time.perf_counter() - started) * 1e3)
        return None, "service", None

    def _note(self, answer: Mapping[str, Any], took_ms: float) -> None:
        self.record.answered += 1
        self.record.service_fallback += answer.get("fallback") is True
        self.record.latency_ms.append(took_ms)


def control(
    scenario: str | Scenario,
    url: str = "http://127.0.0.1:8000",
    seed: int | None = None,
    deadline_ms: float = 1000.0,
    on_tick: OnTick | None = None,
    **client: Any,
) -> dict[str, Any]:
    """Run one episode of a plant that is driven by the service.

    Args:
        scenario: a scenario or its reference; the service must serve the same site.
        url: the service's address.
        seed: of the episode; the first test seed if not given.
        deadline_ms: longest time of an answer before the local fallback decides.
        on_tick: called after every tick.
        client: further settings of the client, such as its ``key``; see `SiteClient`.

    Returns:
        ``{"scenario", "hash", "seed", "controller", "kpis", "ticks"}`` and the fields of `Record`.

    Raises:
        CityloopError: if the scenario cannot be used, or no service answers that serves its site.
    """
    loop = make_loop(scenario)
    try:
        chosen = loop.scenario.seeds.test.first if seed is None else seed
        with SiteClient(loop.site, url, deadline_ms, **client) as asking:
            in_charge = asking.info()["in_charge"]
            plant = Plant(loop, asking)
            last = plant.run(chosen, _program(in_charge, loop), on_tick)
    finally:
        loop.close()
    return {
        "scenario": loop.scenario.ref,
        "hash": loop.scenario.hash,
        "seed": chosen,
        "controller": in_charge["controller"],
        "kpis": last.kpis,
        "ticks": plant.record.answered + plant.record.held + plant.record.local_fallback,
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
