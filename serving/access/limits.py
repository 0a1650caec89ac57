"""Limits of one caller: token buckets by name, and the nesting depth of a body."""

from __future__ import annotations

import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

MAX_DEPTH = 16
"""Deepest nesting of a body; a tick has three levels."""

MAX_BUCKETS = 10_000
"""Number of callers whose buckets are kept; the one that has been silent longest gets a full one again."""

_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*"?|[\[\]{}]', re.DOTALL)


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


def _count(body: bytes, mark: bytes, most: int) -> int:
    """Count of a byte, up to one more than matters: `bytes.find` is far faster than `bytes.count`."""
    at = -1
    for found in range(most + 1):
        at = body.find(mark, at + 1)
        if at < 0:
            return found
    return most + 1


def too_deep(body: bytes, most: int = MAX_DEPTH) -> bool:
    """Whether JSON is nested more than ``most`` levels deep; whether it is valid JSON is not checked.

    Few brackets cannot be deep, and a tick has one a column: most bodies are only counted.
    """
    if _count(body, b"[", most) + _count(body, b"{", most) <= most:
        return False
    depth = 0
    for token in _TOKENS.finditer(body):
        mark = body[token.start()]
        if mark in b"[{":
            depth += 1
            if depth > most:
                return True
        elif mark in b"]}":
            depth -= 1
    return False
