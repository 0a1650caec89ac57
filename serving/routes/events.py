"""HTTP routes of event streams."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

from fastapi import FastAPI, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from serving.access.door import HEAD_ALONE
from serving.access.entry import credentials
from serving.access.principal import Principal, Role
from serving.gateway import Gateway
from serving.routes.bodies import refused
from serving.routes.places import SiteName, SystemName
from serving.watch.streams import Events, Frame

KINDS = "`decision`, `shadow`, `change`, `structure`, `alarm`, `telemetry`, or `gap` where something was missed"

Last = Annotated[int, Query(ge=0, le=2, description="decisions of every site that a new stream begins with")]

Seen = Annotated[str | None, Header(alias="Last-Event-ID", description="the last event that was seen: go on after it")]

Since = Annotated[str | None, Query(description="the same, for whoever cannot set headers")]


class EventResponse(StreamingResponse):
    """A subscription as an answer; it ends with the connection."""

    media_type = "text/event-stream"

    def __init__(self, subscription: Events):
        # A proxy that gathers an answer before it hands it on would hold events back.
        super().__init__(_lines(subscription), headers={"x-accel-buffering": "no"})
        self._subscription = subscription

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until the client leaves, or its key ends."""
        if scope.get(HEAD_ALONE):  # the proxy would send other requests after one that never ends
            self.body_iterator = _none()
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._subscription.close()


async def _none() -> AsyncIterator[bytes]:
    """No lines."""
    for line in list[bytes]():
        yield line


async def _lines(subscription: Events) -> AsyncIterator[bytes]:
    """Events in the form of the standard: fields in lines, an empty line ends an event."""
    yield b"retry: 2000\n\n"
    async for frames in subscription:
        yield b"".join(map(_text, frames)) or b": still here\n\n"


def _text(frame: Frame) -> bytes:
    head = f"event: {frame.kind}\n" if frame.id is None else f"id: {frame.id}\nevent: {frame.kind}\n"
    return b"".join((head.encode(), b"data: ", frame.data, b"\n\n"))


def add_events(app: FastAPI, gateway: Gateway) -> None:
    """Add the routes, if there are event streams."""
    if not gateway.has_streams:
        return
    documented: dict[str, Any] = {
        "response_class": StreamingResponse,
        "responses": {
            200: {"content": {"text/event-stream": {}}, "description": f"server-sent events: {KINDS}"},
            **refused(401, 403, 404, 422, 429, 503),
        },
    }

    @app.get("/v1/events", **documented)
    async def all_events(request: Request, seen: Seen = None, since: Since = None, last: Last = 0) -> Response:
        """What happens at every site that the key may read, as it happens. `Last-Event-ID` resumes."""
        principal = gateway.access.authenticate(request.headers)
        return EventResponse(await gateway.listen(principal, seen or since, _same(request, principal), last))

    @app.get("/v1/{system}/{site}/events", **documented)
    async def site_events(
        system: SystemName, site: SiteName, request: Request, seen: Seen = None, since: Since = None, last: Last = 0
    ) -> Response:
        """What happens at a site, as it happens. `Last-Event-ID` resumes."""
        principal = gateway.enter(request.headers, Role.READ, system, site)
        same = _same(request, principal)
        return EventResponse(await gateway.listen(principal, seen or since, same, last, (system, site)))

    def _same(request: Request, principal: Principal) -> Callable[[], bool]:
        """Whether whoever asked may still listen."""
        headers = credentials(request.headers)
        return lambda: gateway.access.same(headers, principal)
