"""Electric range: where vehicles charge, which of them have to, and when.

How far a battery lasts is a constraint of `insertion`, like a pick-up window or a seat: no promise leaves a vehicle
without enough charge to reach a charger. A stay at a charger is a stop of the plan that takes all seats and places, as
a driver's break is. It reserves a place at the charger from the moment when it is planned. If all places are taken,
the stay is planned to begin when one becomes free. A battery charges linearly, which holds up to about four fifths of
its capacity, so stays end before it is full.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from envs.core.errors import CityloopError
from envs.transit.kernel import battery_range, insertion, plans
from envs.transit.kernel.fleet import (
    BEGIN,
    CHARGING,
    END,
    FULL,
    LEFT,
    NOBODY,
    RATE,
    SEATS,
    Fleet,
    Riders,
    new_riders,
)
from envs.transit.kernel.jit import compiled, within
from envs.transit.kernel.travel_times import TravelTimes, arrive, leave_by

if TYPE_CHECKING:
    from envs.transit.scenarios import TransitScenario
    from envs.transit.settings import Charging
    from envs.transit.site import TransitSite

LEAST_S = 600.0
"""Shortest stay that is planned before a booking or the end of a shift, unless less is enough."""

NODE, COUNT = range(2)
"""Columns of the chargers: the node, and the number of places."""

NOWHERE = np.zeros((0, 2), np.int64)
"""Chargers of a fleet without limited range."""


class Chargers(NamedTuple):
    """Where vehicles charge, and which rows of the riders represent their stays.

    Attributes:
        places: of each charger, by `NODE` and `COUNT`, int64 ``(C, 2)``.
        stay_of: row of each vehicle's stay, int64 ``(V,)``; `NOBODY`: it never charges.
        low: share of its range below which a vehicle has to charge.
        until: share of its range up to which a vehicle charges.
    """

    places: np.ndarray
    stay_of: np.ndarray
    low: float
    until: float


# -- from a scenario --------------------------------------------------------------------------------------------------


def batteries(scenario: TransitScenario, seed: int) -> np.ndarray:
    """Batteries of all vehicles as their shifts begin, ``(V, 3)``, see `Fleet`; unlimited range is infinite."""
    crews = [crew for crew in scenario.crews for _ in range(crew.vehicles)]
    drawn = np.random.default_rng([seed, 4]).uniform(size=len(crews))
    shares = [
        crew.charged[0] + draw * (crew.charged[1] - crew.charged[0]) for crew, draw in zip(crews, drawn, strict=True)
    ]
    kw = scenario.charging.kw
    return np.array(
        [battery(crew.range_km, crew.kwh_per_km, share, kw) for crew, share in zip(crews, shares, strict=True)]
    )


def battery(range_km: float, kwh_per_km: float, charged: float, kw: float) -> tuple[float, float, float]:
    """One vehicle's battery, in the columns of `Fleet`, charged to a share of its range; unlimited range is infinite.

    Args:
        range_km: how far a full battery lasts; 0: unlimited.
        kwh_per_km: consumption.
        charged: the share, 0 to 1.
        kw: power of a charger.
    """
    full_m = 1000.0 * range_km if range_km else np.inf
    return charged * full_m, full_m, kw / kwh_per_km / 3.6


def places_of(charging: Charging, site: TransitSite) -> np.ndarray:
    """Node and number of places of every charger, int64 ``(C, 2)``.

    Raises:
        CityloopError: if a name is of no corner.
    """
    index = {node.id: k for k, node in enumerate(site.nodes)}
    for name in charging.stops:
        if name not in index:
            raise CityloopError(f"charging.stops names {name!r}, no corner of {site.name!r}: name a corner")
    nodes = np.array([index[name] for name in charging.stops] or _spread(site, charging.count), np.int64)
    return np.stack([nodes, np.full(len(nodes), charging.places)], axis=1)


def _spread(site: TransitSite, count: int) -> list[int]:
    """Stands of zones, each as far as possible from those chosen before; the first is nearest to all others."""
    stands = site.stands[site.stands >= 0]
    apart = np.minimum(site.matrices.free_s[np.ix_(stands, stands)], 1e9)
    found = [int(apart.sum(axis=0).argmin())]
    while len(found) < min(count, len(stands)):
        found.append(int(apart[:, found].min(axis=1).argmax()))
    return [int(stands[k]) for k in found]


def check_reach(scenario: TransitScenario, site: TransitSite, roads: TravelTimes, begins: np.ndarray) -> None:
    """Refuse a fleet whose vehicles may begin out of reach of a charger.

    Args:
        scenario: the fleet.
        site: its streets.
        roads: with the distances to chargers.
        begins: nodes where vehicles may begin.

    Raises:
        CityloopError: naming the corner.
    """
    far = int(begins[roads.charger_m[begins].argmax()])
    for crew in scenario.crews:
        least_km = crew.charged[0] * crew.range_km
        if crew.range_km and 1000 * least_km < roads.charger_m[far]:
            raise CityloopError(
                f"a battery may last {least_km:g} km as a shift begins, and from corner {site.nodes[far].id!r} it is "
                f"{roads.charger_m[far] / 1000:.1f} km to a charger: raise fleet.range_km or fleet.charged, or add to "
                "charging.stops"
            )


def with_stays(riders: Riders, fleet: Fleet) -> tuple[Riders, np.ndarray]:
    """The same riders with one more row for every vehicle with limited range, and the rows of vehicles, ``(V,)``."""
    who = np.flatnonzero(np.isfinite(fleet.battery[:, LEFT]))
    row_of = np.full(len(fleet.at), NOBODY)
    if not len(who):
        return riders, row_of
    row_of[who] = len(riders.origin) + np.arange(len(who))
    never, at = np.full(len(who), np.inf), fleet.at[who]
    more = new_riders(at, at, never, never, never, np.zeros(len(who)), never, fleet.room[who])
    more.state[:] = CHARGING
    return Riders(*(np.concatenate(pair) for pair in zip(riders, more, strict=True))), row_of


# -- planning stays ---------------------------------------------------------------------------------------------------


def low(now_s: float, fleet: Fleet, riders: Riders, chargers: Chargers) -> np.ndarray:
    """Vehicles on shift that have to charge, lowest share first, without those whose stay is planned or under way."""
    left, full, row_of = fleet.battery[:, LEFT], fleet.battery[:, FULL], chargers.stay_of
    who = np.flatnonzero((row_of != NOBODY) & (left < chargers.low * full) & np.isfinite(fleet.at_s))
    who = who[(fleet.shift_s[who, BEGIN] <= now_s) & (fleet.shift_s[who, END] > now_s)]
    who = who[riders.vehicle[row_of[who]] == NOBODY]
    return who[np.argsort(left[who] / full[who], kind="stable")]


@compiled
def plan_stays(
    who: np.ndarray, now_s: float, fleet: Fleet, riders: Riders, roads: TravelTimes, chargers: Chargers
) -> None:
    """Put a stay at a charger into plans, at the earliest place with nobody aboard that breaks no promise.

    Args:
        who: vehicles, in the order in which they choose.
        now_s: the present, up to which all vehicles must have been moved.
        fleet: the state of all vehicles.
        riders: the state of all riders.
        roads: travel times.
        chargers: where, and the row of each vehicle's stay.
    """
    # Weights do not matter: at most one place begins when its charger is free.
    even = np.ones(4)
    for v in who:
        r = chargers.stay_of[v]
        for i in range(fleet.length[v] + 1):
            if not _choose(v, i, now_s, fleet, riders, roads, chargers):
                continue
            _, first, second = insertion.best_place(v, r, now_s, fleet, riders, roads, even, insertion.EVERYWHERE)
            if first >= 0 and first == second:
                plans.insert(v, r, first, second, now_s, fleet, riders, roads)
                break


@within
def _choose(v: int, i: int, now_s: float, fleet: Fleet, riders: Riders, roads: TravelTimes, chargers: Chargers) -> bool:
    """Write the stay that begins soonest, before stop ``i``, into a vehicle's row; False: none is possible."""
    node, free_s, left_m, taken = _before(v, i, now_s, fleet, roads)
    if taken > 0:
        return False
    r, soonest_s = chargers.stay_of[v], np.inf
    for c in range(len(chargers.places)):
        at = chargers.places[c, NODE]
        there_m = left_m - roads.metres[node, at]
        there_s = arrive(free_s, roads.free_s[node, at], roads.speed, roads.slot_s)
        if there_m < 0.0 or not np.isfinite(there_s):
            continue
        wanted_s = (chargers.until * fleet.battery[v, FULL] - there_m) / fleet.battery[v, RATE]
        begin_s = free_from(c, there_s, wanted_s, riders, chargers)
        length_s = min(wanted_s, _end(v, i, at, fleet, riders, roads) - begin_s)
        if begin_s < soonest_s and length_s > 0.0 and length_s >= min(LEAST_S, wanted_s):
            soonest_s = begin_s
            riders.origin[r] = riders.destination[r] = at
            riders.earliest_s[r] = riders.latest_s[r] = begin_s
            riders.board_s[r] = length_s
    return soonest_s < np.inf


@within
def _before(v: int, i: int, now_s: float, fleet: Fleet, roads: TravelTimes) -> tuple[int, float, float, int]:
    """A vehicle's node, time, metres of range left and seats taken before stop ``i`` of its plan."""
    left_m, node = fleet.battery[v, LEFT], fleet.at[v]
    for k in range(i):
        left_m -= roads.metres[node, fleet.node[v, k]]
        node = fleet.node[v, k]
    if i == 0:
        return node, plans.ready_s(v, now_s, fleet), left_m, fleet.aboard[v, SEATS]
    return node, fleet.leave_s[v, i - 1], left_m, fleet.load[v, i - 1, SEATS]


@within
def _end(v: int, i: int, node: int, fleet: Fleet, riders: Riders, roads: TravelTimes) -> float:
    """When a vehicle has to leave a node that it visits before stop ``i``, so that the plan is not delayed."""
    if i == fleet.length[v]:
        return fleet.shift_s[v, END]
    next_s = riders.begin_s[fleet.rider[v, i]]
    return leave_by(next_s, roads.free_s[node, fleet.node[v, i]], roads.speed, roads.slot_s)


@within
def free_from(c: int, start_s: float, length_s: float, riders: Riders, chargers: Chargers) -> float:
    """The earliest time from ``start_s`` on at which a charger has a place for ``length_s``."""
    if _fits(c, start_s, length_s, riders, chargers):
        return start_s
    soonest_s = np.inf
    for r in chargers.stay_of:  # else it is when another stay ends
        if _taken(r, c, riders, chargers):
            end_s = riders.earliest_s[r] + riders.board_s[r]
            if start_s <= end_s < soonest_s and _fits(c, end_s, length_s, riders, chargers):
                soonest_s = end_s
    return soonest_s


@within
def _taken(r: int, c: int, riders: Riders, chargers: Chargers) -> bool:
    """Whether a row is a stay at a charger that is planned or under way."""
    return r != NOBODY and riders.vehicle[r] != NOBODY and riders.origin[r] == chargers.places[c, NODE]


@within
def _fits(c: int, begin_s: float, length_s: float, riders: Riders, chargers: Chargers) -> bool:
    """Whether a place is free for ``length_s`` from ``begin_s`` on: checked then, and whenever another stay begins."""
    places = chargers.places[c, COUNT]
    if _there(c, begin_s, riders, chargers) >= places:
        return False
    for r in chargers.stay_of:
        meanwhile = _taken(r, c, riders, chargers) and begin_s < riders.earliest_s[r] < begin_s + length_s
        if meanwhile and _there(c, riders.earliest_s[r], riders, chargers) >= places:
            return False
    return True


@within
def _there(c: int, time_s: float, riders: Riders, chargers: Chargers) -> int:
    """Number of places that are taken at a given time."""
    count = 0
    for r in chargers.stay_of:
        begin_s = riders.earliest_s[r]
        if _taken(r, c, riders, chargers) and begin_s <= time_s < begin_s + riders.board_s[r]:
            count += 1
    return count


@compiled
def end_stay(v: int, r: int, fleet: Fleet, riders: Riders) -> float:
    """End a stay: charge the battery for its length and free its place; returns the metres of range gained."""
    left_m = battery_range.charged(v, riders.board_s[r], fleet.battery[v, LEFT], fleet)
    gained_m = left_m - fleet.battery[v, LEFT]
    fleet.battery[v, LEFT], riders.vehicle[r] = left_m, NOBODY
    return gained_m
