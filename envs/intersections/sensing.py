"""Faults of an episode's detectors, between what they measure and what the controller gets."""

from __future__ import annotations

from collections import deque

import numpy as np

from envs.core.readings import Readings
from envs.intersections.readings import PARTS
from envs.intersections.scenarios import Sensors


class EpisodeFaults:
    """Silent, noisy and late detectors.

    Args:
        sensors: extent of the faults, as drawn for the episode.
        decision_s: seconds between two readings.
        seed: decides which detectors are dead, and the noise.
        approaches: number of approaches.

    Attributes:
        dead: which approaches' detectors are dead, bool ``(approaches,)``.
    """

    def __init__(self, sensors: Sensors, decision_s: float, seed: int, approaches: int):
        assert not isinstance(sensors.noise, tuple)
        assert not isinstance(sensors.dropout, tuple)
        self._rng = np.random.default_rng([seed, 2])
        self._noise = sensors.noise
        self.dead = self._rng.random(approaches) < sensors.dropout
        self._past: deque[Readings] = deque(maxlen=1 + round(sensors.delay_s / decision_s))
        self._perfect = sensors.noise == 0 and sensors.dropout == 0 and sensors.delay_s == 0

    def apply(self, true: Readings) -> Readings:
        """Readings as they arrive at the controller."""
        if self._perfect:
            return true
        self._past.append(true)
        seen = {name: values.copy() for name, values in self._past[0].items()}
        for name, values in seen.items():
            if self._noise:
                np.multiply(values, np.maximum(self._rng.normal(1.0, self._noise, len(values)), 0.0), out=values)
            if not name.startswith("exit_"):
                values[self.dead] = np.nan
        np.minimum(seen["occupancy"], 1.0, out=seen["occupancy"])
        for part, whole in PARTS.items():
            np.minimum(seen[part], seen[whole], out=seen[part])  # noise may not make a part larger than the whole
        return seen
