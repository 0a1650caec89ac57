"""Alarm conditions of a building, for its operator. None of them says that a building is safe."""

from __future__ import annotations

from envs.core.conditions import Condition
from envs.core.readings import Readings
from envs.dampers.site import DampersSite

ALARM_SILENT_S = 5.0
"""Time without valid sensor samples from which a damper is reported."""


def conditions(site: DampersSite, readings: Readings) -> list[Condition]:
    """Storeys beyond their drift capacity (by estimate), and dampers without valid sensor samples."""
    building = site.building
    capacity_mm = 1e3 * building.capacity_m
    found = []
    for storey, drift_mm in zip(site.axes["storey"], readings["drift_peak_mm"].tolist(), strict=True):
        if drift_mm > capacity_mm:
            text = f"storey {storey[1:]} drifted {drift_mm:.1f} mm by estimate, beyond {capacity_mm:.1f} mm: inspect it"
            found.append(Condition(f"drift:{storey}", "high", text, storey))
    for agent, silent_s in zip(site.agents, readings["silent_s"].tolist(), strict=True):
        if silent_s >= ALARM_SILENT_S:
            text = f"damper {agent} has not been heard, or not believed, for {silent_s:.0f} s"
            found.append(Condition(f"silent:{agent}", "medium", text, agent))
    return found
