"""The WebSocket loop of a fast plant: one tick a frame, one answer a frame, the same messages as over HTTP.

A frame that cannot be used is answered with the reason, and the connection stays open. A frame that had to wait longer
than its site's deadline, as the ones before it took too long, is not decided: the plant has moved on.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response, WebSocket, WebSocketDisconnect
from starlette.types import Message

from serving.access.entry import PROTOCOL, credentials
from serving.access.principal import Principal, Role
from serving.core.refusals import Busy, Refused, TooLong, as_refusal, brief, problem
from serving.core.wire import MAX_BODY_BYTES, MAX_LOOPS, Refusal
from serving.gateway import Gateway
from serving.routes.bodies import as_json, headers_of, refused
from serving.routes.places import SiteName, SystemName

BACKLOG = 4
"""Number of frames that wait; more are left in the socket."""

RECHECK_S = 5.0
"""Seconds between checks of the key."""

POLICY_VIOLATION = 1008
"""Close code of a connection whose key is no longer accepted."""


def add_loop(app: FastAPI, gateway: Gateway) -> None:
    """Add the route."""
    open_ = 0

    def opened(more: int) -> None:
        nonlocal open_
        open_ += more
        if gateway.metrics is not None:
            gateway.metrics.loops.set(open_)

    @app.websocket("/v1/{system}/{site}/loop")
    async def loop(websocket: WebSocket, system: SystemName, site: SiteName) -> None:
        try:
            principal = gateway.enter(websocket.headers, Role.ACT, system, site)
            gateway.find(system, site)
            if open_ >= MAX_LOOPS:
                raise Busy("loops", open_, "close one, or ask over HTTP", retry_after_s=10.0)
        except Refused as error:
            await websocket.send_denial_response(as_json(error.content(), error.status, headers_of(error)))
            return
        opened(1)
        try:
            offered = websocket.headers.get("sec-websocket-protocol", "")
            await websocket.accept(PROTOCOL if PROTOCOL in offered.replace(" ", "").split(",") else None)
            await _Session(gateway, websocket, principal, system, site).run()
        finally:
            opened(-1)

    @app.get(
        "/v1/{system}/{site}/loop",
        status_code=426,
        response_model=Refusal,
        responses={101: {"description": "the loop is open"}, **refused(401, 403, 404, 422, 429, 503)},
    )
    async def no_loop(system: SystemName, site: SiteName, request: Request) -> Response:
        """Ticks of a fast plant over a WebSocket, one a frame; every frame gets one answer. A request that asks for no
        WebSocket is refused.
        """
        gateway.enter(request.headers, Role.ACT, system, site)
        gateway.find(system, site)
        told = problem("upgrade", None, "open a WebSocket, and let whatever stands between pass 'Upgrade' on")
        return as_json(told, 426, {"upgrade": "websocket"})

    @app.websocket("/{address:path}")
    async def nowhere(websocket: WebSocket, address: str) -> None:
        """Left alone, the framework refuses what it does not know with 403, as if the key were wrong."""
        told = problem("address", f"WS /{brief(address)}", "open a loop at /v1/{system}/{site}/loop")
        await websocket.send_denial_response(as_json(told, 404))


class _Session:
    """One connection."""

    def __init__(self, gateway: Gateway, websocket: WebSocket, principal: Principal, system: str, site: str):
        self._gateway, self._socket, self._principal = gateway, websocket, principal
        self._system, self._site = system, site
        self._headers = credentials(websocket.headers)
        self._frames: deque[tuple[float, Message]] = deque()
        self._came, self._went = asyncio.Event(), asyncio.Event()
        self._patience_s = gateway.find(system, site).settings.deadline_ms / 1e3

    async def run(self) -> None:
        """Answer frames until the client leaves, or its key ends."""
        reader = asyncio.create_task(self._read())
        checked = time.monotonic()
        try:
            while True:
                frame = await self._next(reader)
                if time.monotonic() - checked >= RECHECK_S:
                    checked = time.monotonic()
                    if not self._gateway.access.same(self._headers, self._principal):
                        await self._socket.close(POLICY_VIOLATION, "the key is accepted no more")
                        return
                if frame is not None:
                    await self._answer(*frame)
        except (WebSocketDisconnect, RuntimeError, OSError):  # the other side is gone
            return
        finally:
            reader.cancel()

    async def _read(self) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            self._frames.append((time.perf_counter(), message))
            self._came.set()
            while len(self._frames) >= BACKLOG:
                self._went.clear()
                await self._went.wait()

    async def _next(self, reader: asyncio.Task[None]) -> tuple[float, Message] | None:
        """The next frame; None if none came for a while.

        Raises:
            WebSocketDisconnect: if the client has left.
        """
        while not self._frames:
            if reader.done():
                raise WebSocketDisconnect
            self._came.clear()
            waiting = asyncio.create_task(self._came.wait())
            try:
                done, _ = await asyncio.wait((waiting, reader), timeout=RECHECK_S, return_when=asyncio.FIRST_COMPLETED)
            finally:
                waiting.cancel()
            if not done:
                return None
        self._went.set()
        return self._frames.popleft()

    async def _answer(self, arrived: float, message: Message) -> None:
        text = message.get("text")
        body = text.encode() if text is not None else message.get("bytes") or b""
        content = await self._content(arrived, body)
        answer = orjson.dumps(content, default=repr)
        if text is not None:
            await self._socket.send_text(answer.decode())
        else:
            await self._socket.send_bytes(answer)

    async def _content(self, arrived: float, body: bytes) -> dict[str, Any]:
        try:
            self._check(arrived, body)
            return await self._gateway.act(self._system, self._site, body, self._principal)
        except Exception as error:
            refusal = as_refusal(error, f"a tick of {self._system}/{self._site}")
            more = {} if refusal.retry_after_s is None else {"retry_after_s": refusal.retry_after_s}
            return {**refusal.content(), "status": refusal.status, "tick": _tick_of(body), **more}

    def _check(self, arrived: float, body: bytes) -> None:
        """Refuse frames that are too long, too frequent, or too late."""
        if len(body) > MAX_BODY_BYTES:
            raise TooLong(MAX_BODY_BYTES)
        self._gateway.access.count(self._principal)
        waited_s = time.perf_counter() - arrived
        if waited_s > self._patience_s:
            mend = "decide locally, and send the next tick once this is answered"
            raise Busy("tick", f"waited for {waited_s * 1e3:.0f} ms", mend, retry_after_s=0.0)


def _tick_of(body: bytes) -> Any:
    """Number of a frame's tick, if it can be read."""
    try:
        tick = orjson.loads(body)["tick"]
    except (ValueError, KeyError, TypeError):
        return None
    return tick if type(tick) is int else None
