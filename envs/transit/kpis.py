"""Indicators of an episode, computed from its events alone."""

from __future__ import annotations

import numpy as np

from envs.transit.kernel import events
from envs.transit.kernel.events import Log
from envs.transit.kernel.fleet import BEGIN, END, FULL, LEFT, Fleet, Riders
from envs.transit.record.ledger import REFUSED_MIN, Ledger
from envs.transit.record.promises import SHORT_M, broken_promises, lowest_left, missed_breaks, overtime_s

FEW = 5
"""Least number of parties of a zone that is compared."""

PARTS = 12
"""Number of equal parts of the time until the last request, of which some are busy and the others quiet."""

KPIS = {
    "wait_min": "wait of all parties, a refused one counted as 30 min: no policy gets better by refusing",
    "served_pct": "parties that were picked up, of those that neither mean to withdraw nor stay away",
    "wait_mean_min": "wait from the wanted time to boarding, mean over those picked up",
    "wait_median_min": "wait from the wanted time to boarding, median over those picked up",
    "wait_p95_min": "wait from the wanted time to boarding, 95th percentile over those picked up",
    "busy_wait_min": "`wait_min` of the busiest three twelfths of the time until the last request",
    "quiet_wait_min": "`wait_min` of the other nine twelfths of the time until the last request",
    "ride_min": "from boarding to arrival, mean",
    "walk_m": "on foot to the stop and from it, as the crow flies, mean over those picked up",
    "detour": "all rides together, divided by the same without detours or stops",
    "worst_zone_wait_min": "mean wait in the zone where it is longest, of zones with 5 parties or more",
    "worst_zone_served_pct": "parties served in the zone where that is least, of zones with 5 requests or more",
    "occupancy": "passenger kilometres a vehicle kilometre",
    "total_km": "kilometres driven by all vehicles",
    "empty_km": "kilometres driven with nobody aboard",
    "empty_pct": "kilometres driven with nobody aboard, of all driven",
    "moved": "idle vehicles sent elsewhere",
    "handed_over": "times that a party that waits was given to another vehicle",
    "parties_per_veh_h": "parties served an hour of a vehicle's shift",
    "asked": "parties that neither mean to withdraw nor stay away",
    "refused_too_late": "refused: nobody could keep all promises, and get to a charger",
    "refused_too_large": "refused: no vehicle on shift then takes so large a party, or its wheelchairs",
    "impossible": "rows of the requests that nobody could ever serve; not counted as asked",
    "withdrawn": "parties that cancelled",
    "absent": "parties that did not come to their stop",
    "breakdowns": "vehicles that broke down",
    "stranded": "parties whose vehicle broke down and whom nobody else could serve; they count as refused",
    "broken_by_breakdown": "promises broken because a vehicle broke down, stranded parties among them",
    "charges": "stays at a charger",
    "charging_h": "hours that vehicles spent at chargers, all together",
    "charged_km": "range that vehicles gained at chargers, all together",
    "lowest_charge_pct": "the least that any battery had left, of its range",
    "ran_empty": "vehicles that drove farther than their battery lasts",
    "longest_km": "kilometres driven by the vehicle that drove most",
    "breaks": "drivers' breaks that were taken",
    "breaks_late": "breaks that began late because streets took longer than known",
    "breaks_missed": "breaks that began outside their window otherwise, were cut short, or had somebody aboard",
    "late_by_street": "promises broken because streets took longer than known: late pick-ups, long rides",
    "late_pct": "parties with a promise broken because streets took longer than known, of those picked up",
    "late_mean_min": "lateness of a pick-up or excess of a ride, whichever is more, mean of `late_by_street`",
    "late_p95_min": "lateness of a pick-up or excess of a ride, whichever is more, 95th percentile of `late_by_street`",
    "overtime_min": "from shifts' ends to last stops, all together, because streets took longer than known",
    "broken": "promises broken by dispatch: late pick-ups, long rides, seats or places exceeded, stops outside a shift",
    "failed": "1 if any promise was broken, a break missed, or a battery empty",
}
"""Indicator → definition."""


def indicators(
    log: Log,
    fleet: Fleet,
    riders: Riders,
    zone_of: np.ndarray,
    end_s: float,
    walk_m: np.ndarray | None = None,
    breaks: np.ndarray | None = None,
    batteries: np.ndarray | None = None,
    margin_s: float = 0.0,
) -> dict[str, float]:
    """The indicators of a finished episode.

    Args:
        log: all rows, in the order of time.
        fleet: capacities and shifts.
        riders: requests and promises.
        zone_of: zone of every node.
        end_s: when the service ended, for shifts that have no end.
        walk_m: distance of every rider on foot, ``(R,)``; None: nobody walks.
        breaks: of the drivers, see `kernel.driver_breaks`, ``(V, 3)``; None: there are none.
        batteries: at the beginning of shifts, see `Fleet`, ``(V, 3)``; None: unlimited range.
        margin_s: reserve that plans keep of a promise.
    """
    ledger = Ledger(log, riders)
    drove = log.kind == events.DROVE
    shifts_s = np.clip(fleet.shift_s, 0.0, end_s)
    hours = float(np.sum(shifts_s[:, END] - shifts_s[:, BEGIN])) / 3600
    broken, missed = (
        float(broken_promises(log, fleet, riders, margin_s)),
        float(0 if breaks is None else missed_breaks(log, breaks)),
    )
    charging = _charging(log, batteries)
    return {
        **_waits(ledger),
        **_periods(ledger, riders),
        **_rides(ledger, riders, walk_m),
        **_zones(ledger, riders, zone_of),
        **_driving(log.metres[drove], log.load[drove]),
        "moved": float((log.kind == events.SENT).sum()),
        "handed_over": float((log.kind == events.HANDED_OVER).sum()),
        "parties_per_veh_h": ledger.served.sum() / max(hours, 1e-9),
        **_requests(log, ledger),
        **charging,
        **_by_street(log, ledger, riders, margin_s),
        "longest_km": float(np.bincount(log.vehicle[drove], weights=log.metres[drove]).max(initial=0.0)) / 1000,
        "breaks": float((log.kind == events.RESTED).sum()),
        "breaks_late": float(((log.kind == events.DELAYED) & (log.rider < 0)).sum()),
        "breaks_missed": missed,
        "broken": broken,
        "failed": float(broken > 0 or missed > 0 or charging["ran_empty"] > 0),
    }


def _waits(ledger: Ledger) -> dict[str, float]:
    """The headline, the share served, and the waits of those picked up."""
    served, turned_away = int(ledger.served.sum()), int(ledger.turned_away.sum())
    wait, asked = ledger.wait_s[ledger.served] / 60, served + turned_away
    return {
        "wait_min": (wait.sum() + REFUSED_MIN * turned_away) / max(asked, 1),
        "served_pct": 100.0 * served / asked if asked else 100.0,
        "wait_mean_min": _mean(wait),
        "wait_median_min": float(np.median(wait)) if len(wait) else 0.0,
        "wait_p95_min": float(np.percentile(wait, 95)) if len(wait) else 0.0,
    }


def _rides(ledger: Ledger, riders: Riders, walk_m: np.ndarray | None) -> dict[str, float]:
    """Rides of those picked up, and their ways on foot."""
    served = ledger.served
    ride = ledger.ride_s[served] / 60
    return {
        "ride_min": _mean(ride),
        "walk_m": 0.0 if walk_m is None else _mean(walk_m[served]),
        "detour": float(ride.sum() * 60 / max(riders.direct_s[served].sum(), 1e-9)) if len(ride) else 1.0,
    }


def _zones(ledger: Ledger, riders: Riders, zone_of: np.ndarray) -> dict[str, float]:
    """The zones where waits are longest, and where fewest are served."""
    zones = places(ledger, riders, zone_of, int(zone_of.max()) + 1)
    return {
        "worst_zone_wait_min": max((w for w in zones["wait_min"] if np.isfinite(w)), default=0.0),
        "worst_zone_served_pct": min((s for s in zones["served_pct"] if np.isfinite(s)), default=100.0),
    }


def _driving(metres: np.ndarray, load: np.ndarray) -> dict[str, float]:
    """Distances of all drives, ``metres`` and parties aboard of each."""
    return {
        "occupancy": float((metres * load).sum() / max(metres.sum(), 1e-9)),
        "total_km": float(metres.sum()) / 1000,
        "empty_km": float(metres[load == 0].sum()) / 1000,
        "empty_pct": 100.0 * float(metres[load == 0].sum() / max(metres.sum(), 1e-9)),
    }


def _requests(log: Log, ledger: Ledger) -> dict[str, float]:
    """Number of requests, and what became of those that were refused, withdrawn or hit by a breakdown."""
    refusals = log.load[log.kind == events.REFUSED]
    return {
        "asked": float(ledger.served.sum() + ledger.turned_away.sum()),
        "refused_too_late": float((refusals == events.TOO_LATE).sum()),
        "refused_too_large": float((refusals == events.TOO_LARGE).sum()),
        "impossible": float((refusals == events.IMPOSSIBLE).sum()),
        "withdrawn": float(ledger.withdrawn.sum()),
        "absent": float(ledger.absent.sum()),
        "breakdowns": float((log.kind == events.BROKE_DOWN).sum()),
        "stranded": float((ledger.stranded & ledger.steady).sum()),
        "broken_by_breakdown": float(((ledger.anew | ledger.stranded) & ledger.steady & ~ledger.kept()).sum()),
    }


def _charging(log: Log, batteries: np.ndarray | None) -> dict[str, float]:
    """Stays at chargers, and the lowest charge of any battery."""
    ends = np.flatnonzero(log.kind == events.UNPLUGGED)
    began_s = {}
    seconds = 0.0
    for k in np.flatnonzero((log.kind == events.PLUGGED_IN) | (log.kind == events.UNPLUGGED)):
        if log.kind[k] == events.PLUGGED_IN:
            began_s[log.vehicle[k]] = log.time_s[k]
        else:
            seconds += log.time_s[k] - began_s[log.vehicle[k]]
    found = {"charges": len(ends), "charging_h": seconds / 3600, "charged_km": log.metres[ends].sum() / 1000}
    least, empty = 100.0, 0.0
    for v, battery in enumerate(() if batteries is None else batteries):
        if np.isfinite(battery[LEFT]):
            lowest_m = lowest_left(log, v, battery)
            least, empty = min(least, 100.0 * lowest_m / float(battery[FULL])), empty + (lowest_m < -SHORT_M)
    return {**{name: float(value) for name, value in found.items()}, "lowest_charge_pct": least, "ran_empty": empty}


def _periods(ledger: Ledger, riders: Riders) -> dict[str, float]:
    """The headline in busy and in quiet times."""
    minutes = np.where(ledger.served, ledger.wait_s / 60, REFUSED_MIN)
    asked = ledger.served | ledger.turned_away
    last_s = riders.earliest_s.max(initial=1.0)
    part = np.minimum((riders.earliest_s / last_s * PARTS).astype(np.int64), PARTS - 1)
    order = np.argsort(-np.bincount(part[asked], minlength=PARTS), kind="stable")
    busy = np.isin(part, order[: PARTS // 4])
    return {"busy_wait_min": _mean(minutes[asked & busy]), "quiet_wait_min": _mean(minutes[asked & ~busy])}


def places(ledger: Ledger, riders: Riders, zone_of: np.ndarray, zones: int) -> dict[str, np.ndarray]:
    """Mean wait of every zone, and share served, each ``(zones,)``; NaN where there were fewer than `FEW`."""
    zone, picked = zone_of[riders.origin], ledger.served
    served = np.bincount(zone[picked], minlength=zones)
    waited = np.bincount(zone[picked], weights=ledger.wait_s[picked] / 60, minlength=zones)
    asked = served + np.bincount(zone[ledger.turned_away], minlength=zones)
    return {
        "wait_min": np.where(served >= FEW, waited / np.maximum(served, 1), np.nan),
        "served_pct": np.where(asked >= FEW, 100.0 * served / np.maximum(asked, 1), np.nan),
    }


def _by_street(log: Log, ledger: Ledger, riders: Riders, margin_s: float) -> dict[str, float]:
    """Lateness caused by streets."""
    owed = ledger.owed & np.isfinite(ledger.picked_s)
    late = owed & ~ledger.kept() & ledger.excused(margin_s)
    minutes = np.maximum(ledger.picked_s - riders.latest_s, ledger.ride_s - riders.limit_s)[late] / 60
    vehicles = int(log.vehicle.max(initial=-1)) + 1
    return {
        "late_by_street": float(late.sum()),
        "late_pct": 100.0 * float(late.sum()) / max(int(owed.sum()), 1),
        "late_mean_min": _mean(minutes),
        "late_p95_min": float(np.percentile(minutes, 95)) if len(minutes) else 0.0,
        "overtime_min": float(overtime_s(log, vehicles).sum()) / 60,
    }


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else 0.0
