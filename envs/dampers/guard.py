"""Requests → voltages that may always be given: range, slew, force and stroke; a safe level where sensors are in doubt.

A damper can only take energy out, whatever its voltage: the guard keeps devices and drivers whole and keeps a blind
policy from deciding. Limits of force and stroke act through voltage, which is all there is to act with.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.core.readings import Readings
from envs.core.world import Commands, Intervention, Requests, as_numbers
from envs.dampers.site import DampersSite

DOUBT_SILENT_S = 0.1
"""A damper gets the safe level once no valid stroke or force came for this long, or its sensors are not believed
(`acquisition/plausibility.py`)."""

NEAR = 0.9
"""Share of the rated force beyond which voltage may not rise, and of the stroke beyond which it is full."""

REASONS = ("", "no_request", "range", "in_doubt", "stroke", "force", "slew")
_, NO_REQUEST, RANGE, IN_DOUBT, STROKE, FORCE, SLEW = range(len(REASONS))
"""Why a request is changed, and the index of each reason; the last that applies is given."""


class DampersGuard:
    """Checks requests of a site; see the module.

    Args:
        site: its dampers and their drivers.
    """

    reasons: tuple[str, ...] = REASONS[1:]

    def __init__(self, site: DampersSite):
        self.site, device = site, site.building.device
        self._rated_n = NEAR * device.rated_n * site.building.counts
        self._stroke_mm = NEAR * device.stroke_mm
        self._slew = site.timing.slew_1_s * site.timing.decision_ms / 1e3
        self._n = len(site.agents)

    def mask(self, readings: Readings) -> np.ndarray:
        """Voltages are continuous: nothing to choose from, ``(N, 0)``."""
        return np.zeros((self._n, 0), dtype=bool)

    def limit(self, readings: Readings, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Safe levels, and the index of the reason in `REASONS`, both ``(…, N)``; NaN in ``asked`` is no request.

        Reads one building's columns ``(N,)`` or many buildings' ``(E, N)``.
        """
        now, safe = readings["level"], self.site.safe_level
        none = np.isnan(asked)
        level = np.where(none, safe, asked.clip(0.0, 1.0))
        why = np.where(none, NO_REQUEST, RANGE * (level != asked))
        # NaN compares false, so a silent sensor is "not within"; one lost sample is no doubt yet.
        force, stroke = np.abs(readings["force_est_n"]), np.abs(readings["stroke_mm"])
        doubt = ~(readings["silent_s"] < DOUBT_SILENT_S) | ~np.isfinite(readings["rate_est_mm_s"]).all(
            axis=-1, keepdims=True
        )
        level, why = _put(level, why, doubt, safe, IN_DOUBT)
        level, why = _put(level, why, (stroke > self._stroke_mm) & ~doubt, 1.0, STROKE)
        level, why = _put(level, why, (force > self._rated_n) & (level > now), now, FORCE)
        if self._slew < 1.0:
            slow = level.clip(now - self._slew, now + self._slew)
            level, why = _put(level, why, slow != level, slow, SLEW)
        return level, why

    def check(
        self, readings: Readings, requests: Requests, mask: np.ndarray | None = None
    ) -> tuple[Commands, list[Intervention]]:
        """Levels to carry out ``(N, 1)``, and what was changed and why. Accepts anything."""
        asked = as_numbers(requests, self._n)[:, 0]
        level, why = self.limit(readings, asked)
        changes = []
        if why.any():
            for k in np.flatnonzero(why):
                wish = None if np.isnan(asked[k]) else float(asked[k])
                if wish != level[k]:
                    changes.append(Intervention(self.site.agents[k], wish, float(level[k]), REASONS[why[k]]))
        return level[:, None], changes


def _put(
    level: np.ndarray, why: np.ndarray, where: np.ndarray, value: Any, reason: int
) -> tuple[np.ndarray, np.ndarray]:
    if not where.any():
        return level, why
    return np.where(where, value, level), np.where(where, reason, why)
