"""What is wanted: little delay at every junction and in the network, and nobody kept out of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from envs.intersections.site import SignalSite

SCALE_VEH = 10.0
"""Vehicles' worth of delay rate that makes a reward of -1."""

NETWORK_SHARE = 0.3
"""How much of the network's mean each junction answers for, beside its own."""


class SignalReward:
    """Delay rate: the number of vehicles that a standstill would delay equally, Σ (1 - v / v_limit).

    Its integral over time is the delay that is reported as a KPI. Terms, each ``(N,)`` and negative:
        ``delay``: over the vehicles on the junction's own approaches.
        ``network``: `NETWORK_SHARE` times the mean over all junctions.
        ``backlog``: vehicles that cannot enter the network, a junction's equal share of them.
    """

    def __init__(self, site: SignalSite):
        junctions = site.junctions
        self._limit = np.array([approach.speed_mps for approach in site.approaches])
        self._of = np.zeros((len(junctions), len(site.approaches)))
        for j, junction in enumerate(junctions):
            for movement in junction.movements:
                if movement.approach >= 0:
                    self._of[j, movement.approach] = 1.0

    def terms(self, truth: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Named terms, already weighted; see the class."""
        slow = truth["count_veh"] * np.maximum(1.0 - truth["speed_mps"] / self._limit, 0.0)
        delay = -(self._of @ slow) / SCALE_VEH
        n = len(delay)
        return {
            "delay": delay,
            "network": np.full(n, NETWORK_SHARE * delay.sum() / n),
            "backlog": np.full(n, -truth["backlog_veh"] / SCALE_VEH / n),
        }
