"""Middleware around all HTTP requests: checks of origin and host, security headers, and refusals in one form.

A service on loopback is within reach of every page in a browser on that machine. A request from a page of another
origin is therefore refused where it could change something. An open service answers to names of loopback alone, as a
page may otherwise rename itself to it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Collection
from urllib.parse import urlsplit

import orjson
from fastapi import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.core.docs import STYLE
from serving.core.refusals import brief, problem

LOCAL_NAMES = ("127.0.0.1", "localhost", "[::1]")
"""Host names of a service on loopback."""

SAFE = ("GET", "HEAD", "OPTIONS")
"""Methods that change nothing."""

_DOCS_STYLE = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()

HEAD_ALONE = "cityloop.head"
"""Key of a request's scope that is there where only the head of the answer is asked for."""

HEADERS = {
    "content-security-policy": (
        f"default-src 'self'; style-src 'self' 'sha256-{_DOCS_STYLE}'; object-src 'none'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}
"""Headers of every answer that does not set them itself. The console and ``/docs`` need nothing from elsewhere.

Strict-Transport-Security is left out: it would hold for all ports of the host, whoever else answers there.
"""

MENDS = {
    "host": "ask by 127.0.0.1 or localhost, or give the service keys",
    "origin": "ask from a page of this service, or from a program",
}
"""Header for which a request is refused → what would be accepted."""

BARE = ("x-content-type-options", "cache-control")
"""Headers that mean something to a program, too. It reads every header of every answer, at a hundredth of an empty
request's time each."""


class Door:
    """ASGI middleware around the whole app.

    Args:
        app: the app.
        open_: whether everybody may do everything, so that only loopback's names are answered to.
        answered: called for every answer with its route's template and its status.
        machine: templates of routes that programs ask often and no browser shows; their answers have `BARE` headers.
    """

    def __init__(
        self,
        app: ASGIApp,
        open_: bool = True,
        answered: Callable[[str, int], None] | None = None,
        machine: Collection[str] = (),
    ):
        self._app, self._open, self._answered, self._machine = app, open_, answered, frozenset(machine)
        self._headers = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
        self._names = frozenset(name for name, _ in self._headers)
        self._bare = [(name.encode(), HEADERS[name].encode()) for name in BARE]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET", HEAD_ALONE: True}  # the server leaves the body away

        async def send_on(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                given = message.setdefault("headers", [])
                names = {name.lower() for name, _ in given}
                route = getattr(scope.get("route"), "path", "other")
                ours = self._bare if route in self._machine else self._headers
                missing = ours if names.isdisjoint(self._names) else [one for one in ours if one[0] not in names]
                message["headers"] = [*given, *missing]
                if self._answered is not None:
                    self._answered(route, message["status"])
            await send(message)

        foreign = self._foreign(scope)
        if foreign is None:
            await self._app(scope, receive, send_on)
        else:
            field, value = foreign
            await refusal(403, field, brief(value), MENDS[field])(scope, receive, send_on)

    def _foreign(self, scope: Scope) -> tuple[str, str] | None:
        """The header for which a request is refused, and its value; None if it is not."""
        host = origin = b""
        for name, value in scope["headers"]:
            if name == b"host":
                host = value
            elif name == b"origin":
                origin = value
        name = host.decode("latin-1")
        if self._open and name.rpartition(":")[0] not in LOCAL_NAMES and name not in LOCAL_NAMES:
            return "host", name
        changes, asker = scope["type"] == "websocket" or scope["method"] not in SAFE, origin.decode("latin-1")
        return ("origin", asker) if asker and changes and _place(asker) != name else None


def _place(origin: str) -> str | None:
    """Name and port of an origin; None if it is not an address."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def refusal(status: int, field: str, value: object, mend: str) -> Response:
    """A refusal in the common form."""
    content = orjson.dumps(problem(field, value, mend), default=repr)
    return Response(content, status, media_type="application/json")
