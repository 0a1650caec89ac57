"""Tuning of transit's rules on training seeds: insertion weights, the period of rebalancing, standby, urgency.

Waits are shown with service, rides and empty driving beside them: weights trade one for another, and rebalancing is
paid for in empty kilometres. Nothing is changed: what is chosen is written into `envs.transit.settings`, into
`envs.transit.standby`, or into `envs.transit.urgency` (how a wait's weight follows from what a vehicle's time is worth)
by hand.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from agents.baselines.transit import Reactive, Standby
from envs.core.env import make_loop
from envs.core.loop import ControlLoop
from envs.core.scenario import Scenario
from envs.core.world import Controller
from envs.transit.site import TransitSite
from envs.transit.standby import StandbyModel
from envs.transit.urgency import UrgencyRule

COSTS = ((1.0, 1.0, 1.0, 1.0), (0.5, 1.0, 0.5, 0.5), (0.3, 1.0, 0.3, 0.5), (0.3, 1.0, 0.3, 1.0), (0.5, 1.0, 0.2, 0.3))
"""Tried weights of an insertion's cost: added driving, wait, ride, others' delay."""

PERIODS_S = (120.0, 300.0, 600.0)

STANDBY_MODELS = tuple(
    StandbyModel(taken, moving, busy)
    for taken, moving, busy in itertools.product((0.2, 0.3, 0.4), (0.35, 0.45, 0.55), (0.2, 0.4))
)

URGENCY_RULES = (
    UrgencyRule(power=0.0),
    *(UrgencyRule(usual, power) for usual, power in itertools.product((0.5, 1.0, 2.0), (0.05, 0.1, 0.15))),
)

SHOWN = ("wait_min", "served_pct", "wait_mean_min", "ride_min", "detour", "empty_km")


def tune(
    scenario: Scenario,
    seeds: Sequence[int],
    costs: Sequence[tuple[float, ...]] = COSTS,
    periods_s: Sequence[float] = PERIODS_S,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[dict[str, Any]]:
    """Means over seeds of insertion with reactive rebalancing, for every pair of weights and period.

    Args:
        scenario: the scenario.
        seeds: training seeds.
        costs: weights of an insertion's cost.
        periods_s: seconds between two rebalancings.
        on_progress: called with the numbers of tried settings and of all, before and after each.

    Returns:
        One row per setting, the lowest headline last: ``costs``, ``period_s``, and the indicators of `SHOWN`.
    """
    rows: list[dict[str, Any]] = []
    on_progress(0, len(costs) * len(periods_s))
    for weights, period_s in itertools.product(costs, periods_s):
        names = dict(zip(("vehicle", "wait", "ride", "others"), weights, strict=True))
        loop = make_loop(scenario.override({f"costs.{name}": value for name, value in names.items()}))
        assert isinstance(loop.site, TransitSite)
        try:
            rows.append({"costs": weights, "period_s": period_s, **_means(loop, Reactive(loop.site, period_s), seeds)})
        finally:
            loop.close()
        on_progress(len(rows), len(costs) * len(periods_s))
    return sorted(rows, key=lambda row: -row["wait_min"])


def tune_standby(
    scenario: Scenario,
    seeds: Sequence[int],
    tried: Sequence[StandbyModel | UrgencyRule] = STANDBY_MODELS,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[dict[str, Any]]:
    """Means over seeds of insertion with standby vehicles, for several estimates of a wait or of its urgency.

    Args:
        scenario: the scenario.
        seeds: training seeds.
        tried: parameters of one of the two estimates; the other has its defaults.
        on_progress: called with the numbers of tried settings and of all, before and after each.

    Returns:
        One row per element of ``tried``, the lowest headline last: ``tried``, and the indicators of `SHOWN`.
    """
    loop = make_loop(scenario)
    site = loop.site
    assert isinstance(site, TransitSite)

    def rule(each: StandbyModel | UrgencyRule) -> Standby:
        return Standby(site, each) if isinstance(each, StandbyModel) else Standby(site, rule=each)

    try:
        rows: list[dict[str, Any]] = []
        on_progress(0, len(tried))
        for each in tried:
            rows.append({"tried": each, **_means(loop, rule(each), seeds)})
            on_progress(len(rows), len(tried))
    finally:
        loop.close()
    return sorted(rows, key=lambda row: -row["wait_min"])


def _means(loop: ControlLoop, rule: Controller, seeds: Sequence[int]) -> dict[str, float]:
    found = [loop.episode(rule, seed).kpis for seed in seeds]
    return {name: float(np.mean([kpis[name] for kpis in found])) for name in SHOWN}
