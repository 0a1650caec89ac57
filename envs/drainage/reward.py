"""Reward: little overflow where gates can help, and little movement of gates; the scenario has the weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import float64 as real
from numba import void

from envs.drainage.jit import compiled
from envs.drainage.site import DrainageSite

EVENT_M3 = 2500.0
"""Added to an event's size, so that the few cubic metres of a drizzle do not count like those of a storm."""

EVENT_SHARE = 0.1
"""Share of an event's rain that is its size: else storms that overflow under any control would dominate."""


class DrainageReward:
    """Overflow relative to the event's size, shared by all gates alike, and each gate's own movement.

    Terms, each ``(N,)`` and negative, with the weights of the site:
        ``overflow``: controllable overflow since the last decision.
        ``sensitive``: the part of all overflow into sensitive waters.
        ``movement``: how far the gate moved.
        ``objective``: increase of the published objective; only where it has a weight.
    """

    def __init__(self, site: DrainageSite):
        self._n, weights = len(site.gates), site.weights
        self._overflow, self._sensitive = -weights.overflow, -weights.sensitive
        self._movement, self._objective = -weights.movement, -weights.objective

    def terms(self, truth: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Named terms, already weighted; see the class."""
        size_m3 = EVENT_M3 + EVENT_SHARE * truth["event_m3"]
        overflow = self._overflow * truth["controllable_m3"] / size_m3
        sensitive = self._sensitive * truth["sensitive_m3"] / size_m3
        found = np.empty((3, self._n))
        _fill(overflow, sensitive, self._movement, truth["moved"], found)
        terms = {"overflow": found[0], "sensitive": found[1], "movement": found[2]}
        if self._objective:
            terms["objective"] = np.full(self._n, self._objective * truth["objective"])
        return terms


@compiled(void(real, real, real, real[::1], real[:, ::1]))
def _fill(overflow: float, sensitive: float, weight: float, moved: np.ndarray, terms: np.ndarray) -> None:
    """Fill a row each with what all gates share, and with the weighted movement of each."""
    for k in range(len(moved)):
        terms[0, k], terms[1, k], terms[2, k] = overflow, sensitive, weight * moved[k]
