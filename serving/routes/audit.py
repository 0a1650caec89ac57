"""HTTP route for the last records of the audit log."""

from __future__ import annotations

import asyncio
import math
from typing import Any

from fastapi import FastAPI, Request, Response
from pydantic import Field

from serving.access.principal import Role
from serving.audit.query import Wanted
from serving.core.refusals import Unprocessable, brief
from serving.core.wire import Model
from serving.gateway import Gateway
from serving.routes.bodies import as_json, refused

MOST = 1000
"""Records in one answer."""

DEFAULT = 100

PARAMETERS = [
    {"name": "system", "in": "query", "schema": {"type": "string"}, "description": "of this system alone"},
    {"name": "site", "in": "query", "schema": {"type": "string"}, "description": "of this site alone"},
    {"name": "since", "in": "query", "schema": {"type": "number"}, "description": "seconds since 1970"},
    {"name": "until", "in": "query", "schema": {"type": "number"}, "description": "seconds since 1970"},
    {
        "name": "what",
        "in": "query",
        "schema": {"type": "string"},
        "description": "a kind of record (decision, change, …), or what was changed (promote, …)",
    },
    {
        "name": "limit",
        "in": "query",
        "schema": {"type": "integer", "minimum": 1, "maximum": MOST, "default": DEFAULT},
        "description": "how many, at most",
    },
]


class Records(Model):
    """Records as they stand in the log, oldest first."""

    records: list[dict[str, Any]] = Field(description="oldest first")


def add_audit(app: FastAPI, gateway: Gateway) -> None:
    """The route, if there is a log."""
    if gateway.audit is None:
        return
    audit = gateway.audit

    @app.get(
        "/v1/audit",
        response_model=Records,
        responses=refused(401, 403, 422, 429),
        openapi_extra={"parameters": PARAMETERS},
    )
    async def audit_records(request: Request) -> Response:
        """The last records of the audit log that fit, oldest first. A key for a site may ask for that site's."""
        asked = request.query_params
        system, site = asked.get("system"), asked.get("site")
        gateway.enter(request.headers, Role.OPERATE, system or "", site or "")
        since, until = _number("since", asked.get("since")), _number("until", asked.get("until"))
        limit = _number("limit", asked.get("limit", str(DEFAULT)))
        if limit is None or not 1 <= limit <= MOST or limit != int(limit):
            raise Unprocessable("limit", brief(asked.get("limit")), f"give a whole number from 1 to {MOST}")
        gateway.settle()
        # It reads files.
        found = await asyncio.to_thread(audit.recent, Wanted(system, site, since, until, asked.get("what")), int(limit))
        return as_json({"records": found})


def _number(name: str, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise Unprocessable(name, brief(text), "give a number")
    return value
