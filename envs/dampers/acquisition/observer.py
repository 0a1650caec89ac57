"""The acquisition unit's observer: a stationary Kalman filter that estimates unmeasured states.

Model: the building's elastic frame (the nominal one, where the true one differs), driven by the measured damper forces
and the measured acceleration of the ground, both linear between samples. Measurements: floor accelerations and damper
strokes. A sample that is lost, or beyond its sensor's range, corrects nothing; a lost force or ground sample counts as
unchanged. All controllers, learned or not, see these estimates and no others.

Works on one building ``(k, 1)`` and on many ``(k, E)``, in numpy and in torch alike.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from envs.dampers.acquisition.plausibility import Trust
from envs.dampers.mechanics.device import Array
from envs.dampers.mechanics.frame import drift_matrix, first_order_hold
from envs.dampers.site import DampersSite

FORCE_DOUBT, GROUND_DOUBT = 0.01, 0.02
"""Errors of linear interpolation of the inputs between samples, as shares of full force and typical ground motion."""

MODEL_DOUBT = 0.005
"""Unmodelled acceleration of every floor, as a share of the typical one: stiffness is never known exactly."""

PEAK_MEMORY_S = 10.0
"""Time constant of the decay of recent peaks."""


class Estimate(NamedTuple):
    """State of the observer, ``E`` buildings.

    Attributes:
        x: estimated displacements in m and velocities in m/s, ``(2n, E)``.
        inputs: last valid damper forces in N and ground acceleration in m/s², ``(d + 1, E)``.
        seen: estimated drifts in m, rates in m/s and absolute accelerations in m/s², ``(3n, E)``.
        peaks: largest recent drifts and accelerations, ``(2n, E)``.
        silent_s: since a valid stroke and force came with all sensors believed that the damper relies on, ``(d, E)``.
        expected: predicted accelerations and strokes, before these samples, ``(n + d, E)``.
    """

    x: Array
    inputs: Array
    seen: Array
    peaks: Array
    silent_s: Array
    expected: Array


class Observer:
    """See the module.

    Args:
        site: the building as it is known, its sensors and timing.
        dtype: of all arrays.

    Attributes:
        ahead: ``(2n + m, 2n + 2 (d + 1))``: prediction of the state and of the measurements.
        correct: ``(2n + 3n, 2n + (d + 1) + m)``: corrected state, and the published estimates.
    """

    def __init__(self, site: DampersSite, dtype: Any = np.float64):
        building, self.dtype = site.building, dtype
        self.site, frame = site, site.building.frame
        n, d = self.n, self.d = frame.floors, len(building.storeys)
        self.decision_s = site.timing.decision_ms / 1e3
        self._forget = float(np.exp(-self.decision_s / PEAK_MEMORY_S))
        drifts = drift_matrix(n)
        a, b = frame.continuous
        on_floors = -drifts.T[:, building.storeys]
        inputs = np.hstack([b[:, :n] @ on_floors, b[:, n:]])
        a_d, before, after = first_order_hold(a, inputs, self.decision_s)
        of_state, of_force = frame.acceleration
        accel = np.hstack([of_state, of_force @ on_floors, np.zeros((n, 1))])
        stroke = np.hstack([drifts[building.storeys], np.zeros((d, n + d + 1))])
        sees = np.vstack([accel, stroke])
        predict = np.hstack([a_d, before, after])
        now = np.hstack([np.zeros((d + 1, 2 * n + d + 1)), np.eye(d + 1)])
        self.ahead = np.vstack([predict, sees @ np.vstack([predict, now])]).astype(dtype)
        gain = self._gain(site, a_d, before + after, accel[:, : 2 * n], stroke[:, : 2 * n])
        corrected = np.hstack([np.eye(2 * n), np.zeros((2 * n, d + 1)), gain])
        motion = np.block([[drifts, np.zeros((n, n))], [np.zeros((n, n)), drifts]]) @ corrected
        kept = np.hstack([np.zeros((d + 1, 2 * n)), np.eye(d + 1), np.zeros((d + 1, n + d))])
        self.correct = np.vstack([corrected, motion, accel @ np.vstack([corrected, kept])]).astype(dtype)
        most = site.sample_range[:, None].astype(dtype)
        self.range, self.input_range = most[: n + d], most[n + d :]

    @staticmethod
    def _gain(site: DampersSite, a_d: np.ndarray, b_d: np.ndarray, *sees: np.ndarray) -> np.ndarray:
        """The stationary Kalman gain ``(2n, m)``, from the algebraic Riccati equation of the filter."""
        from scipy.linalg import solve_discrete_are  # a quarter of what importing all of ours takes

        building, sensors = site.building, site.building.sensors
        n, device = building.frame.floors, building.device
        full = device.steady_force_n(float(np.median(building.typical["rate_m_s"])), 1.0) * building.counts
        typical = float(building.typical["accel_m_s2"])
        doubt = np.append(FORCE_DOUBT * full, GROUND_DOUBT * building.typical_m_s2)
        step_s = site.timing.decision_ms / 1e3
        model = np.concatenate([np.zeros(n), np.full(n, MODEL_DOUBT * typical * step_s)])
        process = b_d @ np.diag(doubt**2) @ b_d.T + np.diag(model**2)
        c = np.vstack(sees)
        force_noise = building.counts * sensors.force_n / np.mean(building.mass_kg)
        accel = np.hypot(sensors.accel_m_s2, np.sum(force_noise)) + MODEL_DOUBT * typical
        noise = np.diag(np.concatenate([np.full(n, accel), np.full(len(sees[1]), sensors.stroke_mm / 1e3)]) ** 2)
        spread = solve_discrete_are(a_d.T, c.T, process, noise)
        return np.asarray(spread @ c.T @ np.linalg.inv(c @ spread @ c.T + noise))

    def rest(self, buildings: int, xp: Any = np) -> Estimate:
        """State at rest, with samples just received."""
        kind = {"dtype": self.dtype} if xp is np else {}
        rows = (2 * self.n, self.d + 1, 3 * self.n, 2 * self.n, self.d, self.n + self.d)
        return Estimate(*(xp.zeros((count, buildings), **kind) for count in rows))

    def update(
        self, estimate: Estimate, measured: Array, inputs: Array, xp: Any = np, trust: Trust | None = None
    ) -> Estimate:
        """Update the estimate with a decision's samples.

        Args:
            estimate: the previous state.
            measured: accelerations in m/s² and strokes in m, ``(n + d, E)``; NaN: lost.
            inputs: forces in N and the ground's acceleration, ``(d + 1, E)``; NaN: lost.
            xp: numpy or torch.
            trust: which of them are believed; None: all. A doubtful force or ground acceleration counts as zero.
        """
        n, split = self.n, self.n + self.d
        ahead, correct, within, bounds = self.ahead, self.correct, self.range, self.input_range
        if xp is not np:
            ahead, correct, within, bounds = (xp.as_tensor(each) for each in (ahead, correct, within, bounds))
        heard = abs(measured) < within  # false for NaN and for clipped samples
        given = abs(inputs) < bounds
        now = xp.where(given, inputs, estimate.inputs)
        if trust is not None and not trust.believed.all():
            heard, given = heard & trust.believed[:split], given & trust.believed[split:]
            now = xp.where(trust.believed[split:], now, 0.0)
        expected = ahead @ xp.concatenate([estimate.x, estimate.inputs, now])
        surprise = xp.where(heard, measured - expected[2 * n :], 0.0)
        found = correct @ xp.concatenate([expected[: 2 * n], now, surprise])
        seen = found[2 * n :]
        size = abs(xp.concatenate([seen[:n], seen[2 * n :]]))
        whole = heard[n:] & given[: self.d]
        if trust is not None:
            whole = whole & ~trust.concerned
        silent = xp.where(whole, 0.0, estimate.silent_s + self.decision_s)
        peaks = xp.maximum(size, self._forget * estimate.peaks)
        return Estimate(found[: 2 * n], now, seen, peaks, silent, expected[2 * n :])
