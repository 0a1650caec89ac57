"""The hot path: ticks over plain ASGI, without the web framework, which takes longer than the decision does.

The framework has the same route, for the description and for applications that mount the app; both use this code.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace

import orjson
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.access.principal import Role
from serving.core.refusals import as_refusal, brief
from serving.core.wire import MAX_BODY_BYTES
from serving.gateway import Gateway
from serving.routes.bodies import headers_of, read_body

ROUTE = SimpleNamespace(path="/v1/{system}/{site}/act")
"""The route as the framework would find it, for counts of answers by route."""

Answer = tuple[int, dict[str, str], bytes]
"""Status, headers beside the usual ones, body."""


class Ticks:
    """An ASGI app that answers ticks itself and passes other requests to another app.

    Args:
        app: the other app.
        gateway: the sites.
    """

    def __init__(self, app: ASGIApp, gateway: Gateway):
        self.app, self.gateway = app, gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        place = _place(scope)
        if place is None:
            # Ray Serve mounts a shard at the beginning of its addresses; ours are whole everywhere.
            scope["root_path"] = ""
            await self.app(scope, receive, send)
            return
        scope["route"] = ROUTE
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        # Where a name is there more than once, whoever asks who that is has to see it.
        told = headers if len(headers) == len(scope["headers"]) else Headers(scope=scope)
        answer = await answer_tick(self.gateway, *place, told, receive)
        if answer is None:
            return
        status, more, body = answer
        start = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        start += [(name.encode(), value.encode()) for name, value in more.items()]
        await send({"type": "http.response.start", "status": status, "headers": start})
        await send({"type": "http.response.body", "body": body})


def _place(scope: Scope) -> tuple[str, str] | None:
    """System and site of a tick's request; None for other requests."""
    if scope["type"] != "http" or scope["method"] != "POST":
        return None
    parts: list[str] = scope["path"].split("/")
    if len(parts) != 5 or parts[1] != "v1" or parts[4] != "act" or parts[0]:
        return None
    return parts[2], parts[3]


async def answer_tick(
    gateway: Gateway, system: str, site: str, headers: Mapping[str, str], receive: Receive
) -> Answer | None:
    """Answer a tick, or refuse it; None if the client has gone away."""
    try:
        principal = gateway.enter(headers, Role.ACT, system, site)
        body = await read_body(headers, receive, MAX_BODY_BYTES)
        if body is None:
            return None
        return 200, {}, orjson.dumps(await gateway.act(system, site, body, principal))
    except Exception as error:
        refusal = as_refusal(error, f"a tick of {brief(system)}/{brief(site)}")
        return refusal.status, headers_of(refusal), orjson.dumps(refusal.content(), default=repr)
