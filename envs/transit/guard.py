"""Requests of zones → settings that can always be carried out.

Promises to riders are safe already: no setting reaches past the insertion kernel, which keeps every window, ride, seat
and shift. The guard makes sure that settings are meaningful: within their range, the rule of practice where a zone asks
for nothing, and no vehicle sent to a zone where none may stand.
"""

from __future__ import annotations

import numpy as np

from envs.core.readings import Readings
from envs.core.world import Commands, Intervention, Requests, as_numbers
from envs.transit.site import TransitSite
from envs.transit.targets import demand_weights, scores_of

SCORE, URGENCY = range(2)
"""Columns of a request: the zone's score, from which its share of the idle vehicles follows (`targets.shares_of`), and
the urgency: a wait here weighs `settings.URGENCY_BASE` to its power times as much as usual when vehicles are chosen."""

CLOSED = -1.0
"""Score of a zone in which no vehicle may stand; the world sends none there, whatever its share."""


class TransitGuard:
    """Checks requests of a site; see the module.

    Args:
        site: its zones.
    """

    reasons: tuple[str, ...] = ("no_request", "closed", "range")

    def __init__(self, site: TransitSite):
        self.site = site
        self._closed = site.stands < 0

    def mask(self, readings: Readings) -> np.ndarray:
        """Settings are continuous: there are no discrete choices, ``(N, 0)``."""
        return np.zeros((len(self.site.zones), 0), dtype=bool)

    def check(
        self, readings: Readings, requests: Requests, mask: np.ndarray | None = None
    ) -> tuple[Commands, list[Intervention]]:
        """Settings to carry out ``(N, 2)``, and changes with their reasons. Accepts any request."""
        asked = as_numbers(requests, len(self.site.zones), 2)
        wanted = asked.copy()
        silent = np.isnan(wanted)
        wanted[:, SCORE] = np.where(silent[:, SCORE], scores_of(demand_weights(readings)), wanted[:, SCORE])
        wanted[:, URGENCY] = np.where(silent[:, URGENCY], 0.0, wanted[:, URGENCY])
        wanted = np.clip(wanted, -1.0, 1.0)
        wanted[self._closed, SCORE] = CLOSED
        changes = []
        for k, column in zip(*np.nonzero(silent | (wanted != asked)), strict=True):
            before = asked[k, column]
            if silent[k, column]:
                reason = "no_request"
            elif column == SCORE and self._closed[k]:
                reason = "closed"
            else:
                reason = "range"
            given = float(before) if np.isfinite(before) else None
            changes.append(Intervention(self.site.agents[k], given, float(wanted[k, column]), reason))
        return wanted, changes
