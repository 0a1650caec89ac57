"""The gates' drives: where they stand, how long they have rested, how often they moved, and which are stuck."""

from __future__ import annotations

from collections import deque

import numpy as np
from numba import boolean, void
from numba import float64 as real
from numba import int64 as whole

from envs.core.readings import Readings
from envs.drainage.jit import compiled
from envs.drainage.readings import READINGS

DAY_S = 86400.0
LONGEST_S = READINGS["still_s"].high
LEAST_MOVE = 1e-6
"""A smaller movement is none."""

SETTING, MOVED_S, MOVES = range(3)
"""Rows of the drives' state: setting, time of the last movement, movements within a day."""


class Actuators:
    """One episode's gates.

    Args:
        settings: initial ones, ``(N,)``.
        stuck: gates that do not move, bool ``(N,)``.

    Attributes:
        settings: present ones.
        movement: sum of all changes so far.
        moves: number of movements so far.
        moving: whether any gate moved at the last decision.
    """

    def __init__(self, settings: np.ndarray, stuck: np.ndarray):
        self._free = ~stuck
        self._drives = np.array([settings, np.full(len(settings), -DAY_S), np.zeros(len(settings))])
        self.settings = self._drives[SETTING]
        self._recent: deque[tuple[float, np.ndarray]] = deque()  # when, and how far each of them
        self.movement, self.moves, self.moving = 0.0, 0, False

    def move(self, wanted: np.ndarray, now_s: float) -> np.ndarray:
        """Go to setpoints ``(N,)``; how far each gate moved."""
        moved = np.zeros(len(wanted))
        count = _move(wanted, self._free, now_s, self._drives, moved)
        self.moving = count > 0
        if self.moving:
            self._recent.append((now_s, moved))
            self.movement = sum(moved.tolist(), self.movement)
            self.moves += count
        return moved

    def readings(self, now_s: float) -> Readings:
        """What the drives report: ``setting``, ``still_s``, as far as reported, and ``moves``, each ``(N,)``."""
        while self._recent and now_s - self._recent[0][0] >= DAY_S:
            _forget(self._recent.popleft()[1], self._drives)
        report = np.empty(self._drives.shape)
        _report(now_s, self._drives, report)
        return {"setting": report[SETTING], "still_s": report[MOVED_S], "moves": report[MOVES]}


_values, _table = real[::1], real[:, ::1]


@compiled(whole(_values, boolean[::1], real, _table, _values))
def _move(wanted: np.ndarray, free: np.ndarray, now_s: float, drives: np.ndarray, moved: np.ndarray) -> int:
    """Move free gates towards other settings; the last two arrays are changed. The number of gates that moved."""
    count = 0
    for k in range(len(wanted)):
        way = abs(wanted[k] - drives[SETTING, k])
        if free[k] and way >= LEAST_MOVE:
            drives[SETTING, k], drives[MOVED_S, k], moved[k] = wanted[k], now_s, way
            drives[MOVES, k] += 1.0
            count += 1
    return count


@compiled(void(_values, _table))
def _forget(moved: np.ndarray, drives: np.ndarray) -> None:
    """Take movements off the count of the day; ``moved``: how far each gate had moved."""
    for k in range(len(moved)):
        if moved[k] > 0.0:
            drives[MOVES, k] -= 1.0


@compiled(void(real, _table, _table))
def _report(now_s: float, drives: np.ndarray, report: np.ndarray) -> None:
    """Fill in the drives' rows, with the seconds of rest in place of the time of the last movement."""
    for k in range(drives.shape[1]):
        report[SETTING, k], report[MOVES, k] = drives[SETTING, k], drives[MOVES, k]
        report[MOVED_S, k] = min(now_s - drives[MOVED_S, k], LONGEST_S)
