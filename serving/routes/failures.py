"""Answers of HTTP where a request fails: every refusal in the common form, details of faults kept inside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match, Route

from envs.core.errors import CityloopError
from envs.core.frozen import mend_of
from serving.core.refusals import Refused, as_refusal, brief, problem
from serving.routes.bodies import GONE, as_json, headers_of


def add_refusals(app: FastAPI, authenticate: Callable[[Mapping[str, str]], Any]) -> None:
    """Give every refusal the common form, and keep details of faults inside.

    Args:
        app: the application.
        authenticate: gives the caller by a request's headers, or refuses.
    """

    @app.exception_handler(CityloopError)
    @app.exception_handler(Refused)
    @app.exception_handler(Exception)
    async def refusal(request: Request, error: Exception) -> Response:
        found = as_refusal(error, f"{request.method} {request.url.path}")
        return as_json(found.content(), found.status, headers_of(found))

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, __: ClientDisconnect) -> Response:
        return Response(status_code=GONE)

    @app.exception_handler(RequestValidationError)
    async def unknown(request: Request, error: RequestValidationError) -> Response:
        try:
            authenticate(request.headers)  # the framework looks at an address before any route at the key
        except Refused as shut_out:
            return await refusal(request, shut_out)
        wrong = error.errors()[0]
        return as_json(problem(brief(str(wrong["loc"][-1])), brief(wrong.get("input")), mend_of(wrong)), 422)

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> Response:
        allowed = _methods(request) if error.status_code == 405 else ""
        mend = f"ask with {allowed}" if allowed else "GET /docs lists what there is"
        asked = f"{request.method} {brief(request.url.path)}"
        headers = {"allow": allowed} if allowed else error.headers
        return as_json(problem("address", asked, mend), error.status_code, headers)


def _methods(request: Request) -> str:
    """All methods of an address, as RFC 9110 requires for every 405; a route knows its own alone."""
    routes = (route for route in request.app.routes if isinstance(route, Route))
    found = set[str]().union(*(r.methods or () for r in routes if r.matches(request.scope)[0] is not Match.NONE))
    return ", ".join(sorted(found | ({"HEAD"} if "GET" in found else set())))
