"""HTTP routes for booking trips, around the desks of a gateway's sites."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, TypeAdapter, ValidationError

from serving.access.principal import Role
from serving.booking.places import Unfit
from serving.booking.store import Answer
from serving.booking.wire import (
    Booked,
    BookRequest,
    EventRequest,
    Moment,
    Point,
    Quote,
    QuoteRequest,
    Reported,
    Vehicles,
    VehicleState,
)
from serving.core.form import read_form
from serving.core.refusals import NotServed, brief
from serving.gateway import Gateway
from serving.routes.bodies import as_json, body_of, refused, takes
from serving.routes.places import BookingId, SiteName, VehicleId

if TYPE_CHECKING:
    from serving.booking.desk import Desk

MAX_BODY_BYTES = 16_384
"""Longest body that is read; a booking has some hundred bytes."""

SYSTEM = "transit"

BASE = "/v1/transit/{site}"

TAGS: list[str | Enum] = ["booking"]

Sent = TypeVar("Sent", bound=BaseModel)

READS = refused(401, 403, 404, 422, 429, 503)
WRITES = refused(401, 403, 404, 409, 413, 422, 429, 503)

TIME: TypeAdapter[datetime | None] = TypeAdapter(Moment | None)

CANCELLED_AT = {
    "parameters": [
        {
            "name": "at",
            "in": "query",
            "schema": {"type": "string", "format": "date-time"},
            "description": "what time it is, where the caller's clock counts",
        }
    ]
}
"""Description of a query that is read by hand."""


def add_booking(app: FastAPI, gateway: Gateway) -> None:
    """The routes, if anything can be booked."""
    if gateway.has_booking:
        _add_riders(app, gateway)
        _add_vehicles(app, gateway)


def _add_riders(app: FastAPI, gateway: Gateway) -> None:
    @app.post(f"{BASE}/quotes", tags=TAGS, response_model=Quote, responses=WRITES, openapi_extra=takes(QuoteRequest))
    async def quote(site: SiteName, request: Request) -> Response:
        """Ask how a trip could be made. Promises nothing."""
        desk = _enter(gateway, request, Role.READ, site)
        return as_json(await run_in_threadpool(desk.quote, await _read(QuoteRequest, request)))

    @app.post(f"{BASE}/bookings", tags=TAGS, response_model=Booked, responses=WRITES, openapi_extra=takes(BookRequest))
    async def book(site: SiteName, request: Request) -> Response:
        """Book a trip. Once answered it is kept; the same request sent again gets the same answer."""
        desk = _enter(gateway, request, Role.ACT, site)
        return _written(await run_in_threadpool(desk.book, await _read(BookRequest, request)))

    @app.get(f"{BASE}/bookings/{{booking}}", tags=TAGS, response_model=Booked, responses=READS)
    async def booking(site: SiteName, booking: BookingId, request: Request) -> Response:
        """A booking as it is now: which vehicle comes, and to which it was given since it was booked."""
        desk = _enter(gateway, request, Role.READ, site)
        return as_json(await run_in_threadpool(desk.booking, booking))

    @app.delete(
        f"{BASE}/bookings/{{booking}}", tags=TAGS, response_model=Booked, responses=WRITES, openapi_extra=CANCELLED_AT
    )
    async def cancel_booking(site: SiteName, booking: BookingId, request: Request) -> Response:
        """Cancel a booking. Sent again it gets the same answer."""
        desk = _enter(gateway, request, Role.ACT, site)
        return _written(await run_in_threadpool(desk.cancel, booking, _time(request)))


def _add_vehicles(app: FastAPI, gateway: Gateway) -> None:
    @app.post(f"{BASE}/events", tags=TAGS, response_model=Reported, responses=WRITES, openapi_extra=takes(EventRequest))
    async def report(site: SiteName, request: Request) -> Response:
        """What a vehicle reports: where it is, who boarded, got off or was not there, that it charges or goes on, broke
        down or is back; and what its battery has left, if it knows.
        """
        desk = _enter(gateway, request, Role.ACT, site)
        return _written(await run_in_threadpool(desk.report, await _read(EventRequest, request)))

    @app.get(f"{BASE}/vehicles", tags=TAGS, response_model=Vehicles, responses=READS)
    async def vehicles(site: SiteName, request: Request) -> Response:
        """Every vehicle: where it should be by now, what its battery has left, and its plan."""
        return as_json(await run_in_threadpool(_enter(gateway, request, Role.READ, site).vehicles))

    @app.get(f"{BASE}/vehicles/{{vehicle}}", tags=TAGS, response_model=VehicleState, responses=READS)
    async def vehicle(site: SiteName, vehicle: VehicleId, request: Request) -> Response:
        """One vehicle and its plan."""
        return as_json(await run_in_threadpool(_enter(gateway, request, Role.READ, site).vehicle, vehicle))


def _enter(gateway: Gateway, request: Request, role: Role, site: str) -> Desk:
    """The desk of a site, for an authorised caller."""
    gateway.enter(request.headers, role, SYSTEM, site)
    if site not in gateway.desks:
        raise NotServed("site", site, list(gateway.desks))
    return gateway.desks[site]


async def _read(model: type[Sent], request: Request) -> Sent:
    return read_form(model, await body_of(request, MAX_BODY_BYTES), (Point.__name__,))


def _time(request: Request) -> datetime | None:
    """The query's ``at``."""
    told = request.query_params.get("at")
    if told is not None and "T" in told:
        told = told.replace(" ", "+")  # a plus that is written as it is stands for a space in a query
    try:
        return TIME.validate_python(told)
    except ValidationError:
        raise Unfit("at", brief(told), "give a time in ISO 8601 with an offset, 2026-11-27T08:00:00+08:00") from None


def _written(answer: Answer) -> Response:
    return as_json(answer.body, answer.status)
