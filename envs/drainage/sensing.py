"""What is wrong in one episode: sensors, gates, and the forecast."""

from __future__ import annotations

import numpy as np

from envs.core.readings import Readings
from envs.drainage.scenarios import DrainageScenario, Forecast
from envs.drainage.site import LEADS_MIN


class Faults:
    """Silent, stuck and noisy level sensors, and gates that do not move.

    Args:
        scenario: how bad it is.
        tanks: number of level sensors.
        gates: number of gates.
        seed: which ones, and the noise.

    Attributes:
        stuck_gate: which gates do not move, bool ``(gates,)``.
    """

    def __init__(self, scenario: DrainageScenario, tanks: int, gates: int, seed: int):
        sensors = scenario.sensors
        self._rng = np.random.default_rng([seed, 2])
        self._noise = sensors.noise
        self._silent = self._rng.random(tanks) < sensors.dropout
        self._stuck = self._rng.random(tanks) < sensors.stuck
        self._first: np.ndarray | None = None
        self.stuck_gate = np.zeros(gates, dtype=bool)
        self.stuck_gate[self._rng.permutation(gates)[: scenario.faults.stuck_gates]] = True

    def apply(self, true: Readings) -> Readings:
        """What arrives at the controller."""
        depth, flow = true["depth_m"].copy(), true["flow_cms"].copy()
        if self._first is None:
            self._first = depth.copy()
        depth[self._stuck] = self._first[self._stuck]
        if self._noise:
            depth *= np.maximum(self._rng.normal(1.0, self._noise, depth.shape), 0.0)
            flow *= self._rng.normal(1.0, self._noise, flow.shape)
        depth[self._silent] = np.nan
        return {**true, "depth_m": depth, "flow_cms": flow}


class Forecaster:
    """Rain from now until each lead time, for every gauge.

    Args:
        forecast: how good it is.
        table: the rain that will fall, mm, ``(decisions, gauges)``.
        decision_s: seconds of a row.
        seed: the errors.
    """

    def __init__(self, forecast: Forecast, table: np.ndarray, decision_s: float, seed: int):
        self._forecast, self._gauges = forecast, table.shape[1]
        self._rng = np.random.default_rng([seed, 6])
        self._fallen = np.concatenate([np.zeros((1, table.shape[1])), np.cumsum(table, axis=0)])
        self._ahead = 60.0 * np.array(LEADS_MIN) / decision_s
        self._spread = forecast.error * np.sqrt(np.array(LEADS_MIN) / 60.0)

    def __call__(self, decision: int) -> np.ndarray:
        """``(gauges * leads,)`` in mm; NaN where there is no forecast."""
        if self._forecast.kind == "none":
            return np.full(self._gauges * len(LEADS_MIN), np.nan)
        ends = decision + self._ahead
        low = np.minimum(ends.astype(np.int64), len(self._fallen) - 1)
        high = np.minimum(low + 1, len(self._fallen) - 1)
        share = (ends - np.floor(ends))[:, None]
        until = self._fallen[low] * (1 - share) + self._fallen[high] * share
        ahead = until - self._fallen[min(decision, len(self._fallen) - 1)]
        if self._forecast.kind == "degraded":
            drawn = self._rng.standard_normal(len(LEADS_MIN))
            factor = np.exp(self._spread * drawn - self._spread**2 / 2)
            ahead = np.maximum.accumulate(ahead * factor[:, None], axis=0)
        return ahead.T.reshape(-1)
