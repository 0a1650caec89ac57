"""The acquisition unit: a decision's samples → readings. It holds all sensor state of a building's loop."""

from __future__ import annotations

import numpy as np

from envs.core.readings import Readings
from envs.dampers.acquisition.observer import Estimate, Observer
from envs.dampers.acquisition.plausibility import Plausibility, Trust
from envs.dampers.site import DampersSite


class Acquisition:
    """State estimation and sensor validation of buildings that run together.

    Args:
        site: of the buildings.

    Attributes:
        observer, plausibility: Kalman filter and sensor validation.
        estimate: state of the observer.
        trust: state of the validation: sensors that are believed.
    """

    estimate: Estimate
    trust: Trust

    def __init__(self, site: DampersSite):
        self.observer, self.plausibility = Observer(site), Plausibility(site)
        self._n, self._d = site.building.frame.floors, len(site.agents)

    def rest(self, buildings: int) -> None:
        """Begin at rest, with all sensors believed."""
        self.estimate, self.trust = self.observer.rest(buildings), self.plausibility.rest(buildings)

    def take(self, samples: np.ndarray, level: np.ndarray) -> Readings:
        """Readings, each column ``(E, …)``; see `READINGS`.

        Args:
            samples: floor accelerations in m/s², strokes in m, forces in N (all of a storey's devices together), the
                ground's acceleration, ``(n + 2d + 1, E)``; NaN: lost.
            level: last commands, ``(d, E)``.
        """
        n, d = self._n, self._d
        split = n + d
        self.estimate = self.observer.update(self.estimate, samples[:split], samples[split:], trust=self.trust)
        self.trust = self.plausibility.judge(self.trust, samples, self.estimate)
        estimate, seen = self.estimate, self.estimate.seen.T
        return {
            "accel_m_s2": samples[:n].T,
            "ground_m_s2": samples[n + 2 * d :].T,
            "stroke_mm": 1e3 * samples[n:split].T,
            "force_n": samples[split : n + 2 * d].T,
            "level": level.T,
            "silent_s": estimate.silent_s.T,
            "drift_est_mm": 1e3 * seen[:, :n],
            "rate_est_mm_s": 1e3 * seen[:, n : 2 * n],
            "accel_est_m_s2": seen[:, 2 * n :],
            "force_est_n": estimate.inputs[:d].T,
            "drift_peak_mm": 1e3 * estimate.peaks[:n].T,
            "accel_peak_m_s2": estimate.peaks[n:].T,
        }
