"""Actual travel times that differ from those known: drawn for an episode, and what the dispatcher learns of them.

A street's time is the known one times a factor. The factor's logarithm is normal and, sampled four times in
`lasting_s`, a first-order autoregression: one for every street and one common to all streets of a zone, which together
make up its variance. The factor's mean is one at any moment, so the known travel times are unbiased. Incidents come on
top (Poisson, with exponential durations) and only slow. The factor at the moment when a vehicle enters a street applies
to the whole street.

The dispatcher plans with the known times. It learns a vehicle's position at every node that the vehicle reaches, and
that a vehicle is overdue once it should be there. The plan's times are then recomputed. The lateness of promises that
this adds is kept here, so that indicators separate lateness by streets from lateness by decisions (`kpis`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from envs.transit.kernel import charging, events, plans
from envs.transit.kernel.charging import Chargers
from envs.transit.kernel.events import Log
from envs.transit.kernel.fleet import END, NOBODY, PLAN, Fleet, Riders
from envs.transit.kernel.jit import within
from envs.transit.kernel.journal import write
from envs.transit.kernel.travel_times import TravelTimes, arrive

if TYPE_CHECKING:
    from envs.transit.scenarios import TransitScenario
    from envs.transit.settings import StreetNoise
    from envs.transit.site import TransitSite

SAMPLES = 4
"""Draws of a factor in `lasting_s`."""

TAIL_S = 7200.0
"""Factors are drawn for so long after the end, for vehicles still under way; then the last one applies."""

PICK_UP, RIDE = range(2)
"""Columns of lateness: a late pick-up, or a long ride."""


class Unforeseen(NamedTuple):
    """Actual times of ``E`` roads, for ``V`` vehicles and ``R`` rows of riders. Compiled functions change it in place.

    Attributes:
        factor: on the known time of a road that is entered in a slot, float32 ``(E, T)``; the last continues.
        slot_s: seconds of a slot.
        road: index of the road from row to column, int32 ``(N, N)``; -1: there is none.
        there_s: when a vehicle that is on a road reaches its end, unknown to the dispatcher, ``(V,)``; inf: it is at a
            node.
        late_s: lateness of a rider's planned pick-up and ride that streets have caused, ``(R, 2)``.
        over_s: time by which a plan ends after the shift because of streets, ``(V,)``.
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
    """Actual travel times of an episode; None: they are those that the dispatcher knows.

    Args:
        scenario: how they are disturbed.
        site: the streets.
        seed: of the episode.
        rows: number of riders, breaks and stays.
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
    noise: StreetNoise, site: TransitSite, starts: np.ndarray, slots: int, rng: np.random.Generator
) -> np.ndarray:
    """Factors on the times of roads in every slot, float32 ``(E, slots)``.

    Args:
        noise: its parameters.
        site: where the roads are.
        starts: node at which each begins, ``(E,)``.
        slots: number of slots, ``lasting_s / SAMPLES`` each.
        rng: random generator.
    """
    variance = np.log1p(noise.spread**2)  # of the logarithm, so that the factor's deviation is the spread
    own = _waves(len(starts), slots, rng)
    common = _waves(len(site.zones), slots, rng)[site.zone_of[starts]]
    wave = np.sqrt(1.0 - noise.together) * own + np.sqrt(noise.together) * common
    found = np.exp(np.sqrt(variance) * wave - variance / 2)
    slot_s = noise.lasting_s / SAMPLES
    places = np.array([(node.x_m, node.y_m) for node in site.nodes])
    for _ in range(rng.poisson(noise.incidents_h * slots * slot_s / 3600.0)):
        middle, begin_s = places[rng.integers(len(places))], rng.uniform(0.0, slots * slot_s)
        end_s = begin_s + rng.exponential(noise.incident_s)
        near = np.hypot(*(places[starts] - middle).T) <= noise.incident_m
        found[near, int(begin_s // slot_s) : int(end_s // slot_s) + 1] *= noise.incident_factor
    return found.astype(np.float32)


def _waves(count: int, slots: int, rng: np.random.Generator) -> np.ndarray:
    """Standard normal numbers, each row correlated by exp(-1) over `SAMPLES` slots, ``(count, slots)``."""
    keep = np.exp(-1.0 / SAMPLES)
    noise = rng.standard_normal((count, slots))
    noise[:, 1:] *= np.sqrt(1.0 - keep**2)
    for k in range(1, slots):  # as `scipy.signal.lfilter`, whose import takes longer than that of this package
        noise[:, k] += keep * noise[:, k - 1]
    return noise


# -- compiled: under way ----------------------------------------------------------------------------------------------


@within
def enter(v: int, start: int, end: int, time_s: float, roads: TravelTimes, actual: Unforeseen) -> None:
    """Draw when a vehicle that enters a road reaches its end."""
    slot = min(int(time_s // actual.slot_s), actual.factor.shape[1] - 1)
    takes_s = roads.free_s[start, end] * actual.factor[actual.road[start, end], slot]
    actual.there_s[v] = arrive(time_s, takes_s, roads.speed, roads.slot_s)


@within
def reach(v: int, until_s: float, fleet: Fleet, riders: Riders, roads: TravelTimes, actual: Unforeseen) -> bool:
    """Whether a vehicle is at its node by a given time; updates its plan by what the dispatcher has learnt by then.

    An overdue vehicle is expected at any moment.
    """
    there_s = actual.there_s[v]
    if there_s == np.inf:
        return True
    if there_s > until_s:
        if fleet.at_s[v] < until_s:
            learn(v, until_s, fleet, riders, roads, actual)
        return False
    actual.there_s[v] = np.inf
    learn(v, there_s, fleet, riders, roads, actual)
    return True


@within
def learn(v: int, at_s: float, fleet: Fleet, riders: Riders, roads: TravelTimes, actual: Unforeseen) -> None:
    """Correct the time at which a vehicle is at its node; lateness that this adds is attributed to streets."""
    if at_s != fleet.at_s[v]:
        fleet.at_s[v] = at_s
        _reckon(v, fleet, riders, roads, actual)


@within
def _reckon(v: int, fleet: Fleet, riders: Riders, roads: TravelTimes, actual: Unforeseen) -> None:
    """Recompute a vehicle's plan, and add the resulting lateness to that caused by streets."""
    before_s = np.zeros(PLAN)
    for k in range(fleet.length[v]):
        before_s[k] = _late(v, k, fleet, riders)
    over_s = _over(v, fleet)
    plans.reckon(v, fleet, riders, roads)
    for k in range(fleet.length[v]):
        r, what = fleet.rider[v, k], PICK_UP if fleet.pick[v, k] else RIDE
        actual.late_s[r, what] = min(actual.late_s[r, what], before_s[k]) + _late(v, k, fleet, riders) - before_s[k]
    actual.over_s[v] = min(actual.over_s[v], over_s) + _over(v, fleet) - over_s


@within
def _late(v: int, k: int, fleet: Fleet, riders: Riders) -> float:
    """Seconds by which a stop exceeds the limit of its rider's pick-up or ride."""
    r = fleet.rider[v, k]
    if fleet.pick[v, k]:
        return max(0.0, riders.begin_s[r] - riders.latest_s[r])
    return max(0.0, fleet.arrive_s[v, k] - riders.begin_s[r] - riders.limit_s[r])


@within
def _over(v: int, fleet: Fleet) -> float:
    """Seconds by which a plan ends after the shift."""
    return max(0.0, fleet.leave_s[v, fleet.length[v] - 1] - fleet.shift_s[v, END]) if fleet.length[v] > 0 else 0.0


@within
def excuse(v: int, party: bool, time_s: float, fleet: Fleet, riders: Riders, actual: Unforeseen, log: Log) -> None:
    """Record the lateness by streets of a plan's first stop, which is about to be served.

    Args:
        v: the vehicle.
        party: whether the stop is of a party, and no break or stay at a charger.
        time_s: time of the stop.
        fleet: the state of all vehicles.
        riders: the state of all riders.
        actual: actual travel times.
        log: with room for two rows.
    """
    r, what = fleet.rider[v, 0], PICK_UP if fleet.pick[v, 0] else RIDE
    who = r if party else NOBODY
    late_s = min(actual.late_s[r, what], _late(v, 0, fleet, riders))
    if late_s > 0.0:
        kind = events.DELAYED if what == PICK_UP else events.PROLONGED
        write(log, time_s, kind, v, who, fleet.at[v], 0.0, int(np.ceil(late_s)))
    over_s = min(actual.over_s[v], time_s - fleet.shift_s[v, END])
    if over_s > 0.0:
        write(log, time_s, events.OVERTIME, v, who, fleet.at[v], 0.0, int(np.ceil(over_s)))


@within
def takes_its_turn(v: int, fleet: Fleet, riders: Riders, roads: TravelTimes, actual: Unforeseen) -> bool:
    """Whether a vehicle that comes late to a charger finds a place that is free for the length of its stay.

    If not, it waits there until one is free, and its stay and the rest of its plan are put off.
    """
    r, at = fleet.rider[v, 0], fleet.at[v]
    begin_s = max(fleet.at_s[v], fleet.floor_s[v, 0])
    if begin_s <= riders.earliest_s[r] + plans.EPS:
        return True
    free_s, riders.vehicle[r] = begin_s, NOBODY  # its own reservation does not count
    for c in range(len(actual.chargers.places)):
        if actual.chargers.places[c, charging.NODE] == at:
            free_s = charging.free_from(c, begin_s, riders.board_s[r], riders, actual.chargers)
    riders.vehicle[r] = v
    riders.earliest_s[r] = riders.latest_s[r] = free_s
    if free_s > begin_s:
        fleet.floor_s[v, 0] = free_s
        _reckon(v, fleet, riders, roads, actual)
    return free_s <= begin_s
