"""Reading bodies and writing answers over HTTP; descriptions of both, refusals included."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import orjson
from fastapi import Request, Response
from pydantic import BaseModel
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from serving.core.refusals import Encoded, Refused, Stalled, TooLong, retry_after
from serving.core.wire import Refusal

BODY_WITHIN_S = 10.0
"""Seconds for a body to come: one that stops half way would keep its place in the queue for good."""

PASSED_S = 2.0
"""Seconds for which the rest of a refused body is taken in before the answer."""

REFUSALS: dict[int | str, dict[str, Any]] = {
    401: {"model": Refusal, "description": "nobody knows who asks"},
    403: {"model": Refusal, "description": "they may not"},
    404: {"model": Refusal, "description": "there is no such system, site or agent"},
    408: {"model": Refusal, "description": "the body did not come"},
    409: {"model": Refusal, "description": "it does not go with how things stand"},
    413: {"model": Refusal, "description": "the body is too long"},
    415: {"model": Refusal, "description": "the body is in an encoding that is not undone here"},
    422: {"model": Refusal, "description": "the body, or what the address asks for, cannot be used"},
    429: {"model": Refusal, "description": "this key asks too often: see Retry-After"},
    503: {"model": Refusal, "description": "too much is under way: see Retry-After"},
}


GONE = 499
"""Status where the client has gone away: nobody reads it, but it is counted."""

BODIES = (408, 415)
"""Further statuses of routes whose bodies may be too long."""


def refused(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Responses of a route's refusals, for the description."""
    more = BODIES if 413 in statuses else ()
    return {status: REFUSALS[status] for status in sorted({*statuses, *more})}


def takes(model: type[BaseModel]) -> dict[str, Any]:
    """The description of a body that is read by hand, as its length is limited; in one piece, without references."""
    schema = model.model_json_schema()
    whole = _resolved(schema, schema.pop("$defs", {}))
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": whole}}}}


def _resolved(schema: Any, parts: Mapping[str, Any]) -> Any:
    """A schema with the parts that it refers to in place, without titles, which code generators take for names."""
    if isinstance(schema, list):
        return [_resolved(one, parts) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        part = parts[schema["$ref"].rpartition("/")[2]]
        return _resolved({key: value for key, value in part.items() if key != "title"}, parts)
    return {key: _resolved(value, parts) for key, value in schema.items()}


async def body_of(request: Request, limit: int) -> bytes:
    """The body within its limit; see `read_body`.

    Raises:
        ClientDisconnect: if its sender goes away.
    """
    body = await read_body(request.headers, request.receive, limit)
    if body is None:
        raise ClientDisconnect
    return body


async def read_body(headers: Mapping[str, str], receive: Receive, limit: int) -> bytes | None:
    """A request's body; None if its sender goes away.

    Raises:
        TooLong: as soon as it exceeds the limit.
        Encoded: if it has a content encoding.
        Stalled: if it does not come in time.
    """
    try:
        check_head(headers, limit)
    except Refused:
        if "expect" not in headers:  # who expects to be told to go on has sent nothing yet
            await _let_pass(receive)
        raise
    try:
        async with asyncio.timeout(BODY_WITHIN_S):
            return await _whole(receive, limit)
    except TimeoutError:
        raise Stalled(BODY_WITHIN_S) from None


async def _whole(receive: Receive, limit: int) -> bytes | None:
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        part, more = message.get("body", b""), message.get("more_body", False)
        body = body + part if body else part
        if len(body) > limit:
            if more:
                await _let_pass(receive)
            raise TooLong(limit)
        if not more:
            return bytes(body)


async def _let_pass(receive: Receive) -> None:
    """Take in, and drop, the rest of a refused body.

    A connection that is closed with unread bytes is reset, and the answer may be lost.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(PASSED_S):
            while (await receive()).get("more_body", False):
                pass


def check_head(headers: Mapping[str, str], limit: int) -> None:
    """Check the headers of a body before it is read.

    Raises:
        TooLong: if it is longer than the limit.
        Encoded: if it has a content encoding.
    """
    declared = headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise TooLong(limit)
    encoding = headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise Encoded(encoding)


def as_json(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Plain data as an answer."""
    return Response(orjson.dumps(content, default=repr), status, dict(headers or {}), "application/json")


def as_model(model: BaseModel) -> Response:
    """A model as an answer."""
    return as_json(model.model_dump(mode="json"))


def headers_of(error: Refused) -> dict[str, str]:
    """Headers of a refusal."""
    headers = {}
    if error.retry_after_s is not None:
        headers["retry-after"] = retry_after(error.retry_after_s)
    if error.close:
        headers["connection"] = "close"
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    return headers
