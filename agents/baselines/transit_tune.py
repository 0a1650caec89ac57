"""How transit's rules are tuned: insertion weights and the period of rebalancing, on training seeds alone.

``python -m agents.baselines.transit_tune transit/nyc2015 --seeds 40`` prints a row a setting, the best last. Waits
are shown with service, rides and empty driving beside them: weights trade one for another, and rebalancing is paid for
in empty kilometres. Nothing is changed: what is chosen is written into `envs.transit.scenarios` by hand.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from agents.baselines.transit import Reactive
from envs.core.env import make_loop
from envs.core.registry import load_scenario
from envs.core.scenario import Scenario
from envs.transit.site import TransitSite

COSTS = ((1.0, 1.0, 1.0, 1.0), (0.5, 1.0, 0.5, 0.5), (0.3, 1.0, 0.3, 0.5), (0.3, 1.0, 0.3, 1.0), (0.5, 1.0, 0.2, 0.3))
"""Weights of an insertion's cost that are tried: added driving, wait, ride, others' delay."""

PERIODS_S = (120.0, 300.0, 600.0)

SHOWN = ("wait_min", "served_pct", "wait_mean_min", "ride_min", "detour", "empty_km")


def tune(
    scenario: Scenario,
    seeds: Sequence[int],
    costs: Sequence[tuple[float, ...]] = COSTS,
    periods_s: Sequence[float] = PERIODS_S,
) -> list[dict[str, Any]]:
    """Means over seeds of insertion with reactive rebalancing, for every pair of weights and period.

    Args:
        scenario: where.
        seeds: training seeds.
        costs: weights of an insertion's cost.
        periods_s: seconds between two rebalancings.

    Returns:
        A row a setting, the lowest headline last: ``costs``, ``period_s``, and the indicators of `SHOWN`.
    """
    rows = []
    for weights, period_s in itertools.product(costs, periods_s):
        names = dict(zip(("vehicle", "wait", "ride", "others"), weights, strict=True))
        loop = make_loop(scenario.override({f"costs.{name}": value for name, value in names.items()}))
        assert isinstance(loop.site, TransitSite)
        try:
            found = [loop.episode(Reactive(loop.site, period_s), seed).kpis for seed in seeds]
        finally:
            loop.close()
        means = {name: float(np.mean([kpis[name] for kpis in found])) for name in SHOWN}
        rows.append({"costs": weights, "period_s": period_s, **means})
    return sorted(rows, key=lambda row: -row["wait_min"])


def main() -> None:
    """Tune on a scenario's training seeds and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario")
    parser.add_argument("--seeds", type=int, default=40)
    given = parser.parse_args()
    scenario = load_scenario(given.scenario)
    print("vehicle, wait, ride, others", "period_s", *SHOWN, sep=" | ")
    for row in tune(scenario, scenario.seeds.train.take(given.seeds)):
        print(row["costs"], f"{row['period_s']:g}", *(f"{row[name]:.3f}" for name in SHOWN), sep=" | ")


if __name__ == "__main__":
    main()
