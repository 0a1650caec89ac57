"""A service that records every change of a planned pick-up; the changes of a pick-up add up to its wait."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.transit.kernel.fleet import NOBODY
from envs.transit.scenarios import TransitScenario
from envs.transit.service import Service
from envs.transit.site import TransitSite
from envs.transit.sources.day import Day
from envs.transit.world import TransitWorld

SHARED, STARTED, DROVE, STOOD = range(4)
"""Reasons of a change of a planned pick-up: other riders inserted before it; an idle vehicle that is slow to move off;
driving that takes more or less time than planned; dwell times at stops."""


class WatchedService(Service):
    """A fleet in our own simulator, where other requests change a planned pick-up, and streets if their times deviate.

    Args:
        scenario: fleet and promise.
        site: streets and zones.
        day: requests and speeds.
        seed: of vehicles' positions.

    Attributes:
        planned_s: every rider's pick-up by the plan at the time of the promise, ``(R,)``; NaN: refused.
        moved_s: its changes by reason, in seconds, later ones positive, ``(4, R)``.
    """

    def __init__(self, scenario: TransitScenario, site: TransitSite, day: Day, seed: int):
        super().__init__(scenario, site, day, seed, None)
        count = len(self.asked.origin)
        self.planned_s, self.moved_s = np.full(count, np.nan), np.zeros((4, count))

    def _go_on(self, until_s: float, urgency: np.ndarray) -> None:
        """Advance time, request by request."""
        first, last = np.searchsorted(self._agenda_s, [self.now_s, until_s], side="left")
        for k in range(first, last):
            one = slice(k, k + 1)
            time_s, r = float(self._agenda_s[k]), int(self._agenda[k])
            self._drive(time_s, urgency)
            before_s = self.riders.begin_s.copy()
            self._advance(self._agenda_s[one], self._agenda[one], time_s, urgency)
            if 0 <= r < len(self.asked.origin):
                self._note(r, before_s)
        self._drive(until_s, urgency)

    def _drive(self, until_s: float, urgency: np.ndarray) -> None:
        """Advance time without requests, and record changes caused by streets."""
        before_s = self.riders.begin_s.copy()
        self._advance(self._agenda_s[:0], self._agenda[:0], until_s, urgency)
        if self.actual is not None:
            count = len(self.asked.origin)
            self.moved_s[DROVE] += np.nan_to_num(self.riders.begin_s - before_s)[:count]

    def _note(self, r: int, before_s: np.ndarray) -> None:
        """Record the planned pick-up of a request, and the changes for riders who wait already."""
        v = int(self.riders.vehicle[r])
        if v == NOBODY:
            return
        self.planned_s[r] = self.riders.begin_s[r]
        others = self._to_pick(v)
        others = others[others != r]
        self.moved_s[SHARED, others] += self.riders.begin_s[others] - before_s[others]

    def _to_pick(self, v: int) -> np.ndarray:
        """Riders whom a vehicle has still to pick up."""
        count = self.fleet.length[v]
        return self.fleet.rider[v, :count][self.fleet.pick[v, :count]]


class WatchedWorld(TransitWorld):
    """The plant with a watched service."""

    def _begin(self, day: Day, seed: int, program: Any) -> Service:
        assert program is None, "what is watched is dispatched as the scenario says"
        return WatchedService(self.scenario, self.site, day, seed)

    @property
    def service(self) -> WatchedService:
        """The running service."""
        assert isinstance(self._service, WatchedService)
        return self._service
