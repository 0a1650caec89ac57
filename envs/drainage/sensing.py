"""Faults of an episode (level sensors, gates), and the rain forecast with its errors."""

from __future__ import annotations

import numpy as np

from envs.core.readings import Readings
from envs.drainage.scenarios import DrainageScenario, Forecast
from envs.drainage.site import LEADS_MIN


class EpisodeFaults:
    """Silent, stuck and noisy level sensors, and gates that do not move.

    Args:
        scenario: rates of faults, and noise.
        tanks: number of level sensors.
        gates: number of gates.
        seed: draws the sensors and gates concerned, and the noise.

    Attributes:
        silent, stuck: level sensors that are silent, and that repeat their first value, bool ``(tanks,)``.
        stuck_gate: gates that do not move, bool ``(gates,)``.
    """

    def __init__(self, scenario: DrainageScenario, tanks: int, gates: int, seed: int):
        sensors = scenario.sensors
        self._rng = np.random.default_rng([seed, 2])
        self._noise = sensors.noise
        self.silent = self._rng.random(tanks) < sensors.dropout
        self.stuck = self._rng.random(tanks) < sensors.stuck
        self._sound = not (sensors.noise or self.silent.any() or self.stuck.any())
        self._first: np.ndarray | None = None
        self.stuck_gate = np.zeros(gates, dtype=bool)
        self.stuck_gate[self._rng.permutation(gates)[: scenario.faults.stuck_gates]] = True

    def apply(self, true: Readings) -> Readings:
        """Readings as the controller gets them, from true ones."""
        if self._sound:
            return true
        depth, flow = true["depth_m"].copy(), true["flow_cms"].copy()
        if self._first is None:
            self._first = depth.copy()
        depth[self.stuck] = self._first[self.stuck]
        if self._noise:
            depth *= np.maximum(self._rng.normal(1.0, self._noise, depth.shape), 0.0)
            flow *= self._rng.normal(1.0, self._noise, flow.shape)
        depth[self.silent] = np.nan
        return {**true, "depth_m": depth, "flow_cms": flow}


class Forecaster:
    """Rain from now until each lead time, for every gauge.

    Args:
        forecast: its quality.
        table: the rain that will fall, mm, ``(decisions, gauges)``.
        decision_s: seconds of a row.
        seed: draws the errors, and whether there is a forecast at all.

    Attributes:
        forecast_mm: at every decision and at the end, ``(decisions + 1, gauges * leads)``; NaN: no forecast.
    """

    def __init__(self, forecast: Forecast, table: np.ndarray, decision_s: float, seed: int):
        decisions, gauges = table.shape
        absent = forecast.kind == "none" or np.random.default_rng([seed, 8]).random() < forecast.absent
        if absent:
            self.forecast_mm = np.full((decisions + 1, gauges * len(LEADS_MIN)), np.nan)
            return
        fallen = np.concatenate([np.zeros((1, gauges)), np.cumsum(table, axis=0)])
        ends = np.arange(decisions + 1)[:, None] + 60.0 * np.array(LEADS_MIN) / decision_s
        low = np.minimum(ends.astype(np.int64), decisions)
        high = np.minimum(low + 1, decisions)
        share = (ends - np.floor(ends))[..., None]
        ahead = np.maximum(fallen[low] * (1 - share) + fallen[high] * share - fallen[:, None, :], 0.0)
        if forecast.kind == "degraded":
            drawn = np.random.default_rng([seed, 6]).standard_normal((decisions + 1, len(LEADS_MIN)))
            variance = forecast.error**2 * np.array(LEADS_MIN) / 60.0
            walk = np.cumsum(drawn * np.sqrt(np.diff(variance, prepend=0.0)), axis=1)
            factor = np.exp(walk - variance / 2)  # its mean is one at every lead time
            ahead = np.cumsum(np.diff(ahead, axis=1, prepend=0.0) * factor[..., None], axis=1)
        self.forecast_mm = ahead.transpose(0, 2, 1).reshape(decisions + 1, -1)

    def __call__(self, decision: int) -> np.ndarray:
        """``(gauges * leads,)`` in mm; NaN where there is no forecast."""
        return self.forecast_mm[decision]
