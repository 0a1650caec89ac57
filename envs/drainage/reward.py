"""What is wanted: little overflow where gates can help, and gates that rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from envs.drainage.site import DrainageSite

EVENT_M3 = 2500.0
"""Added to an event's size, so that a drizzle's few cubic metres do not count like a storm's."""

EVENT_SHARE = 0.1
"""Share of an event's rain that is taken for its size: large storms overflow whatever gates do, and would drown all."""

SENSITIVE_WEIGHT = 0.5
"""What overflow into a sensitive water counts beside being overflow."""

OVERFLOW_WEIGHT, MOVEMENT_WEIGHT = 30.0, 0.05
"""Reward of an overflow of an event's whole size, and of a gate's movement from shut to open; both negative."""


class DrainageReward:
    """Overflow relative to the event's size, shared by all gates alike, and each gate's own movement.

    Terms, each ``(N,)`` and negative:
        ``overflow``: controllable overflow since the last decision.
        ``sensitive``: what of all overflow went into sensitive waters.
        ``movement``: how far the gate moved.
    """

    def __init__(self, site: DrainageSite):
        self._n = len(site.gates)

    def terms(self, truth: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Named terms, already weighted; see the class."""
        unit = OVERFLOW_WEIGHT / (EVENT_M3 + EVENT_SHARE * truth["event_m3"])
        return {
            "overflow": np.full(self._n, -unit * truth["controllable_m3"]),
            "sensitive": np.full(self._n, -unit * SENSITIVE_WEIGHT * truth["sensitive_m3"]),
            "movement": -MOVEMENT_WEIGHT * truth["moved"],
        }
