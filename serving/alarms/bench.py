"""How often a control room would hear an alarm: whole episodes of every system as they are, nothing broken.

EEMUA 191 asks for less than one alarm in ten minutes. The plant's own clock counts, not this machine's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agents import POLICY, make_controller
from envs.core.env import make_loop
from envs.core.loop import ControlLoop
from envs.core.readings import Readings
from envs.core.world import Controller
from serving.alarms.book import RATE_S, Alarm, AlarmBook
from serving.alarms.rules import SiteRules
from serving.alarms.watch import plant_of
from serving.events import Decision

SCENARIOS = ("intersections/cologne8", "drainage/astlingen", "drainage/estuary", "dampers/jansen", "transit/hcmc")


def bench_alarms(scenarios: Sequence[str] = SCENARIOS, seeds: int = 3) -> dict[str, Any]:
    """Play test seeds of scenarios with their shipped policies, the fallback where none ships, and count alarms.

    Returns:
        ``{"bench", "ratios", "figures"}``: for every scenario alarms in ten minutes against EEMUA's one.

    Raises:
        CityloopError: if a scenario cannot be played.
    """
    ratios, figures = {}, {}
    for ref in scenarios:
        loop = make_loop(ref)
        try:
            alarms, seconds = _play(loop, seeds)
        finally:
            loop.close()
        ratios[f"{ref}: alarms in ten minutes / one"] = len(alarms) * RATE_S / seconds
        figures[f"{ref}: hours played"] = seconds / 3600
        for priority in ("high", "medium", "low"):
            figures[f"{ref}: {priority}"] = sum(alarm.priority == priority for alarm in alarms)
    return {"bench": "alarms", "ratios": ratios, "figures": figures}


def _play(loop: ControlLoop, seeds: int) -> tuple[list[Alarm], float]:
    """What was raised, each return of it included, and how long was played."""
    controller = make_controller(POLICY, loop.site)
    first = loop.scenario.seeds.test.first
    raised: list[Alarm] = []
    seconds = 0.0
    for seed in range(first, first + seeds):
        seconds += _episode(loop, controller, seed, raised)
    return raised, seconds


def _episode(loop: ControlLoop, controller: Controller, seed: int, raised: list[Alarm]) -> float:
    seen: dict[int, int] = {}

    def note(alarm: Alarm) -> None:
        if alarm.state == "raised" and seen.get(alarm.id) != alarm.count:
            seen[alarm.id] = alarm.count
            raised.append(alarm.model_copy())

    rules, book = SiteRules(plant_of(loop.site)), AlarmBook(changed=note)
    controller.reset()
    loop.reset(seed)
    begin_s, tick = loop.world.time_s, 0
    while True:
        now_s = loop.world.time_s
        readings = loop.readings
        step = loop.step(controller.act(loop.readings, loop.observation))
        decision = _decision(loop, controller, tick, now_s, readings, [vars(change) for change in step.interventions])
        book.hold(loop.site.system, loop.site.name, rules.decided(decision), now_s)
        tick += 1
        if step.done:
            return now_s - begin_s + loop.scenario.decision_s


def _decision(
    loop: ControlLoop, controller: Controller, tick: int, now_s: float, readings: Readings, changes: list[Any]
) -> Decision:
    return Decision(
        system=loop.site.system,
        site=loop.site.name,
        site_hash=loop.site.hash,
        tick=tick,
        time_s=now_s,
        at_s=now_s,
        who="bench",
        body=b"",
        readings_hash="",
        source="champion",
        controller=controller.name,
        bundle=None,
        requests=None,
        commands={},
        interventions=changes,
        fallback_reason=None,
        latency_ms=0.0,
        deadline_ms=100.0,
        readings=readings,
    )
