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
)
"""Columns of the part ``gate``. ``above_…``: how much fuller the own tank is than the mean, and than the fullest other,
of all tanks with gates; ``upstream_…``: tanks whose gates lead here."""

STATE_FEATURES = ("fill", "known", "setting", "rain", "forecast")
"""Columns of a central critic's state, a row a gate."""

RAIN_MMH, FORECAST_MM, FLOW_CMS, STILL_S, TIDE_M = 20.0, 10.0, 1.0, 3600.0, 2.0
"""What is divided by, to bring values to the order of one."""


class DrainageFeatures:
    """Encodes the readings of a site.

    Parts of the observation:
        gate ``(N, 23)``: columns `GATE_FEATURES`.
    """

    def __init__(self, site: DrainageSite):
        self.site = site
        n = len(site.gates)
        self.shapes: Mapping[str, tuple[int, ...]] = {"gate": (len(GATE_FEATURES),)}
        self.state_shape = (n, len(STATE_FEATURES))
        self._tank = np.array([gate.tank for gate in site.gates])
        self._below = np.array([gate.below for gate in site.gates])
        self._outfall = np.array([gate.outfall for gate in site.gates])
        self._static = np.array([gate.static for gate in site.gates])
        self._pump = np.array([gate.kind == "pump" for gate in site.gates], dtype=float)
        self._full_m = np.array([tank.full_m for tank in site.tanks])
        self._invert_m = np.array([tank.invert_m for tank in site.tanks])
        self._gated = np.unique(self._tank[self._tank >= 0])
        self._leads_here = (self._below[None, :] == self._tank[:, None]) & (self._tank[:, None] >= 0)
        gauges = len(site.gauges)
        even = np.full(gauges, 1.0 / max(gauges, 1))
        shares = [site.tanks[k].rain if k >= 0 and any(site.tanks[k].rain) else even for k in self._tank]
        self._rain = np.array(shares).reshape(n, gauges)

    def encode(self, readings: Readings, mask: np.ndarray) -> Observation:
        """The observation of all gates; see the class."""
        return {"gate": self._columns(readings)}

    def _columns(self, readings: Readings) -> np.ndarray:
        fill = readings["depth_m"] / self._full_m
        known, filled = np.isfinite(fill), np.nan_to_num(fill)
        own, own_known = _at(filled, self._tank), _at(known.astype(float), self._tank)
        columns = np.zeros((len(self._tank), len(GATE_FEATURES)), dtype=np.float32)
        columns[:, 0], columns[:, 1] = own_known, own
        columns[:, 2] = _at(known.astype(float), self._below)
        columns[:, 3] = _at(filled, self._below)
        gated = self._gated[known[self._gated]]
        mean = filled[gated].mean() if len(gated) else 0.0
        columns[:, 4] = (own - mean) * own_known
        for k, tank in enumerate(self._tank):
            others = gated[gated != tank]
            columns[k, 5] = (own[k] - filled[others].max()) * own_known[k] if len(others) else 0.0
        columns[:, 6] = mean
        columns[:, 7] = (self._leads_here * own).max(axis=1)
        columns[:, 8] = (self._leads_here * readings["setting"]).max(axis=1)
        columns[:, 9] = readings["setting"]
        columns[:, 10] = self._static
        columns[:, 11] = readings["still_s"] >= self.site.timing.dwell_s
        columns[:, 12] = np.minimum(readings["still_s"] / STILL_S, 2.0)
        columns[:, 13] = np.clip(np.nan_to_num(readings["flow_cms"]) / FLOW_CMS, -5.0, 5.0)
        rain = np.nan_to_num(readings["rain_mmh"]) / RAIN_MMH
        columns[:, 14] = self._rain @ rain
        columns[:, 15] = rain.mean() if len(rain) else 0.0
        columns[:, 16:21] = self._ahead(readings)
        tide = _at(np.nan_to_num(readings["tide_m"]), self._outfall)
        level = _at(self._invert_m, self._tank) + _at(np.nan_to_num(readings["depth_m"]), self._tank)
        columns[:, 21] = np.where(self._outfall >= 0, np.clip((tide - level) / TIDE_M, -2.0, 2.0), 0.0)
        columns[:, 22] = self._pump
        return columns

    def _ahead(self, readings: Readings) -> np.ndarray:
        """Whether there is a forecast, and what it says for the own catchment, ``(N, 1 + leads)``."""
        forecast = readings["forecast_mm"].reshape(-1, len(LEADS_MIN)) / FORECAST_MM
        known = np.isfinite(forecast).all(axis=1)
        amounts = self._rain @ np.nan_to_num(forecast)
        return np.column_stack([self._rain @ known.astype(float), np.minimum(amounts, 10.0)])

    def state(self, readings: Readings) -> np.ndarray:
        """What a central critic sees, float32 ``(N, 5)``: columns `STATE_FEATURES`."""
        columns = self._columns(readings)
        return columns[:, [1, 0, 9, 14, GATE_FEATURES.index("forecast_60")]]


def _at(values: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Values at indices; 0 where the index is -1."""
    return np.append(values, 0.0)[index]
