"""Offers, bookings and vehicles in the form that is sent."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from envs.transit.kernel import plans
from envs.transit.kernel.fleet import CANCELLED, CHARGING, END, NOBODY, PLACES, SEATS
from envs.transit.live.offers import Offer
from serving.booking.roster import Roster, vehicle_of
from serving.booking.store import Row
from serving.core.telemetry import ThingForm

LATE_S = 1.0
"""Seconds after the promise from which a vehicle is late."""


@dataclass(frozen=True)
class Walks:
    """Metres that a rider walks to and from the stops."""

    origin_m: float
    destination_m: float


def _end(roster: Roster, corner: str, walk_m: float, times: dict[str, float | None]) -> dict[str, Any]:
    node = roster.site.nodes[roster.places.node(corner, "stop")]
    at = {name: roster.calendar.iso(value) for name, value in times.items()}
    return {"stop": node.id, "x_m": node.x_m, "y_m": node.y_m, "walk_m": round(walk_m, 1), **at}


def offer(roster: Roster, found: Offer, origin: int, destination: int, walks: Walks, reasons: list[str]) -> Any:
    """An offer; see `wire.Offered`."""
    nodes, to_time = roster.site.nodes, roster.calendar.to_time
    pickup = {
        "earliest": to_time(found.earliest_s),
        "latest": to_time(found.latest_s),
        "expected": to_time(found.begin_s),
        "happened": None,
    }
    dropoff = {
        "earliest": None,
        "latest": to_time(found.latest_s + found.limit_s),
        "expected": to_time(found.arrive_s),
        "happened": None,
    }
    return {
        "vehicle": roster.vehicles[found.vehicle].id,
        "pickup": _end(roster, nodes[origin].id, walks.origin_m, pickup),
        "dropoff": _end(roster, nodes[destination].id, walks.destination_m, dropoff),
        "ride_limit_s": round(found.limit_s, 1),
        "cost_s": round(found.cost, 1),
        "added_driving_s": round(found.driving_s, 1),
        "others_delay_s": round(found.others_s, 1),
        "others_delayed": found.others,
        "shared_with": found.shared,
        "reasons": reasons,
    }


def booking(roster: Roster, row: Row) -> Any:
    """A booking, open or over; see `wire.Booked`."""
    begin = arrive = None
    r = roster.slots.get(row["id"])
    if r is not None:
        to_time, end_s = roster.calendar.to_time, roster.arrivals().get(r, math.nan)
        begin, arrive = to_time(float(roster.live.riders.begin_s[r])), to_time(end_s)
    boarded = row["first_boarded_at"]
    alighted = _arrived(roster, row) if row["state"] == "completed" else None
    started = row["boarded_at"] if row["boarded_at"] is not None else row["latest"]
    pickup = {
        "earliest": row["earliest"],
        "latest": row["latest"],
        "expected": begin if row["state"] == "confirmed" else None,
        "happened": boarded,
    }
    dropoff = {"earliest": None, "latest": started + row["limit_s"], "expected": arrive, "happened": alighted}
    return {
        "id": row["id"],
        "state": row["state"],
        "vehicle": vehicle_of(row["duty"]),
        "pickup": _end(roster, row["origin"], row["walk_from_m"], pickup),
        "dropoff": _end(roster, row["destination"], row["walk_to_m"], dropoff),
        "party": row["party"],
        "wheelchairs": row["wheelchairs"],
        "ride_limit_s": round(row["limit_s"], 1),
        "late": _late(row, begin, arrive if alighted is None else alighted, roster.looked),
        "broken_down": row["broken_down"],
        "handed_over": [
            {name: told[name] for name in ("vehicle", "instead_of", "why")} | {"at": roster.calendar.iso(told["at"])}
            for told in row["handovers"]
        ],
    }


def _arrived(roster: Roster, row: Row) -> float:
    """When a completed ride arrived, in seconds since 1970; it is reported once the party has got off."""
    return max(float(row["ended_at"]) - roster.site.timing.alight_s, float(row["boarded_at"]))


def _late(row: Row, begin: float | None, arrive: float | None, now: float) -> bool:
    """Whether the first promise is broken, or about to be; what no plan holds comes after the present."""
    if row["state"] in ("cancelled", "no-show"):
        return False
    if row["state"] == "stranded":
        return True
    boarded = row["first_boarded_at"] if row["first_boarded_at"] is not None else now if begin is None else begin
    ended = now if arrive is None else arrive
    limit = boarded + row["promised_limit_s"]
    return bool(boarded > row["promised_latest"] + LATE_S or ended > limit + LATE_S)


def vehicle(roster: Roster, v: int, now_s: float) -> Any:
    """A vehicle; see `wire.VehicleState`."""
    live, calendar, fleet = roster.live, roster.calendar, roster.live.fleet
    spec, at_s = roster.vehicles[v], float(roster.live.fleet.at_s[v])
    ranged = live.batteries.has(v)
    return {
        "id": spec.id,
        "on_duty": bool(fleet.shift_s[v, 0] <= now_s < fleet.shift_s[v, 1]),
        "out_of_service": not math.isfinite(at_s),
        "corner": roster.site.nodes[fleet.at[v]].id,
        "reached": calendar.iso(calendar.to_time(plans.ready_s(v, -math.inf, fleet))) if roster.seen[v] else None,
        "seats": spec.seats,
        "places": spec.places,
        "aboard": _aboard(roster, v),
        "charge": round(live.batteries.share(v, now_s, fleet, live.riders), 3) if ranged else None,
        "charges": live.batteries.plugged(v, fleet),
        "short_of_charge": ranged and not live.lasts(v),
        "on_break": live.breaks.under_way(v),
        "plan": _plan(roster, v, now_s),
    }


def _plan(roster: Roster, v: int, now_s: float) -> list[Any]:
    """Stops of a vehicle; after a shift in which nothing is left to do, those of the next shift, if it has riders."""
    fleet, riders = roster.live.fleet, roster.live.riders
    if fleet.shift_s[v, END] <= now_s and not fleet.length[v]:
        later = roster.next_duty(v)
        if later is not None and not plans.is_pause(fleet.rider[later, : fleet.length[later]], riders).all():
            v = later
    return _stand_by(roster, v) + [_stop(roster, v, k) for k in range(fleet.length[v])]


def thing(roster: Roster, v: int, now_s: float) -> ThingForm | None:
    """A vehicle on the page: at the corner where it is, or that it reaches next; None: it does not work now."""
    fleet = roster.live.fleet
    if not fleet.shift_s[v, 0] <= now_s < fleet.shift_s[v, 1] or not math.isfinite(fleet.at_s[v]):
        return None
    node = roster.site.nodes[fleet.at[v]]
    return ThingForm(id=roster.vehicles[v].id, x=node.x_m, y=node.y_m, load=_aboard(roster, v))


def _aboard(roster: Roster, v: int) -> int:
    """Riders in a vehicle, whose seats a break or a stay at a charger takes, too."""
    live = roster.live
    stands = live.batteries.plugged(v, live.fleet) or live.breaks.under_way(v)
    return 0 if stands else int(live.fleet.aboard[v, SEATS])


def _stand_by(roster: Roster, v: int) -> list[Any]:
    """Where a vehicle without riders is to stand by, if it was sent anywhere and has not said that it is there."""
    heading = int(roster.live.fleet.heading[v])
    if heading == NOBODY:
        return []
    calendar = roster.calendar
    there = calendar.iso(calendar.to_time(roster.live.idle.arrive_s(v)))
    stop = {"do": "stand by", "booking": None, "party": 0, "wheelchairs": 0, "stop": roster.site.nodes[heading].id}
    return [stop | {"not_before": None, "expected": there, "latest": None}]


def _stop(roster: Roster, v: int, k: int) -> Any:
    """A stop of a vehicle's plan; see `wire.PlannedStop`."""
    live, calendar, fleet = roster.live, roster.calendar, roster.live.fleet
    r, pick, floor_s = int(fleet.rider[v, k]), bool(fleet.pick[v, k]), float(fleet.floor_s[v, k])
    does = _does(roster, r, pick)
    rides, begins = does in ("pick up", "drop off"), does in ("pick up", "plug in", "begin break")
    latest_s = _latest_s(roster, r, pick) if rides else float(live.riders.latest_s[r])
    return {
        "do": does,
        "booking": roster.name(r) if rides or does == "pass" else None,
        "party": int(live.riders.size[r, SEATS]) if rides else 0,
        "wheelchairs": int(live.riders.size[r, PLACES]) if rides else 0,
        "stop": roster.site.nodes[fleet.node[v, k]].id,
        "not_before": calendar.iso(calendar.to_time(floor_s)) if begins else None,
        "expected": calendar.iso(calendar.to_time(max(float(fleet.arrive_s[v, k]), floor_s))),
        "latest": calendar.iso(calendar.to_time(latest_s)) if rides or does == "begin break" else None,
    }


def _does(roster: Roster, r: int, pick: bool) -> str:
    """Action of a vehicle at a stop."""
    riders = roster.live.riders
    if riders.state[r] == CANCELLED:
        return "pass"
    if riders.state[r] == CHARGING:
        return "plug in" if pick else "unplug"
    if plans.is_break(r, riders):
        return "begin break" if pick else "end break"
    return "pick up" if pick else "drop off"


def _latest_s(roster: Roster, r: int, pick: bool) -> float:
    latest_s, limit_s = roster.live.promised(r)
    return latest_s if pick else float(roster.live.riders.begin_s[r]) + limit_s
