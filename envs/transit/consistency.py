"""Readings that a dispatch centre cannot report: riders that no vehicle carries, parties that never asked."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from envs.core.consistency import Plausible, Rule
from envs.core.readings import Readings
from envs.transit.site import TransitSite

VEHICLES = ("idle_veh", "inbound_veh", "busy_veh")
"""Every vehicle on shift is one of these."""

COUNTS = (*VEHICLES, "soon_veh", "aboard", "coming", "waiting", "booked", "requests", "refused", "expected")


class TransitConsistency:
    """See `envs.core.consistency.Consistency`.

    Args:
        site: the service.
    """

    def __init__(self, site: TransitSite):
        timing, n = site.timing, len(site.zones)
        self.interval_s, self._vehicles = float(timing.decision_s), float(site.vehicles)
        self._horizon_s = min(timing.ahead_s, timing.recent_s)
        every = np.arange(n)
        self.rules = {
            "riders": Rule("", "the parties aboard are not those that will get off", limit=0.5),
            "asked": Rule("", "more parties wait or ride than ever asked", limit=0.5),
            "carried": Rule("zone", "parties ride where no vehicle is busy", {"aboard": every, "busy_veh": every}, 0.5),
            "fleet": Rule("", "vehicles come and go as no shift does", only_reported=True),
            "clock": Rule("service", "the service's clock does not fit the tick's", {"time_s": np.arange(1)}, 1.5),
        }
        scale = max(site.vehicles / n, 1.0)
        self.plausible = {name: Plausible(scale, rest_low=0.0) for name in COUNTS} | {
            "expected": Plausible(scale, moves=False),
            "soon_s": Plausible(jumps=False, moves=False, imputable=False),
            "time_s": Plausible(jumps=False, moves=False, imputable=False),
            "speed": Plausible(moves=False),
        }
        self.concerns = {"zone": np.eye(n, dtype=bool), "service": np.ones((n, 1), dtype=bool)}

    def residuals(self, before: Readings | None, now: Readings, seconds: float) -> Mapping[str, np.ndarray]:
        """Violation of each rule: in parties, as a share of the fleet, in seconds."""
        aboard = now["aboard"].sum()
        found = {
            "riders": np.abs([aboard - now["coming"].sum()]),
            "carried": np.where(now["busy_veh"] <= 0, now["aboard"], 0.0),
        }
        if before is None:
            return found
        if seconds <= self._horizon_s:
            due = before["waiting"].sum() + before["aboard"].sum() + before["booked"].sum() + now["requests"].sum()
            found["asked"] = np.array([aboard + now["waiting"].sum() - due])
        count = [sum(float(each[name].sum()) for name in VEHICLES) for each in (before, now)]
        found["fleet"] = np.abs([count[1] - count[0]]) / self._vehicles
        found["clock"] = np.abs(now["time_s"] - before["time_s"] - seconds)
        return found
