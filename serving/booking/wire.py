"""Messages of booking a trip. Times are ISO 8601 with an offset, in answers the site's own."""

from __future__ import annotations

import math
import re
from typing import Annotated, Literal

from pydantic import AwareDatetime, BeforeValidator, Field

from serving.core.wire import Model

Id = Annotated[str, Field(min_length=1, max_length=96, pattern=r"^[\w.:-]+$")]
"""A name that a client gives to a request, so that it may send it twice."""

Metres = Annotated[float, Field(ge=-1e7, le=1e7, allow_inf_nan=False, strict=True)]
"""Strict, as every number here: `true` is no party, and "60" no place."""


def _iso(told: object) -> object:
    """A number is no time, in quotes or not: whoever counts in other units would be misheard."""
    if isinstance(told, int | float) or (isinstance(told, str) and re.fullmatch(r"\s*[-+]?[\d._e]+\s*", told)):
        raise ValueError("give a date and time with its zone, 2026-11-27T08:00:00+08:00, not a number")
    return told


Moment = Annotated[AwareDatetime, BeforeValidator(_iso)]
"""A time that somebody sends."""


class Point(Model):
    """A place in the site's own metres; the rider walks to the nearest stop. It is not kept."""

    x_m: Metres = Field(description="east")
    y_m: Metres = Field(description="north")


class Trip(Model):
    """A trip that somebody wants to make."""

    origin: Annotated[str, Field(max_length=128)] | Point = Field(alias="from", description="a stop, or a place")
    destination: Annotated[str, Field(max_length=128)] | Point = Field(alias="to", description="a stop, or a place")
    depart: Moment | None = Field(default=None, description="when the party sets out; now if it is not given")
    party: int = Field(default=1, ge=1, le=1000, strict=True, description="how many people, each of whom takes a seat")
    wheelchairs: int = Field(default=0, ge=0, le=1000, strict=True, description="wheelchair places they need besides")
    at: Moment | None = Field(default=None, description="what time it is, where the caller's clock counts")


class QuoteRequest(Trip):
    """Asks what there is; promises nothing."""

    offers: int = Field(default=3, ge=1, le=20, strict=True, description="how many at most")


class BookRequest(Trip):
    """Books a trip. The same request sent again gets the same answer."""

    request_id: Id = Field(description="the client's own name of this request, new for each, the same when sent again")
    vehicle: str | None = Field(default=None, max_length=64, description="from an offer; the best one if not given")


class EventRequest(Model):
    """Something that a vehicle reports. The same report sent again changes nothing; a position only if it says when it
    was (`at`), as no position but the last is kept.
    """

    request_id: Id = Field(description="the client's own name of this report, new for each, the same when sent again")
    vehicle: str = Field(max_length=64, description="which reports")
    kind: Literal[
        "position",
        "boarded",
        "alighted",
        "no-show",
        "plugged-in",
        "unplugged",
        "break-began",
        "break-ended",
        "breakdown",
        "back",
    ] = Field(description="what happened; boarding and getting off are reported once they are over")
    booking: str | None = Field(default=None, max_length=64, description="boarded, alighted, no-show: whose")
    corner: str | None = Field(
        default=None,
        max_length=128,
        description="position, back: where, or the point; break-began, breakdown: if it is not where it should be; "
        "otherwise refused",
    )
    x_m: Metres = Field(default=math.nan, description="east: instead of the corner, with y_m")
    y_m: Metres = Field(default=math.nan, description="north")
    charge: float | None = Field(
        default=None,
        ge=0,
        le=1,
        allow_inf_nan=False,
        strict=True,
        description="share of its range that is left, with whatever it reports; reckoned by the way if not given",
    )
    at: Moment | None = Field(default=None, description="when it happened; now if it is not given")


class Ends(Model):
    """Where and when a party is picked up, or let off."""

    stop: str = Field(description="its name")
    x_m: float = Field(description="of the stop, east, in the site's own metres")
    y_m: float = Field(description="of the stop, north")
    walk_m: float = Field(description="from the given place to the stop, or from the stop to it, as the crow flies")
    earliest: AwareDatetime | None = Field(default=None, description="pick-up: not before")
    latest: AwareDatetime = Field(description="promised: the vehicle is there, or the party arrives, by then")
    expected: AwareDatetime | None = Field(default=None, description="as planned now")
    happened: AwareDatetime | None = Field(
        default=None, description="boarding began, or the vehicle arrived: the report less the site's dwell time"
    )


class Offered(Model):
    """One way to make the trip."""

    vehicle: str = Field(description="which would come")
    pickup: Ends
    dropoff: Ends
    ride_limit_s: float = Field(description="longest ride that is promised, from boarding to arrival")
    cost_s: float = Field(description="by the site's weights; the lowest is booked unless a vehicle is named")
    added_driving_s: float = Field(description="by which the vehicle drives for longer")
    others_delay_s: float = Field(description="by which others arrive later, all together; within their promises")
    others_delayed: int = Field(description="how many parties do")
    shared_with: int = Field(description="parties that ride along for a part of the way")
    reasons: list[str] = Field(description="what speaks for it")


class Why(Model):
    """Why there is no offer."""

    reason: Literal["too_large", "off_duty", "out_of_service", "no_charge", "too_late"] = Field(
        description="no vehicle is large enough; works then; is in service; has enough charge; can be there in time"
    )
    mend: str = Field(description="what would be possible")


class Quote(Model):
    """What there is, best first; where there is nothing, why, and what would be possible later."""

    offers: list[Offered] = Field(description="for the trip as asked")
    refused: Why | None = Field(description="null where there is an offer")
    later: list[Offered] = Field(description="where there is none, the next that is possible")


class HandedOver(Model):
    """A rider who waited was given to another vehicle, and is promised what was promised, unless one broke down."""

    at: AwareDatetime = Field(description="when")
    vehicle: str | None = Field(description="which comes now; null: none can, the booking is stranded")
    instead_of: str = Field(description="the vehicle before")
    why: Literal["reassigned", "breakdown", "recovered"] = Field(
        description="it suits the fleet better; it had to be; it was stranded, and a vehicle can come after all"
    )


class Booked(Model):
    """A booking."""

    id: str = Field(description="its name, as in its address")
    state: Literal["confirmed", "aboard", "completed", "cancelled", "no-show", "stranded"] = Field(
        description="stranded: after a breakdown no vehicle can come; a person sees to it, and cancels the booking, "
        "unless one can come after all"
    )
    vehicle: str | None = Field(description="which comes; another may, within the promise, until it is about to")
    pickup: Ends
    dropoff: Ends
    party: int = Field(description="how many people")
    wheelchairs: int = Field(description="wheelchair places they need")
    ride_limit_s: float = Field(description="longest ride that is promised, from boarding to arrival")
    late: bool = Field(description="whether it is, or is about to be, later than first promised")
    broken_down: bool = Field(description="whether a breakdown made a new promise necessary")
    handed_over: list[HandedOver] = Field(description="to which vehicles it was given since it was booked, in order")


class PlannedStop(Model):
    """A stop of a vehicle's plan."""

    do: Literal["pick up", "drop off", "plug in", "unplug", "begin break", "end break", "stand by", "pass"] = Field(
        description="pass: nobody is there any more, but by another way the battery would not last; stand by: the "
        "vehicle has no riders, and is wanted there for the next: report its position on the way and once it is there"
    )
    booking: str | None = Field(description="null at a charger, for a break, and to stand by")
    party: int = Field(description="how many people get on or off; 0 where none do")
    wheelchairs: int = Field(description="wheelchair places they need")
    stop: str = Field(description="the corner where it is")
    not_before: AwareDatetime | None = Field(description="earliest beginning; null: as soon as the vehicle is there")
    expected: AwareDatetime | None = Field(description="null: no road leads on from where the vehicle is")
    latest: AwareDatetime | None = Field(description="by when it is promised; null where nothing is")


class VehicleState(Model):
    """A vehicle: where it is thought to be, and what it has to do next."""

    id: str = Field(description="its name")
    on_duty: bool = Field(description="whether its shift has begun and is not over")
    out_of_service: bool = Field(description="whether it broke down and is not back")
    corner: str = Field(description="where it is, or that it reaches next")
    reached: AwareDatetime | None = Field(description="when it is, or was, there")
    seats: int = Field(description="how many it has")
    places: int = Field(description="how many for wheelchairs it has")
    aboard: int = Field(description="how many people are in it")
    charge: float | None = Field(description="share of its range that it should have left; null: it has none to heed")
    charges: bool = Field(description="whether it is at a charger, plugged in")
    short_of_charge: bool = Field(description="whether that does not last for its plan, and to a charger after it")
    on_break: bool = Field(description="whether its driver has a break")
    plan: list[PlannedStop] = Field(
        description="after a shift in which nothing is left to do, that of the next shift, if it has riders"
    )


class Vehicles(Model):
    """The fleet."""

    time: AwareDatetime = Field(description="of which all this is")
    vehicles: list[VehicleState] = Field(description="all, in the order of the settings")


class Reported(Model):
    """What a report led to."""

    vehicle: VehicleState
    bookings: list[Booked] = Field(description="those that it changed")
