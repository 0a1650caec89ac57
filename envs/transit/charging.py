"""Electric range: where vehicles charge, which of them have to, and when.

How far a battery lasts is a limit of `kernel`, like a window or a seat: nothing is promised that would leave a vehicle
without the way to a charger. A stay at a charger is a stop of the plan that takes all seats and places, as a driver's
break is. Its place is taken from the moment when it is planned: who finds all taken plans to begin when one is free
again. A battery charges linearly, which holds until about four fifths of it, so stays end below its full length.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from envs.core.errors import CityloopError
from envs.transit import kernel
from envs.transit.clock import Roads, arrive, leave_by
from envs.transit.compiled import compiled, within
from envs.transit.fleet import CHARGING, FULL, LEFT, NOBODY, PLAN, RATE, Fleet, Riders, new_riders

if TYPE_CHECKING:
    from envs.transit.scenarios import TransitScenario
    from envs.transit.site import TransitSite

LEAST_S = 600.0
"""No shorter stay is planned, unless no longer one is needed: before a booking, or the end of a shift."""


# -- what a scenario says ---------------------------------------------------------------------------------------------


def batteries(scenario: TransitScenario, seed: int) -> np.ndarray:
    """Of all vehicles as their shifts begin, ``(V, 3)``, see `Fleet`; without a range metres are infinite."""
    rows = []
    for crew in scenario.crews:
        full_m = 1000.0 * crew.range_km if crew.range_km else np.inf
        rows += crew.vehicles * [(*crew.charged, full_m, scenario.charging.kw / crew.kwh_per_km / 3.6)]
    least, most, full_m, rate = np.array(rows).T
    drawn = np.random.default_rng([seed, 4]).uniform(size=len(rows))
    return np.stack([(least + drawn * (most - least)) * full_m, full_m, rate], axis=1)


def chargers(scenario: TransitScenario, site: TransitSite) -> np.ndarray | None:
    """Node and places of every charger, int64 ``(C, 2)``; None: no vehicle has a range.

    Raises:
        CityloopError: if one is at no corner, or too far from where vehicles begin.
    """
    ranged = [crew for crew in scenario.crews if crew.range_km]
    if not ranged:
        return None
    index = {node.id: k for k, node in enumerate(site.nodes)}
    for name in scenario.charging.stops:
        if name not in index:
            raise CityloopError(f"charging.stops names {name!r}, no corner of {site.name!r}: name a corner")
    named = [index[name] for name in scenario.charging.stops]
    nodes = np.array(named or _spread(site, scenario.charging.count), np.int64)
    return np.stack([nodes, np.full(len(nodes), scenario.charging.places)], axis=1)


def _spread(site: TransitSite, count: int) -> list[int]:
    """Stands of zones, each as far as can be from those chosen before; the first is nearest to all others."""
    stands = site.stands[site.stands >= 0]
    apart = np.minimum(site.matrices.free_s[np.ix_(stands, stands)], 1e9)
    found = [int(apart.sum(axis=0).argmin())]
    while len(found) < min(count, len(stands)):
        found.append(int(apart[:, found].min(axis=1).argmax()))
    return [int(stands[k]) for k in found]


def check_reach(scenario: TransitScenario, site: TransitSite, roads: Roads, begins: np.ndarray) -> None:
    """Refuse a fleet that may begin where its battery does not last to a charger.

    Args:
        scenario: the fleet.
        site: its streets.
        roads: with the ways to chargers.
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
    """The same riders, a row more for every vehicle that has to charge, and whose is which: ``(V,)``, -1: none."""
    who = np.flatnonzero(np.isfinite(fleet.battery[:, LEFT]))
    row_of = np.full(len(fleet.at), NOBODY)
    if not len(who):
        return riders, row_of
    row_of[who] = len(riders.origin) + np.arange(len(who))
    never, at = np.full(len(who), np.inf), fleet.at[who]
    more = new_riders(at, at, never, never, never, np.zeros(len(who)), never, fleet.room[who])
    more.state[:] = CHARGING
    return Riders(*(np.concatenate(pair) for pair in zip(riders, more, strict=True))), row_of


# -- who charges when -------------------------------------------------------------------------------------------------


def low(now_s: float, fleet: Fleet, riders: Riders, row_of: np.ndarray, share: float) -> np.ndarray:
    """Vehicles on shift that have less than a share of their range, the emptiest first; none that is at a charger
    already, or is to be.
    """
    left, full = fleet.battery[:, LEFT], fleet.battery[:, FULL]
    who = np.flatnonzero((row_of != NOBODY) & (left < share * full) & np.isfinite(fleet.at_s))
    who = who[(fleet.shift_s[who, 0] <= now_s) & (fleet.shift_s[who, 1] > now_s)]
    who = who[riders.vehicle[row_of[who]] == NOBODY]
    return who[np.argsort(left[who] / full[who], kind="stable")]


@compiled
def plan_stays(
    who: np.ndarray,
    now_s: float,
    fleet: Fleet,
    riders: Riders,
    roads: Roads,
    row_of: np.ndarray,
    places: np.ndarray,
    until: float,
) -> None:
    """Put a stay at a charger into plans, as early as nobody is aboard and no promise is broken.

    Args:
        who: vehicles, in the order in which they choose.
        now_s: the present, up to which all vehicles must have been moved.
        fleet: the state of all vehicles.
        riders: the state of all riders.
        roads: travel times.
        row_of: row among the riders of each vehicle's stays, ``(V,)``.
        places: node and number of places of each charger, ``(C, 2)``.
        until: share of its range up to which a vehicle charges.
    """
    begins, even = (
        np.zeros(PLAN),
        np.ones(4),
    )  # one place at most begins when its charger is free: weights do not matter
    for v in who:
        node, free_s, left_m = fleet.at[v], kernel.ready_s(v, now_s, fleet), fleet.battery[v, LEFT]
        for i in range(fleet.length[v] + 1):
            taken = fleet.aboard[v, 0]
            if i > 0:
                left_m -= roads.metres[node, fleet.node[v, i - 1]]
                node, free_s, taken = fleet.node[v, i - 1], fleet.leave_s[v, i - 1], fleet.load[v, i - 1, 0]
            if taken > 0 or not _choose(v, i, node, free_s, left_m, fleet, riders, roads, row_of, places, until):
                continue
            r = row_of[v]
            _, first, second = kernel.best_place(
                v, r, now_s, fleet, riders, roads, even, kernel.EVERYWHERE, np.inf, begins
            )
            if first >= 0 and first == second:
                kernel.insert(v, r, first, second, now_s, fleet, riders, roads)
                break


@within
def _choose(
    v: int,
    i: int,
    node: int,
    free_s: float,
    left_m: float,
    fleet: Fleet,
    riders: Riders,
    roads: Roads,
    row_of: np.ndarray,
    places: np.ndarray,
    until: float,
) -> bool:
    """Write into a vehicle's row the stay that begins soonest if it goes from a node before stop ``i``; or False."""
    r, soonest_s = row_of[v], np.inf
    full_m, rate = fleet.battery[v, FULL], fleet.battery[v, RATE]
    for c in range(len(places)):
        at = places[c, 0]
        there_m = left_m - roads.metres[node, at]
        there_s = arrive(free_s, roads.free_s[node, at], roads.speed, roads.slot_s)
        if there_m < 0.0 or not np.isfinite(there_s):
            continue
        wanted_s = (until * full_m - there_m) / rate
        begin_s = free_from(at, places[c, 1], there_s, wanted_s, riders, row_of)
        end_s = fleet.shift_s[v, 1]
        if i < fleet.length[v]:  # what is planned begins no later
            next_s = riders.begin_s[fleet.rider[v, i]]
            end_s = leave_by(next_s, roads.free_s[at, fleet.node[v, i]], roads.speed, roads.slot_s)
        length_s = min(wanted_s, end_s - begin_s)
        if begin_s < soonest_s and length_s > 0.0 and length_s >= min(LEAST_S, wanted_s):
            soonest_s = begin_s
            riders.origin[r] = riders.destination[r] = at
            riders.earliest_s[r] = riders.latest_s[r] = begin_s
            riders.board_s[r] = length_s
    return soonest_s < np.inf


@within
def free_from(node: int, places: int, start_s: float, length_s: float, riders: Riders, row_of: np.ndarray) -> float:
    """The earliest moment from ``start_s`` on from which a charger has a place for so long."""
    if _fits(node, places, start_s, length_s, riders, row_of):
        return start_s
    soonest_s = np.inf
    for r in row_of:  # else it is where another stay ends
        if _taken(r, node, riders):
            end_s = riders.earliest_s[r] + riders.board_s[r]
            if start_s <= end_s < soonest_s and _fits(node, places, end_s, length_s, riders, row_of):
                soonest_s = end_s
    return soonest_s


@within
def _taken(r: int, node: int, riders: Riders) -> bool:
    """Whether a row is a stay at a charger that is planned or goes on."""
    return r != NOBODY and riders.vehicle[r] != NOBODY and riders.origin[r] == node


@within
def _fits(node: int, places: int, begin_s: float, length_s: float, riders: Riders, row_of: np.ndarray) -> bool:
    """Whether a place is free from a moment on for so long: then, and whenever another stay begins."""
    if _there(node, begin_s, riders, row_of) >= places:
        return False
    for r in row_of:
        meanwhile = _taken(r, node, riders) and begin_s < riders.earliest_s[r] < begin_s + length_s
        if meanwhile and _there(node, riders.earliest_s[r], riders, row_of) >= places:
            return False
    return True


@within
def _there(node: int, time_s: float, riders: Riders, row_of: np.ndarray) -> int:
    """How many places are taken at a moment."""
    count = 0
    for r in row_of:
        if _taken(r, node, riders) and riders.earliest_s[r] <= time_s < riders.earliest_s[r] + riders.board_s[r]:
            count += 1
    return count
