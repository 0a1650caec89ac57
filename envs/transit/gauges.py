"""Figures of a demand-responsive fleet for dashboards."""

from __future__ import annotations

from envs.core.gauges import Gauges, total
from envs.core.readings import Readings
from envs.transit.site import TransitSite


def gauges(site: TransitSite, readings: Readings) -> Gauges:
    """Parties waiting and aboard, idle vehicles, recent requests and refusals."""
    return {
        "waiting": total(readings["waiting"]),
        "aboard": total(readings["aboard"]),
        "idle_veh": total(readings["idle_veh"]),
        "requests": total(readings["requests"]),
        "refused": total(readings["refused"]),
    }
