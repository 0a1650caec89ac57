"""Requests → settings that may always be carried out: range, rest, rate, and interlocks.

Whatever a policy asks for, a gate moves no faster, no more often and no further than its operator allows; it never
opens against a tide that stands above the tank; a pump whose level is known never runs dry; the gates of a full tank
are never all shut. The rules are compiled (numba), as training asks them for hundreds of networks at a time.
"""

from __future__ import annotations

from math import isnan

import numpy as np
from numba import boolean, from_dtype, int8, types, void
from numba import float64 as real
from numba import int64 as whole

from envs.core.readings import Readings
from envs.core.world import Commands, Intervention, Requests, as_numbers
from envs.drainage.jit import compiled
from envs.drainage.site import NEARLY_FULL, DrainageSite, Gate

DRY_M = 0.05
"""Depth of the tank below which a pump is stopped."""

SHUT, AJAR = 0.02, 0.1
"""Setting below which a gate counts as shut; least setting to which a full tank's gate is opened."""

TIDE_MARGIN_M, MARGIN_S = 0.05, 300.0
"""A gate to tidal water shuts while that stands no more than this below the tank: it may rise, and the tank fall, until
the next decision. That is for decisions so far apart; where they are further, the margin grows with them.
"""

CLOSE = 1e-9

GATE_BOUNDS = np.dtype(
    [(name, np.int64) for name in ("tank", "tide", "pump")]
    + [(name, np.float64) for name in ("static", "fail_safe", "invert_m", "brim_m")]
)
"""Data of a gate for the rules, with the bottom of its tank and the depth from which that counts as full."""

STEP, DWELL_S, MOST_MOVES, LEAST_STEP, MARGIN_M = range(5)
"""Limits of the timing: largest step of a decision, least rest, most moves of a day, least movement; and the least
height of the tank's level over the tide.
"""

REASONS = ("", "no_request", "no_level", "range", "dwell", "moves", "rate", "deadband", "tide", "dry", "all_shut")
_, NO_REQUEST, NO_LEVEL, RANGE, DWELL, MOVES, RATE, DEADBAND, TIDE, DRY, ALL_SHUT = range(len(REASONS))
"""Why a request is changed, and the index of each reason."""


class DrainageGuard:
    """Checks requests of a site; see the module.

    Args:
        site: its gates and their timing.
    """

    reasons: tuple[str, ...] = REASONS[1:]

    def __init__(self, site: DrainageSite):
        self.site = site
        self._gates = np.array([_bounds(gate, site) for gate in site.gates], dtype=GATE_BOUNDS)
        self._tidal = any(gate.tide >= 0 for gate in site.gates)
        timing = site.timing
        step = timing.rate_per_min * timing.decision_s / 60.0
        self._nothing, self._tanks = np.zeros((len(site.gates), 0), dtype=bool), len(site.tanks)
        margin_m = TIDE_MARGIN_M * max(1.0, timing.decision_s / MARGIN_S)
        self._limits = np.array([step, timing.dwell_s, timing.moves_per_day, timing.deadband, margin_m])

    def mask(self, readings: Readings) -> np.ndarray:
        """Settings are continuous: nothing to choose from, ``(N, 0)``."""
        return self._nothing

    def limit(self, readings: Readings, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Safe settings, and the index of the reason in `REASONS`, both ``(…, N)``; NaN: no request.

        Reads one network's columns ``(N,)`` or many networks' ``(E, N)``.
        """
        rows = np.asarray(asked, dtype=np.float64, order="C").reshape(-1, len(self._gates))
        inputs = np.concatenate(self._inputs(readings), axis=-1, dtype=np.float64).reshape(len(rows), -1)
        may, why = np.empty(rows.shape), np.empty(rows.shape, dtype=np.int8)
        _limit_all(inputs, rows, may, why, self._gates, self._tanks, self._limits)
        return may.reshape(asked.shape), why.reshape(asked.shape)

    def _inputs(self, readings: Readings) -> tuple[np.ndarray, ...]:
        """Inputs of the rules: settings, rests, moves, depths and tides."""
        tide = "tide_m" if self._tidal else "depth_m"  # a placeholder: no gate reads it
        return readings["setting"], readings["still_s"], readings["moves"], readings["depth_m"], readings[tide]

    def check(
        self, readings: Readings, requests: Requests, mask: np.ndarray | None = None
    ) -> tuple[Commands, list[Intervention]]:
        """Settings to carry out ``(N, 1)``, and what was changed and why. Accepts anything."""
        asked = as_numbers(requests, len(self._gates))
        may, why = np.empty(asked.shape), np.empty(len(asked), dtype=np.int8)
        wishes, given = asked[:, 0], may[:, 0]
        if not _limit(*self._inputs(readings), wishes, given, why, self._gates, self._limits):
            return may, []
        changes = []
        rows = zip(self.site.agents, wishes.tolist(), given.tolist(), why.tolist(), strict=True)
        for agent, wish, setting, reason in rows:
            if reason and not abs(setting - wish) <= CLOSE:  # the request itself is no change, whichever rule applied
                changes.append(Intervention(agent, None if isnan(wish) else wish, setting, REASONS[reason]))
        return may, changes


def _bounds(gate: Gate, site: DrainageSite) -> tuple[float, ...]:
    """A row of `GATE_BOUNDS`."""
    tank = site.tanks[gate.tank] if gate.tank >= 0 else None
    depths = (tank.invert_m, NEARLY_FULL * tank.full_m) if tank else (0.0, 0.0)
    return (gate.tank, gate.tide, gate.kind == "pump", gate.static, gate.fail_safe, *depths)


@compiled
def _setting(
    asked: float,
    now: float,
    still_s: float,
    moves: float,
    known: bool,
    fail_safe: float,
    limits: np.ndarray,
) -> tuple[float, int]:
    """Setting of a gate by all rules but the interlocks, and the reason."""
    wanted, why, step = asked, 0, limits[STEP]
    if np.isnan(asked):  # without a request the gate stays
        wanted, why = now, NO_REQUEST
    if not known:  # without a level no setting is known to be right
        wanted, why = fail_safe, NO_LEVEL
    if wanted < 0.0 or wanted > 1.0:
        wanted, why = min(max(wanted, 0.0), 1.0), RANGE
    if abs(wanted - now) > CLOSE and moves >= limits[MOST_MOVES]:
        wanted, why = now, MOVES
    if abs(wanted - now) > CLOSE and still_s < limits[DWELL_S]:
        wanted, why = now, DWELL
    if abs(wanted - now) > step + CLOSE:
        wanted, why = (min(now + step, 1.0) if wanted > now else max(now - step, 0.0)), RATE
    if wanted != now and abs(wanted - now) < limits[LEAST_STEP] - CLOSE:
        wanted, why = now, DEADBAND
    return wanted, why


@compiled
def _lets_go(k: int, wanted: np.ndarray, unsafe: np.ndarray, gates: np.ndarray) -> bool:
    """Whether a full tank's gate is to open: its safe ones are all shut, and the static plan opens none wider."""
    for j in range(len(gates)):
        if gates[j].tank != gates[k].tank or unsafe[j]:
            continue
        if wanted[j] >= SHUT or gates[j].static > gates[k].static or (gates[j].static == gates[k].static and j < k):
            return False
    return not unsafe[k]


_column, _row = types.Array(real, 1, "A", readonly=True), real[::1]
_rows = real[:, ::1]


@compiled(boolean(*[_column] * 5, _row, _row, int8[::1], from_dtype(GATE_BOUNDS)[::1], _column))
def _limit(
    now: np.ndarray,
    still_s: np.ndarray,
    moves: np.ndarray,
    depth_m: np.ndarray,
    tide_m: np.ndarray,
    asked: np.ndarray,
    wanted: np.ndarray,
    why: np.ndarray,
    gates: np.ndarray,
    limits: np.ndarray,
) -> bool:
    """Fill in safe settings of a network's gates and the reasons, ``(N,)``; whether any rule applied.

    Its types are given, so it is compiled on import, not while a plant waits for it.

    Raises:
        ValueError: if drives are not as many as gates, or a gate's tank or tide is beyond the levels that are given.
    """
    n, step, ruled = len(gates), limits[STEP], False
    if len(now) != n or len(still_s) != n or len(moves) != n:
        raise ValueError("readings of another number of gates")
    if gates["tank"].max() >= len(depth_m) or gates["tide"].max() >= len(tide_m):
        raise ValueError("readings of another number of tanks or tides")
    unsafe = np.empty(n, np.bool_)
    for k in range(n):
        gate = gates[k]
        depth = depth_m[gate.tank] if gate.tank >= 0 else np.nan
        known = gate.tank < 0 or not np.isnan(depth)
        wanted[k], why[k] = _setting(asked[k], now[k], still_s[k], moves[k], known, gate.fail_safe, limits)
        # Interlocks, which override everything, rates included:
        dry, against = gate.pump > 0 and depth < DRY_M, False
        if gate.tide >= 0 and gate.tank >= 0 and not gate.pump:
            level_m = gate.invert_m + (depth if known else 0.0)
            against = not tide_m[gate.tide] + limits[MARGIN_M] <= level_m  # nor does it open to an unknown tide
        unsafe[k] = dry or against
        if unsafe[k] and wanted[k] > 0.0:
            wanted[k], why[k] = 0.0, DRY if dry else TIDE
    for k in range(n):
        gate = gates[k]
        if gate.tank >= 0 and depth_m[gate.tank] >= gate.brim_m and _lets_go(k, wanted, unsafe, gates):
            ajar = min(max(gate.static, AJAR), now[k] + step)
            wanted[k], why[k] = now[k] if now[k] >= SHUT else ajar, ALL_SHUT
        ruled |= why[k] > 0
    return ruled


@compiled(void(_rows, _rows, _rows, int8[:, ::1], from_dtype(GATE_BOUNDS)[::1], whole, _column))
def _limit_all(
    inputs: np.ndarray,
    asked: np.ndarray,
    wanted: np.ndarray,
    why: np.ndarray,
    gates: np.ndarray,
    tanks: int,
    limits: np.ndarray,
) -> None:
    """`_limit` for one network a row; ``inputs``: settings, rests, moves, depths and tides, side by side."""
    n = len(gates)
    for e in range(len(inputs)):
        drives, levels = inputs[e, : 3 * n], inputs[e, 3 * n :]
        now, still_s, moves = drives[:n], drives[n : 2 * n], drives[2 * n :]
        _limit(now, still_s, moves, levels[:tanks], levels[tanks:], asked[e], wanted[e], why[e], gates, limits)
