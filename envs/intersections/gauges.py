"""Dashboard gauges of a road network."""

from __future__ import annotations

from envs.core.gauges import Gauges, largest, total
from envs.core.readings import Readings
from envs.intersections.site import SignalSite


def gauges(site: SignalSite, readings: Readings) -> Gauges:
    """Standing vehicles, those within sight, the sum of standstill times, and the longest red."""
    return {
        "queue_veh": total(readings["queue_veh"]),
        "count_veh": total(readings["count_veh"]),
        "waiting_s": total(readings["waiting_s"]),
        "longest_red_s": largest(readings["red_s"]),
    }
