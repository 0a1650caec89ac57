"""A tick on its way through the service, and its remaining time."""

from __future__ import annotations

import time
from dataclasses import dataclass

from serving.deadline import Late
from serving.wire import Tick


@dataclass(frozen=True)
class Asked:
    """A tick under way.

    Attributes:
        body, tick, who: what was asked, by whom.
        at_s, started: when it arrived, by the wall clock and by the steady one.
        deadline_ms: how long the answer may take.
        begins: whether every controller, and the input checks, forgot what was before ahead of this tick.
    """

    body: bytes
    tick: Tick
    who: str
    at_s: float
    started: float
    deadline_ms: float
    begins: bool

    def left_s(self) -> float:
        """How much time is left.

        Raises:
            Late: if there is none.
        """
        left = self.deadline_ms / 1e3 - (time.perf_counter() - self.started)
        if left <= 0:
            raise Late(f"no answer within {self.deadline_ms:g} ms")
        return left
