"""Behaviour of a plant without answers: hold the last command, let the local fallback decide, and give back.

A safe command exists at every tick. On the first misses the last safe command is held, if the local guard still allows
it. From the ``after``-th miss in a row on the local fallback decides. Once the service has answered ``back`` ticks in a
row, it decides again. Every command passes the local guard with the readings of its own tick. No network is used here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from agents import fallback_name, make_controller
from envs.core.errors import CityloopError
from envs.core.readings import Readings
from envs.core.registry import get_system
from envs.core.site import Site
from envs.core.world import Commands, Controller, Requests
from serving.core.fallback import check_fallback

Source = Literal["service", "held", "fallback"]
"""Source of a command: the service, the last safe command held, or the local fallback."""


class Unusable(Exception):
    """An answer that cannot be used, or none; its text says why."""


class Unsafe(Unusable):
    """Commands that the local guard does not let through."""


@dataclass(frozen=True)
class Decided:
    """The commands to carry out at a tick.

    Attributes:
        commands: one an agent, ``(N,)`` or ``(N, k)``; passed by the local guard.
        source: of the commands.
        reason: reason why they are not the service's; None if they are.
        latency_ms: of the answer that is carried out; None if none is.
        answer: the service's, where it could be used; see `wire.ActAnswer`.
        late: whether the answer came too late.
        unsafe: whether the local guard did not let it through.
    """

    commands: Commands
    source: Source
    reason: str | None = None
    latency_ms: float | None = None
    answer: Mapping[str, Any] = field(default_factory=dict)
    late: bool = False
    unsafe: bool = False


class Takeover:
    """Counts misses and answers.

    Args:
        after: the local fallback decides from so many misses in a row on; 1: at once.
        back: the service decides again after so many answers in a row; 1: at once.

    Attributes:
        local: whether the local fallback is in charge.

    Raises:
        CityloopError: if one of them is not positive.
    """

    def __init__(self, after: int = 2, back: int = 3):
        if after < 1 or back < 1:
            raise CityloopError(f"after is {after}, back {back}: give whole numbers from 1 up")
        self.after, self.back = after, back
        self.reset()

    def reset(self) -> None:
        """Begin anew, with the service in charge."""
        self.local, self.misses, self.answers = False, 0, 0

    def answered(self) -> bool:
        """Take note of a usable answer; returns whether it is to be carried out."""
        self.misses = 0
        if self.local:
            self.answers += 1
            self.local = self.answers < self.back
        return not self.local

    def missed(self) -> bool:
        """Take note of a miss; returns whether the local fallback decides. Otherwise the last command is held."""
        self.answers = 0
        self.misses += 1
        self.local = self.local or self.misses >= self.after
        return self.local


class LocalControl:
    """The guard and the fallback beside the plant.

    Args:
        site: the site.
        fallback: a controller or its name; the system's own if not given. It must decide tick by tick, from readings.

    Raises:
        CityloopError: if there is no such controller, or it cannot take over within a tick; see `check_fallback`.
    """

    def __init__(self, site: Site, fallback: Controller | str | None = None):
        self.site, self._system = site, get_system(site.system)
        name = fallback or fallback_name(site.system)
        self.fallback = make_controller(name, site) if isinstance(name, str) else name
        check_fallback(self.fallback, site.system)
        self._guard, self._features = self._system.make_guard(site), self._system.make_features(site)
        self.reset()

    def reset(self) -> None:
        """Forget the episode."""
        self.fallback.reset()
        self._last: Commands | None = None

    def passed(self, readings: Readings, requests: Requests) -> Commands:
        """Requests of the service, if the guard lets all of them through.

        Raises:
            Unsafe: if it does not.
        """
        commands, changes = self._guard.check(readings, requests)
        if changes:
            raise Unsafe(f"the local guard does not let it through ({changes[0].reason})")
        self._last = commands
        return commands

    def held(self, readings: Readings) -> Commands | None:
        """The last command once more, as far as the guard allows it now; None: there was none."""
        return None if self._last is None else self._guarded(readings, self._last)

    def decide(self, readings: Readings) -> Commands:
        """The fallback's command; if it fails, the guard's command without any request."""
        try:
            mask = self._guard.mask(readings)
            requests = np.asarray(self.fallback.act(readings, self._features.encode(readings, mask)))
        except Exception:  # whatever happens, the plant gets a command: the guard's
            requests = np.full(len(self.site.agents), np.nan)
        return self._guarded(readings, requests)

    def _guarded(self, readings: Readings, requests: Requests) -> Commands:
        self._last, _ = self._guard.check(readings, requests)
        return self._last
