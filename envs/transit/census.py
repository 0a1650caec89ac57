"""What a dispatch centre counts at a moment, zone by zone, and the reward's inputs since the last decision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from envs.core.readings import Readings
from envs.transit.kernel import driver_breaks, events
from envs.transit.kernel.fleet import ABOARD, BEGIN, END, REFUSED, WAITING, Fleet, Riders
from envs.transit.kernel.travel_times import TravelTimes
from envs.transit.site import TransitSite

if TYPE_CHECKING:
    from envs.transit.service import Service


@dataclass(frozen=True)
class Moment:
    """A moment, beside the arrays of a fleet and its riders.

    Attributes:
        now_s: the present, by the arrays' clock.
        time_s: seconds since the service began.
        busy, standing, travelling: vehicles that have something to do, that stand idle, and that are idle on their way
            to stand by, bool ``(V,)``.
        asked: origins of the requests of the past ``recent_s``, nodes.
        refused: origins of those that were refused.
        expected: expected requests, ``(N,)``; NaN: unknown.
        speed: speed on the streets, relative to free flow.
    """

    now_s: float
    time_s: float
    busy: np.ndarray
    standing: np.ndarray
    travelling: np.ndarray
    asked: np.ndarray
    refused: np.ndarray
    expected: np.ndarray
    speed: float


def take(service: Service, site: TransitSite) -> Readings:
    """The present readings of a simulated service."""
    riders, now_s, timing = service.riders, service.now_s, site.timing
    first, until = np.searchsorted(riders.known_s, [now_s - timing.recent_s, now_s], side="left")
    recent = np.arange(first, until)
    moment = Moment(
        now_s,
        now_s,
        ~service.free & (service.fleet.shift_s[:, BEGIN] <= now_s),
        service.standing,
        service.travelling,
        riders.origin[recent],
        riders.origin[recent[riders.state[recent] == REFUSED]],
        site.expected(now_s, timing.ahead_s),
        speed_at(service.roads, now_s),
    )
    return count(site, service.fleet, riders, moment)


def count(site: TransitSite, fleet: Fleet, riders: Riders, moment: Moment) -> Readings:
    """The readings of any fleet at a moment."""
    now_s, timing, zone_of, zones = moment.now_s, site.timing, site.zone_of, len(site.zones)

    def by_zone(nodes: np.ndarray) -> np.ndarray:
        return np.bincount(zone_of[nodes], minlength=zones).astype(np.float64)

    busy = np.flatnonzero(moment.busy)
    last = driver_breaks.last_stop(fleet, riders)
    soon = busy[fleet.leave_s[busy, last[busy]] <= now_s + timing.ahead_s]
    soon = soon[fleet.shift_s[soon, END] > now_s + timing.ahead_s]  # vehicles whose shift ends are not free
    ends, free_s = fleet.node[soon, last[soon]], fleet.leave_s[soon, last[soon]] - now_s
    waiting, aboard = (np.flatnonzero(riders.state == state) for state in (WAITING, ABOARD))
    here = waiting[riders.earliest_s[waiting] <= now_s]
    later = waiting[riders.earliest_s[waiting] > now_s]
    later = later[riders.earliest_s[later] <= now_s + timing.ahead_s]
    return {
        "idle_veh": by_zone(fleet.at[moment.standing]),
        "inbound_veh": by_zone(fleet.heading[moment.travelling]),
        "soon_veh": by_zone(ends),
        "soon_s": _mean(zone_of[ends], np.maximum(free_s, 0.0), zones),
        "busy_veh": by_zone(fleet.at[busy]),
        "aboard": by_zone(fleet.at[riders.vehicle[aboard]]),
        "coming": by_zone(riders.destination[aboard]),
        "waiting": by_zone(riders.origin[here]),
        "booked": by_zone(riders.origin[later]),
        "requests": by_zone(moment.asked),
        "refused": by_zone(moment.refused),
        "expected": moment.expected,
        "time_s": np.array([moment.time_s]),
        "speed": np.array([moment.speed]),
    }


def _mean(zone: np.ndarray, values: np.ndarray, zones: int) -> np.ndarray:
    """Means by zone, ``(zones,)``; NaN where there are none."""
    number = np.bincount(zone, minlength=zones)
    total = np.bincount(zone, weights=values, minlength=zones)
    return np.divide(total, number, out=np.full(zones, np.nan), where=number > 0)


def speed_at(roads: TravelTimes, now_s: float) -> float:
    """Speed on the streets at a moment, relative to free flow."""
    return float(roads.speed[np.clip(int(now_s // roads.slot_s), 0, len(roads.speed) - 1)])


def since(service: Service, site: TransitSite, before_s: float, seen: int) -> dict[str, Any]:
    """Waits, refusals and driving since a moment, from the events recorded since.

    Args:
        service: the running service.
        site: its zones.
        before_s: that moment.
        seen: number of rows of the log at that moment.

    Returns:
        ``waited_s``: seconds of waiting by zone; ``refused``: parties by zone, stranded ones included; ``detour_s``:
        time by which completed rides exceeded direct ones; ``empty_m``: distance driven with nobody aboard.
    """
    log, riders, zones = service.log, service.riders, len(site.zones)
    rows = slice(seen, int(log.used[0]))
    kind, who = log.kind[rows], log.rider[rows]
    refused = who[((kind == events.REFUSED) | (kind == events.STRANDED)) & (who >= 0)]
    ended = kind == events.DROPPED_OFF
    rides = log.time_s[rows][ended] - riders.begin_s[who[ended]]
    empty = (kind == events.DROVE) & (log.load[rows] == 0)
    boarded = who[kind == events.PICKED_UP]
    waited = np.concatenate([boarded, service.waiting])
    until = np.concatenate([riders.begin_s[boarded], np.full(len(service.waiting), service.now_s)])
    seconds = np.maximum(until - np.maximum(riders.earliest_s[waited], before_s), 0.0)
    zone = site.zone_of[riders.origin[waited]]
    return {
        "waited_s": np.bincount(zone, weights=seconds, minlength=zones),
        "refused": np.bincount(site.zone_of[riders.origin[refused]], minlength=zones).astype(np.float64),
        "detour_s": float((rides - riders.direct_s[who[ended]]).sum()),
        "empty_m": float(log.metres[rows][empty].sum()),
    }
