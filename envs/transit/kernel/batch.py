"""Requests gathered for a while, then assigned together: a set partition over trips of one or two parties.

The price of a trip is the cost of its insertions into one plan, one after the other, in either order, so no choice can
break a promise. Each vehicle takes at most one trip. Parties that are left over are inserted as usual, or refused.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import LinearConstraint, linear_sum_assignment, milp
from scipy.sparse import coo_array

from envs.transit.kernel import driver_breaks, events, insertion, motion, plans
from envs.transit.kernel.events import Log
from envs.transit.kernel.fleet import NOBODY, PLACES, REFUSED, SEATS, WAITING, Fleet, Riders
from envs.transit.kernel.jit import compiled
from envs.transit.kernel.journal import note_drive, write
from envs.transit.kernel.travel_times import TravelTimes

LEFT = 1e6
"""Cost of a request that no trip serves: more than that of any trip."""

LIMIT_S = 1.0
"""Time limit of the set partition in seconds; then its best solution, or else single parties by linear assignment."""

Trip = tuple[int, tuple[int, ...], float]
"""Vehicle, riders in the order in which they are inserted, and cost."""


@compiled
def prices(
    asked: np.ndarray,
    now_s: float,
    fleet: Fleet,
    riders: Riders,
    roads: TravelTimes,
    weights: np.ndarray,
    wait: np.ndarray,
) -> np.ndarray:
    """Cost of the best insertion of each request into each plan, infinite where there is none, ``(B, V)``.

    Args:
        asked: riders, ``(B,)``.
        now_s: the present, up to which all vehicles must have been moved.
        fleet: the state of all vehicles.
        riders: the state of all riders.
        roads: travel times.
        weights: of an insertion's cost, ``(4,)``.
        wait: the weight of each request's wait, in place of the common one, ``(B,)``.
    """
    found, mine = np.full((len(asked), len(fleet.at)), np.inf), weights.copy()
    for k in range(len(asked)):
        mine[insertion.WAIT] = wait[k]
        for v in range(len(fleet.at)):
            r = asked[k]
            if fleet.room[v, SEATS] >= riders.size[r, SEATS] and fleet.room[v, PLACES] >= riders.size[r, PLACES]:
                found[k, v] = insertion.best_place(v, r, now_s, fleet, riders, roads, mine, insertion.EVERYWHERE)[0]
    return found


@compiled
def give(
    r: int,
    v: int,
    now_s: float,
    fleet: Fleet,
    riders: Riders,
    roads: TravelTimes,
    weights: np.ndarray,
) -> bool:
    """Insert a request into one vehicle's plan where that is cheapest; returns whether it fits."""
    _, first, second = insertion.best_place(v, r, now_s, fleet, riders, roads, weights, insertion.EVERYWHERE)
    if first < 0:
        return False
    plans.insert(v, r, first, second, now_s, fleet, riders, roads)
    driver_breaks.settle(v, fleet, riders, roads)
    return True


def trips(
    asked: np.ndarray,
    now_s: float,
    fleet: Fleet,
    riders: Riders,
    roads: TravelTimes,
    weights: np.ndarray,
    wait: np.ndarray,
) -> list[Trip]:
    """All trips of one or two parties; arguments as in `prices`."""
    single = prices(asked, now_s, fleet, riders, roads, weights, wait)
    found: list[Trip] = [(int(v), (int(asked[k]),), float(single[k, v])) for k, v in np.argwhere(np.isfinite(single))]
    mine = weights.copy()
    for v in range(len(fleet.at)):
        parties = np.flatnonzero(np.isfinite(single[:, v])).tolist()
        for a in parties:
            others = [b for b in parties if b != a]
            if not others:
                continue
            alone = Fleet(*(column[v : v + 1].copy() for column in fleet))
            copies = riders._replace(begin_s=riders.begin_s.copy(), vehicle=riders.vehicle.copy())
            mine[insertion.WAIT] = wait[a]
            if not give(int(asked[a]), 0, now_s, alone, copies, roads, mine):
                continue
            for b in others:
                mine[insertion.WAIT] = wait[b]
                more, first, _ = insertion.best_place(
                    0, int(asked[b]), now_s, alone, copies, roads, mine, insertion.EVERYWHERE
                )
                if first >= 0:
                    found.append((v, (int(asked[a]), int(asked[b])), float(single[a, v] + more)))
    return found


def choose(asked: np.ndarray, offered: list[Trip]) -> list[Trip]:
    """The cheapest trips, with each rider and each vehicle in at most one; riders left out cost `LEFT` each.

    Args:
        asked: riders.
        offered: possible trips.
    """
    if not offered:
        return []
    vehicles = sorted({v for v, _, _ in offered})
    if all(len(who) == 1 for _, who, _ in offered):
        return _assigned(asked, vehicles, offered)
    row = {int(r): k for k, r in enumerate(asked)}
    own = {v: len(row) + k for k, v in enumerate(vehicles)}
    where = [(place, k) for k, (v, who, _) in enumerate(offered) for place in (own[v], *(row[r] for r in who))]
    rows, columns = np.array(where).T
    table = coo_array((np.ones(len(rows)), (rows, columns)), shape=(len(row) + len(own), len(offered)))
    cost = np.array([price - LEFT * len(who) for _, who, price in offered])
    found = milp(
        cost,
        integrality=np.ones(len(cost)),
        bounds=(0, 1),
        constraints=LinearConstraint(table.tocsr(), ub=np.ones(table.shape[0])),
        options={"time_limit": LIMIT_S},
    )
    if found.x is None:
        return _assigned(asked, vehicles, [trip for trip in offered if len(trip[1]) == 1])
    return [trip for trip, used in zip(offered, found.x, strict=True) if used > 0.5]


def _assigned(asked: np.ndarray, vehicles: list[int], offered: list[Trip]) -> list[Trip]:
    """Trips of single parties, by linear assignment."""
    row, column = {int(r): k for k, r in enumerate(asked)}, {v: k for k, v in enumerate(vehicles)}
    table = np.full((len(row), len(column)), LEFT)
    known = {}
    for trip in offered:
        place = row[trip[1][0]], column[trip[0]]
        table[place], known[place] = trip[2], trip
    pairs = zip(*(ends.tolist() for ends in linear_sum_assignment(table)), strict=True)
    return [known[pair] for pair in pairs if pair in known]


def answer(
    asked: np.ndarray,
    now_s: float,
    fleet: Fleet,
    riders: Riders,
    roads: TravelTimes,
    weights: np.ndarray,
    wait: np.ndarray,
    log: Log,
) -> None:
    """Promise gathered requests, or refuse them; arguments as in `prices`, and a log with room for four rows each."""
    place = {int(r): k for k, r in enumerate(asked)}
    for r in asked.tolist():
        write(log, riders.known_s[r], events.REQUESTED, NOBODY, r, riders.origin[r], 0.0, 0)
    chosen = choose(asked, trips(asked, now_s, fleet, riders, roads, weights, wait))
    given = [(r, v) for v, who, _ in chosen for r in who]
    taken = {r for r, _ in given}
    mine = weights.copy()
    for r, v in [*given, *((r, NOBODY) for r in asked.tolist() if r not in taken)]:
        mine[insertion.WAIT] = wait[place[r]]
        vehicle = v
        if v == NOBODY:
            vehicle = insertion.best_insertion(
                r, now_s, fleet, riders, roads, mine, insertion.EVERYWHERE
            )[1]  # fmt: skip
        if vehicle != NOBODY:
            note_drive(vehicle, now_s, fleet, log)
        if vehicle != NOBODY and give(r, vehicle, now_s, fleet, riders, roads, mine):
            riders.state[r] = WAITING
            write(log, now_s, events.PROMISED, vehicle, r, riders.origin[r], 0.0, 0)
        else:
            riders.state[r] = REFUSED
            reason = events.TOO_LATE if motion.fits_somewhere(r, fleet, riders) else events.TOO_LARGE
            write(log, now_s, events.REFUSED, NOBODY, r, riders.origin[r], 0.0, reason)
