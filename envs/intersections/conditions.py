"""Conditions that a traffic operator is alerted to."""

from __future__ import annotations

import numpy as np

from envs.core.conditions import Condition
from envs.core.readings import Readings
from envs.intersections.site import SignalSite

STOOD_S = 300.0
"""Mean standstill of a lane's queue that is reported; ten vehicles that have stood for as long are a gridlock."""

BLOCKED_VEH = 3.0
"""Vehicles that stand in the middle of a junction."""


def conditions(site: SignalSite, readings: Readings) -> list[Condition]:
    """Lanes where traffic has stood for five minutes, and junctions whose middle is blocked."""
    found = []
    queue, waiting = readings["queue_veh"], readings["waiting_s"]
    stood = np.divide(waiting, queue, out=np.zeros_like(queue), where=queue >= 1)
    for k in np.flatnonzero(stood >= STOOD_S).tolist():
        lane, minutes = site.approaches[k].id, stood[k] / 60
        text = f"{queue[k]:.0f} vehicles on lane {lane} have stood for {minutes:.0f} minutes"
        found.append(Condition(f"stood:{lane}", "high", text, lane))
    inside = np.where(np.isnan(readings["inside_veh"]), 0.0, readings["inside_veh"])
    if inside.sum() < BLOCKED_VEH:  # nearly always: no junction can have so many
        return found
    for junction in site.junctions:
        count = float(inside[list(junction.approaches)].sum())
        if count >= BLOCKED_VEH:
            text = f"{count:.0f} vehicles stand in the middle of junction {junction.id}"
            found.append(Condition(f"blocked:{junction.id}", "medium", text, junction.id))
    return found
