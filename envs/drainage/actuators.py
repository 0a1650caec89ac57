"""The gates' drives: where they stand, how long they have rested, how often they moved, and which are stuck."""

from __future__ import annotations

from collections import deque

import numpy as np

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
        self.settings, self._stuck = settings.copy(), stuck
        self._still_s = np.full(len(settings), DAY_S)
        self._recent: list[deque[float]] = [deque() for _ in settings]
        self.movement, self.moves, self.moving = 0.0, 0, False

    def move(self, wanted: np.ndarray, now_s: float) -> np.ndarray:
        """Go to setpoints ``(N,)``; how far each gate moved."""
        moved: np.ndarray = np.abs(wanted - self.settings)
        moved[self._stuck | (moved < LEAST)] = 0.0
        moving = moved.nonzero()[0].tolist()
        self.moving = bool(moving)
        for k in moving:
            self.settings[k] = wanted[k]
            self._still_s[k] = 0.0
            self._recent[k].append(now_s)
            self.movement += float(moved[k])
            self.moves += 1
        return moved

    def rest(self, seconds: float) -> None:
        """Let time pass; rests beyond what can be reported count as that."""
        self._still_s = np.minimum(self._still_s + seconds, LONGEST_S)

    def readings(self, now_s: float) -> Readings:
        """What the drives report: ``setting``, ``still_s`` and ``moves``, each ``(N,)``."""
        for times in self._recent:
            while times and now_s - times[0] >= DAY_S:
                times.popleft()
        return {
            "setting": self.settings.copy(),
            "still_s": self._still_s.copy(),
            "moves": np.array([len(times) for times in self._recent], dtype=np.float64),
        }
