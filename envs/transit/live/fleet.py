"""A fleet of real vehicles: the compiled core's arrays, corrected by reports, with expected positions in between.

This module knows seconds, indices and physics. Permissions, storage and clocks are the caller's. A rider has a slot in
the arrays from the promise until the ride is over; slot 0 is for trial insertions. Batteries and stays at chargers are
in `charging`, drivers' breaks in `driver_breaks`, idle vehicles and where they stand by in `idle`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from envs.transit.kernel import battery_range, breakdowns, charging, driver_breaks, events, insertion, motion, plans
from envs.transit.kernel.charging import Chargers
from envs.transit.kernel.fleet import (
    ABOARD,
    ARRIVED,
    BEGIN,
    CANCELLED,
    END,
    LEFT,
    NOBODY,
    PLACES,
    PLAN,
    SEATS,
    WAITING,
    Fleet,
    Riders,
    new_fleet,
    new_riders,
)
from envs.transit.kernel.jit import compiled
from envs.transit.kernel.travel_times import TravelTimes, arrive, travel_times_of
from envs.transit.live.charging import Batteries
from envs.transit.live.driver_breaks import Breaks
from envs.transit.live.idle import IdleVehicles
from envs.transit.live.offers import Offer, Trip, offer_of
from envs.transit.settings import URGENCY_BASE, Charging
from envs.transit.site import TransitSite

USUAL_CHARGING = Charging()
"""Default terms of charging."""

SLOTS = 256
"""Initial number of slots for riders; it doubles whenever all are taken."""


@compiled
def follow(v: int, now_s: float, fleet: Fleet, riders: Riders, roads: TravelTimes) -> None:
    """Move a vehicle to where it should be by now: it drives as planned, but serves no stop before it reports.

    At a stop it stays until it reports; if that takes longer than boarding, the rest of the plan is put off. At a
    charger it reports twice. It passes stops of riders who withdrew. Without a plan it goes where it was sent. Where no
    road leads to its next stop, it stays until it reports another corner.
    """
    while np.isfinite(fleet.at_s[v]) and (fleet.length[v] > 0 or fleet.heading[v] != NOBODY):
        at, target = fleet.at[v], fleet.node[v, 0] if fleet.length[v] > 0 else fleet.heading[v]
        if at != target:
            if fleet.at_s[v] > now_s:
                return
            following = roads.hop[at, target]
            if following == at:
                return
            fleet.battery[v, LEFT] -= roads.metres[at, following]
            fleet.at_s[v] = arrive(fleet.at_s[v], roads.free_s[at, following], roads.speed, roads.slot_s)
            fleet.at[v] = following
            continue
        if fleet.length[v] == 0:
            return
        r = fleet.rider[v, 0]
        if riders.state[r] == CANCELLED:
            if fleet.at_s[v] > now_s:
                return
            plans.close(v, 0, fleet)
            plans.schedule(v, fleet, riders, roads)
            continue
        stands_s = riders.board_s[r] if fleet.pick[v, 0] else riders.alight_s[r]
        if plans.is_pause(r, riders):
            stands_s = 0.0
        plans.put_off(v, now_s - stands_s, fleet, riders, roads)
        return


class LiveFleet:
    """Vehicles and the riders to whom they are promised.

    Args:
        site: streets and promises.
        at: node at which each vehicle begins, ``(V,)``.
        room: seats and wheelchair places of each, ``(V, 2)``.
        shift_s: beginning and end of each shift, ``(V, 2)``.
        speed, slot_s: relative speeds, and for how many seconds each applies.
        battery: at the beginning of shifts, see `Fleet`, ``(V, 3)``; None: unlimited range.
        terms: of charging.
        breaks: of the drivers, see `kernel.driver_breaks`, ``(V, 3)``; None: they have none. `plan_break` plans them.

    Raises:
        CityloopError: if a charger's name is of no corner.
    """

    def __init__(
        self,
        site: TransitSite,
        at: Sequence[int],
        room: Sequence[tuple[int, int]],
        shift_s: Sequence[tuple[float, float]],
        speed: np.ndarray,
        slot_s: float,
        battery: np.ndarray | None = None,
        terms: Charging = USUAL_CHARGING,
        breaks: np.ndarray | None = None,
    ):
        self.site = site
        self.ranged = battery is not None and bool(np.isfinite(battery[:, LEFT]).any())
        places = charging.places_of(terms, site) if self.ranged else charging.NOWHERE
        self.roads = travel_times_of(site.matrices, speed, slot_s, places[:, charging.NODE] if self.ranged else None)
        self.fleet = new_fleet(np.array(at), np.array(room), np.array(shift_s), battery)
        breaks = np.zeros((len(at), 3)) if breaks is None else breaks
        self.breaks = Breaks(self.fleet, breaks, SLOTS)
        riders = driver_breaks.with_breaks(_blank(SLOTS), self.fleet, breaks)
        self.riders, stay_of = charging.with_stays(riders, self.fleet)
        self.batteries = Batteries(self.fleet, Chargers(places, stay_of, terms.low, terms.until))
        self.idle = IdleVehicles(site, self.fleet, self.roads)
        self.weights, self.urgency = np.array(site.costs.tuple), np.ones(len(site.nodes))
        promise = site.promise
        self._margin_s, held = promise.margin_s, promise.held
        self._anew = np.array([held.wait_s, held.ride_factor, held.ride_allowance_s])
        self._free = list(range(SLOTS - 1, 0, -1))

    def look(self, now_s: float) -> None:
        """Move every vehicle to where it should be by now."""
        for v in np.flatnonzero((self.fleet.length > 0) | (self.fleet.heading != NOBODY)):
            follow(v, now_s, self.fleet, self.riders, self.roads)
        self.batteries.put_off(self.riders)

    # -- offers ---------------------------------------------------------------------------------------------------

    def place(self, r: int, trip: Trip) -> None:
        """Write a trip into a slot, with the site's promise unless another was made; plans keep a margin."""
        riders, site, roads = self.riders, self.site, self.roads
        free_s = roads.free_s[trip.origin, trip.destination]
        direct_s = arrive(trip.earliest_s, free_s, roads.speed, roads.slot_s) - trip.earliest_s
        longest_s = site.promise.ride_factor * direct_s + site.promise.ride_allowance_s
        riders.origin[r], riders.destination[r] = trip.origin, trip.destination
        riders.earliest_s[r], riders.direct_s[r] = trip.earliest_s, direct_s
        latest_s = trip.earliest_s + site.promise.wait_s if trip.latest_s is None else trip.latest_s
        riders.latest_s[r] = latest_s - self._margin_s
        riders.limit_s[r] = (longest_s if trip.limit_s is None else trip.limit_s) - self._margin_s
        riders.size[r] = trip.party, trip.wheelchairs
        riders.board_s[r], riders.alight_s[r] = site.timing.board_s, site.timing.alight_s
        riders.state[r], riders.vehicle[r], riders.begin_s[r] = 0, NOBODY, np.nan

    def promised(self, r: int) -> tuple[float, float]:
        """The promised end of the pick-up window and the promised longest ride of the rider in a slot.

        Both include the margin. So the arrival shown to a rider who was aboard when a vehicle broke down, and waits
        again, may be later than first promised by the margin; the plan's is not.
        """
        return float(self.riders.latest_s[r]) + self._margin_s, float(self.riders.limit_s[r]) + self._margin_s

    def best(self, trip: Trip, now_s: float, among: Sequence[int] | None = None) -> Offer | None:
        """The cheapest offer for a trip, among given vehicles if any are named; None: no promise could be kept."""
        if among is not None:
            return next(iter(self._each(trip, now_s, among)), None)
        return self._best(trip, now_s)

    def _best(self, trip: Trip, now_s: float, vehicle: int | None = None) -> Offer | None:
        self.place(0, trip)
        weights = self.weights.copy()
        weights[insertion.WAIT] *= self.urgency[trip.origin]
        state = self.fleet, self.riders, self.roads, weights, insertion.EVERYWHERE
        if vehicle is None:
            cost, v, i, j = insertion.best_insertion(0, now_s, *state)
        else:
            cost, i, j = insertion.best_place(vehicle, 0, now_s, *state)
            v = vehicle if i >= 0 else NOBODY
        if v == NOBODY:
            return None
        return offer_of(v, i, j, cost, now_s, self.fleet, self.riders, self.roads, self._margin_s)

    def best_if_charged(self, trip: Trip, now_s: float, among: Sequence[int] | None = None) -> Offer | None:
        """The same with unlimited batteries."""
        left_m = self.fleet.battery[:, LEFT].copy()
        self.fleet.battery[:, LEFT] = np.inf
        try:
            return self.best(trip, now_s, among)
        finally:
            self.fleet.battery[:, LEFT] = left_m

    def all(self, trip: Trip, now_s: float) -> list[Offer]:
        """The cheapest offer of every vehicle that can serve a trip, cheapest first."""
        return self._each(trip, now_s, range(len(self.fleet.at)))

    def _each(self, trip: Trip, now_s: float, vehicles: Sequence[int]) -> list[Offer]:
        """The same for some vehicles."""
        room = self.fleet.room
        able = [v for v in vehicles if room[v, SEATS] >= trip.party and room[v, PLACES] >= trip.wheelchairs]
        found = [offer for v in able if (offer := self._best(trip, now_s, v)) is not None]
        return sorted(found, key=lambda offer: (offer.cost, offer.vehicle))

    # -- promising ------------------------------------------------------------------------------------------------

    def promise(self, trip: Trip, offer: Offer, now_s: float) -> int:
        """Put a trip into a plan as offered; returns the rider's slot."""
        r = self.take_slot()
        self.place(r, trip)
        plans.insert(offer.vehicle, r, offer.first, offer.second, now_s, self.fleet, self.riders, self.roads)
        driver_breaks.settle(offer.vehicle, self.fleet, self.riders, self.roads)
        self.riders.state[r] = WAITING
        return r

    def take_slot(self) -> int:
        """Reserve a free slot and return it."""
        if not self._free:
            count = len(self.riders.origin)
            grown = [np.concatenate([old, new]) for old, new in zip(self.riders, _blank(count), strict=True)]
            self.riders = Riders(*grown)
            self._free = list(range(2 * count - 1, count - 1, -1))
        return self._free.pop()

    def give_slot(self, r: int) -> None:
        """Free a slot whose ride is over."""
        self._free.append(r)

    def set_plan(self, v: int, stops: Sequence[tuple[int, bool, float]]) -> None:
        """Give a vehicle a plan that was made before, stops as (slot, whether a pick-up, earliest time)."""
        fleet, riders = self.fleet, self.riders
        for k, (r, pick, floor_s) in enumerate(stops):
            fleet.node[v, k] = riders.origin[r] if pick else riders.destination[r]
            fleet.rider[v, k], fleet.pick[v, k], fleet.floor_s[v, k] = r, pick, floor_s
            riders.vehicle[r] = v
        fleet.length[v] = len(stops)
        plans.schedule(v, fleet, riders, self.roads)

    def plan(self, v: int) -> list[tuple[int, bool, float]]:
        """A vehicle's plan, as `set_plan` takes it."""
        fleet = self.fleet
        return [
            (int(fleet.rider[v, k]), bool(fleet.pick[v, k]), float(fleet.floor_s[v, k])) for k in range(fleet.length[v])
        ]

    def withdraw(self, r: int, now_s: float) -> None:
        """Take a rider who cancelled or did not appear out of the plan.

        If the battery would not last without the rider's stops, the vehicle still drives by them, see `passes`.
        """
        motion.withdraw(r, now_s, self.fleet, self.riders, self.roads, events.new_log(4))
        if self.passes(r):
            self.let_pass(r)
            plans.reckon(int(self.riders.vehicle[r]), self.fleet, self.riders, self.roads)

    def passes(self, r: int) -> bool:
        """Whether a vehicle still drives by a stop of a rider who has withdrawn."""
        v = int(self.riders.vehicle[r])
        return v != NOBODY and any(slot == r for slot, _, _ in self.plan(v))

    def let_pass(self, r: int) -> None:
        """Have a rider who has withdrawn take neither room nor time when the vehicle passes."""
        riders, v = self.riders, int(self.riders.vehicle[r])
        riders.state[r], riders.size[r] = CANCELLED, 0
        riders.board_s[r] = riders.alight_s[r] = 0.0
        mine = self.fleet.rider[v, : self.fleet.length[v]] == r
        self.fleet.floor_s[v, : self.fleet.length[v]][mine] = 0.0

    def end_shifts(self, now_s: float) -> None:
        """Cancel trips to stand by, and breaks to come, of vehicles whose shift is over."""
        for v in np.flatnonzero(self.fleet.shift_s[:, END] <= now_s).tolist():
            self.fleet.heading[v] = NOBODY
            if self.breaks.to_come(v):
                plans.remove(v, int(self.breaks.row_of[v]), now_s, self.fleet, self.riders, self.roads)

    def see_to_batteries(self, now_s: float) -> None:
        """Plan charging of vehicles that are low on charge, or whose batteries do not last for their plans."""
        if not self.ranged:
            return
        chargers = self.batteries.chargers
        low = charging.low(now_s, self.fleet, self.riders, chargers).tolist()
        short = [v for v in self._short() if v not in low and self.batteries.stay(v, self.riders) is None]
        who = np.array(low + short, np.int64)
        charging.plan_stays(who, now_s, self.fleet, self.riders, self.roads, chargers)

    def reassign(self, now_s: float, waiting: Sequence[int]) -> dict[int, int]:
        """Let waiting riders change vehicles.

        Without ``timing.reassign_s`` only riders of vehicles whose battery does not last for the plan may change.

        Args:
            now_s: the present; vehicles have been moved up to it, see `look`.
            waiting: slots of waiting riders, in the order of their requests.

        Returns:
            Slot → previous vehicle, of the riders who changed.
        """
        fleet, riders, roads = self.fleet, self.riders, self.roads
        lock_s, short = self.site.timing.reassign_s, set(self._short())
        before = {r: int(riders.vehicle[r]) for r in waiting if lock_s or int(riders.vehicle[r]) in short}
        log, rows = events.new_log(3 * len(before) + 1), np.array(list(before), np.int64)
        motion.reassign(rows, lock_s, now_s, fleet, riders, roads, self.weights, self.urgency, log)
        return {r: v for r, v in before.items() if riders.vehicle[r] != v}

    def hurry(self, urgency: np.ndarray) -> None:
        """Set the urgency of waits from now on.

        Args:
            urgency: of each zone, -1 to 1; 0: as usual, ``(N,)``.
        """
        self.urgency = URGENCY_BASE ** urgency[self.site.zone_of]

    def ways_on(self, v: int) -> np.ndarray:
        """Nodes from which a road leads to a vehicle's next stop, or to where it is to stand by, bool ``(N,)``."""
        fleet, free_s = self.fleet, self.roads.free_s
        target = fleet.node[v, 0] if fleet.length[v] else fleet.heading[v]
        found: np.ndarray = np.ones(len(free_s), bool) if target == NOBODY else np.isfinite(free_s[:, target])
        return found

    def lasts(self, v: int) -> bool:
        """Whether a vehicle's battery lasts for its plan, and then to a charger."""
        return bool(battery_range.lasts_without(v, NOBODY, self.fleet, self.riders, self.roads))

    def _short(self) -> list[int]:
        """Vehicles in service whose batteries do not last for their plans."""
        ranged = np.flatnonzero((self.batteries.chargers.stay_of != NOBODY) & np.isfinite(self.fleet.at_s))
        return [v for v in ranged.tolist() if not self.lasts(v)]

    # -- reports ----------------------------------------------------------------------------------------------------

    def report(self, v: int, node: int, at_s: float) -> None:
        """A vehicle is at a node. If it charges or has a break, it does so until it reports otherwise or elsewhere."""
        if self.batteries.plugged(v, self.fleet) or self.breaks.under_way(v):
            if node == self.fleet.at[v]:
                return
            self._go_on(v, at_s)
        if np.isfinite(self.fleet.at_s[v]):
            self.batteries.reach(v, node, self.fleet, self.roads)
            self.fleet.at[v], self.fleet.at_s[v] = node, max(at_s, self.fleet.shift_s[v, BEGIN])
            if self.fleet.heading[v] == node:
                self.fleet.heading[v] = NOBODY
            plans.reckon(v, self.fleet, self.riders, self.roads)

    def read(self, v: int, share: float, at_s: float) -> None:
        """A vehicle reports the share of its range that is left, 0 to 1."""
        self.batteries.read(v, share, at_s, self.fleet, self.riders)

    def board(self, r: int, at_s: float, begin_s: float | None = None, moves: bool = True) -> None:
        """A rider has boarded, in any order that the driver chose.

        Args:
            r: the rider's slot.
            at_s: end of boarding.
            begin_s: its beginning; None: it took its usual time.
            moves: whether the vehicle is there; otherwise it has reported something else since.
        """
        v = int(self.riders.vehicle[r])
        if begin_s is None:
            begin_s = at_s - self.riders.board_s[r]
        if moves:
            self._go_on(v, begin_s)
        self.riders.state[r], self.riders.begin_s[r] = ABOARD, begin_s
        self.fleet.aboard[v] += self.riders.size[r]
        self._serve(v, r, True, at_s, moves)

    def alight(self, r: int, at_s: float, moves: bool = True) -> None:
        """A rider has got off at the destination; for ``moves`` see `board`."""
        v = int(self.riders.vehicle[r])
        self.riders.state[r] = ARRIVED
        self.fleet.aboard[v] -= self.riders.size[r]
        self._serve(v, r, False, at_s, moves)

    def plug_in(self, v: int, at_s: float) -> None:
        """A vehicle begins the stay at a charger of its plan; stops that were planned before it follow after."""
        r = int(self.batteries.chargers.stay_of[v])
        self._go_on(v, at_s)
        self.report(v, int(self.riders.origin[r]), at_s)
        self.batteries.begin(v, at_s, self.fleet, self.riders)
        self.set_plan(v, [(r, False, 0.0), *(stop for stop in self.plan(v) if stop[0] != r)])

    def unplug(self, v: int, at_s: float) -> None:
        """A vehicle ends its stay at a charger and goes on."""
        r = int(self.batteries.chargers.stay_of[v])
        self.batteries.end(v, at_s, self.fleet, self.riders)
        self._close(v, r, False)
        self.report(v, int(self.riders.origin[r]), at_s)

    def _go_on(self, v: int, at_s: float) -> None:
        """End a stay at a charger or a break under way, as the vehicle does something else."""
        if self.batteries.plugged(v, self.fleet):
            self.unplug(v, at_s)
        elif self.breaks.under_way(v):
            self.end_break(v, at_s)

    def plan_break(self, v: int, now_s: float) -> bool:
        """Put a driver's break into the plan; False: earlier promises leave no room for it."""
        return self.breaks.plan(v, now_s, self.riders, self.roads)

    def begin_break(self, v: int, node: int, at_s: float) -> None:
        """A driver begins the break of the plan; stops that were planned before it follow after."""
        r = int(self.breaks.row_of[v])
        self.report(v, node, at_s)
        self.breaks.begin(v, at_s, self.riders)
        self.set_plan(v, [(r, False, 0.0), *(stop for stop in self.plan(v) if stop[0] != r)])

    def end_break(self, v: int, at_s: float) -> None:
        """A driver's break is over, and the vehicle goes on."""
        self.breaks.end(v, self.riders)
        self._close(v, int(self.breaks.row_of[v]), False)
        self.report(v, int(self.fleet.at[v]), at_s)

    def _serve(self, v: int, r: int, pick: bool, at_s: float, moves: bool) -> None:
        """A rider's stop is served; the vehicle is there, unless it has reported something else since."""
        self._close(v, r, pick)
        if moves:
            self.report(v, int((self.riders.origin if pick else self.riders.destination)[r]), at_s)
        elif np.isfinite(self.fleet.at_s[v]):
            plans.reckon(v, self.fleet, self.riders, self.roads)

    def _close(self, v: int, r: int, pick: bool) -> None:
        k = next(k for k, stop in enumerate(self.plan(v)) if stop[:2] == (r, pick))
        plans.close(v, k, self.fleet)

    def break_down(self, v: int, now_s: float) -> dict[int, str]:
        """A vehicle is out of service; returns its riders' outcomes: slot → ``kept``, ``anew`` or ``stranded``."""
        log = events.new_log(breakdowns.EVENT_ROWS * PLAN + len(self.fleet.at) + 3)
        state = self.fleet, self.riders, self.roads, self.weights, self._anew
        breakdowns.break_down(v, now_s, *state, log)
        names = {(events.HANDED_OVER, events.KEPT): "kept", (events.HANDED_OVER, events.ANEW): "anew"}
        names[events.STRANDED, 0] = "stranded"
        rows = zip(log.kind, log.load, log.rider, strict=True)
        return {int(r): names[kind, how] for kind, how, r in rows if r >= 0 and (kind, how) in names}

    def repair(self, v: int, node: int, now_s: float) -> None:
        """A vehicle is back in service, at a node; its battery is as it was until it reports otherwise."""
        left_m = self.fleet.battery[v, LEFT]
        breakdowns.repair(v, node, now_s, self.fleet, events.new_log(4))
        self.fleet.battery[v, LEFT] = left_m
        self.batteries.reach(v, int(self.fleet.at[v]), self.fleet, self.roads)


def _blank(count: int) -> Riders:
    zeros = np.zeros(count)
    return new_riders(zeros, zeros, zeros, zeros, zeros, zeros, zeros, np.zeros((count, 2)))
