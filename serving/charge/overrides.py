"""Commands by hand: for one agent, with a reason, until a time. They take precedence over every policy.

They do not take precedence over the guard, which limits everybody.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import Field

from envs.core.frozen import Frozen
from envs.core.world import Requests, as_numbers
from serving.core.refusals import Conflict, NotServed, Unprocessable, brief

MAX_EXPIRES_S = 7 * 24 * 3600.0
"""Longest life of a command by hand, in seconds; anything longer is a policy."""


class Override(Frozen):
    """A command by hand.

    Attributes:
        command: a number, or several where an agent sets several.
        reason: why.
        who: whose key.
        since_s, until_s: wall clock, seconds since 1970.
    """

    command: float | tuple[float, ...]
    reason: str = Field(min_length=1, max_length=500)
    who: str
    since_s: float
    until_s: float


class Overrides:
    """Commands by hand at one site.

    Args:
        agents: of the site.
        width: length of an agent's command; 0 where it is a single number.
        clock: wall clock, seconds since 1970.
        held: commands that hold already.
        steady: monotonic seconds; no command holds longer than asked for if the wall clock is put back.
    """

    def __init__(
        self,
        agents: Sequence[str],
        width: int,
        clock: Callable[[], float],
        held: Mapping[str, Override] | None = None,
        steady: Callable[[], float] = time.monotonic,
    ):
        self._index = {agent: k for k, agent in enumerate(agents)}
        self._width, self._clock, self._steady = width, clock, steady
        self._ends_s: dict[Override, float] = {}
        self._lapsed = False
        self.held = {agent: one for agent, one in (held or {}).items() if agent in self._index}

    def now(self) -> Mapping[str, Override]:
        """Agent → its override, without expired ones."""
        if self.held:
            ended = {one for one in self.held.values() if self._has_ended(one)}
            if ended:
                self._lapsed = True
                self.held = {agent: one for agent, one in self.held.items() if one not in ended}
            if len(self._ends_s) > len(self.held):  # of those that were ended, or others took the place of
                self._ends_s = {one: self._ends_s[one] for one in set(self.held.values())}
        return self.held

    def lapsed(self) -> bool:
        """Whether one has expired since the last call, so that the saved state must be updated."""
        self.now()
        lapsed, self._lapsed = self._lapsed, False
        return lapsed

    def _has_ended(self, one: Override) -> bool:
        now_s, steady_s = self._clock(), self._steady()
        left_s = min(one.until_s - now_s, one.until_s - one.since_s)
        return left_s <= 0 or self._ends_s.setdefault(one, steady_s + left_s) <= steady_s

    def make(self, agent: str | None, command: Any, reason: str, who: str, expires_s: float) -> dict[str, Override]:
        """Overrides for one agent, or for all; they take effect with `put`.

        Raises:
            Refused: if the command or the time is invalid.
            NotServed: if there is no such agent.
        """
        if not 0 < expires_s <= MAX_EXPIRES_S:
            raise Unprocessable("expires_s", brief(expires_s), f"give a time from above 0 to {MAX_EXPIRES_S:g} s")
        now_s = self._clock()
        one = Override(command=self._command(command), reason=reason, who=who, since_s=now_s, until_s=now_s + expires_s)
        return dict.fromkeys(self.agents(agent), one)

    def agents(self, agent: str | None) -> list[str]:
        """One agent, or all.

        Raises:
            NotServed: if there is no such agent.
        """
        if agent is None:
            return list(self._index)
        if agent not in self._index:
            raise NotServed("agent", agent, list(self._index))
        return [agent]

    def put(self, overrides: Mapping[str, Override]) -> None:
        """Apply overrides, in place of earlier ones of the same agents."""
        self.held = {**self.now(), **overrides}
        self.now()

    def release(self, agent: str | None) -> list[str]:
        """End the override of one agent, or of all; returns their agents.

        Raises:
            Conflict: if there is none.
        """
        gone = [name for name in self.agents(agent) if name in self.now()]
        if not gone:
            raise Conflict("override", agent, "there is none to end")
        self.held = {name: one for name, one in self.held.items() if name not in gone}
        return gone

    def onto(self, requests: Requests, overrides: Mapping[str, Override]) -> Requests:
        """A copy of the requests, with those of overridden agents replaced."""
        if not overrides:
            return requests
        out = as_numbers(requests, len(self._index), max(self._width, 1))
        for agent, one in overrides.items():
            out[self._index[agent]] = one.command
        return out if self._width else out[:, 0]

    def _command(self, command: Any) -> float | tuple[float, ...]:
        if _is_number(command) and self._width <= 1:
            return float(command)
        if isinstance(command, (list, tuple)) and len(command) == self._width > 0 and all(map(_is_number, command)):
            return tuple(map(float, command))
        mend = f"give {self._width} numbers in a list" if self._width > 1 else "give a number"
        raise Unprocessable("command", brief(command), mend)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
