"""Indicators of an episode, relative to the same building without dampers under the same motion."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from envs.dampers.site import DampersSite

KPIS = {
    "j": "mean of the peak drift's and the peak acceleration's ratio to the building without dampers",
    "drift_ratio": "largest drift of any storey at any time, as a ratio (J1 of Ohtori et al. 2004, in metres)",
    "accel_ratio": "largest absolute acceleration of any floor, as a ratio (J2)",
    "shear_ratio": "largest base shear, as a ratio (J3)",
    "drift_rms_ratio": "largest root mean square over time of any storey's drift, as a ratio (J4)",
    "accel_rms_ratio": "largest root mean square over time of any floor's absolute acceleration, as a ratio (J5)",
    "shear_rms_ratio": "root mean square over time of the base shear, as a ratio (J6)",
    "worst_drift_ratio": "largest ratio of any one storey's peak drift to the same storey's without dampers",
    "demand": "largest drift as a share of what the building's storeys may bear",
    "drift_mm": "largest drift",
    "accel_m_s2": "largest absolute acceleration",
    "force_n": "largest force of the dampers of one storey, at decisions",
    "force_share": "largest force of one storey's dampers, at decisions, as a share of the building's weight (J11)",
    "stroke_mm": "largest stroke of a damper, at decisions",
    "dissipated_j": "energy that dampers took out of the building",
    "level": "mean command, as a share of full voltage (stands for the power of J14)",
    "residual_mm": "largest drift at the end",
    "fatigue_ratio": "largest Miner's sum of any storey, slope 3 on rainflow ranges of drift, a ratio; not in training",
    "overloaded": "1 if a storey drifted beyond what it may bear",
}
"""Indicator → definition."""

BARE = ", no dampers"
"""Suffix of a storey's name for values of the building without dampers."""

LEAST_PEAK = 1e-9
"""Least uncontrolled peak, so that ratios stay finite without motion."""


class Tally:
    """Running peaks and sums of ``E`` episodes that run together.

    Args:
        site: the building.
        uncontrolled: drifts in m, accelerations in m/s² and base shear in N without dampers, ``(E, 2n + 1, T)``.
        decisions: of an episode.

    Attributes:
        ratios: of peak drift and peak acceleration so far, ``(2, E)``.
        uncontrolled: peaks without dampers, ``(2n + 1, E)``.
    """

    def __init__(self, site: DampersSite, uncontrolled: np.ndarray, decisions: int):
        building = site.building
        self._n = building.frame.floors
        self._capacity_m = building.capacity_m
        self._weight_n = building.weight_n
        peaks = np.abs(uncontrolled).max(axis=2).T
        means = np.sqrt((uncontrolled**2).mean(axis=2)).T
        self.uncontrolled, self._uncontrolled_rms = np.maximum(peaks, LEAST_PEAK), np.maximum(means, LEAST_PEAK)
        n, copies = self._n, len(uncontrolled)
        self.unit = np.stack([self.uncontrolled[:n].max(axis=0), self.uncontrolled[n : 2 * n].max(axis=0)])
        self._count = decisions
        self._peaks, self._squares = np.zeros((2 * n + 1, copies)), np.zeros((2 * n + 1, copies))
        self._force, self._stroke, self._level = np.zeros(copies), np.zeros(copies), np.zeros(copies)
        self.ratios = np.zeros((2, copies))

    def take(
        self, now: np.ndarray, peaks: np.ndarray, force: np.ndarray, stroke: np.ndarray, level: np.ndarray, k: int
    ) -> None:
        """Account for decision ``k``: values at its end and peaks within it ``(2n + 1, E)``; of dampers ``(d, E)``."""
        n = self._n
        self._peaks = np.maximum(self._peaks, peaks)
        self.ratios = np.stack([self._peaks[:n].max(axis=0), self._peaks[n : 2 * n].max(axis=0)]) / self.unit
        if not k:
            return
        self._squares += now**2
        self._force = np.maximum(self._force, force.max(axis=0))
        self._stroke = np.maximum(self._stroke, stroke.max(axis=0))
        self._level = self._level + level.mean(axis=0)

    def share(self, now: np.ndarray) -> np.ndarray:
        """The largest present drift and acceleration, as shares of the peaks without dampers, ``(2, E)``."""
        n, size = self._n, np.abs(now)
        return np.asarray(np.stack([size[:n].max(axis=0), size[n : 2 * n].max(axis=0)]) / self.unit)

    def kpis(self, dissipated_j: np.ndarray, rest_m: np.ndarray) -> list[dict[str, float]]:
        """Indicators of each episode; see `KPIS`."""
        n = self._n
        spans = (slice(0, n), slice(n, 2 * n), slice(2 * n, None))
        rms = np.sqrt(self._squares / self._count)
        drift, accel, shear = (self._peaks[span].max(axis=0) / self.uncontrolled[span].max(axis=0) for span in spans)
        normed = [rms[span].max(axis=0) / self._uncontrolled_rms[span].max(axis=0) for span in spans]
        largest_m = self._peaks[:n].max(axis=0)
        columns = {
            "j": (drift + accel) / 2,
            "drift_ratio": drift,
            "accel_ratio": accel,
            "shear_ratio": shear,
            "drift_rms_ratio": normed[0],
            "accel_rms_ratio": normed[1],
            "shear_rms_ratio": normed[2],
            "worst_drift_ratio": (self._peaks[:n] / self.uncontrolled[:n]).max(axis=0),
            "demand": largest_m / self._capacity_m,
            "drift_mm": 1e3 * largest_m,
            "accel_m_s2": self._peaks[n : 2 * n].max(axis=0),
            "force_n": self._force,
            "force_share": self._force / self._weight_n,
            "stroke_mm": 1e3 * self._stroke,
            "dissipated_j": dissipated_j,
            "level": self._level / self._count,
            "residual_mm": 1e3 * rest_m,
            "overloaded": (largest_m > self._capacity_m).astype(float),
        }
        return [{name: float(values[k]) for name, values in columns.items()} for k in range(len(drift))]

    def places(self, k: int) -> dict[str, dict[str, float]]:
        """Peak drift of every storey and acceleration of the floor on it, with dampers and without, building ``k``."""
        n = self._n
        found = {"drift_mm": 1e3 * self._peaks[:n, k], "accel_m_s2": self._peaks[n : 2 * n, k]}
        bare = {"drift_mm": 1e3 * self.uncontrolled[:n, k], "accel_m_s2": self.uncontrolled[n : 2 * n, k]}
        return {
            name: {f"{j + 1}": float(value) for j, value in enumerate(values)}
            | {f"{j + 1}{BARE}": float(value) for j, value in enumerate(bare[name])}
            for name, values in found.items()
        }
