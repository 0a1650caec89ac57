"""Small towns, fleets and riders by hand or by dice."""

import numpy as np

from envs.transit.kernel import charging
from envs.transit.kernel.charging import Chargers
from envs.transit.kernel.fleet import NOBODY, new_fleet, new_riders
from envs.transit.kernel.travel_times import travel_times_of
from envs.transit.kernel.unforeseen import Unforeseen
from envs.transit.matrices import Matrices
from envs.transit.settings import Costs, Promise, Timing
from envs.transit.site import Node, Road, TransitSite
from envs.transit.sources.day import zones_of


def street(nodes=10, seconds=60.0, metres=500.0, chargers=None):
    """Nodes in a row, a minute apart."""
    a = np.arange(nodes - 1)
    ends = np.concatenate([a, a + 1]), np.concatenate([a + 1, a])
    count = 2 * len(a)
    matrices = Matrices(nodes, *ends, np.full(count, seconds), np.full(count, metres))
    return travel_times_of(matrices, np.ones(1), 300.0, chargers)


def town(rng, nodes=12, slots=1, slot_s=400.0, uneven=False, chargers=None):
    """A ring with random short cuts, each way of its own length, and random speeds.

    ``uneven``: short cuts are quick and far, so that the quickest way is often not the shortest.
    """
    a = np.arange(nodes)
    start = np.concatenate([a, (a + 1) % nodes, rng.integers(nodes, size=nodes)])
    end = np.concatenate([(a + 1) % nodes, a, rng.integers(nodes, size=nodes)])
    kept = start != end
    seconds = rng.uniform(20, 150, len(start))
    mps = np.repeat([3.0, 30.0] if uneven else [8.0, 8.0], [2 * nodes, nodes])
    matrices = Matrices(nodes, start[kept], end[kept], seconds[kept], (mps * seconds)[kept])
    return travel_times_of(matrices, rng.uniform(0.4, 1.6, slots), slot_s, chargers)


def crowd(rng, roads, count, until_s=1200.0, wait_s=400.0, factor=1.5, allowance_s=200.0, booked=0.3, boarding_s=15.0):
    """Random requests, some booked beforehand, some in wheelchairs, some who cancel or do not come."""
    nodes = len(roads.free_s)
    origin = rng.integers(nodes, size=count)
    destination = (origin + rng.integers(1, nodes, size=count)) % nodes
    known = np.sort(rng.uniform(0, until_s, count))
    earliest = known + np.where(rng.random(count) < booked, rng.uniform(100, 1500, count), 0.0)
    direct = roads.free_s[origin, destination]
    wheelchair = (rng.random(count) < 0.2).astype(int)
    size = np.stack([rng.integers(1, 4, count), wheelchair], axis=1)
    cancel = np.where(rng.random(count) < 0.15, known + rng.uniform(0, 900, count), np.inf)
    return new_riders(
        *(origin, destination, known, earliest, earliest + wait_s, direct, factor * direct + allowance_s, size),
        board_s=boarding_s,
        alight_s=boarding_s / 2,
        cancel_s=cancel,
        absent=rng.random(count) < 0.1,
    )


def garage(rng, roads, count, seats=4, end_s=6000.0):
    """Vehicles at random nodes; some begin late or stop early."""
    at = rng.integers(len(roads.free_s), size=count)
    room = np.stack([rng.integers(2, seats + 1, count), rng.integers(0, 2, count)], axis=1)
    begin = np.where(rng.random(count) < 0.2, rng.uniform(0, 600, count), 0.0)
    end = np.where(rng.random(count) < 0.2, rng.uniform(1500, 3000, count), end_s)
    return new_fleet(at, room, np.stack([begin, end], axis=1))


def streets(rng, fleet, riders, nodes=12, spread=0.6, slots=40, slot_s=100.0):
    """Every street takes a factor of its own in every slot, known to nobody; the mean is one."""
    sigma = np.sqrt(np.log1p(spread**2))
    return Unforeseen(
        factor=np.exp(sigma * rng.standard_normal((nodes**2, slots)) - sigma**2 / 2).astype(np.float32),
        slot_s=slot_s,
        road=np.arange(nodes**2, dtype=np.int32).reshape(nodes, nodes),
        there_s=np.full(len(fleet.at), np.inf),
        late_s=np.zeros((len(riders.origin), 2)),
        over_s=np.zeros(len(fleet.at)),
        chargers=Chargers(charging.NOWHERE, np.full(len(fleet.at), NOBODY), 0.0, 1.0),
    )


READ = {
    "idle_veh": [2, 0, 1],
    "inbound_veh": [0, 1, 0],
    "soon_veh": [0, 0, 2],
    "soon_s": [np.nan, np.nan, 240.0],
    "busy_veh": [1, 2, 3],
    "aboard": [1, 3, 4],
    "coming": [0, 2, 1],
    "waiting": [0, 3, 1],
    "booked": [1, 0, 0],
    "requests": [2, 9, 4],
    "refused": [0, 2, 0],
    "expected": [1.0, 6.0, 2.0],
    "time_s": [1800.0],
    "speed": [0.8],
}
"""Readings of three zones."""


def with_dead_ends(site):
    """The same site with two corners more in its last zone: a one-way road leads from 5 to 6, and none to or from 7."""
    last = site.nodes[-1]
    more = tuple(last.model_copy(update={"id": name, "x_m": x_m}) for name, x_m in (("6", 3000.0), ("7", 3600.0)))
    road = site.roads[-1].model_copy(update={"start": 5, "end": 6})
    return site.model_copy(update={"nodes": site.nodes + more, "roads": (*site.roads, road)})


def three_zones(**more):
    """A street of six corners, two a zone, a minute apart; vehicles may not stand in the last zone if ``closed``."""
    closed = more.pop("closed", False)
    nodes = tuple(Node(id=str(k), x_m=500.0 * k, y_m=0.0, zone=k // 2, stop=not (closed and k > 3)) for k in range(6))
    ends = [(a, b) for a in range(6) for b in (a - 1, a + 1) if 0 <= b < 6]
    roads = tuple(Road(start=a, end=b, seconds=60.0, metres=500.0) for a, b in ends)
    return TransitSite(
        name="street",
        promise=Promise(),
        timing=Timing(),
        costs=Costs(),
        nodes=nodes,
        roads=roads,
        zones=zones_of(["west", "mid", "east"], nodes, roads),
        vehicles=12,
        **more,
    )
