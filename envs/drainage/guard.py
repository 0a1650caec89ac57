"""Requests → settings that may always be carried out: range, rest, rate, and interlocks.

Whatever a policy asks for, a gate moves no faster, no more often and no further than its operator allows; it never
opens against a tide that stands above the tank; a pump whose level is known never runs dry; the gates of a full tank
are never all shut.
"""

from __future__ import annotations

import numpy as np

from envs.core.readings import Readings
from envs.core.world import Commands, Intervention, Requests, as_numbers
from envs.drainage.site import DrainageSite

DRY_M = 0.05
"""A pump whose tank holds less is stopped."""

FULL_SHARE = 0.95
"""From this filling on, at least one of a tank's gates stays open."""

SHUT, AJAR = 0.02, 0.1
"""A setting below the first counts as shut; the least to which a full tank's gate is opened."""

TIDE_MARGIN_M = 0.05
"""A gate to tidal water shuts while that stands no more than this below the tank: it rises until the next decision."""

CLOSE = 1e-9

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
        self._static = np.array([gate.static for gate in site.gates])
        self._tank = np.array([gate.tank for gate in site.gates])
        self._fail_safe = np.array([gate.fail_safe for gate in site.gates])
        self._tide = np.array([gate.tide for gate in site.gates])
        self._pump = np.array([gate.kind == "pump" for gate in site.gates])
        self._has_tank, self._tidal = self._tank >= 0, self._tide >= 0
        self._any_tidal, self._any_pump = bool(self._tidal.any()), bool(self._pump.any())
        self._gated = np.unique(self._tank[self._has_tank])
        self._brim_m = FULL_SHARE * np.array([site.tanks[k].full_m for k in self._gated])
        self._invert_m = np.array([tank.invert_m for tank in site.tanks])
        timing = site.timing
        self._step = timing.rate_per_min * timing.decision_s / 60.0

    def mask(self, readings: Readings) -> np.ndarray:
        """Settings are continuous: nothing to choose from, ``(N, 0)``."""
        return np.zeros((len(self._static), 0), dtype=bool)

    def limit(self, readings: Readings, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Settings that may be carried out, and the index of the reason in `REASONS`, both ``(…, N)``; NaN: no request.

        Reads one network's columns ``(N,)`` or many networks' ``(E, N)``.
        """
        now, timing = readings["setting"], self.site.timing
        depth = np.full(asked.shape, np.nan)
        if len(self._gated):
            np.copyto(depth, readings["depth_m"][..., self._tank], where=self._has_tank)
        wanted, why = asked.copy(), np.zeros(asked.shape, dtype=np.int8)
        # Without a request the gate stays; with a silent level nobody knows what is right: the fail-safe position.
        _put(wanted, why, np.isnan(asked), now, NO_REQUEST)
        _put(wanted, why, self._has_tank & np.isnan(depth), self._fail_safe, NO_LEVEL)
        _put(wanted, why, (wanted < 0) | (wanted > 1), np.clip(wanted, 0.0, 1.0), RANGE)
        moving = np.abs(wanted - now) > CLOSE
        _put(wanted, why, moving & (readings["still_s"] < timing.dwell_s), now, DWELL)
        _put(wanted, why, moving & (readings["moves"] >= timing.moves_per_day), now, MOVES)
        if self._step < 1.0:
            way = wanted - now
            limited = np.clip(now + np.sign(way) * self._step, 0.0, 1.0)
            _put(wanted, why, np.abs(way) > self._step + CLOSE, limited, RATE)
        _put(wanted, why, (np.abs(wanted - now) < timing.deadband - CLOSE) & (wanted != now), now, DEADBAND)
        self._interlock(wanted, why, readings, depth)
        return wanted, why

    def check(
        self, readings: Readings, requests: Requests, mask: np.ndarray | None = None
    ) -> tuple[Commands, list[Intervention]]:
        """Settings to carry out ``(N, 1)``, and what was changed and why. Accepts anything."""
        asked = as_numbers(requests, len(self._static))[:, 0]
        wanted, why = self.limit(readings, asked)
        changes = []
        for k in np.flatnonzero(why):
            if not abs(wanted[k] - asked[k]) <= CLOSE:  # what was asked for is no change, whatever ruled
                wish = None if np.isnan(asked[k]) else float(asked[k])
                changes.append(Intervention(self.site.agents[k], wish, float(wanted[k]), REASONS[why[k]]))
        return wanted[:, None], changes

    def _interlock(self, wanted: np.ndarray, why: np.ndarray, readings: Readings, depth: np.ndarray) -> None:
        """What overrides everything, rates included."""
        unsafe = np.zeros(wanted.shape, dtype=bool)
        if self._any_tidal:
            tide = readings["tide_m"][..., self._tide]
            level = self._invert_m[self._tank] + np.where(np.isnan(depth), 0.0, depth)
            free = ~self._has_tank | (tide + TIDE_MARGIN_M <= level)
            unsafe |= ~self._pump & self._tidal & ~free  # nor is a tide that nobody knows
            _put(wanted, why, unsafe & (wanted > 0), np.zeros_like(wanted), TIDE)
        if self._any_pump:
            dry = self._pump & (depth < DRY_M)
            _put(wanted, why, dry & (wanted > 0), np.zeros_like(wanted), DRY)
            unsafe |= dry
        full = readings["depth_m"][..., self._gated] >= self._brim_m
        if np.count_nonzero(full):
            self._open_one(wanted, why, readings["setting"], full, unsafe)

    def _open_one(
        self, wanted: np.ndarray, why: np.ndarray, now: np.ndarray, full: np.ndarray, unsafe: np.ndarray
    ) -> None:
        """Of each full tank whose safe gates would all be shut, the one that the static plan opens widest."""
        for j, tank in enumerate(self._gated):
            mine = (self._tank == tank) & ~unsafe
            stuck = full[..., j] & mine.any(axis=-1) & ((wanted < SHUT) | ~mine).all(axis=-1)
            if not stuck.any():
                continue
            one = np.where(mine, self._static, -1.0).argmax(axis=-1)[..., None]
            here = (np.arange(len(self._static)) == one) & stuck[..., None]
            ajar = np.minimum(np.maximum(self._static, AJAR), now + self._step)
            _put(wanted, why, here, np.where(now >= SHUT, now, ajar), ALL_SHUT)


def _put(wanted: np.ndarray, why: np.ndarray, where: np.ndarray, values: np.ndarray, reason: int) -> None:
    if np.count_nonzero(where):  # several times as quick as any()
        np.copyto(wanted, values, where=where)
        why[where] = reason
