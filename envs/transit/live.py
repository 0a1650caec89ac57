"""A fleet whose vehicles are real: the kernel's arrays, held to what vehicles report and where they should be by now.

Here are seconds, indices and physics. Who may book, what is kept where, and what time it is, others know. A rider has a
slot in the arrays from the promise until it is over; slot 0 is for trying things out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from envs.transit import events, kernel, rescue
from envs.transit.clock import Roads, arrive, roads_of
from envs.transit.compiled import compiled
from envs.transit.fleet import ABOARD, ARRIVED, NOBODY, PLAN, WAITING, Fleet, Riders, new_fleet, new_riders
from envs.transit.site import TransitSite

SLOTS = 256
"""Slots for riders at first; they double whenever they are all taken."""


@dataclass(frozen=True)
class Trip:
    """What somebody asks for.

    Attributes:
        origin, destination: nodes.
        earliest_s: when the party wants to be picked up.
        party, wheelchairs: seats and wheelchair places that it needs.
    """

    origin: int
    destination: int
    earliest_s: float
    party: int = 1
    wheelchairs: int = 0


@dataclass(frozen=True)
class Offer:
    """How a vehicle would serve a trip.

    Attributes:
        vehicle: which.
        first, second: stops of its plan before which to pick up and to drop off.
        cost: by the scenario's weights.
        earliest_s, latest_s: the pick-up's window.
        begin_s, arrive_s: pick-up and arrival as planned.
        limit_s: the longest ride that is promised.
        driving_s: added driving, at free flow.
        others_s, others: by how much others arrive later in all, and how many do.
        shared: how many parties ride along for a part of the way.
    """

    vehicle: int
    first: int
    second: int
    cost: float
    earliest_s: float
    latest_s: float
    begin_s: float
    arrive_s: float
    limit_s: float
    driving_s: float
    others_s: float
    others: int
    shared: int


@compiled
def follow(v: int, now_s: float, fleet: Fleet, riders: Riders, roads: Roads) -> None:
    """Where a vehicle should be by now if it does as planned: it drives on, but serves no stop before it says so.

    At a stop it stays until it reports; if that takes longer than boarding does, the rest of the plan gets later.
    """
    while np.isfinite(fleet.at_s[v]) and fleet.length[v] > 0:
        at, target = fleet.at[v], fleet.node[v, 0]
        if at != target:
            if fleet.at_s[v] > now_s:
                return
            following = roads.hop[at, target]
            fleet.at_s[v] = arrive(fleet.at_s[v], roads.free_s[at, following], roads.speed, roads.slot_s)
            fleet.at[v] = following
            continue
        r = fleet.rider[v, 0]
        stands_s = riders.board_s[r] if fleet.pick[v, 0] else riders.alight_s[r]
        kernel.put_off(v, now_s - stands_s, fleet, riders, roads)
        return


class LiveFleet:
    """Vehicles and whom they have been promised to.

    Args:
        site: streets and promises.
        at: node at which each vehicle begins, ``(V,)``.
        room: seats and wheelchair places of each, ``(V, 2)``.
        shift_s: from when until when each works, ``(V, 2)``.
        speed, slot_s: relative speeds, each for so many seconds.
    """

    def __init__(
        self,
        site: TransitSite,
        at: Sequence[int],
        room: Sequence[tuple[int, int]],
        shift_s: Sequence[tuple[float, float]],
        speed: np.ndarray,
        slot_s: float,
    ):
        self.site = site
        self.roads = roads_of(site.matrices, speed, slot_s)
        self.fleet = new_fleet(np.array(at), np.array(room), np.array(shift_s))
        self.riders = _blank(SLOTS)
        self.weights = np.array(site.costs.tuple)
        promise = site.promise
        self._margin_s, held = promise.margin_s, promise.held
        self._anew = np.array([held.wait_s, held.ride_factor, held.ride_allowance_s])
        self._free = list(range(SLOTS - 1, 0, -1))
        self._begins, self._bounds = np.zeros(PLAN), np.zeros(len(self.fleet.at))

    def look(self, now_s: float) -> None:
        """Move every vehicle to where it should be by now."""
        for v in np.flatnonzero(self.fleet.length > 0):
            follow(v, now_s, self.fleet, self.riders, self.roads)

    # -- asking ---------------------------------------------------------------------------------------------------

    def place(self, r: int, trip: Trip, latest_s: float | None = None, limit_s: float | None = None) -> None:
        """Write a trip into a slot, with the site's promise unless another was made. Plans are held to less."""
        riders, site, roads = self.riders, self.site, self.roads
        free_s = roads.free_s[trip.origin, trip.destination]
        direct_s = arrive(trip.earliest_s, free_s, roads.speed, roads.slot_s) - trip.earliest_s
        longest_s = site.promise.ride_factor * direct_s + site.promise.ride_allowance_s
        riders.origin[r], riders.destination[r] = trip.origin, trip.destination
        riders.earliest_s[r], riders.direct_s[r] = trip.earliest_s, direct_s
        riders.latest_s[r] = (trip.earliest_s + site.promise.wait_s if latest_s is None else latest_s) - self._margin_s
        riders.limit_s[r] = (longest_s if limit_s is None else limit_s) - self._margin_s
        riders.size[r] = trip.party, trip.wheelchairs
        riders.board_s[r], riders.alight_s[r] = site.timing.board_s, site.timing.alight_s
        riders.state[r], riders.vehicle[r], riders.begin_s[r] = 0, NOBODY, np.nan

    def promised(self, r: int) -> tuple[float, float]:
        """The end of the pick-up window, and the longest ride, that the rider in a slot is promised.

        The margin is in both; so whoever was aboard when a vehicle broke down, and waits again, is told of an arrival
        that may be later than first promised, by the margin. Plans are not.
        """
        return float(self.riders.latest_s[r]) + self._margin_s, float(self.riders.limit_s[r]) + self._margin_s

    def best(self, trip: Trip, now_s: float, vehicle: int | None = None) -> Offer | None:
        """The cheapest way to serve a trip, by one vehicle if it is named; None: no promise of it could be kept."""
        self.place(0, trip)
        state = self.fleet, self.riders, self.roads, self.weights, kernel.EVERYWHERE
        if vehicle is None:
            cost, v, i, j = kernel.best_insertion(0, now_s, *state, self._begins, self._bounds)
        else:
            cost, i, j = kernel.best_place(vehicle, 0, now_s, *state, np.inf, self._begins)
            v = vehicle if i >= 0 else NOBODY
        return None if v == NOBODY else self._offer(v, i, j, cost, now_s)

    def all(self, trip: Trip, now_s: float) -> list[Offer]:
        """The cheapest way of every vehicle that can serve a trip, cheapest first."""
        room = self.fleet.room
        able = np.flatnonzero((room[:, 0] >= trip.party) & (room[:, 1] >= trip.wheelchairs))
        found = [offer for v in able if (offer := self.best(trip, now_s, int(v))) is not None]
        return sorted(found, key=lambda offer: (offer.cost, offer.vehicle))

    def _offer(self, v: int, i: int, j: int, cost: float, now_s: float) -> Offer:
        """What an insertion would mean, by carrying it out and taking it back."""
        fleet, riders = self.fleet, self.riders
        before = dict(self._arrivals(v))
        with self._undone(v):
            kernel.insert(v, 0, i, j, now_s, fleet, riders, self.roads)
            after = dict(self._arrivals(v))
            begin_s, arrive_s = float(riders.begin_s[0]), after.pop(0)
            shared = int(sum(bool(fleet.pick[v, k]) for k in range(i + 1, j + 1)))
            shared += int(sum(fleet.mate[v, k] < 0 or fleet.mate[v, k] < i for k in range(i + 1, fleet.length[v])))
            driving_s = self._driving_s(v)
        late = {r: t - before[r] for r, t in after.items()}
        latest_s, limit_s = self.promised(0)
        return Offer(
            vehicle=v,
            first=i,
            second=j,
            cost=float(cost),
            earliest_s=float(riders.earliest_s[0]),
            latest_s=latest_s,
            begin_s=begin_s,
            arrive_s=arrive_s,
            limit_s=limit_s,
            driving_s=driving_s - self._driving_s(v),
            others_s=sum(late.values()),
            others=sum(value > 1.0 for value in late.values()),
            shared=shared,
        )

    def _arrivals(self, v: int) -> Iterator[tuple[int, float]]:
        fleet = self.fleet
        for k in range(fleet.length[v]):
            if not fleet.pick[v, k]:
                yield int(fleet.rider[v, k]), float(fleet.arrive_s[v, k])

    def _driving_s(self, v: int) -> float:
        """Seconds of driving that a plan needs at free flow."""
        nodes = np.concatenate([self.fleet.at[v : v + 1], self.fleet.node[v, : self.fleet.length[v]]])
        return float(self.roads.free_s[nodes[:-1], nodes[1:]].sum())

    @contextmanager
    def _undone(self, v: int) -> Iterator[None]:
        """Whatever happens to a vehicle and its riders within is taken back."""
        mine = np.unique(np.append(self.fleet.rider[v, : self.fleet.length[v]], 0))
        kept = [column[v].copy() for column in self.fleet]
        begins = self.riders.begin_s[mine].copy()
        try:
            yield
        finally:
            for column, value in zip(self.fleet, kept, strict=True):
                column[v] = value
            self.riders.begin_s[mine] = begins

    # -- promising ------------------------------------------------------------------------------------------------

    def promise(self, trip: Trip, offer: Offer, now_s: float) -> int:
        """Put a trip into a plan as offered; the rider's slot."""
        r = self.take_slot()
        self.place(r, trip)
        kernel.insert(offer.vehicle, r, offer.first, offer.second, now_s, self.fleet, self.riders, self.roads)
        self.riders.state[r] = WAITING
        return r

    def take_slot(self) -> int:
        """A free slot."""
        if not self._free:
            count = len(self.riders.origin)
            grown = [np.concatenate([old, new]) for old, new in zip(self.riders, _blank(count), strict=True)]
            self.riders = Riders(*grown)
            self._free = list(range(2 * count - 1, count - 1, -1))
        return self._free.pop()

    def give_slot(self, r: int) -> None:
        """A slot whose ride is over."""
        self._free.append(r)

    def set_plan(self, v: int, stops: Sequence[tuple[int, bool, float]]) -> None:
        """Give a vehicle a plan that was made before: (slot, whether it is a pick-up, not before)."""
        fleet, riders = self.fleet, self.riders
        for k, (r, pick, floor_s) in enumerate(stops):
            fleet.node[v, k] = riders.origin[r] if pick else riders.destination[r]
            fleet.rider[v, k], fleet.pick[v, k], fleet.floor_s[v, k] = r, pick, floor_s
            riders.vehicle[r] = v
        fleet.length[v] = len(stops)
        kernel.schedule(v, fleet, riders, self.roads)

    def plan(self, v: int) -> list[tuple[int, bool, float]]:
        """A vehicle's plan, as `set_plan` takes it."""
        fleet = self.fleet
        return [
            (int(fleet.rider[v, k]), bool(fleet.pick[v, k]), float(fleet.floor_s[v, k])) for k in range(fleet.length[v])
        ]

    def withdraw(self, r: int, now_s: float) -> None:
        """Take a rider who is not aboard out of the plan: by cancellation, or because nobody came."""
        kernel.remove(int(self.riders.vehicle[r]), r, now_s, self.fleet, self.riders, self.roads)

    # -- what vehicles report ---------------------------------------------------------------------------------------

    def report(self, v: int, node: int, at_s: float) -> None:
        """A vehicle is at a node."""
        if np.isfinite(self.fleet.at_s[v]):
            self.fleet.at[v], self.fleet.at_s[v] = node, max(at_s, self.fleet.shift_s[v, 0])
            kernel.reckon(v, self.fleet, self.riders, self.roads)

    def board(self, r: int, at_s: float) -> None:
        """A rider has boarded, which took as long as it does; in whatever order the driver chose."""
        v = int(self.riders.vehicle[r])
        self.riders.state[r], self.riders.begin_s[r] = ABOARD, at_s - self.riders.board_s[r]
        self.fleet.aboard[v] += self.riders.size[r]
        self._close(v, r, True)
        self.report(v, int(self.riders.origin[r]), at_s)

    def alight(self, r: int, at_s: float) -> None:
        """A rider has got off at the destination."""
        v = int(self.riders.vehicle[r])
        self.riders.state[r] = ARRIVED
        self.fleet.aboard[v] -= self.riders.size[r]
        self._close(v, r, False)
        self.report(v, int(self.riders.destination[r]), at_s)

    def _close(self, v: int, r: int, pick: bool) -> None:
        k = next(k for k, stop in enumerate(self.plan(v)) if stop[:2] == (r, pick))
        kernel.close(v, k, self.fleet)

    def break_down(self, v: int, now_s: float) -> dict[int, str]:
        """A vehicle is out of service; what became of its riders by slot: ``kept``, ``anew`` or ``stranded``."""
        log = events.new_log(rescue.EVENT_ROWS * PLAN + len(self.fleet.at) + 3)
        state = self.fleet, self.riders, self.roads, self.weights, self._anew, self._begins, self._bounds
        rescue.break_down(v, now_s, *state, log)
        names = {(events.HANDED_OVER, events.KEPT): "kept", (events.HANDED_OVER, events.ANEW): "anew"}
        names[events.STRANDED, 0] = "stranded"
        rows = zip(log.kind, log.load, log.rider, strict=True)
        return {int(r): names[kind, how] for kind, how, r in rows if r >= 0 and (kind, how) in names}

    def repair(self, v: int, node: int, now_s: float) -> None:
        """A vehicle is back in service, at a node."""
        rescue.repair(v, node, now_s, self.fleet, events.new_log(4))


def _blank(count: int) -> Riders:
    zeros = np.zeros(count)
    return new_riders(zeros, zeros, zeros, zeros, zeros, zeros, zeros, np.zeros((count, 2)))
