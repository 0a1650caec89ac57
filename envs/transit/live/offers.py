"""Trips that riders ask for, and offers: the effect of an insertion, tried on the compiled core's arrays and undone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from envs.transit.kernel import plans
from envs.transit.kernel.fleet import Fleet, Riders
from envs.transit.kernel.travel_times import TravelTimes


@dataclass(frozen=True)
class Trip:
    """A trip that a rider asks for.

    Attributes:
        origin, destination: nodes.
        earliest_s: wanted time of the pick-up.
        party, wheelchairs: seats and wheelchair places that it needs.
        latest_s, limit_s: end of the pick-up window and longest ride, if promised before; None: the site's promise.
    """

    origin: int
    destination: int
    earliest_s: float
    party: int = 1
    wheelchairs: int = 0
    latest_s: float | None = None
    limit_s: float | None = None


@dataclass(frozen=True)
class Offer:
    """A vehicle's way to serve a trip.

    Attributes:
        vehicle: its index.
        first, second: stops of its plan before which to pick up and to drop off.
        cost: by the scenario's weights.
        earliest_s, latest_s: the pick-up's window.
        begin_s, arrive_s: planned pick-up and arrival.
        limit_s: the promised longest ride.
        driving_s: added driving, at free flow.
        others_s, others: total delay of other riders' arrivals, and the number of riders delayed.
        shared: number of parties that share a part of the way.
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


def offer_of(
    v: int,
    first: int,
    second: int,
    cost: float,
    now_s: float,
    fleet: Fleet,
    riders: Riders,
    roads: TravelTimes,
    margin_s: float,
) -> Offer:
    """The effect of inserting the rider in slot 0, by doing it and undoing it.

    Args:
        v: the vehicle.
        first: stop of its plan before which to pick up.
        second: stop before which to drop off.
        cost: of the insertion.
        now_s: the present.
        fleet: the state of all vehicles.
        riders: the state of all riders.
        roads: travel times.
        margin_s: time by which the promise is wider than the limits of plans.
    """
    before = dict(_arrivals(v, fleet))
    with _undone(v, fleet, riders):
        plans.insert(v, 0, first, second, now_s, fleet, riders, roads)
        after = dict(_arrivals(v, fleet))
        begin_s, arrive_s = float(riders.begin_s[0]), after.pop(0)
        shared = int(sum(bool(fleet.pick[v, k]) for k in range(first + 1, second + 1)))
        shared += int(sum(fleet.mate[v, k] < 0 or fleet.mate[v, k] < first for k in range(first + 1, fleet.length[v])))
        driving_s = _driving_s(v, fleet, roads)
    late = {r: t - before[r] for r, t in after.items()}
    return Offer(
        vehicle=v,
        first=first,
        second=second,
        cost=float(cost),
        earliest_s=float(riders.earliest_s[0]),
        latest_s=float(riders.latest_s[0]) + margin_s,
        begin_s=begin_s,
        arrive_s=arrive_s,
        limit_s=float(riders.limit_s[0]) + margin_s,
        driving_s=driving_s - _driving_s(v, fleet, roads),
        others_s=sum(late.values()),
        others=sum(value > 1.0 for value in late.values()),
        shared=shared,
    )


def _arrivals(v: int, fleet: Fleet) -> Iterator[tuple[int, float]]:
    for k in range(fleet.length[v]):
        if not fleet.pick[v, k]:
            yield int(fleet.rider[v, k]), float(fleet.arrive_s[v, k])


def _driving_s(v: int, fleet: Fleet, roads: TravelTimes) -> float:
    """Driving time of a plan at free flow, in seconds."""
    nodes = np.concatenate([fleet.at[v : v + 1], fleet.node[v, : fleet.length[v]]])
    return float(roads.free_s[nodes[:-1], nodes[1:]].sum())


@contextmanager
def _undone(v: int, fleet: Fleet, riders: Riders) -> Iterator[None]:
    """Undo all changes to a vehicle and its riders that are made within."""
    mine = np.unique(np.append(fleet.rider[v, : fleet.length[v]], 0))
    kept = [column[v].copy() for column in fleet]
    begins = riders.begin_s[mine].copy()
    try:
        yield
    finally:
        for column, value in zip(fleet, kept, strict=True):
            column[v] = value
        riders.begin_s[mine] = begins
