"""The gates' drives: where they stand, how long they have rested, how often they moved, and which are stuck."""

from __future__ import annotations

from collections import deque

import numpy as np
from numba import boolean, njit, void
from numba import float64 as real
from numba import int64 as whole

from envs.core.readings import Readings
from envs.drainage.readings import READINGS

DAY_S = 86400.0
LONGEST_S = READINGS["still_s"].high
LEAST = 1e-6
"""A smaller movement is none."""


class Actuators:
    """One episode's gates.

    Args:
        settings: where they stand at first, ``(N,)``.
        stuck: which do not move, bool ``(N,)``.

    Attributes:
        settings: where they stand.
        movement: sum of all changes so far.
        moves: how many there were.
        moving: whether any gate did at last.
    """

    def __init__(self, settings: np.ndarray, stuck: np.ndarray):
        self.settings, self._free = settings.copy(), ~stuck
        self._moved_s = np.full(len(settings), -DAY_S)
        self._recent: deque[tuple[float, np.ndarray]] = deque()  # when, and which of them
        self._counts = np.zeros(len(settings))
        self.movement, self.moves, self.moving = 0.0, 0, False

    def move(self, wanted: np.ndarray, now_s: float) -> np.ndarray:
        """Go to setpoints ``(N,)``; how far each gate moved."""
        moved = np.zeros(len(wanted))
        count = _move(wanted, self._free, now_s, self.settings, self._moved_s, self._counts, moved)
        self.moving = count > 0
        if self.moving:
            self._recent.append((now_s, moved > 0.0))
            self.movement = sum(moved.tolist(), self.movement)
            self.moves += count
        return moved

    def readings(self, now_s: float) -> Readings:
        """What the drives report: ``setting``, ``still_s``, as far as reported, and ``moves``, each ``(N,)``."""
        while self._recent and now_s - self._recent[0][0] >= DAY_S:
            self._counts -= self._recent.popleft()[1]
        told = np.empty((3, len(self.settings)))
        _report(now_s, self.settings, self._moved_s, self._counts, told)
        return {"setting": told[0], "still_s": told[1], "moves": told[2]}


_values = real[::1]


@njit(whole(_values, boolean[::1], real, _values, _values, _values, _values), cache=True)
def _move(
    wanted: np.ndarray,
    free: np.ndarray,
    now_s: float,
    settings: np.ndarray,
    moved_s: np.ndarray,
    counts: np.ndarray,
    moved: np.ndarray,
) -> int:
    """Move those that are free and asked to; the last four arrays are changed. How many moved."""
    count = 0
    for k in range(len(wanted)):
        way = abs(wanted[k] - settings[k])
        if free[k] and way >= LEAST:
            settings[k], moved_s[k], moved[k] = wanted[k], now_s, way
            counts[k] += 1.0
            count += 1
    return count


@njit(void(real, _values, _values, _values, real[:, ::1]), cache=True)
def _report(now_s: float, settings: np.ndarray, moved_s: np.ndarray, counts: np.ndarray, told: np.ndarray) -> None:
    """Fill a row each with settings, seconds of rest and moves."""
    for k in range(len(settings)):
        told[0, k], told[1, k], told[2, k] = settings[k], min(now_s - moved_s[k], LONGEST_S), counts[k]
