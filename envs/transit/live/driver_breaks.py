"""Breaks of real drivers: those that `kernel.driver_breaks` keeps in plans, corrected by vehicles' reports.

A break is in the plan from the beginning of the shift. It begins and ends when the vehicle reports so; a vehicle that
reports anything else has ended its break.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envs.transit.kernel import driver_breaks, insertion, plans
from envs.transit.kernel.fleet import NOBODY, Fleet, Riders
from envs.transit.kernel.travel_times import TravelTimes


@dataclass(frozen=True)
class Break:
    """The known state of a vehicle's break.

    Attributes:
        node: where it is taken.
        begin_s: when it began; None: not yet.
        over: whether it is over.
    """

    node: int
    begin_s: float | None = None
    over: bool = False


class Breaks:
    """Breaks of a live fleet.

    Args:
        fleet: the vehicles.
        breaks: see `kernel.driver_breaks`, ``(V, 3)``.
        first: row of the first break among the riders, in the order of `kernel.driver_breaks.with_breaks`.
    """

    def __init__(self, fleet: Fleet, breaks: np.ndarray, first: int):
        who = np.flatnonzero(breaks[:, driver_breaks.LENGTH] > 0)
        self.row_of = np.full(len(breaks), NOBODY)
        self.row_of[who] = first + np.arange(len(who))
        self._fleet = fleet

    def __bool__(self) -> bool:
        return bool((self.row_of != NOBODY).any())

    def has(self, v: int) -> bool:
        """Whether a vehicle's driver has a break in this shift."""
        return bool(self.row_of[v] != NOBODY)

    def _stops(self, v: int) -> list[bool]:
        """The break's stops in a vehicle's plan: for each, whether it is the beginning."""
        fleet, count = self._fleet, self._fleet.length[v]
        mine = fleet.rider[v, :count] == self.row_of[v]
        return [bool(pick) for pick in fleet.pick[v, :count][mine]] if self.has(v) else []

    def to_come(self, v: int) -> bool:
        """Whether the break is still to come."""
        return True in self._stops(v)

    def under_way(self, v: int) -> bool:
        """Whether the driver has a break now."""
        return self._stops(v) == [False]

    def of(self, v: int, riders: Riders) -> Break | None:
        """The known state of a vehicle's break; None: there is none."""
        if not self.has(v):
            return None
        r = self.row_of[v]
        begun = float(riders.begin_s[r]) if self.under_way(v) else None
        return Break(int(riders.origin[r]), begun, over=not self._stops(v))

    def plan(self, v: int, now_s: float, riders: Riders, roads: TravelTimes) -> bool:
        """Put a break where nobody is aboard and no promise is broken into a plan; returns whether it fits."""
        r, fleet = int(self.row_of[v]), self._fleet
        riders.origin[r] = riders.destination[r] = fleet.at[v]
        even = np.ones(4)
        _, first, second = insertion.best_place(v, r, now_s, fleet, riders, roads, even, insertion.EVERYWHERE)
        if first < 0 or first != second:
            return False
        plans.insert(v, r, first, second, now_s, fleet, riders, roads)
        driver_breaks.settle(v, fleet, riders, roads)
        return True

    def restore(self, v: int, one: Break, riders: Riders) -> None:
        """Restore the known state of a break; the caller puts its stops into the plan."""
        r = self.row_of[v]
        riders.origin[r] = riders.destination[r] = one.node
        riders.vehicle[r] = v
        if one.begin_s is not None and not one.over:
            riders.begin_s[r] = one.begin_s
            self._fleet.aboard[v] += riders.size[r]

    def begin(self, v: int, at_s: float, riders: Riders) -> None:
        """A break begins where the vehicle is, with its full length."""
        r, fleet = self.row_of[v], self._fleet
        riders.origin[r] = riders.destination[r] = fleet.at[v]
        riders.begin_s[r], fleet.at_s[v] = at_s, at_s + riders.board_s[r]
        fleet.aboard[v] += riders.size[r]

    def end(self, v: int, riders: Riders) -> None:
        """A break is over."""
        self._fleet.aboard[v] -= riders.size[self.row_of[v]]
