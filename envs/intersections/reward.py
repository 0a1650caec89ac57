"""The reward: little delay at every junction and in the network, that of vehicles kept out of it included."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from envs.intersections.site import SignalSite

SCALE_VEH = 10.0
"""Vehicles' worth of delay rate that makes a reward of -1."""

NETWORK_SHARE = 0.3
"""Share of the network's mean delay that is charged to each junction, beside its own."""

STUCK_WEIGHT = 3.0
"""Additional weight of a vehicle, beside its delay, once it has stood for `detection.STUCK_S`."""


class SignalReward:
    """Delay rate: the number of vehicles that a standstill would delay equally, Σ (1 - v / v_limit).

    The integral over time of all delay in the network, vehicles included that cannot enter it, is the delay that is
    reported as a KPI: that of ``network``, before its share. ``delay`` leaves out who has passed the last signal.
    Terms, each ``(N,)`` and negative:
        ``delay``: over all vehicles whose next signal is the junction, however far away.
        ``backlog``: vehicles that wait to enter on streets that lead to the junction.
        ``stuck``: `STUCK_WEIGHT` times the vehicles that have stood for minutes. Total delay alone may be least where a
            few are never served, and it does not tell a queue from a gridlock.
        ``network``: `NETWORK_SHARE` times the mean over junctions of all delay in the network, owned or not.
    """

    def __init__(self, site: SignalSite):
        self._n = len(site.junctions)

    def terms(self, truth: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Named terms, already weighted; see the class."""
        everything = (truth["network_lost_veh"] + truth["backlog_veh"]) / self._n
        return {
            "delay": -truth["lost_veh"] / SCALE_VEH,
            "backlog": -truth["held_veh"] / SCALE_VEH,
            "stuck": -STUCK_WEIGHT * truth["stuck_veh"] / SCALE_VEH,
            "network": np.full(self._n, -NETWORK_SHARE * everything / SCALE_VEH),
        }
