"""How good the demand forecast is on days that it did not learn from, against the mean of the same hour in the past.

For forecasts over 15 and 60 minutes: the log score, the pinball loss (mean over nine quantiles), the absolute error of
the median, and the share of counts within the central 80 %. The historical mean is taken for a Poisson distribution's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import poisson

from agents.monitors.demand.forecast import LEAST, DemandForecast
from envs.transit.network import SLOT_S, day_of, load_site
from envs.transit.scenarios import TransitScenario
from envs.transit.site import TransitSite

QUANTILES = np.arange(0.1, 0.95, 0.1)
RESAMPLES = 2000
EVERY = 3
"""Slots between two forecasts that are compared."""


def counts_of(scenario: TransitScenario, site: TransitSite, seeds: Sequence[int]) -> np.ndarray:
    """Requests by day, slot and zone, by when they came in, ``(days, slots, N)``."""
    slots = int(np.ceil(scenario.duration_s / SLOT_S))
    table = np.zeros((len(seeds), slots, len(site.zones)))
    for k, seed in enumerate(seeds):
        day = day_of(scenario, site, seed)
        slot = (day.known_s // SLOT_S).astype(np.int64)
        within = (slot >= 0) & (slot < slots)
        np.add.at(table[k], (slot[within], site.zone_of[day.origin[within]]), 1.0)
    return table


def pinball(quantiles: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Mean pinball loss over `QUANTILES`; first axis: quantiles."""
    share = QUANTILES.reshape(-1, *([1] * count.ndim))
    miss = count - quantiles
    return np.maximum(share * miss, (share - 1.0) * miss).mean(axis=0)


def compare(learned: DemandForecast, past: np.ndarray, days: np.ndarray, slots: int) -> dict[str, np.ndarray]:
    """Scores by day of the forecast (first) and the historical mean (second), each ``(days, 2)``.

    Args:
        learned: the forecast.
        past: the days that it learned from.
        days: others, ``(days, T, N)``.
        slots: length of a forecast.

    Returns:
        ``log_score``, ``pinball``, ``absolute`` and ``within``: share of counts within the central 80 %.
    """
    usual = np.maximum(np.nanmean(past, axis=0), LEAST)
    found: dict[str, list[list[float]]] = {name: [] for name in ("log_score", "pinball", "absolute", "within")}
    for day in days:
        rows: dict[str, list[tuple[float, float]]] = {name: [] for name in found}
        for now in range(1, len(day) - slots + 1, EVERY):
            count, due = day[now : now + slots].sum(axis=0), usual[now : now + slots].sum(axis=0)
            told, law = learned.forecast(day[:now], slots * learned.slot_s), poisson(due)
            mine, theirs = (np.array([ppf(q) for q in QUANTILES]) for ppf in (told.quantile, law.ppf))
            rows["log_score"].append((told.log_score(count).mean(), -law.logpmf(count).mean()))
            rows["pinball"].append((pinball(mine, count).mean(), pinball(theirs, count).mean()))
            rows["absolute"].append((np.abs(mine[4] - count).mean(), np.abs(theirs[4] - count).mean()))
            inside = [((count >= q[0]) & (count <= q[-1])).mean() for q in (mine, theirs)]
            rows["within"].append((inside[0], inside[1]))
        for name, values in rows.items():
            found[name].append(np.mean(values, axis=0).tolist())
    return {name: np.array(values) for name, values in found.items()}


def interval(differences: np.ndarray) -> tuple[float, float, float]:
    """Mean over days, and its 95 % bootstrap interval."""
    rng = np.random.default_rng(0)
    means = rng.choice(differences, (RESAMPLES, len(differences))).mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(differences.mean()), float(low), float(high)


def bench_forecast(scenario: TransitScenario, train: int = 60, test: int = 40) -> dict[str, Any]:
    """Learn on training days, and compare on test days.

    Args:
        scenario: the fleet.
        train: days to learn from.
        test: days to compare on.

    Returns:
        ``{"bench", "ratios", "figures"}``: each loss, as a ratio to the historical mean's; both losses, their mean
        difference over days with its 95 % bootstrap interval, and the shares of counts within the central 80 %.

    Raises:
        CityloopError: if there is too little to learn from.
    """
    site = load_site(scenario)
    past = counts_of(scenario, site, scenario.seeds.train.take(train))
    days = counts_of(scenario, site, scenario.seeds.test.take(test))
    learned = DemandForecast.learn(site.agents, past, SLOT_S)
    ratios, figures = {}, {f"{name} of levels": float(value) for name, value in learned.levels.model_dump().items()}
    for minutes in (15, 60):
        slots = round(60 * minutes / SLOT_S)
        if slots >= days.shape[1]:
            continue
        for name, values in compare(learned, past, days, slots).items():
            label, (mine, theirs) = f"{minutes} min: {name.replace('_', ' ')}", values.mean(axis=0).tolist()
            if name != "within":
                ratios[f"{label}, forecast / mean of the past"] = mine / theirs
            figures |= {f"{label}, forecast": mine, f"{label}, mean of the past": theirs}
            difference = dict(zip(("", ", from", ", to"), interval(values[:, 0] - values[:, 1]), strict=True))
            figures |= {f"{label}, difference{part}": value for part, value in difference.items()}
    return {"bench": f"forecast of {scenario.ref}", "ratios": ratios, "figures": figures}
