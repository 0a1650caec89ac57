"""Requests → settings that may always be carried out: range, rest, rate, and interlocks.

Whatever a policy asks for, a gate moves no faster, no more often and no further than its operator allows; it never
opens against a tide that stands above the tank; a pump whose level is known never runs dry; the gates of a full tank
are never all shut. The rules are compiled (numba), as training asks them for hundreds of networks at a time.
"""

from __future__ import annotations

from math import isnan

import numpy as np
from numba import float64 as real
from numba import from_dtype, int8, njit, void
from numba import int64 as whole

from envs.core.readings import Readings
from envs.core.world import Commands, Intervention, Requests, as_numbers
from envs.drainage.site import DrainageSite, Gate

DRY_M = 0.05
"""A pump whose tank holds less is stopped."""

FULL_SHARE = 0.95
"""From this filling on, at least one of a tank's gates stays open."""

SHUT, AJAR = 0.02, 0.1
"""A setting below the first counts as shut; the least to which a full tank's gate is opened."""

TIDE_MARGIN_M = 0.05
"""A gate to tidal water shuts while that stands no more than this below the tank: it rises until the next decision."""

CLOSE = 1e-9

GATE = np.dtype(
    [(name, np.int64) for name in ("tank", "tide", "pump")]
    + [(name, np.float64) for name in ("static", "fail_safe", "invert_m", "brim_m")]
)
"""What the rules know of a gate, and of the bottom of its tank and the depth from which that counts as full."""

REASONS = ("", "no_request", "no_level", "range", "dwell", "moves", "rate", "deadband", "tide", "dry", "all_shut")
_, NO_REQUEST, NO_LEVEL, RANGE, DWELL, MOVES, RATE, DEADBAND, TIDE, DRY, ALL_SHUT = range(len(REASONS))
"""Why a request is changed, and the index of each reason."""


class DrainageGuard:
    """Checks requests of a site; see the module.

    Args:
        site: its gates and their timing.
    """

    def __init__(self, site: DrainageSite):
        self.site = site
        self._gates = np.array([_about(gate, site) for gate in site.gates], dtype=GATE)
        tidal = any(gate.tide >= 0 for gate in site.gates)
        self._told = ("setting", "still_s", "moves", "depth_m", *(("tide_m",) if tidal else ()))
        timing = site.timing
        step = timing.rate_per_min * timing.decision_s / 60.0
        self._width = 3 * len(site.gates) + len(site.tanks) + (len(site.tides) if tidal else 0)
        self._nothing, self._tanks = np.zeros((len(site.gates), 0), dtype=bool), len(site.tanks)
        self._limits = (step, float(timing.dwell_s), float(timing.moves_per_day), float(timing.deadband))

    def mask(self, readings: Readings) -> np.ndarray:
        """Settings are continuous: nothing to choose from, ``(N, 0)``."""
        return self._nothing

    def limit(self, readings: Readings, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Settings that may be carried out, and the index of the reason in `REASONS`, both ``(…, N)``; NaN: no request.

        Reads one network's columns ``(N,)`` or many networks' ``(E, N)``.
        """
        wanted, count = np.array(asked, dtype=np.float64, order="C"), len(self._gates)
        return wanted, self._rule(readings, wanted.reshape(-1, count)).reshape(wanted.shape)

    def _rule(self, readings: Readings, wanted: np.ndarray) -> np.ndarray:
        """Change what is wanted, ``(E, N)``, to what may be; the index of each reason."""
        told = np.asarray(np.concatenate([readings[name] for name in self._told], axis=-1), dtype=np.float64)
        why = np.zeros(wanted.shape, dtype=np.int8)
        _limit(told.reshape(-1, self._width), wanted, why, self._gates, self._tanks, *self._limits)
        return why

    def check(
        self, readings: Readings, requests: Requests, mask: np.ndarray | None = None
    ) -> tuple[Commands, list[Intervention]]:
        """Settings to carry out ``(N, 1)``, and what was changed and why. Accepts anything."""
        wanted = as_numbers(requests, len(self._gates))
        row = wanted.reshape(1, -1)  # the same numbers: the rules change them
        asked = row[0].tolist()
        why = self._rule(readings, row)
        changes = []
        rows = zip(self.site.agents, asked, row[0].tolist(), why[0].tolist(), strict=True)
        for agent, wish, may, reason in rows:
            if reason and not abs(may - wish) <= CLOSE:  # what was asked for is no change, whatever ruled
                changes.append(Intervention(agent, None if isnan(wish) else wish, may, REASONS[reason]))
        return wanted, changes


def _about(gate: Gate, site: DrainageSite) -> tuple[float, ...]:
    """A row of `GATE`."""
    tank = site.tanks[gate.tank] if gate.tank >= 0 else None
    depths = (tank.invert_m, FULL_SHARE * tank.full_m) if tank else (0.0, 0.0)
    return (gate.tank, gate.tide, gate.kind == "pump", gate.static, gate.fail_safe, *depths)


@njit(cache=True)
def _setting(
    asked: float,
    now: float,
    still_s: float,
    moves: float,
    known: bool,
    fail_safe: float,
    step: float,
    dwell_s: float,
    most: float,
    deadband: float,
) -> tuple[float, int]:
    """What a gate may be set to, by all rules but the interlocks, and why."""
    wanted, why = asked, 0
    if np.isnan(asked):  # without a request the gate stays
        wanted, why = now, NO_REQUEST
    if not known:  # with a silent level nobody knows what is right
        wanted, why = fail_safe, NO_LEVEL
    if wanted < 0.0 or wanted > 1.0:
        wanted, why = min(max(wanted, 0.0), 1.0), RANGE
    if abs(wanted - now) > CLOSE and moves >= most:
        wanted, why = now, MOVES
    if abs(wanted - now) > CLOSE and still_s < dwell_s:
        wanted, why = now, DWELL
    if abs(wanted - now) > step + CLOSE:
        wanted, why = (min(now + step, 1.0) if wanted > now else max(now - step, 0.0)), RATE
    if wanted != now and abs(wanted - now) < deadband - CLOSE:
        wanted, why = now, DEADBAND
    return wanted, why


@njit(cache=True)
def _lets_go(k: int, wanted: np.ndarray, unsafe: np.ndarray, gates: np.ndarray) -> bool:
    """Whether a full tank's gate is to open: its safe ones are all shut, and the static plan opens none wider."""
    for j in range(len(gates)):
        if gates[j].tank != gates[k].tank or unsafe[j]:
            continue
        if wanted[j] >= SHUT or gates[j].static > gates[k].static or (gates[j].static == gates[k].static and j < k):
            return False
    return not unsafe[k]


_rows = real[:, ::1]


@njit(void(_rows, _rows, int8[:, ::1], from_dtype(GATE)[::1], whole, real, real, real, real), cache=True)
def _limit(
    told: np.ndarray,
    wanted: np.ndarray,
    why: np.ndarray,
    gates: np.ndarray,
    tanks: int,
    step: float,
    dwell_s: float,
    most: float,
    deadband: float,
) -> None:
    """Change what is wanted, a row a network; ``told``: settings, rests, moves, depths and tides, side by side.

    Its types are given, so it is compiled before a plant waits for it.
    """
    n = len(gates)
    unsafe = np.empty(n, np.bool_)
    for e in range(len(told)):
        now, still_s, moves = told[e, :n], told[e, n : 2 * n], told[e, 2 * n : 3 * n]
        depth_m, tide_m = told[e, 3 * n : 3 * n + tanks], told[e, 3 * n + tanks :]
        for k in range(n):
            gate = gates[k]
            depth = depth_m[gate.tank] if gate.tank >= 0 else np.nan
            known = gate.tank < 0 or not np.isnan(depth)
            wanted[e, k], why[e, k] = _setting(
                wanted[e, k], now[k], still_s[k], moves[k], known, gate.fail_safe, step, dwell_s, most, deadband
            )
            # Interlocks, which override everything, rates included:
            dry, against = gate.pump > 0 and depth < DRY_M, False
            if gate.tide >= 0 and gate.tank >= 0 and not gate.pump:
                level_m = gate.invert_m + (depth if known else 0.0)
                against = not tide_m[gate.tide] + TIDE_MARGIN_M <= level_m  # nor does it open to an unknown tide
            unsafe[k] = dry or against
            if unsafe[k] and wanted[e, k] > 0.0:
                wanted[e, k], why[e, k] = 0.0, DRY if dry else TIDE
        for k in range(n):
            gate = gates[k]
            if gate.tank >= 0 and depth_m[gate.tank] >= gate.brim_m and _lets_go(k, wanted[e], unsafe, gates):
                ajar = min(max(gate.static, AJAR), now[k] + step)
                wanted[e, k], why[e, k] = now[k] if now[k] >= SHUT else ajar, ALL_SHUT
