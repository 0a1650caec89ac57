"""What a dispatcher is to be told of."""

from __future__ import annotations

from envs.core.conditions import Condition
from envs.core.readings import Readings
from envs.transit.site import TransitSite

REFUSED, ASKED = 0.2, 10.0
"""Share of the recent requests that was refused, of so many at least."""


def conditions(site: TransitSite, readings: Readings) -> list[Condition]:
    """That many riders are refused, and in which zone most."""
    asked, refused = readings["requests"], readings["refused"]
    if asked.sum() < ASKED or refused.sum() < REFUSED * asked.sum():
        return []
    zone = site.agents[int(refused.argmax())]
    text = f"{refused.sum():.0f} of {asked.sum():.0f} recent requests were refused, most in zone {zone}"
    return [Condition("refused", "medium", text, zone)]
