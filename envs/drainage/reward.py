"""What is wanted: little overflow where gates can help, and gates that rest. How much of each, the scenario says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from envs.drainage.site import DrainageSite

EVENT_M3 = 2500.0
"""Added to an event's size, so that a drizzle's few cubic metres do not count like a storm's."""

EVENT_SHARE = 0.1
"""Share of an event's rain that is taken for its size: large storms overflow whatever gates do, and would drown all."""


class DrainageReward:
    """Overflow relative to the event's size, shared by all gates alike, and each gate's own movement.

    Terms, each ``(N,)`` and negative, with the weights of the site:
        ``overflow``: controllable overflow since the last decision.
        ``sensitive``: what of all overflow went into sensitive waters.
        ``movement``: how far the gate moved.
        ``objective``: what the published objective rose by; only where it has a weight.
    """

    def __init__(self, site: DrainageSite):
        self._n, self._weights = len(site.gates), site.weights
        self._movement = np.full(self._n, -site.weights.movement)

    def terms(self, truth: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Named terms, already weighted; see the class."""
        weights, size_m3 = self._weights, EVENT_M3 + EVENT_SHARE * truth["event_m3"]
        shared = np.empty((2, self._n))
        shared[0] = -weights.overflow * truth["controllable_m3"] / size_m3
        shared[1] = -weights.sensitive * truth["sensitive_m3"] / size_m3
        terms = {"overflow": shared[0], "sensitive": shared[1], "movement": self._movement * truth["moved"]}
        if weights.objective:
            terms["objective"] = np.full(self._n, -weights.objective * truth["objective"])
        return terms
