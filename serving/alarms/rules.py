"""Rules for raising alarms from the decisions of a site, from changes at it, and from the absence of ticks.

A condition must be gone for some ticks and seconds before it returns. It must hold for some ticks before it is raised,
unless it is of high priority. A flickering condition therefore does not ring.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from statistics import median_low
from typing import Any

from envs.core.conditions import Condition
from envs.core.readings import Readings
from envs.core.registry import get_system
from serving.core.events import Decision, SiteChange, Structure

RAISE_TICKS, RETURN_TICKS, RETURN_S = 3, 3, 10.0
"""Ticks that a condition must hold; ticks and seconds that it must be gone."""

GUARDED_TICKS, GUARDED_SHARE = 60, 0.5
"""Of so many ticks, the share in which the guard changed a request, for a reason that is not everyday
there (`System.everyday`)."""

SILENT_PERIODS, SILENT_S = 3.0, 5.0
"""A site is silent after so many of its own periods without a tick, and after so many seconds at least."""

GAPS_FOR_PERIOD = 3
"""Number of gaps between ticks that give a site's period: among fewer, one may be a pause, or a tick out of turn."""

STRUCTURE = ("damage", "deaf")
"""Conditions from structural monitors, not from ticks."""

PlantConditions = Callable[[Readings, float], Iterable[Condition]]
"""The readings of a tick, and the plant's clock in seconds → conditions that hold at the plant."""


SENSOR = re.compile(r"\w+\[\d+\] \([^)]*\)")
"""Beginning of a finding about one sensor: column, index, and owner."""


def key_of(finding: str) -> str | None:
    """Key of a finding of the input checks, without its numbers; None: the finding only counts others."""
    if (sensor := SENSOR.match(finding)) is not None:
        return f"sensor:{sensor.group()}"
    if finding.startswith("observations beyond"):
        return "envelope"
    if finding.startswith("readings contradict"):
        return f"contradiction:{finding.rpartition(': ')[2]}"
    if re.fullmatch(r"and \d+ more", finding):
        return None
    return f"inputs:{re.split(r' is |: ', finding, maxsplit=1)[0]}"


class SiteRules:
    """Conditions that hold at one site.

    Args:
        plant: gives the plant's own conditions from the readings of a tick.
        standing: conditions when the last process ended, by key: they stand until ticks and windows show otherwise.
        interval_s: usual time between two ticks, until the site's own is known from ticks.
    """

    def __init__(
        self, plant: PlantConditions, standing: Mapping[str, Condition] | None = None, interval_s: float = 1.0
    ):
        self._plant, self._interval_s = plant, interval_s
        before = standing or {}
        self._structure = {key: condition for key, condition in before.items() if key in STRUCTURE}
        self._held = {key: condition for key, condition in before.items() if key not in STRUCTURE}
        self._seen = dict.fromkeys(self._held, RAISE_TICKS)
        self._gone: dict[str, tuple[int, float]] = {}
        self._guarded: deque[bool] = deque(maxlen=GUARDED_TICKS)
        self._periods_s: deque[float] = deque(maxlen=9)
        self._last_s: float | None = None

    def decided(self, decision: Decision, heard_s: float) -> dict[str, Condition]:
        """Conditions after a decision, by key; ``heard_s`` is its arrival here in monotonic seconds."""
        if self._last_s is not None:
            self._periods_s.append(max(heard_s - self._last_s, 0.0))
        self._last_s = heard_s
        everyday = get_system(decision.system).everyday
        self._guarded.append(any(change["reason"] not in everyday for change in decision.interventions))
        now = {c.key: c for c in self._of(decision)}
        for key, condition in now.items():
            self._gone.pop(key, None)
            self._seen[key] = self._seen.get(key, 0) + 1
            if condition.priority == "high" or self._seen[key] >= RAISE_TICKS or key in self._held:
                self._held[key] = condition
        for key in [key for key in self._seen if key not in now]:
            ticks, since_s = self._gone.get(key, (0, heard_s))
            self._gone[key] = (ticks + 1, since_s)
            long_gone = ticks + 1 >= RETURN_TICKS and heard_s - since_s >= RETURN_S
            if key not in self._held or long_gone:
                for table in (self._seen, self._gone, self._held):
                    table.pop(key, None)
        self._held.pop("silent", None)
        return self._held | self._structure

    def changed(self, change: SiteChange) -> dict[str, Condition]:
        """Conditions after a change. A canary that the service took out of charge has left, and the champion decides:
        that rings at once, and returns by itself, as no later tick shows it.
        """
        if change.what == "rollback" and change.detail.get("role") == "canary":
            text = f"canary {change.detail['from']} left, {change.detail['to']} decides: {change.reason}"
            self._held["canary"] = Condition("canary", "medium", text)
            self._seen["canary"] = RAISE_TICKS
            self._gone.pop("canary", None)
        return self._held | self._structure

    def waited(self, now_s: float) -> dict[str, Condition]:
        """Conditions after some time without ticks; by the same clock."""
        if self._last_s is not None and now_s - self._last_s > self.patience_s:
            text = "no tick comes: nothing is known of the plant, and nothing is decided"
            self._held["silent"] = Condition("silent", "high", text)
        return self._held | self._structure

    def listened(self, heard: Structure) -> dict[str, Condition]:
        """Conditions after a window of a structural monitor, which counts repetitions itself, so nothing waits here."""
        report, self._structure = heard.report, {}
        if report["alarm"] == "alarm":
            place = f"s{report['location']}" if report["location"] else ""
            self._structure["damage"] = Condition("damage", "high", _damage(report), place)
        if report["deaf"] == "alarm":
            text = "the health monitor cannot hear the building: have its sensors checked"
            self._structure["deaf"] = Condition("deaf", "medium", text)
        return self._held | self._structure

    @property
    def patience_s(self) -> float:
        """Seconds without ticks until the site counts as silent."""
        if not self._periods_s:
            return float("inf")
        period_s = median_low(self._periods_s) if len(self._periods_s) >= GAPS_FOR_PERIOD else self._interval_s
        return max(SILENT_PERIODS * period_s, SILENT_S)

    def _of(self, decision: Decision) -> Iterable[Condition]:
        if decision.fallback_cause == "rolled_back":
            text = f"the policy was taken out of charge: {decision.fallback_reason}"
            yield Condition("rollback", "high", text)
        elif decision.fallback_reason is not None:
            yield Condition("fallback", "medium", f"the fallback decides: {decision.fallback_reason}")
        for finding in decision.findings:
            if (key := key_of(finding)) is not None:
                yield Condition(key, "low", finding)
        share = sum(self._guarded) / GUARDED_TICKS
        if share >= GUARDED_SHARE:
            text = f"the guard changed requests in {share:.0%} of the last {GUARDED_TICKS} ticks"
            yield Condition("guard", "low", text)
        if decision.readings is not None:
            yield from self._plant(decision.readings, decision.time_s)


def _damage(report: Mapping[str, Any]) -> str:
    """Text of an alarm of damage; the report's recommendation has all of it."""
    if report["location"] is None:  # the last window is not unusual, or was not heard
        return "the health monitor's alarm of earlier windows stands: have the building inspected"
    lost = 100 * (1 - report["storeys"][report["location"] - 1]["share"])
    return f"storey {report['location']} seems to have lost {lost:.0f} % of its stiffness: have it inspected"
