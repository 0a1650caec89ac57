"""Alarm rate of a control room: whole episodes of every system as they are, with nothing broken.

EEMUA 191 asks for less than one alarm in ten minutes of normal running; episodes that failed are counted apart. Time is
the plant's own clock, not this machine's. Everything that raises alarms in a service takes part: the plant's
conditions, input checks with the policy's envelope, and a building's monitor.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import orjson

from agents import POLICY, make_controller
from envs.core.env import make_loop
from envs.core.loop import ControlLoop
from envs.core.readings import Readings
from serving.alarms.book import RATE_S, Alarm, AlarmBook, Happening
from serving.alarms.rules import SiteRules
from serving.alarms.watch import plant_of
from serving.checks import InputChecks
from serving.core.events import Decision, Structure
from serving.core.looked import Looked
from serving.core.wire import Tick
from serving.structural.opening import SHIPPED, open_monitors
from serving.structural.watch import StructuralWatch

SCENARIOS = ("intersections/cologne8", "drainage/astlingen", "drainage/estuary", "dampers/jansen", "transit/hcmc")

SEEDS, HOURS = 3, 1.0
"""Episodes of every scenario, at least; and hours of its clock, as far as there are test seeds."""


def bench_alarms(scenarios: Sequence[str] = SCENARIOS, seeds: int = SEEDS, hours: float = HOURS) -> dict[str, Any]:
    """Play test seeds of scenarios with their shipped policies, the fallback where none ships, and count alarms.

    Args:
        scenarios: what is played.
        seeds: episodes of each, at least.
        hours: of each plant's clock, at least, unless there are no more test seeds.

    Returns:
        ``{"bench", "ratios", "figures"}``: for every scenario alarms in ten minutes against EEMUA's one, in episodes
        that did not fail (`System.failure`), none if all did; how many did, and how many alarms were heard in those.

    Raises:
        CityloopError: if a scenario cannot be played.
    """
    ratios, figures = {}, {}
    for ref in scenarios:
        with closing(make_loop(ref)) as loop:
            played = _play(loop, seeds, 3600 * hours)
        well, failed = ([one for one in played if one.failed is which] for which in (False, True))
        alarms, seconds = [alarm for one in well for alarm in one.raised], sum(one.seconds for one in well)
        if well:
            ratios[f"{ref}: alarms in ten minutes / one"] = len(alarms) * RATE_S / seconds
        figures[f"{ref}: hours played"] = seconds / 3600
        for priority in ("high", "medium", "low"):
            figures[f"{ref}: {priority}"] = sum(alarm.priority == priority for alarm in alarms)
        figures[f"{ref}: episodes that failed"] = len(failed)
        figures[f"{ref}: alarms in those"] = sum(len(one.raised) for one in failed)
    return {"bench": "alarms", "ratios": ratios, "figures": figures}


class _Played(NamedTuple):
    """An episode: what was raised, each return of it included; seconds of the plant's clock; whether it failed."""

    raised: list[Alarm]
    seconds: float
    failed: bool


def _play(loop: ControlLoop, seeds: int, least_s: float) -> list[_Played]:
    test, played = loop.scenario.seeds.test, list[_Played]()
    with closing(_Room(loop)) as room:
        for seed in range(test.first, test.last + 1):
            if len(played) >= seeds and sum(one.seconds for one in played) >= least_s:
                break
            played.append(room.episode(seed))
    return played


class _Room:
    """A control room over a plant."""

    def __init__(self, loop: ControlLoop):
        self._raised: list[Alarm] = []
        self._loop, self._controller = loop, make_controller(POLICY, loop.site)
        self._checks = InputChecks(loop.system, loop.site, getattr(self._controller, "envelope", None))
        self._structural = StructuralWatch(open_monitors([(SHIPPED, loop.site)]), tell=self._listened)

    def close(self) -> None:
        """Listen no longer."""
        self._structural.close()

    def episode(self, seed: int) -> _Played:
        """Play one from an empty book on."""
        loop, self._raised = self._loop, []
        self._rules, self._book = SiteRules(plant_of(loop.site)), AlarmBook(changed=self._note)
        self._controller.reset()
        self._checks.reset()
        loop.reset(seed)
        begin_s = loop.world.time_s
        for decision in self._decisions():
            held = self._rules.decided(decision, decision.at_s)
            self._book.hold(decision.system, decision.site, held, decision.at_s)
            if self._structural.monitor((decision.system, decision.site)) is not None:
                self._structural.take(decision)
        seconds = decision.at_s - begin_s + loop.scenario.decision_s
        return _Played(self._raised, seconds, loop.system.failed(self._kpis))

    def _decisions(self) -> Iterator[Decision]:
        loop, tick, done = self._loop, 0, False
        while not done:
            now_s, readings = loop.world.time_s, loop.readings
            looked = self._look(Tick(tick, now_s, readings))
            step = loop.step(self._controller.act(loop.readings, loop.observation))
            yield self._decision(tick, now_s, readings, looked, [change._asdict() for change in step.interventions])
            tick, done, self._kpis = tick + 1, step.done, step.kpis

    def _look(self, tick: Tick) -> Looked:
        """What input checks make of a tick; what stands in for readings is seen by nobody here."""
        looked = self._checks.look(tick, tick.time_s)
        observation = self._loop.features.encode(looked.readings, self._loop.guard.mask(looked.readings))
        return self._checks.judge(looked, observation)

    def _decision(self, tick: int, now_s: float, readings: Readings, looked: Looked, changes: list[Any]) -> Decision:
        site = self._loop.site
        return Decision(
            system=site.system,
            site=site.name,
            site_hash="",
            tick=tick,
            time_s=now_s,
            at_s=now_s,
            who="bench",
            body=orjson.dumps({"readings": self._loop.system.readings.to_json(readings)}),
            readings_hash="",
            source="champion",
            controller=self._controller.name,
            bundle=None,
            requests=None,
            commands={},
            interventions=changes,
            fallback_reason=looked.fall_back,
            fallback_cause=None if looked.fall_back is None else "inputs",
            latency_ms=0.0,
            deadline_ms=100.0,
            findings=looked.findings,
            begins=tick == 0,
            readings=readings,
        )

    def _listened(self, heard: Structure) -> None:
        self._book.hold(heard.system, heard.site, self._rules.listened(heard), heard.at_s)

    def _note(self, alarm: Alarm, what: Happening, _: str | None) -> None:
        if what == "raised":
            self._raised.append(alarm.model_copy())
