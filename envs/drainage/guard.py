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
        self._brim_m = FULL_SHARE * np.array([tank.full_m for tank in site.tanks])
        self._invert_m = np.array([tank.invert_m for tank in site.tanks])
        timing = site.timing
        self._step = timing.rate_per_min * timing.decision_s / 60.0

    def mask(self, readings: Readings) -> np.ndarray:
        """Settings are continuous: nothing to choose from, ``(N, 0)``."""
        return np.zeros((len(self._static), 0), dtype=bool)

    def check(
        self, readings: Readings, requests: Requests, mask: np.ndarray | None = None
    ) -> tuple[Commands, list[Intervention]]:
        """Settings to carry out ``(N, 1)``, and what was changed and why. Accepts anything."""
        now = readings["setting"]
        asked = as_numbers(requests, len(now))[:, 0]
        depth = np.append(readings["depth_m"], np.nan)[self._tank]
        wanted, reasons = asked.copy(), [""] * len(now)
        # Without a request the gate stays; with a silent level nobody knows what is right: the fail-safe position.
        self._put(wanted, reasons, np.isnan(asked), now, "no_request")
        self._put(wanted, reasons, self._has_tank & np.isnan(depth), self._fail_safe, "no_level")
        self._put(wanted, reasons, (wanted < 0) | (wanted > 1), np.clip(wanted, 0.0, 1.0), "range")
        way = wanted - now
        moving, timing = np.abs(way) > CLOSE, self.site.timing
        self._put(wanted, reasons, moving & (readings["still_s"] < timing.dwell_s), now, "dwell")
        self._put(wanted, reasons, moving & (readings["moves"] >= timing.moves_per_day), now, "moves")
        if self._step < 1.0:
            way = wanted - now
            limited = np.clip(now + np.sign(way) * self._step, 0.0, 1.0)
            self._put(wanted, reasons, np.abs(way) > self._step + CLOSE, limited, "rate")
        small = np.abs(wanted - now) < timing.deadband - CLOSE
        self._put(wanted, reasons, small & (wanted != now), now, "deadband")
        self._interlock(wanted, reasons, readings, depth)
        changes = [
            Intervention(self.site.agents[k], None if np.isnan(asked[k]) else float(asked[k]), float(wanted[k]), reason)
            for k, reason in enumerate(reasons)
            if reason and not abs(wanted[k] - asked[k]) <= CLOSE  # what was asked for is no change, whatever ruled
        ]
        return wanted[:, None], changes

    def _interlock(self, wanted: np.ndarray, reasons: list[str], readings: Readings, depth: np.ndarray) -> None:
        """What overrides everything, rates included."""
        shut, unsafe = np.zeros_like(wanted), np.zeros(len(wanted), dtype=bool)
        if self._tidal.any():
            tide = np.append(readings["tide_m"], -np.inf)[self._tide]
            level = np.append(self._invert_m, np.inf)[self._tank] + np.where(np.isnan(depth), 0.0, depth)
            unsafe |= ~self._pump & self._tidal & ~(tide + TIDE_MARGIN_M <= level)  # nor is a tide that nobody knows
            self._put(wanted, reasons, unsafe & (wanted > 0), shut, "tide")
        if self._pump.any():
            dry = self._pump & (depth < DRY_M)
            self._put(wanted, reasons, dry & (wanted > 0), shut, "dry")
            unsafe |= dry
        for tank in np.flatnonzero(readings["depth_m"] >= self._brim_m):
            mine = (self._tank == tank) & ~unsafe
            if mine.any() and (wanted[mine] < SHUT).all():  # one is enough: the one that the static plan opens widest
                one = int(np.where(mine, self._static, -1.0).argmax())
                stands = float(readings["setting"][one])
                ajar = min(max(self._static[one], AJAR), stands + self._step)
                wanted[one] = stands if stands >= SHUT else ajar
                reasons[one] = "all_shut"

    @staticmethod
    def _put(wanted: np.ndarray, reasons: list[str], where: np.ndarray, values: np.ndarray, reason: str) -> None:
        for k in np.flatnonzero(where):
            wanted[k] = values[k]
            reasons[k] = reason
