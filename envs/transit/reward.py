"""The reward: short waits, no refusals, short rides, little empty driving, with the scenario's weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from envs.transit.site import TransitSite

OWN = 0.5
"""Share of a zone's terms that is credited to its own agent; all agents share the rest, as vehicles serve all zones."""


class TransitReward:
    """Waiting and refusals by zone, rides and empty driving of the whole fleet.

    The sum over time and zones of ``wait`` is the waiting time until the service ends, in minutes; of ``refused`` the
    number of parties refused. Promises that are open at the end are carried out after it, for the indicators.

    Terms, each ``(N,)`` and negative, with the weights of the site:
        ``wait``: minutes waited since the last decision, by those who were promised a vehicle.
        ``refused``: parties refused.
        ``ride``: minutes that rides took beyond the direct ones, when they end.
        ``empty``: kilometres driven with nobody aboard.
    """

    def __init__(self, site: TransitSite):
        self._n, self._weights = len(site.zones), site.weights

    def terms(self, truth: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Named terms, already weighted; see the class."""
        weights = self._weights
        return {
            "wait": -weights.wait * self._shared(truth["waited_s"] / 60),
            "refused": -weights.refused * self._shared(truth["refused"]),
            "ride": np.full(self._n, -weights.ride * truth["detour_s"] / 60 / self._n),
            "empty": np.full(self._n, -weights.empty * truth["empty_m"] / 1000 / self._n),
        }

    def _shared(self, values: np.ndarray) -> np.ndarray:
        """The part `OWN` to each zone's agent, the rest to all equally, ``(N,)``; the sum is unchanged."""
        return OWN * values + (1.0 - OWN) * values.mean()
