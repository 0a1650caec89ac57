"""Sensor validation: a sensor that is stuck, biased or senseless is left out, and its dampers are in doubt.

* **Stuck**: samples stay the same to the last digit while the measured quantity has moved. A damper that yields holds
  its force at any stroke; there the quantity is the force of its model without voltage, which moves least.
* **Biased**: an accelerometer or a stroke differs lastingly from the observer's prediction, which rests on all other
  sensors: by more than noise and a share of the motion, because the frame is never known exactly. A difference that
  most accelerometers share is attributed to the ground's.
* **Senseless**: a force lastingly differs from the damper model's at any voltage for its stroke. The voltage itself is
  not used: a damper may be dead, and a command late.

The observer knows only the elastic frame. Once a storey softens on its way to yielding, differences are meaningless,
and only stuck sensors are doubted, until all sensors have agreed with that frame for a while. The stroke of a storey
with residual drift never agrees with it.

One sensor is put in doubt at a time, because its fault makes others look odd, too. It is believed again when it has
agreed with the rest for a while.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from envs.dampers.mechanics.device import bouc_wen_step
from envs.dampers.site import DampersSite

EVERY_S = 0.03
"""Interval of validation, or a decision where that is longer: the drivers' loop has little time."""

MEMORY_S = 1.0
"""Time constant of the averaged differences."""

NOISE, LEAST_LIMIT = 8.0, 0.02
"""Allowed average difference in any motion: standard deviations of a sound sensor, or a share of the typical value."""

BIAS, FORCE_BIAS = 0.1, 0.25
"""Added to it: a share of the root mean square of the predicted value; of forces, of full force at a typical rate."""

STILL_S = 0.1
"""A sensor is stuck if its samples stay the same for this long while the measured quantity moves."""

COARSE = 64.0
"""A quantity moves if by more than this fraction of its sensor's range: a coarse converter may not resolve less."""

SOFTENS = 0.3
"""Share of the yield drift from which a storey is a tenth softer under load (Bouc-Wen, n = 2)."""

PAUSE_S, RETURN_S = 0.5, 2.0
"""Least time between two sensors put in doubt, and time of agreement until one is believed again."""


class Trust(NamedTuple):
    """State of validation of ``m`` = n + 2d + 1 sensors of ``E`` buildings: floors, strokes, forces, the ground.

    Attributes:
        believed: bool ``(m, E)``.
        concerned: dampers with an adjacent sensor in doubt, bool ``(d, E)``.
        last, still_s, anchor, travel: the last sample, the time for which it has not changed, its prediction when it
            last changed, and the prediction's largest change since, ``(m, E)``.
        means: averaged differences of all but the ground; averaged squares of predicted accelerations and strokes,
            ``(2 (n + d) + d, E)``.
        stroke, z: estimated strokes in m, and the hysteretic variable of the device model driven by them, ``(d, E)``.
        pause_s: time until another sensor may be put in doubt, ``(E,)``.
        calm_s: time for which a sensor in doubt has agreed with the rest, ``(m, E)``.
        soft_s: time for which differences remain meaningless, as a storey has softened, ``(E,)``.
        waited: decisions since the last validation.
    """

    believed: np.ndarray
    concerned: np.ndarray
    last: np.ndarray
    still_s: np.ndarray
    anchor: np.ndarray
    travel: np.ndarray
    means: np.ndarray
    stroke: np.ndarray
    z: np.ndarray
    pause_s: np.ndarray
    calm_s: np.ndarray
    soft_s: np.ndarray
    waited: int


class Plausibility:
    """See the module.

    Args:
        site: its sensors. An accelerometer serves the dampers below and above its floor, the ground's all dampers.
    """

    def __init__(self, site: DampersSite):
        building = site.building
        n, d = self.n, self.d = building.frame.floors, len(building.storeys)
        self.m = n + 2 * d + 1
        self._every = max(1, round(1e3 * EVERY_S / site.timing.decision_ms))
        self._step_s = self._every * site.timing.decision_ms / 1e3
        self._share = 1.0 - float(np.exp(-self._step_s / MEMORY_S))
        self._noise, self._within = NOISE * site.sample_noise[:, None], site.sample_range[:, None]
        self._moved = np.maximum(self._noise, self._within / COARSE)
        self._device, self._counts = building.device, building.counts[:, None]
        self._soft_m = np.inf if building.yield_mm is None else SOFTENS * building.yield_mm / 1e3
        self._serves = np.zeros((d, self.m), dtype=bool)
        for row, storey in enumerate(building.storeys):
            self._serves[row, [k for k in (storey - 1, storey) if k >= 0]] = True
            self._serves[row, [n + row, n + d + row, -1]] = True
        self._storeys = building.storeys
        typical = building.typical
        least = [np.full(n, typical["accel_m_s2"]), typical["drift_m"][building.storeys]]
        of_motion = np.maximum(self._noise[: n + d], LEAST_LIMIT * np.concatenate(least)[:, None])
        self._limit = np.concatenate([of_motion, self._noise[n + d : -1] + FORCE_BIAS * building.full_force_n[:, None]])

    def rest(self, buildings: int) -> Trust:
        """All sensors are believed."""
        m, d = self.m, self.d

        def zeros(rows: int) -> np.ndarray:
            return np.zeros((rows, buildings))

        return Trust(
            believed=np.ones((m, buildings), dtype=bool),
            concerned=np.zeros((d, buildings), dtype=bool),
            last=zeros(m),
            still_s=zeros(m),
            anchor=zeros(m),
            travel=zeros(m),
            means=zeros(m - 1 + self.n + d),
            stroke=zeros(d),
            z=zeros(d),
            pause_s=np.zeros(buildings),
            calm_s=zeros(m),
            soft_s=np.zeros(buildings),
            waited=0,
        )

    def judge(self, trust: Trust, samples: np.ndarray, estimate: Any) -> Trust:
        """Validate a decision's samples.

        Args:
            trust: the previous state.
            samples: of all sensors ``(m, E)``, NaN: lost.
            estimate: of the observer, updated with these samples.
        """
        if trust.waited + 1 < self._every:
            return trust._replace(waited=trust.waited + 1)
        n, d = self.n, self.d
        heard = abs(samples) < self._within  # false for NaN
        values = np.where(heard, samples, trust.last)
        stroke, rate = estimate.seen[self._storeys], estimate.seen[n + self._storeys]
        z = bouc_wen_step(self._device.z, trust.z, stroke - trust.stroke, 1.0)
        none, full = self._forces(z, rate)
        stuck, still_s, anchor, travel = self._stuck(
            trust, values, heard, np.concatenate([estimate.expected, none, values[-1:]])
        )
        beyond = _beyond(values[n + d : -1], none, full)
        now = np.concatenate([values[: n + d] - estimate.expected, beyond, estimate.expected**2])
        weight = self._share * np.concatenate([heard[:-1], heard[: n + d]])
        means = trust.means + weight * (now - trust.means)
        odd = self._odd(means)
        soft_s = self._soft(trust.soft_s, estimate.seen[:n], odd)
        pause_s = np.maximum(trust.pause_s - self._step_s, 0.0)
        believed, calm_s, concerned = trust.believed, trust.calm_s, trust.concerned
        if (odd > 1.0).any() or stuck.any() or not believed.all():
            fresh = np.where(believed & (soft_s == 0.0), odd, 0.0)
            worst = (fresh > 1.0) & (fresh == fresh.max(axis=0)) & (pause_s == 0.0)
            put = (worst | stuck) & believed
            if put.any():  # its effect on the other sensors' averages is reset
                means = means.copy()
                others = put.any(axis=0) & ~put[:-1] & believed[:-1]
                means[: self.m - 1] = np.where(others, 0.0, means[: self.m - 1])
                pause_s = np.where(put.any(axis=0), PAUSE_S, pause_s)
            calm_s = np.where((odd < 0.5) & ~stuck & ~believed, calm_s + self._step_s, 0.0)
            believed = (believed & ~put) | (calm_s > RETURN_S)
            concerned = self._serves @ ~believed
        return Trust(believed, concerned, values, still_s, anchor, travel, means, stroke, z, pause_s, calm_s, soft_s, 0)

    def _soft(self, soft_s: np.ndarray, drift_m: np.ndarray, odd: np.ndarray) -> np.ndarray:
        if self._soft_m == np.inf:
            return soft_s
        anew = (abs(drift_m) > self._soft_m).any(axis=0) | ((soft_s > 0.0) & (odd >= 0.5).any(axis=0))
        return np.where(anew, RETURN_S, np.maximum(soft_s - self._step_s, 0.0))

    def _stuck(
        self, trust: Trust, values: np.ndarray, heard: np.ndarray, expected: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        same = values == trust.last
        still_s = np.where(same, trust.still_s + self._step_s * heard, 0.0)
        anchor = np.where(same, trust.anchor, expected)
        travel = np.where(same, np.maximum(trust.travel, abs(expected - anchor)), 0.0)
        travel[-1] = abs(values[-1])  # the ground's motion is not predicted, but its acceleration does not persist
        return (still_s > STILL_S) & (travel > self._moved), still_s, anchor, travel

    def _forces(self, z: np.ndarray, rate: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Forces of the device model without voltage and at full voltage, each ``(d, E)`` in N."""
        device = self._device
        none = self._counts * (device.c0a_n_s_m * rate + device.alpha_a_n_m * z)
        more = self._counts * device.full_v * (device.c0b_n_s_mv * rate + device.alpha_b_n_mv * z)
        return none, none + more

    def _odd(self, means: np.ndarray) -> np.ndarray:
        """Difference of each sensor as a share of its limit, ``(m, E)``."""
        n, d = self.n, self.d
        differ, size = means[: self.m - 1], np.sqrt(means[self.m - 1 :])
        limit = self._limit.repeat(means.shape[1], axis=1)
        limit[: n + d] += BIAS * size
        shared = np.sort(differ[:n], axis=0)[(n - 1) // 2 :][:1] if n > 2 else np.zeros((1, means.shape[1]))
        own = np.concatenate([differ[:n] - shared, differ[n:], shared])
        return abs(own) / np.concatenate([limit, limit[:n].min(axis=0, keepdims=True)])


def _beyond(force: np.ndarray, none: np.ndarray, full: np.ndarray) -> np.ndarray:
    """Excess of forces over the range from no voltage to full voltage, ``(d, E)`` in N; 0 within it."""
    return np.maximum(force - np.maximum(none, full), 0.0) + np.minimum(force - np.minimum(none, full), 0.0)
