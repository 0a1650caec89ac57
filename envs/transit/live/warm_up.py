"""A day in a street of three corners: a live fleet does everything once before the first rider comes.

Compiled functions are compiled, or loaded, when they are first called. Without this, the first cancellation on a new
machine would take four seconds.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from envs.transit.live.fleet import LiveFleet
from envs.transit.live.offers import Trip
from envs.transit.settings import Charging, Costs, Promise, Timing
from envs.transit.site import Node, Road, TransitSite, Zone

LONG_S = LONG_M = 1e5
"""Length of a shift in seconds, and range of a full battery in metres."""

LOW = 0
"""The vehicle that has to charge."""


@cache
def warm_up() -> None:
    """Book, drive, withdraw, charge, rest, break down and stand by."""
    live = _fleet()
    for v in range(2):
        live.plan_break(v, 0.0)
    live.look(0.0)
    live.idle.send(0.0, live.riders, live.idle.census(0.0, 0.0, live.riders, [], []), np.array([-1.0, 1.0]))
    live.see_to_batteries(0.0)

    kept, gone = (_book(live, Trip(0, 2, 0.0)) for _ in range(2))
    live.look(30.0)
    live.all(Trip(1, 2, 30.0), 30.0)
    live.best_if_charged(Trip(1, 2, 30.0), 30.0)
    live.withdraw(gone, 30.0)
    live.reassign(30.0, [kept])

    v = int(live.riders.vehicle[kept])
    live.board(kept, 60.0)
    live.look(90.0)
    live.break_down(v, 100.0)
    live.repair(v, 1, 110.0)
    live.plug_in(LOW, 120.0)
    live.unplug(LOW, 180.0)
    live.begin_break(LOW, 0, 3600.0)
    live.end_break(LOW, 4200.0)
    live.end_shifts(2 * LONG_S)


def _fleet() -> LiveFleet:
    """Two vehicles with a break to come, of which one has to charge."""
    site = TransitSite(
        name="warm-up",
        promise=Promise(),
        timing=Timing(reassign_s=60.0),
        costs=Costs(),
        nodes=tuple(Node(id=str(k), x_m=500.0 * k, y_m=0.0, zone=k // 2) for k in range(3)),
        roads=tuple(Road(start=a, end=b, seconds=60.0, metres=500.0) for a, b in ((0, 1), (1, 0), (1, 2), (2, 1))),
        zones=(Zone(id="west", stand=0, neighbours=(1,)), Zone(id="east", stand=2, neighbours=(0,))),
        vehicles=2,
    )
    return LiveFleet(
        site,
        at=[0, 0],
        room=[(4, 1), (4, 1)],
        shift_s=[(0.0, LONG_S)] * 2,
        speed=np.ones(1),
        slot_s=300.0,
        battery=np.array([(0.1 * LONG_M, LONG_M, 20.0), (LONG_M, LONG_M, 20.0)]),
        terms=Charging(stops=("0",), low=0.5, until=0.9),
        breaks=np.tile([3600.0, 7200.0, 600.0], (2, 1)),
    )


def _book(live: LiveFleet, trip: Trip) -> int:
    """Book a trip; returns the rider's slot."""
    offer = live.best(trip, trip.earliest_s)
    assert offer is not None
    return live.promise(trip, offer, trip.earliest_s)
