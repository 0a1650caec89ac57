"""Limits of one caller: token buckets by name."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

MAX_BUCKETS = 10_000
"""Number of callers whose buckets are kept; the one that has been silent longest gets a full one again."""


class Buckets:
    """A token bucket for every name: ``rate_s`` requests a second in the long run, ``burst`` of them at once.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, most: int = MAX_BUCKETS):
        self._clock, self._most = clock, most
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, name: str, rate_s: float, burst: float) -> float:
        """Take one token.

        Returns:
            0 if there was one, else the seconds until there is; nothing is taken then.
        """
        now = self._clock()
        with self._lock:
            level, then = self._levels.pop(name, (burst, now))
            level = min(burst, level + (now - then) * rate_s)
            granted = level >= 1.0
            self._levels[name] = (level - 1.0 if granted else level, now)
            if len(self._levels) > self._most:
                self._levels.popitem(last=False)
        return 0.0 if granted else (1.0 - level) / rate_s
