"""Alarm conditions of a drainage network, for its operator."""

from __future__ import annotations

from envs.core.conditions import Condition
from envs.core.readings import Readings
from envs.drainage.site import NEARLY_FULL, DrainageSite


def conditions(site: DrainageSite, readings: Readings) -> list[Condition]:
    """Tanks that overflow, are under pressure or nearly full."""
    found = []
    for tank, depth_m in zip(site.tanks, readings["depth_m"].tolist(), strict=True):
        fill = depth_m / tank.full_m
        if depth_m >= tank.over_m:
            text = f"{tank.id} is full ({depth_m:.2f} m): it overflows"
            found.append(Condition(f"full:{tank.id}", "high", text, tank.id))
        elif fill >= NEARLY_FULL:
            how = "nearly full" if fill < 1.0 else "under pressure"
            text = f"{tank.id} is {how} ({depth_m:.2f} of {tank.full_m:.2f} m)"
            found.append(Condition(f"filling:{tank.id}", "medium", text, tank.id, beneath=f"full:{tank.id}"))
    return found
