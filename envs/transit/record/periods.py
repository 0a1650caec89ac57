"""The periods of a service for which results are reported: by usual demand, not by the demand of the day.

A tidal service on a SUMO network has three: at first trips from the border prevail, at last trips to the border
(`sources.streets`). Elsewhere a quarter of an hour belongs to the ``peak`` if its usual demand is more than a fifth
above the mean; all others are ``off-peak``. Without a past, or without a peak, there are no periods.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from envs.transit.kernel import events
from envs.transit.kernel.events import Log
from envs.transit.kernel.fleet import Riders
from envs.transit.record.ledger import REFUSED_MIN, Ledger
from envs.transit.scenarios import TransitScenario
from envs.transit.site import TransitSite

QUARTER_S = 900.0

BUSY = 1.2
"""Least ratio of the usual requests in a quarter of an hour of the peak to their mean."""

TIDES = ("inward", "both ways", "outward")
"""Thirds of a tidal service."""


def periods(scenario: TransitScenario, site: TransitSite) -> dict[str, np.ndarray]:
    """Period → its quarters of an hour, bool ``(Q,)``; together they are the whole service."""
    begins_s = np.arange(0.0, scenario.duration_s, QUARTER_S)
    if scenario.net is not None and scenario.trips.tide > 0:
        third = (3 * begins_s / scenario.duration_s).astype(np.int64)
        return {name: third == k for k, name in enumerate(TIDES)}
    usual = np.array([site.expected(begin_s, QUARTER_S).sum() for begin_s in begins_s])
    peak = usual > BUSY * usual.mean()
    return {"peak": peak, "off-peak": ~peak} if peak.any() else {}


def by_period(log: Log, riders: Riders, quarters: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Indicators of a finished episode by period, from its events, as defined in `kpis.KPIS`.

    A party belongs to the period of its wanted pick-up, a kilometre to the period in which it was recorded.

    Args:
        log: all rows, in the order of time.
        riders: requests and promises.
        quarters: as returned by `periods`.

    Returns:
        Period → indicator → value; periods without requests are left out.
    """
    ledger = Ledger(log, riders)
    empty = (log.kind == events.DROVE) & (log.load == 0)
    found = {}
    for name, mine in quarters.items():
        inside = _within(riders.earliest_s, mine)
        served, refused = ledger.served & inside, ledger.turned_away & inside
        asked = int(served.sum() + refused.sum())
        if not asked:
            continue
        wait = ledger.wait_s[served] / 60
        found[name] = {
            "wait_min": float(wait.sum() + REFUSED_MIN * refused.sum()) / asked,
            "served_pct": 100.0 * float(served.sum()) / asked,
            "empty_km": float(log.metres[empty & _within(log.time_s, mine)].sum()) / 1000,
            "asked": float(asked),
        }
        if len(wait):
            found[name] |= {"wait_mean_min": float(wait.mean()), "ride_min": float(ledger.ride_s[served].mean()) / 60}
    return found


def _within(time_s: np.ndarray, quarters: np.ndarray) -> np.ndarray:
    """Whether times fall into a period; times after the end count as the last quarter of an hour."""
    return quarters[np.clip(time_s // QUARTER_S, 0, len(quarters) - 1).astype(np.int64)]
