"""How transit's rules are tuned: insertion weights, the period of rebalancing, standing by; on training seeds alone.

``python -m training.tuning.transit transit/nyc2015 --seeds 40`` prints a row a setting, the best last. Waits
are shown with service, rides and empty driving beside them: weights trade one for another, and rebalancing is paid for
in empty kilometres. Nothing is changed: what is chosen is written into `envs.transit.terms` by hand. With
``--standby`` the reckonings of `envs.transit.standby` are tried instead, with ``--urgency`` how a wait's weight follows
from what a vehicle's time is worth (`envs.transit.urgency`), and what is chosen is written there.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from dataclasses import asdict, astuple
from typing import Any

import numpy as np

from agents.baselines.transit import Reactive, Standby
from envs.core.env import make_loop
from envs.core.errors import CityloopError
from envs.core.loop import ControlLoop
from envs.core.registry import load_scenario
from envs.core.scenario import Scenario
from envs.core.world import Controller
from envs.transit.site import TransitSite
from envs.transit.standby import Reckoning
from envs.transit.urgency import Haste

COSTS = ((1.0, 1.0, 1.0, 1.0), (0.5, 1.0, 0.5, 0.5), (0.3, 1.0, 0.3, 0.5), (0.3, 1.0, 0.3, 1.0), (0.5, 1.0, 0.2, 0.3))
"""Tried weights of an insertion's cost: added driving, wait, ride, others' delay."""

PERIODS_S = (120.0, 300.0, 600.0)

RECKONINGS = tuple(
    Reckoning(taken, moving, busy)
    for taken, moving, busy in itertools.product((0.2, 0.3, 0.4), (0.35, 0.45, 0.55), (0.2, 0.4))
)

HASTES = (
    Haste(power=0.0),
    *(Haste(usual, power) for usual, power in itertools.product((0.5, 1.0, 2.0), (0.05, 0.1, 0.15))),
)

SHOWN = ("wait_min", "served_pct", "wait_mean_min", "ride_min", "detour", "empty_km")


def tune(
    scenario: Scenario,
    seeds: Sequence[int],
    costs: Sequence[tuple[float, ...]] = COSTS,
    periods_s: Sequence[float] = PERIODS_S,
) -> list[dict[str, Any]]:
    """Means over seeds of insertion with reactive rebalancing, for every pair of weights and period.

    Args:
        scenario: the scenario.
        seeds: training seeds.
        costs: weights of an insertion's cost.
        periods_s: seconds between two rebalancings.

    Returns:
        One row per setting, the lowest headline last: ``costs``, ``period_s``, and the indicators of `SHOWN`.
    """
    rows = []
    for weights, period_s in itertools.product(costs, periods_s):
        names = dict(zip(("vehicle", "wait", "ride", "others"), weights, strict=True))
        loop = make_loop(scenario.override({f"costs.{name}": value for name, value in names.items()}))
        assert isinstance(loop.site, TransitSite)
        try:
            rows.append({"costs": weights, "period_s": period_s, **_means(loop, Reactive(loop.site, period_s), seeds)})
        finally:
            loop.close()
    return sorted(rows, key=lambda row: -row["wait_min"])


def tune_standby(
    scenario: Scenario, seeds: Sequence[int], tried: Sequence[Reckoning | Haste] = RECKONINGS
) -> list[dict[str, Any]]:
    """Means over seeds of insertion with standby vehicles, for several estimates of a wait or of its urgency.

    Args:
        scenario: the scenario.
        seeds: training seeds.
        tried: parameters of one of the two estimates; the other has its defaults.

    Returns:
        One row per element of ``tried``, the lowest headline last: ``tried``, and the indicators of `SHOWN`.
    """
    loop = make_loop(scenario)
    site = loop.site
    assert isinstance(site, TransitSite)

    def rule(each: Reckoning | Haste) -> Standby:
        return Standby(site, each) if isinstance(each, Reckoning) else Standby(site, haste=each)

    try:
        rows = [{"tried": each, **_means(loop, rule(each), seeds)} for each in tried]
    finally:
        loop.close()
    return sorted(rows, key=lambda row: -row["wait_min"])


def _means(loop: ControlLoop, rule: Controller, seeds: Sequence[int]) -> dict[str, float]:
    found = [loop.episode(rule, seed).kpis for seed in seeds]
    return {name: float(np.mean([kpis[name] for kpis in found])) for name in SHOWN}


def main(words: Sequence[str] | None = None) -> None:
    """Command line: tune on a scenario's training seeds, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario")
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--standby", action="store_true")
    parser.add_argument("--urgency", action="store_true")
    given = parser.parse_args(words)
    try:
        _tune_all(given)
    except CityloopError as error:
        parser.exit(2, f"Error: {error}\n")


def _tune_all(given: argparse.Namespace) -> None:
    scenario = load_scenario(given.scenario)
    if scenario.system != "transit":
        raise CityloopError(f"{given.scenario} is no fleet: give one, such as transit/hcmc")
    if given.standby or given.urgency:
        tried: Sequence[Reckoning | Haste] = HASTES if given.urgency else RECKONINGS
        print(", ".join(asdict(tried[0])), *SHOWN, sep=" | ")
        for row in tune_standby(scenario, scenario.seeds.train.take(given.seeds), tried):
            print(astuple(row["tried"]), *(f"{row[name]:.3f}" for name in SHOWN), sep=" | ")
        return
    print("vehicle, wait, ride, others", "period_s", *SHOWN, sep=" | ")
    for row in tune(scenario, scenario.seeds.train.take(given.seeds)):
        print(row["costs"], f"{row['period_s']:g}", *(f"{row[name]:.3f}" for name in SHOWN), sep=" | ")


if __name__ == "__main__":
    main()
