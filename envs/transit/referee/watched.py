"""A service of which it is kept what became of every pick-up that was planned: all changes add up to the wait."""

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
"""What moves a planned pick-up: others who are put before it; a vehicle that stands idle and is slow to move off;
driving that takes longer, or less long, than planned; and standing at stops."""


class WatchedService(Service):
    """A fleet at work in our own simulator, where others' requests move a planned pick-up, and streets if disturbed.

    Args:
        scenario: who works, and what is promised.
        site: where.
        day: requests and speeds.
        seed: where vehicles begin.

    Attributes:
        planned_s: when every rider was to be picked up by the plan that was promised, ``(R,)``; NaN: refused.
        moved_s: by how much that was put off, by reason, ``(4, R)``.
    """

    def __init__(self, scenario: TransitScenario, site: TransitSite, day: Day, seed: int):
        super().__init__(scenario, site, day, seed, None)
        count = len(self.asked.origin)
        self.planned_s, self.moved_s = np.full(count, np.nan), np.zeros((4, count))

    def _go_on(self, until_s: float, urgency: np.ndarray) -> None:
        """Let time pass, request by request."""
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
        """Let time pass in which nobody asks, and keep what streets do to those who wait."""
        before_s = self.riders.begin_s.copy()
        self._advance(self._agenda_s[:0], self._agenda[:0], until_s, urgency)
        if self.streets is not None:
            count = len(self.asked.origin)
            self.moved_s[DROVE] += np.nan_to_num(self.riders.begin_s - before_s)[:count]

    def _note(self, r: int, before_s: np.ndarray) -> None:
        """Keep what a request was promised, and what that does to those who wait already."""
        v = int(self.riders.vehicle[r])
        if v == NOBODY:
            return
        self.planned_s[r] = self.riders.begin_s[r]
        others = self._to_pick(v)
        others = others[others != r]
        self.moved_s[SHARED, others] += self.riders.begin_s[others] - before_s[others]

    def _to_pick(self, v: int) -> np.ndarray:
        """Riders whom a vehicle has yet to pick up."""
        count = self.fleet.length[v]
        return self.fleet.rider[v, :count][self.fleet.pick[v, :count]]


class WatchedWorld(TransitWorld):
    """The plant, watched."""

    def _begin(self, day: Day, seed: int, program: Any) -> Service:
        assert program is None, "what is watched is dispatched as the scenario says"
        return WatchedService(self.scenario, self.site, day, seed)

    @property
    def service(self) -> WatchedService:
        """The running service."""
        assert isinstance(self._service, WatchedService)
        return self._service
