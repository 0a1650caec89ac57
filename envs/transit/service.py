"""One episode's service: a fleet, its riders, and time. Calls the compiled functions in order.

Zones' settings are handled in `world`; all that happens is written in the log.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from envs.transit.dispatch import Dispatch
from envs.transit.kernel import batch, breakdowns, charging, driver_breaks, events, insertion, journal, motion
from envs.transit.kernel.charging import Chargers
from envs.transit.kernel.fleet import (
    BEGIN,
    END,
    NOBODY,
    PLAN,
    UNKNOWN,
    WAITING,
    Fleet,
    Riders,
    new_fleet,
    new_riders,
)
from envs.transit.kernel.travel_times import arrive, travel_times_of
from envs.transit.kernel.unforeseen import Unforeseen, unforeseen
from envs.transit.matrices import Matrices, leads_on
from envs.transit.scenarios import TransitScenario
from envs.transit.site import TransitSite
from envs.transit.sources.day import Day

FOREVER_S = 1e7
"""End of a shift without one."""

LAST_S = 1e8
"""A time by which every plan is carried out. Finite, as idle vehicles are due at infinity."""


class Service:
    """A fleet at work.

    Args:
        scenario: fleet and promise.
        site: streets and zones.
        day: requests and speeds.
        seed: of vehicles' positions, batteries, breakdowns and streets.
        dispatch: a local program; None: the scenario's dispatch.

    Attributes:
        asked: the requests as they came in and were promised.
        riders: the same with the limits that plans must keep, and rows of breaks and stays; breakdowns change them.
        actual: actual travel times; None: those that the dispatcher knows.
        walk_m: distance on foot to and from the stops, ``(R,)``.
        breaks: of the drivers, see `kernel.driver_breaks`, ``(V, 3)``.
        batteries: at the beginning of shifts, see `Fleet`, ``(V, 3)``.
    """

    def __init__(self, scenario: TransitScenario, site: TransitSite, day: Day, seed: int, dispatch: Dispatch | None):
        self._ranged = any(crew.range_km for crew in scenario.crews)
        places = charging.places_of(scenario.charging, site) if self._ranged else charging.NOWHERE
        self.roads = travel_times_of(
            site.matrices, day.speed, day.slot_s, places[:, charging.NODE] if self._ranged else None
        )
        self.batteries = charging.batteries(scenario, seed)
        self.fleet = self._vehicles(scenario, site, seed)
        self.walk_m = np.zeros(len(day.origin)) if day.walk_m is None else day.walk_m
        self.breaks = np.array(
            [(c.rest_from_s, c.rest_until_s, c.rest_s) for c in scenario.crews for _ in range(c.vehicles)]
        )
        self.asked = self._requests(scenario, day)
        self.riders = driver_breaks.with_breaks(self._held(scenario.promise.margin_s), self.fleet, self.breaks)
        driver_breaks.plan_breaks(self.fleet, self.riders, self.roads, self.breaks)
        self.riders, stay_of = charging.with_stays(self.riders, self.fleet)
        self._chargers = Chargers(places, stay_of, scenario.charging.low, scenario.charging.until)
        rows = len(self.riders.origin)
        self.actual = unforeseen(scenario, site, seed, rows, self._chargers)
        self.log = events.new_log()
        self.now_s = 0.0
        self._weights = np.array(scenario.costs.tuple if dispatch is None else dispatch.weights)
        self._mode = insertion.AT_THE_END if dispatch is not None and not dispatch.pooled else insertion.EVERYWHERE
        self._batch_s = 0.0 if dispatch is None else dispatch.batch_s
        promise = scenario.promise.held
        self._anew = np.array([promise.wait_s, promise.ride_factor, promise.ride_allowance_s])
        out_s, out, back_s = self._breakdowns(scenario, seed)
        count, vehicles = len(day.origin), len(self.fleet.at)
        times = np.concatenate([self.asked.known_s, self.asked.cancel_s, out_s, back_s])
        who = np.concatenate([np.arange(count), -1 - np.arange(count), rows + out, rows + vehicles + out])
        order = np.argsort(times, kind="stable")
        self._agenda_s, self._agenda = times[order], who[order].astype(np.int64)
        for _ in day.problems:
            self._make_room(1)
            journal.write(self.log, 0.0, events.REFUSED, NOBODY, NOBODY, NOBODY, 0.0, events.IMPOSSIBLE)
        self._charge()

    def _vehicles(self, scenario: TransitScenario, site: TransitSite, seed: int) -> Fleet:
        rng = np.random.default_rng([seed, 1])
        stops = np.flatnonzero([node.stop for node in site.nodes])
        # No vehicle begins at a dead end.
        stops = stops[leads_on(np.isfinite(site.matrices.free_s[np.ix_(stops, stops)]))]
        if self._ranged:
            charging.check_reach(scenario, site, self.roads, stops)
        rows = [
            (crew.seats, crew.places, crew.begin_s, crew.end_s or FOREVER_S)
            for crew in scenario.crews
            for _ in range(crew.vehicles)
        ]
        table = np.array(rows)
        return new_fleet(rng.choice(stops, size=len(rows)), table[:, :2], table[:, 2:], self.batteries)

    def _requests(self, scenario: TransitScenario, day: Day) -> Riders:
        promise, timing, roads = scenario.promise, scenario.timing, self.roads
        free = roads.free_s[day.origin, day.destination]
        direct = np.array(
            [arrive(t, s, roads.speed, roads.slot_s) - t for t, s in zip(day.earliest_s, free, strict=True)]
        )
        return new_riders(
            day.origin,
            day.destination,
            day.known_s,
            day.earliest_s,
            day.earliest_s + promise.wait_s,
            direct,
            promise.ride_factor * direct + promise.ride_allowance_s,
            np.stack([day.party, day.wheelchair], axis=1),
            board_s=timing.board_s,
            alight_s=timing.alight_s,
            cancel_s=day.cancel_s,
            absent=day.absent,
        )

    def _held(self, margin_s: float) -> Riders:
        """The requests with the limits that plans must keep."""
        riders = Riders(*(column.copy() for column in self.asked))
        return riders._replace(latest_s=riders.latest_s - margin_s, limit_s=riders.limit_s - margin_s)

    def _breakdowns(self, scenario: TransitScenario, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Times of breakdowns, vehicles, and times of their return; breakdowns are uniform over shifts."""
        found: list[tuple[float, int, float]] = []
        rng, repair_s = np.random.default_rng([seed, 3]), scenario.breakdowns.repair_s
        for v, (begin_s, end_s) in enumerate(self.fleet.shift_s):
            now_s = begin_s
            while scenario.breakdowns.per_veh_h > 0:
                now_s += rng.exponential(3600.0 / scenario.breakdowns.per_veh_h)
                if now_s >= min(end_s, scenario.duration_s):
                    break
                found.append((now_s, v, now_s + repair_s))
                now_s += repair_s
        out_s, who, back_s = np.array(found).reshape(-1, 3).T
        return out_s, who.astype(np.int64), back_s

    def _make_room(self, rows: int) -> None:
        self.log = events.with_room(self.log, rows)

    def run(self, until_s: float, urgency: np.ndarray) -> None:
        """Advance time, answer all requests on the way, and plan stays at chargers.

        Args:
            until_s: end time.
            urgency: factor on the weight of a wait, by origin, ``(nodes,)``.
        """
        self._go_on(until_s, urgency)
        self._charge()

    def _charge(self) -> None:
        """Plan stays of vehicles that are low on charge; see `kernel.charging`."""
        if not self._ranged:
            return
        who = charging.low(self.now_s, self.fleet, self.riders, self._chargers)
        self._make_room(2 * len(who))
        for v in who:
            journal.note_drive(v, self.now_s, self.fleet, self.log)
        charging.plan_stays(who, self.now_s, self.fleet, self.riders, self.roads, self._chargers)

    def _go_on(self, until_s: float, urgency: np.ndarray) -> None:
        first, last = np.searchsorted(self._agenda_s, [self.now_s, until_s], side="left")
        self._advance(self._agenda_s[first:last], self._agenda[first:last], until_s, urgency)

    def _advance(self, agenda_s: np.ndarray, agenda: np.ndarray, until_s: float, urgency: np.ndarray) -> None:
        """Advance time, and process an agenda on the way; see `motion.run`."""
        aboard = 4 * int(self.fleet.length.sum()) + 4 * len(self.fleet.at)
        vehicles = int((agenda >= len(self.riders.origin)).sum())
        rows = aboard + motion.EVENT_ROWS * len(agenda) + 16
        self._make_room(rows + vehicles * (breakdowns.EVENT_ROWS * PLAN + 3))
        state = self.fleet, self.riders, self.roads
        rules = self._weights, urgency, self._mode, self._anew, self.log, self.actual
        if self._batch_s:
            self._run_batches(agenda_s, agenda, until_s, urgency)
        else:
            motion.run(agenda_s, agenda, until_s, *state, *rules)
        self.now_s = until_s

    def _run_batches(self, when_s: np.ndarray, what: np.ndarray, until_s: float, urgency: np.ndarray) -> None:
        """As `run`, but with requests answered together at the end of each interval, the last at ``until_s``."""
        state = self.fleet, self.riders, self.roads
        rules = self._weights, urgency, self._mode, self._anew, self.log, self.actual
        asks = (what >= 0) & (what < len(self.riders.origin))
        ends = np.minimum((when_s // self._batch_s + 1) * self._batch_s, until_s)
        for end_s in np.unique(ends):
            mine = ends == end_s
            others = mine & ~asks
            motion.run(when_s[others], what[others], float(end_s), *state, *rules)
            asked = what[mine & asks]
            asked = asked[self.riders.state[asked] == UNKNOWN]
            wait = self._weights[insertion.WAIT] * urgency[self.riders.origin[asked]]
            batch.answer(asked, float(end_s), *state, self._weights, wait, self.log)
        motion.run(when_s[:0], what[:0], until_s, *state, *rules)

    def reassign(self, lock_s: float, urgency: np.ndarray) -> None:
        """Reinsert riders whose pick-up is later than ``lock_s`` from now; see `motion.reassign`."""
        who = self.waiting
        self._make_room(3 * len(who))
        state = self.fleet, self.riders, self.roads
        motion.reassign(who, lock_s, self.now_s, *state, self._weights, urgency, self.log)

    def finish(self) -> None:
        """Carry out all open promises, and record the remaining distances."""
        until_s = float(self.now_s)
        busy = self.fleet.length > 0
        ends = self.fleet.leave_s[busy, self.fleet.length[busy] - 1]
        self._go_on(LAST_S, np.ones(len(self.roads.free_s)))
        if self.actual is not None:  # actual ends differ from planned ones
            ends = self.fleet.at_s[busy]
        self.now_s = max(until_s, float(ends.max(initial=until_s)))
        self._make_room(len(self.fleet.at))
        for v in range(len(self.fleet.at)):
            journal.note_drive(v, self.now_s, self.fleet, self.log)

    # -- idle vehicles ------------------------------------------------------------------------------------------

    @property
    def on_duty(self) -> np.ndarray:
        """Vehicles on shift, bool ``(V,)``."""
        return (self.fleet.shift_s[:, BEGIN] <= self.now_s) & (self.fleet.shift_s[:, END] > self.now_s)

    @property
    def free(self) -> np.ndarray:
        """Vehicles that have nothing to do yet, bool ``(V,)``."""
        return driver_breaks.free(self.fleet, self.riders, self.now_s)

    @property
    def standing(self) -> np.ndarray:
        """Vehicles that stand idle and can be sent elsewhere, bool ``(V,)``."""
        idle = self.on_duty & self.free & (self.fleet.heading == NOBODY)
        return idle & np.isfinite(self.fleet.at_s)  # not out of service

    @property
    def travelling(self) -> np.ndarray:
        """Idle vehicles on their way to where they were sent, bool ``(V,)``."""
        return self.on_duty & self.free & (self.fleet.heading != NOBODY)

    def send(self, vehicle: int, node: int) -> None:
        """Send an idle vehicle to a node."""
        self._make_room(4)
        motion.send(vehicle, node, self.now_s, self.fleet, self.riders, self.roads, self.log)

    # -- riders -------------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> np.ndarray:
        """Indices of parties that are promised a vehicle and not yet aboard."""
        return np.flatnonzero(self.riders.state == WAITING)


@cache
def warm_up(disturbed: bool = False) -> None:
    """Compile all functions, or load them from the cache, so that child processes need not.

    Args:
        disturbed: also for streets whose times are not known.
    """
    ends = np.array([0, 1]), np.array([1, 0])
    roads = travel_times_of(Matrices(2, *ends, np.full(2, 60.0), np.full(2, 500.0)), np.ones(1), 300.0)
    fleet = new_fleet(np.array([0]), np.array([[4, 1]]), np.array([[0.0, 1e5]]))
    one = np.array([0])
    riders = new_riders(one, one + 1, one, one, one + 600, one + 60.0, one + 600, np.array([[1, 0]]))
    log = events.new_log(64)
    agenda_s, agenda = np.array([0.0, 1.0]), np.array([0, -1], np.int64)
    usual = np.ones(4), np.ones(2), insertion.EVERYWHERE, np.ones(3)
    motion.run(agenda_s, agenda, 500.0, fleet, riders, roads, *usual, log, None)
    chargers = Chargers(charging.NOWHERE, one - 1, 0.0, 1.0)
    if disturbed:
        actual = Unforeseen(
            factor=np.ones((2, 1), np.float32),
            slot_s=300.0,
            road=np.array([[-1, 0], [1, -1]], np.int32),
            there_s=np.full(1, np.inf),
            late_s=np.zeros((1, 2)),
            over_s=np.zeros(1),
            chargers=chargers,
        )
        motion.run(agenda_s[:0], agenda[:0], 500.0, fleet, riders, roads, *usual, log, actual)
    motion.reassign(one[:0], 1.0, 500.0, fleet, riders, roads, np.ones(4), np.ones(2), log)
    motion.send(0, 1, 600.0, fleet, riders, roads, log)
    charging.plan_stays(one[:0], 600.0, fleet, riders, roads, chargers)
    journal.note_drive(0, 600.0, fleet, log)
    arrive(0.0, 1.0, roads.speed, roads.slot_s)
