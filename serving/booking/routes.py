"""The addresses under which trips are booked: a FastAPI router around the desks of the served sites."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

import orjson
from fastapi import APIRouter, Request, Response
from pydantic import AwareDatetime, BaseModel, TypeAdapter, ValidationError

from serving.booking.desk import Desk
from serving.booking.places import Refused
from serving.booking.store import Answer
from serving.booking.wire import (
    Booked,
    BookRequest,
    EventRequest,
    Quote,
    QuoteRequest,
    Reported,
    Vehicles,
    VehicleState,
)
from serving.wire import Refusal, brief

MAX_BODY_BYTES = 16_384
"""Longest body that is read; a booking has some hundred bytes."""

MAY_BOOK, MAY_READ = "act", "read"
"""What a caller needs to be allowed."""

Allow = Callable[[Request, str, str], None]
"""Raises if a caller may not do what is asked (`MAY_BOOK` or `MAY_READ`) at a site."""

REFUSED: dict[int | str, dict[str, Any]] = {
    404: {"model": Refusal, "description": "there is no such site, booking or vehicle"},
    409: {"model": Refusal, "description": "it cannot be granted; the answer says why"},
    413: {"model": Refusal, "description": "the body is too long"},
    422: {"model": Refusal, "description": "the request cannot be used"},
    503: {"model": Refusal, "description": "too many book at once"},
}

Sent = TypeVar("Sent", bound=BaseModel)

TIME: TypeAdapter[datetime | None] = TypeAdapter(AwareDatetime | None)


def booking_router(desks: Mapping[str, Desk], allow: Allow) -> APIRouter:
    """The routes.

    Args:
        desks: by site.
        allow: decides who may do what.
    """
    router = APIRouter(prefix="/v1/transit/{site}", tags=["booking"])

    def desk_of(request: Request, site: str, what: str) -> Desk:
        allow(request, what, site)
        if site not in desks:
            raise Refused(404, "site", site, f"there is no booking at it; choose {', '.join(desks)}")
        return desks[site]

    def written(answer: Answer) -> Response:
        return _json(answer.body, answer.status)

    _add_riders(router, desk_of, written)
    _add_vehicles(router, desk_of, written)
    return router


def _add_riders(router: APIRouter, desk_of: Any, written: Any) -> None:
    @router.post("/quotes", response_model=Quote, responses=REFUSED, openapi_extra=_body_of(QuoteRequest))
    async def quote(site: str, request: Request) -> Response:
        """Ask how a trip could be made. Promises nothing."""
        return await _answered(
            request, lambda body: _json(desk_of(request, site, MAY_READ).quote(_read(QuoteRequest, body)))
        )

    @router.post("/bookings", response_model=Booked, responses=REFUSED, openapi_extra=_body_of(BookRequest))
    async def book(site: str, request: Request) -> Response:
        """Book a trip. Once answered it is kept; the same request sent again gets the same answer."""
        return await _answered(
            request, lambda body: written(desk_of(request, site, MAY_BOOK).book(_read(BookRequest, body)))
        )

    @router.get("/bookings/{booking}", response_model=Booked, responses=REFUSED)
    async def booking(site: str, booking: str, request: Request) -> Response:
        """A booking as it is now."""
        return await _answered(request, lambda _: _json(desk_of(request, site, MAY_READ).booking(booking)))

    @router.delete("/bookings/{booking}", response_model=Booked, responses=REFUSED)
    async def cancel(site: str, booking: str, request: Request) -> Response:
        """Cancel a booking. Sent again it gets the same answer."""
        at = request.query_params.get("at")
        return await _answered(request, lambda _: written(desk_of(request, site, MAY_BOOK).cancel(booking, _time(at))))


def _add_vehicles(router: APIRouter, desk_of: Any, written: Any) -> None:
    @router.post("/events", response_model=Reported, responses=REFUSED, openapi_extra=_body_of(EventRequest))
    async def report(site: str, request: Request) -> Response:
        """What a vehicle reports: where it is, who boarded, got off or was not there, that it broke down or is back."""
        return await _answered(
            request, lambda body: written(desk_of(request, site, MAY_BOOK).report(_read(EventRequest, body)))
        )

    @router.get("/vehicles", response_model=Vehicles, responses=REFUSED)
    async def vehicles(site: str, request: Request) -> Response:
        """Every vehicle: where it should be by now, and its plan."""
        return await _answered(request, lambda _: _json(desk_of(request, site, MAY_READ).vehicles()))

    @router.get("/vehicles/{vehicle}", response_model=VehicleState, responses=REFUSED)
    async def vehicle(site: str, vehicle: str, request: Request) -> Response:
        """One vehicle and its plan."""
        return await _answered(request, lambda _: _json(desk_of(request, site, MAY_READ).vehicle(vehicle)))


async def _answered(request: Request, work: Callable[[bytes], Response]) -> Response:
    """Read the body, work in a thread as the database may take its time, and say what was refused."""
    from fastapi.concurrency import run_in_threadpool

    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            answer = _refusal(413, "body", f"more than {MAX_BODY_BYTES} bytes", f"send at most {MAX_BODY_BYTES} bytes")
            answer.headers["connection"] = "close"
            return answer
        chunks.append(chunk)
    try:
        return await run_in_threadpool(work, b"".join(chunks))
    except Refused as refused:
        return _refusal(refused.status, refused.field, refused.value, refused.mend)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "body"
        return _refusal(422, field, brief(first.get("input")), first["msg"])


def _read(model: type[Sent], body: bytes) -> Sent:
    return model.model_validate_json(body)


def _time(text: str | None) -> datetime | None:
    return TIME.validate_python(text)


def _body_of(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _json(content: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(content, default=str), status, media_type="application/json")


def _refusal(status: int, field: str, value: object, mend: str) -> Response:
    answer = _json({"error": {"field": field, "value": value, "mend": mend}}, status)
    if status == 503:
        answer.headers["retry-after"] = "1"
    return answer
