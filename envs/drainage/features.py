"""Readings → what a policy sees of a gate: its tank, the tank below, the others, the rain.

Every gate is described alike, so one policy fits any number of gates. All scales are fixed.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from envs.core.readings import Readings
from envs.core.world import Observation
from envs.drainage.site import LEADS_MIN, DrainageSite

GATE_FEATURES = (
    "known",
    "fill",
    "below_known",
    "below_fill",
    "above_mean",
    "above_fullest",
    "mean_fill",
    "upstream_fill",
    "upstream_open",
    "setting",
    "static",
    "moving_allowed",
    "still",
    "flow",
    "rain",
    "rain_all",
    "forecast_known",
    *(f"forecast_{lead}" for lead in LEADS_MIN),
    "tide_above",
    "pump",
    "below_exists",
)
"""Columns of the part ``gate``. ``below_…``: the next tank downstream, if there is one. ``above_…``: how much fuller
the own tank is than the mean, and than the fullest other, of all tanks with gates; ``upstream_…``: tanks whose gates
lead here."""

STATE_FEATURES = ("fill", "known", "setting", "rain", "forecast")
"""Columns of a central critic's state, a row a gate."""

RAIN_MMH, FORECAST_MM, FLOW_CMS, STILL_S, TIDE_M = 20.0, 10.0, 1.0, 3600.0, 2.0
"""What is divided by, to bring values to the order of one."""

LARGEST = 10.0
"""Features are kept within this, either way."""


class DrainageFeatures:
    """Encodes the readings of a site.

    Parts of the observation:
        gate ``(N, 24)``: columns `GATE_FEATURES`.
    """

    def __init__(self, site: DrainageSite):
        self.site = site
        n = len(site.gates)
        self.shapes: Mapping[str, tuple[int, ...]] = {"gate": (len(GATE_FEATURES),)}
        self.state_shape = (n, len(STATE_FEATURES))
        self._tank = np.array([gate.tank for gate in site.gates])
        self._below = np.array([gate.below for gate in site.gates])
        self._tide = np.array([gate.tide for gate in site.gates])
        self._tidal = self._tide >= 0
        self._static = np.array([gate.static for gate in site.gates])
        self._pump = np.array([gate.kind == "pump" for gate in site.gates], dtype=float)
        self._full_m = np.array([tank.full_m for tank in site.tanks])
        self._invert_m = np.array([tank.invert_m for tank in site.tanks])
        self._gated = np.unique(self._tank[self._tank >= 0])
        self._own_gated = np.where(self._tank >= 0, np.searchsorted(self._gated, self._tank), -1)
        self._leads_here = (self._below[None, :] == self._tank[:, None]) & (self._tank[:, None] >= 0)
        gauges = len(site.gauges)
        even = np.full(gauges, 1.0 / max(gauges, 1))
        shares = [site.tanks[k].rain if k >= 0 and any(site.tanks[k].rain) else even for k in self._tank]
        self._rain = np.array(shares).reshape(n, gauges)

    def encode(self, readings: Readings, mask: np.ndarray) -> Observation:
        """The observation of all gates; see the class."""
        return {"gate": self._columns(readings)}

    def _columns(self, readings: Readings) -> np.ndarray:
        depth_m = readings["depth_m"]
        known = np.isfinite(depth_m)
        seen, filled = np.zeros(len(depth_m) + 1), np.zeros(len(depth_m) + 1)  # the last for gates without a tank
        seen[:-1] = known
        filled[:-1][known] = depth_m[known] / self._full_m[known]
        own, own_known = filled[self._tank], seen[self._tank]
        setting = readings["setting"]
        columns = np.zeros((len(self._tank), len(GATE_FEATURES)), dtype=np.float32)
        columns[:, 0], columns[:, 1] = own_known, own
        columns[:, 2], columns[:, 3] = seen[self._below], filled[self._below]
        fillings = filled[self._gated]
        count = float(seen[self._gated].sum())
        mean = float(fillings.sum()) / count if count else 0.0
        columns[:, 4] = (own - mean) * own_known
        if count:
            columns[:, 5] = (own - self._fullest_other(fillings, seen[self._gated])) * own_known
        columns[:, 6] = mean
        columns[:, 7] = (self._leads_here * own).max(axis=1)
        columns[:, 8] = (self._leads_here * setting).max(axis=1)
        columns[:, 9], columns[:, 10] = setting, self._static
        columns[:, 11] = readings["still_s"] >= self.site.timing.dwell_s
        columns[:, 12] = np.minimum(readings["still_s"] / STILL_S, 2.0)
        columns[:, 13] = readings["flow_cms"] / FLOW_CMS
        rain = readings["rain_mmh"] / RAIN_MMH
        heard = np.isfinite(rain)
        rain = np.where(heard, rain, 0.0)
        columns[:, 14] = self._rain @ rain / np.maximum(self._rain @ heard, 1e-9)  # by the gauges that are heard
        columns[:, 15] = rain.sum() / max(np.count_nonzero(heard), 1)
        columns[:, 16:21] = self._ahead(readings)
        if self._tidal.any():
            level = np.append(self._invert_m, 0.0)[self._tank] + own * np.append(self._full_m, 0.0)[self._tank]
            tide = np.append(readings["tide_m"], 0.0)[self._tide]
            columns[:, 21] = self._tidal * (tide - level) / TIDE_M
        columns[:, 22], columns[:, 23] = self._pump, self._below >= 0
        columns[np.isnan(columns)] = 0.0
        return np.clip(columns, -LARGEST, LARGEST, out=columns)

    def _fullest_other(self, fillings: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """For every gate the filling of the fullest other tank that has a gate; its own where there is none."""
        fillings = np.where(seen > 0, fillings, -1.0)
        order = fillings.argsort()
        first = order[-1]
        second = fillings[order[-2]] if len(order) > 1 else -1.0
        rival = np.where(self._own_gated == first, second, fillings[first])
        own = np.where(self._own_gated >= 0, fillings[self._own_gated], 0.0)
        return np.where(rival < 0, own, rival)

    def _ahead(self, readings: Readings) -> np.ndarray:
        """Whether there is a forecast, and what it says for the own catchment, ``(N, 1 + leads)``."""
        forecast = readings["forecast_mm"].reshape(-1, len(LEADS_MIN)) / FORECAST_MM
        found = np.zeros((len(forecast), 1 + len(LEADS_MIN)))
        found[:, 1:] = forecast
        found[:, 0] = np.isfinite(forecast).all(axis=1)
        found[found[:, 0] == 0.0] = 0.0
        return self._rain @ found

    def state(self, readings: Readings) -> np.ndarray:
        """What a central critic sees, float32 ``(N, 5)``: columns `STATE_FEATURES`."""
        columns = self._columns(readings)
        return columns[:, [1, 0, 9, 14, GATE_FEATURES.index("forecast_60")]]
