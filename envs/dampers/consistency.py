"""Consistency of a building's readings: motion that no other sensor confirms, forces beyond the devices'."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from envs.core.consistency import Plausible, Rule
from envs.core.readings import Readings
from envs.dampers.site import DampersSite

ADDED_SHARE = 0.2
"""Share of the typical value that is added to recent peaks, to which residuals are relative."""

EXACT = 1e-6
"""Tolerance of values that the acquisition unit computes: rounding."""


class DampersConsistency:
    """See `envs.core.consistency.Consistency`. The observer's estimate stands for all other sensors together: it fuses
    them with the elastic frame, so a sensor that is wrong parts from it.

    Args:
        site: the building.
    """

    def __init__(self, site: DampersSite):
        building, n, d = site.building, site.building.frame.floors, len(site.agents)
        self.interval_s = site.timing.decision_ms / 1e3
        self._storeys, self._device, self._counts = building.storeys, building.device, building.counts
        typical = building.typical
        self._drift_mm, self._accel = 1e3 * typical["drift_m"], float(typical["accel_m_s2"])
        rate_mm_s = 1e3 * typical["rate_m_s"]
        self._full_n = building.full_force_n
        self._range_n = site.ranges["force_n"]
        every, floors = np.arange(d), np.arange(n)
        self.rules = {
            "stroke": Rule("damper", "a stroke is not the drift of its storey", {"stroke_mm": every}),
            "motion": Rule("floor", "a floor does not move as the others do", {"accel_m_s2": floors}),
            "heard": Rule("damper", "a force is not what was heard", {"force_est_n": every}, EXACT),
            "strong": Rule("damper", "a force is beyond the devices'", {"force_n": every}),
            "peak": Rule("storey", "a drift is beyond its own peak", {"drift_peak_mm": floors}, EXACT),
        }
        told, made = {"jumps": False, "moves": False, "imputable": False}, {"jumps": False, "imputable": False}
        self.plausible = {
            "accel_m_s2": Plausible(self._accel),
            "ground_m_s2": Plausible(float(building.typical_m_s2)),
            "stroke_mm": Plausible(self._drift_mm[self._storeys]),
            "force_n": Plausible(self._full_n),
            "level": Plausible(**told),
            "silent_s": Plausible(**told),
            "drift_est_mm": Plausible(self._drift_mm, **made),
            "rate_est_mm_s": Plausible(rate_mm_s, **made),
            "accel_est_m_s2": Plausible(self._accel, **made),
            "force_est_n": Plausible(self._full_n, jumps=False, moves=False, imputable=False),
            "drift_peak_mm": Plausible(self._drift_mm, **made),
            "accel_peak_m_s2": Plausible(self._accel, **made),
        }
        storey = np.zeros((d, n), dtype=bool)
        storey[every, self._storeys] = True
        floor = storey.copy()
        floor[:, :-1] |= storey[:, 1:]  # the floor below
        self.concerns = {
            "floor": floor,
            "storey": storey,
            "damper": np.eye(d, dtype=bool),
            "ground": np.ones((d, 1), dtype=bool),
        }

    def residuals(self, before: Readings | None, now: Readings, seconds: float) -> Mapping[str, np.ndarray]:
        """How far readings are from each rule, as shares of peaks or of full force."""
        stroke, force, known = now["stroke_mm"], now["force_n"], now["force_est_n"]
        drift = now["drift_est_mm"]
        rate_m_s = 1e-3 * np.abs(now["rate_est_mm_s"][self._storeys])
        strongest = self._device.steady_force_n(rate_m_s, 1.0) * self._counts
        heard = (np.abs(force) <= self._range_n) & (now["silent_s"] <= 0)  # and believed by the acquisition unit
        peak = now["drift_peak_mm"]
        drifts = (peak + ADDED_SHARE * self._drift_mm)[self._storeys]
        return {
            "stroke": np.abs(stroke - drift[self._storeys]) / drifts,
            "motion": np.abs(now["accel_m_s2"] - now["accel_est_m_s2"])
            / (now["accel_peak_m_s2"] + ADDED_SHARE * self._accel),
            "heard": np.where(heard, np.abs(force - known) / self._full_n, 0.0),
            "strong": (np.abs(force) - strongest) / self._full_n,
            "peak": (np.abs(drift) - peak) / self._drift_mm,
        }
