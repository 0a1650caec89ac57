"""Idle vehicles of a live fleet: those that stand, those on their way to stand by, and sending them to zones.

A vehicle that was sent somewhere counts as there once it should be; its plan names the place until it reports.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from envs.core.readings import Readings
from envs.transit import census
from envs.transit.kernel import driver_breaks, events, motion, plans
from envs.transit.kernel.fleet import BEGIN, END, NOBODY, Fleet, Riders
from envs.transit.kernel.travel_times import TravelTimes, arrive
from envs.transit.site import TransitSite
from envs.transit.targets import sends


class IdleVehicles:
    """Idle vehicles of a live fleet, which have been moved up to the present.

    Args:
        site: the service.
        fleet: the vehicles; its ``heading`` is written here.
        roads: travel times.
    """

    def __init__(self, site: TransitSite, fleet: Fleet, roads: TravelTimes):
        self.site, self._fleet, self._roads = site, fleet, roads

    def who(self, now_s: float, riders: Riders) -> tuple[np.ndarray, np.ndarray]:
        """Vehicles that stand idle, and idle ones on their way to where they were sent; bool ``(V,)`` each."""
        fleet = self._fleet
        on_duty = (fleet.shift_s[:, BEGIN] <= now_s) & (now_s < fleet.shift_s[:, END]) & np.isfinite(fleet.at_s)
        free = on_duty & driver_breaks.free(fleet, riders, now_s)
        under_way = (fleet.heading != NOBODY) & ((fleet.heading != fleet.at) | (fleet.at_s > now_s))
        return free & ~under_way, free & under_way

    def _busy(self, now_s: float, riders: Riders) -> np.ndarray:
        """Vehicles that have something to do, bool ``(V,)``.

        After the shift only riders count, as vehicles no longer report breaks and stays.
        """
        fleet = self._fleet
        planned = np.arange(fleet.rider.shape[1]) < fleet.length[:, None]
        carries = (planned & ~plans.is_pause(fleet.rider, riders)).any(axis=1)
        begun, goes_on = fleet.shift_s[:, BEGIN] <= now_s, fleet.shift_s[:, END] > now_s
        return begun & ~driver_breaks.free(fleet, riders, now_s) & (goes_on | carries)

    def census(
        self, now_s: float, time_s: float, riders: Riders, asked: Sequence[int], refused: Sequence[int]
    ) -> Readings:
        """The readings of the zones' controller.

        Args:
            now_s: the present.
            time_s: seconds since the service began, by which its usual demand is known.
            riders: the state of all riders.
            asked: origins of the requests of the past ``timing.recent_s``.
            refused: origins of those that were refused.
        """
        site, usual_s = self.site, len(self.site.usual) * self.site.slot_s
        unknown = np.full(len(site.zones), np.nan)
        expected = site.expected(time_s, site.timing.ahead_s) if time_s < usual_s else unknown
        nodes = [np.array(who, np.int64) for who in (asked, refused)]
        speed = census.speed_at(self._roads, now_s)
        kinds = self._busy(now_s, riders), *self.who(now_s, riders)
        moment = census.Moment(now_s, time_s, *kinds, nodes[0], nodes[1], expected, speed)
        return census.count(site, self._fleet, riders, moment)

    def send(self, now_s: float, riders: Riders, readings: Readings, scores: np.ndarray) -> None:
        """Send standing vehicles to where zones want them; they can be given a rider at any corner on the way.

        Args:
            now_s: the present.
            riders: the state of all riders.
            readings: those of the zones' controller, see `census`.
            scores: of zones, -1 to 1, ``(N,)``.
        """
        fleet, roads = self._fleet, self._roads
        standing = np.flatnonzero(self.who(now_s, riders)[0])
        log = events.new_log(4 * len(standing) + 1)
        for k, node in sends(self.site, readings, scores, fleet.at[standing], roads.free_s):
            motion.send(int(standing[k]), node, now_s, fleet, riders, roads, log)

    def arrive_s(self, v: int) -> float:
        """Arrival time of a vehicle where it was sent."""
        fleet, roads = self._fleet, self._roads
        start_s = max(float(fleet.at_s[v]), float(fleet.shift_s[v, BEGIN]))
        free_s = roads.free_s[fleet.at[v], fleet.heading[v]]
        return float(arrive(start_s, free_s, roads.speed, roads.slot_s))
