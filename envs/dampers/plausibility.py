"""Which sensors are believed: one that is stuck, biased or senseless is left out, and its dampers are in doubt.

* **Stuck**: a sample that stays the same to the last digit while what it measures has moved. A damper that yields holds
  its force however far it is drawn: what moves is the force that its model has without voltage, as it moves least.
* **Biased**: an accelerometer or a stroke that differs lastingly from what the observer expected of it before it spoke,
  from all the others: by more than noise, and than a share of the motion, because the frame is never known exactly.
  What most accelerometers share is the ground's.
* **Senseless**: a force that is lastingly not what the damper's model says of its stroke at any voltage. The voltage
  itself is not believed: a damper may be dead, and a command late.

The observer knows the elastic frame alone. Once a storey softens on its way to yielding, differences say nothing, and
only what is stuck is doubted, until all sensors have agreed with that frame for a while. Where a storey stays crooked
its stroke never does.

One sensor is put in doubt at a time: its fault makes others look odd, too. It is believed again when it has agreed with
the rest for a while.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from envs.dampers.device import bouc_wen_step
from envs.dampers.site import DampersSite

EVERY_S = 0.03
"""Sensors are judged so often, or at every decision where those are rarer: the drivers' loop has little time."""

MEMORY_S = 1.0
"""Time constant of the averages that differences are judged by."""

NOISE, LEAST = 8.0, 0.02
"""Standard deviations of a good sensor that an average may be off in any motion, or a share of what is typical."""

BIAS, FORCE_BIAS = 0.1, 0.25
"""And a share of the root mean square of what was expected; of forces, of full force at a typical rate."""

STILL_S = 0.1
"""A sensor that says the same for so long while it moves is stuck."""

COARSE = 64.0
"""A motion is one if it is more than this part of a sensor's range: a coarse converter may not show less."""

SOFTENS = 0.3
"""Share of the drift at which a storey yields, from which on it is a tenth softer under load (Bouc-Wen, n = 2)."""

PAUSE_S, RETURN_S = 0.5, 2.0
"""Time between two sensors put in doubt, and of agreement until one is believed again."""


class Trust(NamedTuple):
    """What is believed of ``m`` = n + 2d + 1 sensors of ``E`` buildings: accelerometers, strokes, forces, the ground.

    Attributes:
        believed: bool ``(m, E)``.
        concerned: dampers with a sensor in doubt beside them, bool ``(d, E)``.
        last, still_s, anchor, travel: the last sample, for how long it has been so, what was expected of it when it
            came to be so, and how far that has moved since, ``(m, E)``.
        means: of differences of all but the ground; of squares of what was expected of accelerometers and strokes,
            ``(2 (n + d) + d, E)``.
        stroke, z: estimated strokes in m, and the hysteresis of the devices' model that follows them, ``(d, E)``.
        pause_s: until another sensor may be put in doubt, ``(E,)``.
        calm_s: for how long one in doubt has agreed with the rest, ``(m, E)``.
        soft_s: for how long yet differences say nothing, as a storey has yielded, ``(E,)``.
        waited: decisions since they were judged.
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
        site: its sensors, and which damper each of them serves: accelerometers the dampers below and above their floor,
            the ground's all of them.
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
        of_motion = np.maximum(self._noise[: n + d], LEAST * np.concatenate(least)[:, None])
        self._limit = np.concatenate([of_motion, self._noise[n + d : -1] + FORCE_BIAS * building.full_force_n[:, None]])

    def rest(self, buildings: int) -> Trust:
        """All is believed."""
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
        """Take in a decision's samples.

        Args:
            trust: what was believed.
            samples: of all sensors ``(m, E)``, NaN: lost.
            estimate: the observer's, with these samples.
        """
        if trust.waited + 1 < self._every:
            return trust._replace(waited=trust.waited + 1)
        n, d = self.n, self.d
        heard = abs(samples) < self._within  # no NaN is
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
            if put.any():  # what it did to the others is forgotten
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
        travel[-1] = abs(values[-1])  # nothing says how the ground should move: but it does not stay pushed
        return (still_s > STILL_S) & (travel > self._moved), still_s, anchor, travel

    def _forces(self, z: np.ndarray, rate: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What the devices' model gives without voltage and at full voltage, ``(d, E)`` in N each."""
        device = self._device
        none = self._counts * (device.c0a_n_s_m * rate + device.alpha_a_n_m * z)
        more = self._counts * device.full_v * (device.c0b_n_s_mv * rate + device.alpha_b_n_mv * z)
        return none, none + more

    def _odd(self, means: np.ndarray) -> np.ndarray:
        """How far each sensor is from what is plausible, 1: just so, ``(m, E)``."""
        n, d = self.n, self.d
        differ, size = means[: self.m - 1], np.sqrt(means[self.m - 1 :])
        limit = self._limit.repeat(means.shape[1], axis=1)
        limit[: n + d] += BIAS * size
        shared = np.sort(differ[:n], axis=0)[(n - 1) // 2 :][:1] if n > 2 else np.zeros((1, means.shape[1]))
        own = np.concatenate([differ[:n] - shared, differ[n:], shared])
        return abs(own) / np.concatenate([limit, limit[:n].min(axis=0, keepdims=True)])


def _beyond(force: np.ndarray, none: np.ndarray, full: np.ndarray) -> np.ndarray:
    """By how much forces are not between those without voltage and at full voltage, ``(d, E)`` in N."""
    return np.maximum(force - np.maximum(none, full), 0.0) + np.minimum(force - np.minimum(none, full), 0.0)
