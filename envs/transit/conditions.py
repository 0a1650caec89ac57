"""Conditions that a dispatcher is alerted to."""

from __future__ import annotations

from envs.core.conditions import Condition
from envs.core.readings import Readings
from envs.transit.site import TransitSite

REFUSED, ASKED = 0.2, 10.0
"""Least share of recent requests that were refused, and least number of recent requests, for an alert."""


def conditions(site: TransitSite, readings: Readings) -> list[Condition]:
    """An alert if many riders are refused, naming the zone with most refusals."""
    asked, refused = readings["requests"], readings["refused"]
    if asked.sum() < ASKED or refused.sum() < REFUSED * asked.sum():
        return []
    zone = site.agents[int(refused.argmax())]
    text = f"{refused.sum():.0f} of {asked.sum():.0f} recent requests were refused, most in zone {zone}"
    return [Condition("refused", "medium", text, zone)]
