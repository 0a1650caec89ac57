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

WEATHER = slice(GATE_FEATURES.index("rain"), GATE_FEATURES.index("tide_above"))
"""Those that levels and gates have no part in."""

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
        self._any_tidal, self._any_upstream = bool(self._tidal.any()), bool(self._leads_here.any())
        self._fixed = np.zeros((n, len(GATE_FEATURES)), dtype=np.float32)  # what no reading changes
        for name, values in {"static": self._static, "pump": self._pump, "below_exists": self._below >= 0}.items():
            self._fixed[:, GATE_FEATURES.index(name)] = values
        rows = np.array([0, len(site.tanks) + 1])  # where `known` and `fill` of tanks begin, one after the other
        own, below = (np.where(tank < 0, len(site.tanks), tank)[:, None] + rows for tank in (self._tank, self._below))
        self._levels = np.concatenate([own, below], axis=1)
        leads = len(LEADS_MIN)
        dry = self.weather(np.zeros(gauges), np.zeros(gauges * leads))
        self._forecast_known = dry[:, 2].copy()
        units = np.eye(gauges * (1 + leads))
        mixed = self.weather(units[:, :gauges], units[:, gauges:]) - dry
        self._mix = mixed.reshape(len(units), n * (3 + leads)).T.copy()

    def encode(self, readings: Readings, mask: np.ndarray) -> Observation:
        """The observation of all gates; see the class."""
        return {"gate": self._columns(readings)}

    def _columns(self, readings: Readings) -> np.ndarray:
        depth_m, setting = readings["depth_m"], readings["setting"]
        known = np.isfinite(depth_m)
        tanks = np.zeros((2, len(known) + 1))  # the last for gates without a tank
        seen, filled = tanks
        seen[:-1] = known
        np.divide(depth_m, self._full_m, out=filled[:-1], where=known)
        levels = tanks.reshape(-1)[self._levels]
        own_known, own = levels[:, 0], levels[:, 1]
        columns = self._fixed.copy()
        columns[:, :4] = levels
        fillings, heard = filled[self._gated], seen[self._gated]
        count = float(np.add.reduce(heard))
        mean = float(np.add.reduce(fillings)) / count if count else 0.0
        if count:
            columns[:, 4] = (own - mean) * own_known
            columns[:, 5] = (own - self._fullest_other(fillings, heard)) * own_known
        columns[:, 6] = mean
        if self._any_upstream:
            columns[:, 7] = np.maximum.reduce(self._leads_here * own, axis=1)
            columns[:, 8] = np.maximum.reduce(self._leads_here * setting, axis=1)
        columns[:, 9] = setting
        columns[:, 11] = readings["still_s"] >= self.site.timing.dwell_s
        columns[:, 12] = np.minimum(readings["still_s"] / STILL_S, 2.0)
        columns[:, 13] = readings["flow_cms"] / FLOW_CMS
        columns[:, WEATHER] = self._weather(readings["rain_mmh"], readings["forecast_mm"])
        if self._any_tidal:
            level = np.append(self._invert_m, 0.0)[self._tank] + own * np.append(self._full_m, 0.0)[self._tank]
            tide = np.append(readings["tide_m"], 0.0)[self._tide]
            columns[:, 21] = self._tidal * (tide - level) / TIDE_M
        silent = np.isnan(columns)
        if np.count_nonzero(silent):
            columns[silent] = 0.0
        return np.minimum(np.maximum(columns, -LARGEST, out=columns), LARGEST, out=columns)

    def _fullest_other(self, fillings: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """For every gate the filling of the fullest other tank that has a gate; its own where there is none."""
        fillings = np.where(seen > 0, fillings, -1.0)
        order = fillings.argsort()
        first = order[-1]
        second = fillings[order[-2]] if len(order) > 1 else -1.0
        rival = np.where(self._own_gated == first, second, fillings[first])
        own = np.where(self._own_gated >= 0, fillings[self._own_gated], 0.0)
        return np.where(rival < 0, own, rival)

    def _weather(self, rain_mmh: np.ndarray, forecast_mm: np.ndarray) -> np.ndarray:
        """`weather` of one moment, quicker where everything is known: then it is linear."""
        told = np.concatenate((rain_mmh, forecast_mm))
        found: np.ndarray = self._mix @ told
        if np.isfinite(np.add.reduce(told)):
            found = found.reshape(len(self._rain), -1)
            found[:, 2] = self._forecast_known
            return found
        return self.weather(rain_mmh, forecast_mm)

    def weather(self, rain_mmh: np.ndarray, forecast_mm: np.ndarray) -> np.ndarray:
        """The columns `WEATHER` of all gates, ``(…, N, 7)``: what falls on the own catchment, and on all, and will.

        Args:
            rain_mmh: ``(…, gauges)``; NaN: not heard.
            forecast_mm: ``(…, gauges * leads)``; NaN: there is none.
        """
        heard = np.isfinite(rain_mmh)
        rain = np.where(heard, rain_mmh / RAIN_MMH, 0.0)
        forecast = forecast_mm.reshape(*rain.shape, len(LEADS_MIN)) / FORECAST_MM
        known = np.isfinite(forecast).all(axis=-1, keepdims=True)
        ahead = np.concatenate([known, np.where(known, forecast, 0.0)], axis=-1)
        columns = np.empty((*rain.shape[:-1], len(self._rain), 3 + len(LEADS_MIN)))
        columns[..., 0] = rain @ self._rain.T / np.maximum(heard @ self._rain.T, 1e-9)  # by the gauges that are heard
        columns[..., 1] = (rain.sum(axis=-1) / np.maximum(heard.sum(axis=-1), 1))[..., None]
        columns[..., 2:] = self._rain @ ahead
        return columns

    def state(self, readings: Readings) -> np.ndarray:
        """What a central critic sees, float32 ``(N, 5)``: columns `STATE_FEATURES`."""
        columns = self._columns(readings)
        return columns[:, [1, 0, 9, 14, GATE_FEATURES.index("forecast_60")]]
