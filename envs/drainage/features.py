"""Readings → a policy's features of a gate: its tank, the tank below, the others, the rain.

Every gate has the same columns, so one policy fits any number of gates. All scales are fixed. Columns are computed by
compiled code (numba), as they are needed at every decision.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numba import float32, from_dtype, types, void
from numba import float64 as real
from numba import int64 as whole

from envs.core.readings import Readings
from envs.core.world import Observation
from envs.drainage.jit import compiled
from envs.drainage.site import LEADS_MIN, DrainageSite, Gate

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

KNOWN, FILL, BELOW_KNOWN, BELOW_FILL, ABOVE_MEAN, ABOVE_FULLEST, MEAN_FILL, UPSTREAM_FILL = range(8)
UPSTREAM_OPEN, SETTING, STATIC, MOVING_ALLOWED, STILL, FLOW, RAIN = range(8, GATE_FEATURES.index("rain") + 1)
TIDE_ABOVE, PUMP, BELOW_EXISTS = range(GATE_FEATURES.index("tide_above"), len(GATE_FEATURES))
"""Indices of the columns."""

WEATHER = GATE_FEATURES[RAIN:TIDE_ABOVE]
"""Columns that depend on rain and forecast alone."""

STATE_FEATURES = ("fill", "known", "setting", "rain", "forecast")
"""Columns of a central critic's state, a row a gate."""

RAIN_MMH, FORECAST_MM, FLOW_CMS, STILL_S, TIDE_M = 20.0, 10.0, 1.0, 3600.0, 2.0
"""Divisors that bring values to the order of one."""

LARGEST = 10.0
"""Largest magnitude of a feature."""

INPUTS = ("depth_m", "setting", "still_s", "flow_cms", "rain_mmh", "forecast_mm", "tide_m")
"""Readings that the columns are computed from, in the order of `_fill`."""

GATE_FACTS = np.dtype([(name, np.int64) for name in ("tank", "below", "tide", "pump")] + [("static", np.float64)])
"""Facts of a gate that columns depend on; -1: there is none."""

TANK = np.dtype([("full_m", np.float64), ("invert_m", np.float64), ("gated", np.int64)])
"""Data of a tank; ``gated``: whether it has a gate."""


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
        self._gates = np.array([_facts(gate) for gate in site.gates], dtype=GATE_FACTS)
        gated = {gate.tank for gate in site.gates}
        tanks = [(tank.full_m, tank.invert_m, k in gated) for k, tank in enumerate(site.tanks)]
        self._tanks = np.array(tanks, dtype=TANK)
        self._rain = site.rain_shares
        self._dwell_s = float(site.timing.dwell_s)

    def encode(self, readings: Readings, mask: np.ndarray) -> Observation:
        """The observation of all gates; see the class."""
        return {"gate": self._columns(readings)}

    def _columns(self, readings: Readings) -> np.ndarray:
        columns = np.zeros((len(self._gates), len(GATE_FEATURES)), dtype=np.float32)
        inputs = [readings[name] for name in INPUTS]
        _fill(*inputs, self._gates, self._tanks, self._rain, self._dwell_s, columns)
        return columns

    def weather(self, rain_mmh: np.ndarray, forecast_mm: np.ndarray) -> np.ndarray:
        """The columns `WEATHER` of all gates, ``(…, N, 7)``: rain on the own catchment and on all, and its forecast.

        Args:
            rain_mmh: ``(…, gauges)``; NaN: unknown.
            forecast_mm: ``(…, gauges * leads)``; NaN: there is none.
        """
        columns = np.zeros((*rain_mmh.shape[:-1], len(self._rain), len(WEATHER)), dtype=np.float32)
        fallen, ahead = (values.reshape(-1, values.shape[-1]) for values in (rain_mmh, forecast_mm))
        for *moment, table in zip(fallen, ahead, columns.reshape(-1, *columns.shape[-2:]), strict=True):
            _fill_weather(*moment, self._rain, table, 0)
        return columns

    def state(self, readings: Readings) -> np.ndarray:
        """What a central critic sees, float32 ``(N, 5)``: columns `STATE_FEATURES`."""
        columns = self._columns(readings)
        return columns[:, [FILL, KNOWN, SETTING, RAIN, GATE_FEATURES.index("forecast_60")]]


def _facts(gate: Gate) -> tuple[float, ...]:
    """A row of `GATE_FACTS`."""
    return (gate.tank, gate.below, gate.tide, gate.kind == "pump", gate.static)


_column, _table = types.Array(real, 1, "A", readonly=True), float32[:, ::1]


@compiled(void(_column, _column, real[:, ::1], _table, whole))
def _fill_weather(
    rain_mmh: np.ndarray, forecast_mm: np.ndarray, shares: np.ndarray, columns: np.ndarray, first: int
) -> None:
    """Fill the columns `WEATHER`, which begin at ``first``."""
    gauges, leads = shares.shape[1], len(LEADS_MIN)
    everywhere, heard = 0.0, 0
    for g in range(gauges):
        if np.isfinite(rain_mmh[g]):
            everywhere, heard = everywhere + rain_mmh[g] / RAIN_MMH, heard + 1
    for k in range(len(shares)):
        here, share_heard = 0.0, 0.0
        for g in range(gauges):
            share = shares[k, g]
            if np.isfinite(rain_mmh[g]):
                here, share_heard = here + share * rain_mmh[g] / RAIN_MMH, share_heard + share
            foreseen = True
            for j in range(leads):
                foreseen &= np.isfinite(forecast_mm[g * leads + j])
            if foreseen:
                columns[k, first + 2] += share
                for j in range(leads):
                    columns[k, first + 3 + j] += share * forecast_mm[g * leads + j] / FORECAST_MM
        columns[k, first] = here / max(share_heard, 1e-9)  # by the gauges that report
        columns[k, first + 1] = everywhere / max(heard, 1)


@compiled
def _filling(tank: int, depth_m: np.ndarray, tanks: np.ndarray) -> tuple[float, float]:
    """Whether a tank's level is known, and how full it is."""
    if tank < 0 or np.isnan(depth_m[tank]):
        return 0.0, 0.0
    return 1.0, depth_m[tank] / tanks[tank].full_m


@compiled
def _lead(tank: int, depth_m: np.ndarray, tanks: np.ndarray) -> float:
    """How much fuller a tank is than the fullest other with a gate and a known level; 0 if there is none."""
    fill, rival = _filling(tank, depth_m, tanks)[1], -1.0
    for k in range(len(tanks)):
        known, other = _filling(k, depth_m, tanks)
        if tanks[k].gated and known and k != tank:
            rival = max(rival, other)
    return fill - rival if rival >= 0.0 else 0.0


@compiled(void(*[_column] * 7, from_dtype(GATE_FACTS)[::1], from_dtype(TANK)[::1], real[:, ::1], real, _table))
def _fill(
    depth_m: np.ndarray,
    setting: np.ndarray,
    still_s: np.ndarray,
    flow_cms: np.ndarray,
    rain_mmh: np.ndarray,
    forecast_mm: np.ndarray,
    tide_m: np.ndarray,
    gates: np.ndarray,
    tanks: np.ndarray,
    shares: np.ndarray,
    dwell_s: float,
    columns: np.ndarray,
) -> None:
    """Fill all columns from the readings `INPUTS`.

    Raises:
        ValueError: if readings are not as many as tanks, gates and gauges, or a gate's tide is beyond those given.
    """
    m, n, gauges = len(tanks), len(gates), shares.shape[1]
    if len(depth_m) != m or len(setting) != n or len(still_s) != n or len(flow_cms) != n:
        raise ValueError("readings of another number of tanks or gates")
    if len(rain_mmh) != gauges or len(forecast_mm) != gauges * len(LEADS_MIN) or gates["tide"].max() >= len(tide_m):
        raise ValueError("readings of another number of gauges, lead times or tides")
    _fill_weather(rain_mmh, forecast_mm, shares, columns, RAIN)
    filled, heard = 0.0, 0.0
    for k in range(m):
        if tanks[k].gated:
            known, fill = _filling(k, depth_m, tanks)
            filled, heard = filled + fill, heard + known
    mean = filled / max(heard, 1.0)
    for k in range(n):
        gate, seen = gates[k], columns[k]
        known, fill = _filling(gate.tank, depth_m, tanks)
        seen[KNOWN], seen[FILL] = known, fill
        seen[BELOW_KNOWN], seen[BELOW_FILL] = _filling(gate.below, depth_m, tanks)
        if known:
            seen[ABOVE_MEAN], seen[ABOVE_FULLEST] = fill - mean, _lead(gate.tank, depth_m, tanks)
        seen[MEAN_FILL] = mean
        for j in range(n):
            if gate.tank >= 0 and gates[j].below == gate.tank:
                seen[UPSTREAM_FILL] = max(seen[UPSTREAM_FILL], _filling(gates[j].tank, depth_m, tanks)[1])
                seen[UPSTREAM_OPEN] = max(seen[UPSTREAM_OPEN], setting[j])
        seen[SETTING], seen[STATIC], seen[FLOW] = setting[k], gate.static, flow_cms[k] / FLOW_CMS
        seen[MOVING_ALLOWED], seen[STILL] = still_s[k] >= dwell_s, min(still_s[k] / STILL_S, 2.0)
        if gate.tide >= 0:
            level = tanks[gate.tank].invert_m + fill * tanks[gate.tank].full_m if gate.tank >= 0 else 0.0
            seen[TIDE_ABOVE] = (tide_m[gate.tide] - level) / TIDE_M
        seen[PUMP], seen[BELOW_EXISTS] = gate.pump, gate.below >= 0
        for column in range(columns.shape[1]):
            value = seen[column]
            seen[column] = 0.0 if np.isnan(value) else min(max(value, -LARGEST), LARGEST)
