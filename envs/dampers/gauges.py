"""Gauges of a building for dashboards."""

from __future__ import annotations

from envs.core.gauges import Gauges, largest
from envs.core.readings import Readings
from envs.dampers.site import DampersSite


def gauges(site: DampersSite, readings: Readings) -> Gauges:
    """Largest recent drift and acceleration by estimate, the highest command, and the longest silence of a damper."""
    return {
        "drift_peak_mm": largest(readings["drift_peak_mm"]),
        "accel_peak_m_s2": largest(readings["accel_peak_m_s2"]),
        "level": largest(readings["level"]),
        "silent_s": largest(readings["silent_s"]),
    }
