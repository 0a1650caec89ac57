"""A tick on its way through the service, and its remaining time."""

from __future__ import annotations

import time
from dataclasses import dataclass

from serving.core.deadline import Late
from serving.core.wire import Tick


@dataclass(frozen=True)
class Asked:
    """A tick under way.

    Attributes:
        body, tick, who: the request, the tick in it, and the caller's name.
        at_s, started: arrival by the wall clock, and by the monotonic one.
        deadline_ms: longest time of the answer.
        begins: whether every controller, and the input checks, forgot earlier ticks ahead of this one.
    """

    body: bytes
    tick: Tick
    who: str
    at_s: float
    started: float
    deadline_ms: float
    begins: bool

    def left_s(self) -> float:
        """Seconds that are left.

        Raises:
            Late: if there is none.
        """
        left = self.deadline_ms / 1e3 - (time.perf_counter() - self.started)
        if left <= 0:
            raise Late(f"no answer within {self.deadline_ms:g} ms")
        return left
