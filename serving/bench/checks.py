"""Detection by input checks: false alarms on healthy test seeds, and findings where inputs are shifted.

Every episode is played by the shipped policy. Faulty readings reach the checks alone: the bench measures whether and
how soon they are found, not what a policy would have made of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from agents import CHECKPOINTS, make_controller
from agents.envelope import Envelope, read_envelope
from envs.core.env import make_loop
from envs.core.errors import ReadingError
from envs.core.loop import ControlLoop
from envs.core.readings import Readings
from envs.core.site import Site
from envs.core.world import Controller
from serving.checks.checks import InputChecks
from serving.core.wire import Tick

SEEDS, SHIFTED = 10, 3
"""Healthy test episodes, and episodes of each shift."""

ONSET = 1 / 3
"""Share of an episode after which a sensor begins to lie."""

NOISE = 0.5
"""Relative standard deviation of a column's values, five times what training's noisiest detectors have."""


@dataclass(frozen=True)
class Case:
    """One system's place.

    Attributes:
        scenario: where.
        controller: who plays: a bundle below ``checkpoints``, or a rule's name.
        envelope: file of the envelope below ``checkpoints`` where a rule plays.
        sensor: column of which one sensor is made to lie.
        unit: column and factor of a mistaken unit.
        swapped: columns that are mistaken for each other.
        harder: settings of the scenario that bring three times as much to do.
    """

    scenario: str
    controller: str
    sensor: str
    unit: tuple[str, float]
    swapped: tuple[str, str]
    harder: Mapping[str, Any]
    envelope: str = ""


CASES = {
    "intersections": Case(
        "intersections/cologne8",
        "intersections/generalist",
        "count_veh",
        ("speed_mps", 3.6),
        ("count_veh", "waiting_s"),
        {"demand__scale": (3.0, 3.0)},
    ),
    "drainage": Case(
        "drainage/astlingen",
        "drainage/gates",
        "depth_m",
        ("depth_m", 100.0),
        ("setting", "flow_cms"),
        {"storms__depth_mm": 27.0},
    ),
    "dampers": Case(
        "dampers/jansen",
        "dampers/jansen",
        "stroke_mm",
        ("stroke_mm", 1e-3),
        ("drift_est_mm", "accel_est_m_s2"),
        {"motion__pga_g": 0.09, "motion__pga_range_g": (0.036, 0.36)},
    ),
    "dampers-all": Case(
        "dampers/jansen-all",
        "dampers/jansen-all",
        "stroke_mm",
        ("stroke_mm", 1e-3),
        ("drift_est_mm", "accel_est_m_s2"),
        {"motion__pga_g": 0.09, "motion__pga_range_g": (0.036, 0.36)},
    ),
    "transit": Case(
        "transit/hcmc",
        "coverage",
        "waiting",
        ("speed", 3.6),
        ("aboard", "waiting"),
        {"district__requests_h": 360.0},
        "transit/hcmc.json",
    ),
}

Lie = Callable[[Readings, int], Readings]


@dataclass
class Findings:
    """What was found in some episodes.

    Attributes:
        ticks, found: ticks since the onset, and those with a finding.
        acted: those of which something came: a stand-in, an agent in local control, the fallback.
        first: ticks from the onset until something was found, of each episode; NaN: never.
        took_us: time that the checks took.
    """

    ticks: int = 0
    found: int = 0
    acted: int = 0
    first: list[float] = field(default_factory=list)
    took_us: list[float] = field(default_factory=list)

    def row(self) -> dict[str, float | None]:
        """As plain data."""
        first = np.array(self.first)
        heard = np.isfinite(first)
        return {
            "share of ticks found": self.found / max(self.ticks, 1),
            "share of ticks acted upon": self.acted / max(self.ticks, 1),
            "episodes found": float(heard.mean()) if len(first) else 0.0,
            "ticks until found, median": float(np.median(first[heard])) if heard.any() else None,
        }


def bench_checks(cases: Mapping[str, Case] | None = None, seeds: int = SEEDS, shifted: int = SHIFTED) -> dict[str, Any]:
    """Measure false alarms and detection on every shipped policy's home.

    Args:
        cases: what is measured; `CASES` if not given.
        seeds: healthy test episodes of each.
        shifted: episodes of each shift.

    Returns:
        ``{"bench", "ratios", "figures", "rows"}``: ratios are shares of healthy ticks with a finding, figures the
        median microseconds of a look, rows case → shift → what was found.
    """
    ratios, figures, rows = {}, {}, {}
    for name, case in (cases or CASES).items():
        loop = make_loop(case.scenario)
        try:
            envelope, controller = _who(case, loop.site)
            healthy = _play(loop, controller, envelope, range(seeds), None)
            ratios[f"{name}: false alarms per tick, {healthy.ticks} ticks"] = healthy.found / healthy.ticks
            figures[f"{name}: a look, median µs"] = float(np.median(healthy.took_us))
            table = {"healthy": healthy.row()}
            for shift, lie in _lies(case, loop).items():
                table[shift] = _play(loop, controller, envelope, range(shifted), lie).row()
        finally:
            loop.close()
        harder = make_loop(case.scenario, **case.harder)
        try:
            table["three times as much"] = _play(harder, controller, envelope, range(shifted), None).row()
        finally:
            harder.close()
        rows[name] = table
        for shift, row in table.items():
            figures[f"{name}: {shift}, share of ticks found"] = float(row["share of ticks found"] or 0.0)
    return {"bench": "checks", "ratios": ratios, "figures": figures, "rows": rows}


def _who(case: Case, site: Site) -> tuple[Envelope | None, Controller]:
    if case.envelope:
        file = CHECKPOINTS / case.envelope
        return read_envelope(file.read_bytes(), file), make_controller(case.controller, site)
    policy = make_controller(CHECKPOINTS / case.controller, site)
    return getattr(policy, "envelope", None), policy


def _play(
    loop: ControlLoop, controller: Controller, envelope: Envelope | None, seeds: range, lie: Lie | None
) -> Findings:
    findings = Findings()
    checks = InputChecks(loop.system, loop.site, envelope)
    onset = int(ONSET * loop.scenario.decisions) if lie is not None else 0
    for seed in seeds:
        loop.reset(seed)
        checks.reset()
        controller.reset()
        tick, first, done = 0, np.nan, False
        while not done:
            readings = loop.readings if lie is None else lie(loop.readings, tick - onset)
            found, acted, took_us = _ask(loop, checks, tick, readings)
            findings.took_us.append(took_us)
            if tick >= onset:
                findings.ticks += 1
                findings.found += found
                findings.acted += acted
                if found and np.isnan(first):
                    first = float(tick - onset)
            done = loop.step(controller.act(loop.readings, loop.observation)).done
            tick += 1
        findings.first.append(first)
    return findings


def _ask(loop: ControlLoop, checks: InputChecks, tick: int, readings: Readings) -> tuple[bool, bool, float]:
    """Whether something was found, whether something came of it, and how long the checks took."""
    try:
        checked = loop.system.readings.validate(loop.system.readings.to_json(readings), loop.site.axes)
        loop.system.cross_check(loop.site, checked)
    except ReadingError:
        return True, True, np.nan  # refused: the plant's own fallback decides
    started = time.perf_counter()
    looked = checks.look(Tick(tick, loop.world.time_s, checked), 0.0)
    took = time.perf_counter() - started
    observation = loop.features.encode(looked.readings, loop.guard.mask(looked.readings))
    started = time.perf_counter()
    looked = checks.judge(looked, observation)
    took += time.perf_counter() - started
    acted = bool(looked.imputed or looked.local or looked.fall_back)
    return bool(looked.findings), acted, took * 1e6


def _lies(case: Case, loop: ControlLoop) -> dict[str, Lie]:
    """Shift → what the sensors say instead, so many ticks after the onset (negative: before it)."""
    columns = {column.name: column for column in loop.system.readings.columns}
    rng = np.random.default_rng(0)
    kept: dict[str, Any] = {}

    def busiest(values: np.ndarray) -> int:
        return int(np.nan_to_num(np.abs(values), nan=-1.0).argmax())

    def change(readings: Readings, name: str, values: np.ndarray) -> Readings:
        column = columns[name]
        values = np.clip(values, column.low, column.high)
        return readings | {name: np.round(values) if column.integer else values}

    def one(readings: Readings, since: int, make: Callable[[float], float]) -> Readings:
        """The busiest sensor of the onset lies from then on."""
        if since < 0:
            return readings
        values = readings[case.sensor].copy()
        if since == 0:
            kept["which"], kept["value"] = busiest(values), float(values[busiest(values)])
        values[kept["which"]] = make(float(values[kept["which"]]))
        return change(readings, case.sensor, values)

    def unit(readings: Readings, since: int) -> Readings:
        name, factor = case.unit
        return change(readings, name, readings[name] * factor) if since >= 0 else readings

    def swapped(readings: Readings, since: int) -> Readings:
        a, b = case.swapped
        if since < 0:
            return readings
        first, second = readings[a], readings[b]
        size = min(len(first), len(second))
        mixed = [first.copy(), second.copy()]
        mixed[0][:size], mixed[1][:size] = second[:size], first[:size]
        return change(change(readings, a, mixed[0]), b, mixed[1])

    def noisy(readings: Readings, since: int) -> Readings:
        if since < 0:
            return readings
        for name, plausible in loop.system.consistency(loop.site).plausible.items():
            if plausible.imputable:
                factor = np.maximum(rng.normal(1.0, NOISE, len(readings[name])), 0.0)
                readings = change(readings, name, readings[name] * factor)
        return readings

    def zero(readings: Readings, since: int) -> Readings:
        if since < 0:
            return readings
        nothing = {name: float(np.clip(0.0, columns[name].low, columns[name].high)) for name in readings}
        return {name: np.full(len(values), nothing[name]) for name, values in readings.items()}

    return {
        "one sensor twice as much": lambda readings, since: one(readings, since, lambda value: 2.0 * value),
        "one sensor stuck": lambda readings, since: one(readings, since, lambda value: kept["value"]),
        "a unit mistaken": unit,
        "two columns swapped": swapped,
        "noise of a half": noisy,
        "all zero": zero,
    }
