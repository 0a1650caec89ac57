"""Batteries of real vehicles and their stays at chargers: those that `kernel.charging` plans, corrected by reports.

A battery's remaining range is computed from the distance since the last report, until a vehicle reports it. A vehicle
that charges stands at the charger from its report until the next one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envs.transit.kernel import charging
from envs.transit.kernel.charging import Chargers
from envs.transit.kernel.fleet import FULL, LEFT, NOBODY, Fleet, Riders
from envs.transit.kernel.travel_times import TravelTimes


@dataclass(frozen=True)
class Stay:
    """A vehicle's stay at a charger, planned or under way.

    Attributes:
        node: of the charger.
        begin_s: its beginning.
        length_s: its planned length.
    """

    node: int
    begin_s: float
    length_s: float


@dataclass(frozen=True)
class Gauge:
    """The known state of a battery.

    Attributes:
        left_m: remaining range in metres at the vehicle's present or next node.
        seen_at: node of the last report.
        seen_m: remaining range in metres there.
    """

    left_m: float
    seen_at: int
    seen_m: float


class Batteries:
    """Batteries of a live fleet.

    Args:
        fleet: the vehicles; their remaining range is a column of it.
        chargers: where they charge.
    """

    def __init__(self, fleet: Fleet, chargers: Chargers):
        self.chargers = chargers
        self._seen_at, self._seen_m = fleet.at.copy(), fleet.battery[:, LEFT].copy()

    # -- remaining range ------------------------------------------------------------------------------------------

    def has(self, v: int) -> bool:
        """Whether a vehicle has limited range."""
        return bool(self.chargers.stay_of[v] != NOBODY)

    def gauge(self, v: int, fleet: Fleet) -> Gauge:
        """The known state of a vehicle's battery."""
        return Gauge(float(fleet.battery[v, LEFT]), int(self._seen_at[v]), float(self._seen_m[v]))

    def set_gauge(self, v: int, gauge: Gauge, fleet: Fleet) -> None:
        """Restore a known state, at most up to the capacity of the battery, which may be smaller by now."""
        full_m = fleet.battery[v, FULL]
        fleet.battery[v, LEFT] = min(gauge.left_m, full_m)
        self._seen_at[v], self._seen_m[v] = gauge.seen_at, min(gauge.seen_m, full_m)

    def reach(self, v: int, node: int, fleet: Fleet, roads: TravelTimes) -> None:
        """Update the range of a vehicle that reports a node; an unexpected one by the distance from the last report."""
        if node != fleet.at[v]:
            fleet.battery[v, LEFT] = self._seen_m[v] - roads.metres[self._seen_at[v], node]
        fleet.battery[v, LEFT] = max(fleet.battery[v, LEFT], 0.0)  # it has come this far
        self._seen_at[v], self._seen_m[v] = node, fleet.battery[v, LEFT]

    def read(self, v: int, share: float, at_s: float, fleet: Fleet, riders: Riders) -> None:
        """A vehicle reports the share of its range that is left. If it charges, the end of its stay is unchanged."""
        fleet.battery[v, LEFT] = self._seen_m[v] = share * fleet.battery[v, FULL]
        self._seen_at[v] = fleet.at[v]
        if self.plugged(v, fleet):
            r = self.chargers.stay_of[v]
            end_s = riders.begin_s[r] + riders.board_s[r]
            self._write(v, Stay(int(riders.origin[r]), at_s, max(end_s - at_s, 0.0)), riders)

    def share(self, v: int, now_s: float, fleet: Fleet, riders: Riders) -> float:
        """Share of its range that a vehicle has now, 0 to 1."""
        left_m, full_m, rate = (float(value) for value in fleet.battery[v])
        if self.plugged(v, fleet):
            left_m += rate * max(now_s - float(riders.begin_s[self.chargers.stay_of[v]]), 0.0)
        return min(max(left_m / full_m, 0.0), 1.0)

    # -- stays ----------------------------------------------------------------------------------------------------

    def plugged(self, v: int, fleet: Fleet) -> bool:
        """Whether a vehicle charges: its stay has begun, and its end is the first stop of the plan."""
        return bool(
            self.has(v) and fleet.length[v] and fleet.rider[v, 0] == self.chargers.stay_of[v] and not fleet.pick[v, 0]
        )

    def stay(self, v: int, riders: Riders) -> Stay | None:
        """A vehicle's stay; None: none is planned."""
        r = self.chargers.stay_of[v]
        if r == NOBODY or riders.vehicle[r] == NOBODY:
            return None
        return Stay(int(riders.origin[r]), float(riders.earliest_s[r]), float(riders.board_s[r]))

    def set_stay(self, v: int, stay: Stay, plugged: bool, fleet: Fleet, riders: Riders) -> None:
        """Restore a planned stay; the caller puts its stops into the plan. ``plugged``: it has begun."""
        r = self.chargers.stay_of[v]
        self._write(v, stay, riders)
        riders.vehicle[r] = v
        if plugged:
            fleet.aboard[v] += riders.size[r]

    def begin(self, v: int, at_s: float, fleet: Fleet, riders: Riders) -> None:
        """A stay begins, with its planned length."""
        r = self.chargers.stay_of[v]
        self._write(v, Stay(int(riders.origin[r]), at_s, float(riders.board_s[r])), riders)
        fleet.aboard[v] += riders.size[r]
        fleet.at_s[v] = at_s + riders.board_s[r]

    def end(self, v: int, at_s: float, fleet: Fleet, riders: Riders) -> None:
        """A stay ends; the range gained follows from its actual length."""
        r = self.chargers.stay_of[v]
        riders.board_s[r] = max(at_s - riders.begin_s[r], 0.0)
        charging.end_stay(v, r, fleet, riders)
        fleet.aboard[v] -= riders.size[r]
        self._seen_m[v] = fleet.battery[v, LEFT]

    def put_off(self, riders: Riders) -> None:
        """Put off the reservations at chargers of vehicles that come later than planned."""
        rows = self.chargers.stay_of[self.chargers.stay_of != NOBODY]
        rows = rows[riders.vehicle[rows] != NOBODY]
        riders.earliest_s[rows] = riders.latest_s[rows] = np.maximum(riders.earliest_s[rows], riders.begin_s[rows])

    def _write(self, v: int, stay: Stay, riders: Riders) -> None:
        r = self.chargers.stay_of[v]
        riders.origin[r] = riders.destination[r] = stay.node
        riders.earliest_s[r] = riders.latest_s[r] = riders.begin_s[r] = stay.begin_s
        riders.board_s[r] = stay.length_s
