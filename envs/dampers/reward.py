"""Reward: small peaks of drift and acceleration, little motion throughout, and small damper forces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from envs.dampers.site import DampersSite

PEAK_WEIGHT = 50.0
"""Weight of the growth of an episode's peak ratios: over the episode it sums to the headline indicator times this."""

MOTION_WEIGHT = 1.0
"""Weight of the squared share of the uncontrolled peak at every decision: a signal before a peak."""

FORCE_WEIGHT = 0.2
"""Weight of a damper's force, as a share of the building's weight."""


class DampersReward:
    """Shared by all dampers alike, but for the force, which is each one's own.

    Terms, each ``(…, N)`` and negative:
        ``drift``, ``acceleration``: growth of the episode's ratio of peaks with and without dampers, and the square of
            the present value as a share of the peak without dampers.
        ``force``: each damper's own.
    """

    def __init__(self, site: DampersSite):
        self._n = len(site.agents)

    def terms(self, truth: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Named terms, already weighted, of one building or of many; see the class."""
        found = {}
        for name, key in (("drift", "drift"), ("acceleration", "accel")):
            cost = PEAK_WEIGHT / 2 * truth[f"{key}_growth"] + MOTION_WEIGHT / 2 * truth[f"{key}_share"] ** 2
            found[name] = -np.repeat(np.asarray(cost)[..., None], self._n, axis=-1)
        found["force"] = -FORCE_WEIGHT * truth["force_share"]
        return found
