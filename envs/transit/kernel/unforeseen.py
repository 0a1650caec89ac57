"""How long streets take beyond what the dispatcher knows: drawn for an episode, and what of it the dispatcher learns.

A street takes a factor on the time that is known. Its logarithm is normal and, sampled four times in `lasting_s`, an
autoregression of the first order, one for every street and one for all streets of a zone, which share its variance; the
factor's mean is one at any moment, so travel times are known without bias. Incidents come on top (Poisson, with
exponential durations) and only slow. The factor that holds when a vehicle enters a street holds for the whole of it.

The dispatcher plans with the known times. Where a vehicle is it learns at every node that the vehicle reaches; and that
it is not there yet, once it should be. Then the plan's times are reckoned anew, and by how much that makes promises
late is kept here: what streets made late is told apart from what a decision did (`kpis`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from envs.transit.kernel import charging, plans
from envs.transit.kernel.charging import Chargers
from envs.transit.kernel.fleet import END, NOBODY, PLAN, Fleet, Riders
from envs.transit.kernel.jit import within
from envs.transit.kernel.journal import write
from envs.transit.kernel.travel_times import Roads, arrive
from envs.transit.record import events
from envs.transit.record.events import Log

if TYPE_CHECKING:
    from envs.transit.scenarios import TransitScenario
    from envs.transit.site import TransitSite
    from envs.transit.terms import Streets

SAMPLES = 4
"""So many draws of a factor while it lasts."""

TAIL_S = 7200.0
"""So long after the end factors are drawn for those who are still under way; then the last holds on."""

PICK_UP, RIDE = range(2)
"""What of a promise is late."""


class Unforeseen(NamedTuple):
    """What streets do, of ``E`` roads, ``V`` vehicles and ``R`` rows of riders. Compiled functions change it in place.

    Attributes:
        factor: on the known time of a road that is entered in a slot, float32 ``(E, T)``; the last holds on.
        slot_s: seconds of a slot.
        road: index of the road from row to column, int32 ``(N, N)``; -1: there is none.
        there_s: when a vehicle that is on a road reaches its end, which nobody knows before, ``(V,)``; inf: it is at a
            node.
        late_s: by how much streets have made a rider's pick-up, and ride, late as planned now, ``(R, 2)``.
        over_s: by how much they have made a plan end after the shift, ``(V,)``.
        chargers: see `charging`.
    """

    factor: np.ndarray
    slot_s: float
    road: np.ndarray
    there_s: np.ndarray
    late_s: np.ndarray
    over_s: np.ndarray
    chargers: Chargers


def unforeseen(
    scenario: TransitScenario, site: TransitSite, seed: int, rows: int, chargers: Chargers
) -> Unforeseen | None:
    """What streets do in an episode; None: just what the dispatcher knows.

    Args:
        scenario: how they are disturbed.
        site: the streets.
        seed: of the episode.
        rows: of riders, breaks and stays.
        chargers: of the fleet.
    """
    if scenario.streets.known:
        return None
    pairs = sorted({(road.start, road.end) for road in site.roads})
    starts, ends = np.array(pairs).reshape(-1, 2).T
    road = np.full((len(site.nodes), len(site.nodes)), -1, np.int32)
    road[starts, ends] = np.arange(len(pairs))
    slot_s = scenario.streets.lasting_s / SAMPLES
    slots = int(np.ceil((scenario.duration_s + TAIL_S) / slot_s))
    return Unforeseen(
        factor=factors(scenario.streets, site, starts, slots, np.random.default_rng([seed, 5])),
        slot_s=slot_s,
        road=road,
        there_s=np.full(len(chargers.stay_of), np.inf),
        late_s=np.zeros((rows, 2)),
        over_s=np.zeros(len(chargers.stay_of)),
        chargers=chargers,
    )


def factors(
    streets: Streets, site: TransitSite, starts: np.ndarray, slots: int, rng: np.random.Generator
) -> np.ndarray:
    """Factors on the times of roads in every slot, float32 ``(E, slots)``.

    Args:
        streets: the model.
        site: where the roads are.
        starts: node at which each begins, ``(E,)``.
        slots: of ``lasting_s / SAMPLES`` each.
        rng: the dice.
    """
    variance = np.log1p(streets.spread**2)  # of the logarithm, so that the factor's deviation is the spread
    own = _waves(len(starts), slots, rng)
    common = _waves(len(site.zones), slots, rng)[site.zone_of[starts]]
    wave = np.sqrt(1.0 - streets.together) * own + np.sqrt(streets.together) * common
    found = np.exp(np.sqrt(variance) * wave - variance / 2)
    slot_s = streets.lasting_s / SAMPLES
    places = np.array([(node.x_m, node.y_m) for node in site.nodes])
    for _ in range(rng.poisson(streets.incidents_h * slots * slot_s / 3600.0)):
        middle, begin_s = places[rng.integers(len(places))], rng.uniform(0.0, slots * slot_s)
        end_s = begin_s + rng.exponential(streets.incident_s)
        near = np.hypot(*(places[starts] - middle).T) <= streets.incident_m
        found[near, int(begin_s // slot_s) : int(end_s // slot_s) + 1] *= streets.incident_factor
    return found.astype(np.float32)


def _waves(count: int, slots: int, rng: np.random.Generator) -> np.ndarray:
    """Standard normal numbers, each row correlated by exp(-1) over `SAMPLES` slots, ``(count, slots)``."""
    keep = np.exp(-1.0 / SAMPLES)
    noise = rng.standard_normal((count, slots))
    noise[:, 1:] *= np.sqrt(1.0 - keep**2)
    for k in range(1, slots):  # as `scipy.signal.lfilter` would, which takes longer to import than all of ours
        noise[:, k] += keep * noise[:, k - 1]
    return noise


# -- compiled: under way ----------------------------------------------------------------------------------------------


@within
def enter(v: int, start: int, end: int, time_s: float, roads: Roads, streets: Unforeseen) -> None:
    """A vehicle enters a road."""
    slot = min(int(time_s // streets.slot_s), streets.factor.shape[1] - 1)
    takes_s = roads.free_s[start, end] * streets.factor[streets.road[start, end], slot]
    streets.there_s[v] = arrive(time_s, takes_s, roads.speed, roads.slot_s)


@within
def reach(v: int, until_s: float, fleet: Fleet, riders: Riders, roads: Roads, streets: Unforeseen) -> bool:
    """Whether a vehicle is at its node by a moment; what the dispatcher learns by then is reckoned with.

    If it is not, though it should be, it may be there at any moment.
    """
    there_s = streets.there_s[v]
    if there_s == np.inf:
        return True
    if there_s > until_s:
        if fleet.at_s[v] < until_s:
            learn(v, until_s, fleet, riders, roads, streets)
        return False
    streets.there_s[v] = np.inf
    learn(v, there_s, fleet, riders, roads, streets)
    return True


@within
def learn(v: int, at_s: float, fleet: Fleet, riders: Riders, roads: Roads, streets: Unforeseen) -> None:
    """A vehicle is at its node at another time than was reckoned; what that makes late is the streets' doing."""
    if at_s != fleet.at_s[v]:
        fleet.at_s[v] = at_s
        _reckon(v, fleet, riders, roads, streets)


@within
def _reckon(v: int, fleet: Fleet, riders: Riders, roads: Roads, streets: Unforeseen) -> None:
    before_s = np.zeros(PLAN)
    for k in range(fleet.length[v]):
        before_s[k] = _late(v, k, fleet, riders)
    over_s = _over(v, fleet)
    plans.reckon(v, fleet, riders, roads)
    for k in range(fleet.length[v]):
        r, what = fleet.rider[v, k], PICK_UP if fleet.pick[v, k] else RIDE
        streets.late_s[r, what] = min(streets.late_s[r, what], before_s[k]) + _late(v, k, fleet, riders) - before_s[k]
    streets.over_s[v] = min(streets.over_s[v], over_s) + _over(v, fleet) - over_s


@within
def _late(v: int, k: int, fleet: Fleet, riders: Riders) -> float:
    """By how much a stop is later than its rider's pick-up, or ride, is held to."""
    r = fleet.rider[v, k]
    if fleet.pick[v, k]:
        return max(0.0, riders.begin_s[r] - riders.latest_s[r])
    return max(0.0, fleet.arrive_s[v, k] - riders.begin_s[r] - riders.limit_s[r])


@within
def _over(v: int, fleet: Fleet) -> float:
    """By how much a plan ends after the shift."""
    return max(0.0, fleet.leave_s[v, fleet.length[v] - 1] - fleet.shift_s[v, END]) if fleet.length[v] > 0 else 0.0


@within
def excuse(v: int, party: bool, time_s: float, fleet: Fleet, riders: Riders, streets: Unforeseen, log: Log) -> None:
    """Write down what of the first stop of a plan, which is about to be served, streets have made late.

    Args:
        v: the vehicle.
        party: whether the stop is of a party, and no break or stay at a charger.
        time_s: when.
        fleet: the state of all vehicles.
        riders: the state of all riders.
        streets: what they do.
        log: with room for two rows.
    """
    r, what = fleet.rider[v, 0], PICK_UP if fleet.pick[v, 0] else RIDE
    who = r if party else NOBODY
    late_s = min(streets.late_s[r, what], _late(v, 0, fleet, riders))
    if late_s > 0.0:
        kind = events.DELAYED if what == PICK_UP else events.PROLONGED
        write(log, time_s, kind, v, who, fleet.at[v], 0.0, int(np.ceil(late_s)))
    over_s = min(streets.over_s[v], time_s - fleet.shift_s[v, END])
    if over_s > 0.0:
        write(log, time_s, events.OVERTIME, v, who, fleet.at[v], 0.0, int(np.ceil(over_s)))


@within
def takes_its_turn(v: int, fleet: Fleet, riders: Riders, roads: Roads, streets: Unforeseen) -> bool:
    """Whether a vehicle that comes late to a charger finds a place that is free as long as it is to stay.

    If not, it waits there until one is; its stay is then planned so, and so is what comes after.
    """
    r, at = fleet.rider[v, 0], fleet.at[v]
    begin_s = max(fleet.at_s[v], fleet.floor_s[v, 0])
    if begin_s <= riders.earliest_s[r] + plans.EPS:
        return True
    free_s, riders.vehicle[r] = begin_s, NOBODY  # its own place is no hindrance
    for c in range(len(streets.chargers.places)):
        if streets.chargers.places[c, charging.NODE] == at:
            free_s = charging.free_from(c, begin_s, riders.board_s[r], riders, streets.chargers)
    riders.vehicle[r] = v
    riders.earliest_s[r] = riders.latest_s[r] = free_s
    if free_s > begin_s:
        fleet.floor_s[v, 0] = free_s
        _reckon(v, fleet, riders, roads, streets)
    return free_s <= begin_s
