"""The HTTP face of the served sites: FastAPI routes around `SiteService`, for Ray Serve or whatever else runs ASGI."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException

from envs.core.errors import ReadingError
from envs.core.registry import get_system
from serving.docs import docs_page
from serving.sites import SiteService
from serving.wire import (
    MAX_BODY_BYTES,
    ActAnswer,
    ActRequest,
    Health,
    Refusal,
    SiteInfo,
    SiteSummary,
    Systems,
    SystemSummary,
    answer_schema,
    brief,
    example_tick,
    request_schema,
)

log = logging.getLogger("cityloop.serving")

DESCRIPTION = "Closes the control loop of a city over HTTP: one tick of a site's readings in, safe commands out."

REFUSED: dict[int | str, dict[str, Any]] = {
    404: {"model": Refusal, "description": "there is no such system or site"},
    413: {"model": Refusal, "description": "the body is too long"},
    422: {"model": Refusal, "description": "the body cannot be used"},
}


class NotServed(Exception):
    """A system or site that is not served here."""

    def __init__(self, field: str, value: str, known: Sequence[str]):
        self.field, self.value, self.mend = field, value, f"choose {', '.join(known)}"


class TooLong(Exception):
    """A body beyond `MAX_BODY_BYTES`."""


class Board:
    """The services by system and site."""

    def __init__(self, services: Sequence[SiteService]):
        self.systems: dict[str, dict[str, SiteService]] = {}
        for service in services:
            self.systems.setdefault(service.site.system, {})[service.site.name] = service
        self.all = list(services)

    def find(self, system: str, site: str) -> SiteService:
        """The service of a site.

        Raises:
            NotServed: if there is none.
        """
        if system not in self.systems:
            raise NotServed("system", system, list(self.systems))
        if site not in self.systems[system]:
            raise NotServed("site", site, list(self.systems[system]))
        return self.systems[system][site]


def create_app(services: Sequence[SiteService]) -> FastAPI:
    """The service's routes."""
    board = Board(services)
    # The page at /docs is our own, as FastAPI's needs the public network.
    app = FastAPI(title="Cityloop", version=version("cityloop"), description=DESCRIPTION, docs_url=None, redoc_url=None)
    _add_lists(app, board)
    _add_site(app, board)
    _add_refusals(app)
    return app


def _add_lists(app: FastAPI, board: Board) -> None:
    @app.get("/healthz", response_model=Health)
    async def healthz() -> Response:
        """Whether the service works, and at which sites the policy hangs so that the fallback decides."""
        sites = {service.ref: "fallback" if service.stuck else "ok" for service in board.all}
        return _json({"status": "degraded" if "fallback" in sites.values() else "ok", "sites": sites})

    @app.get("/v1/systems", response_model=Systems)
    async def systems() -> Response:
        """The systems and sites that are served here."""
        return _json(_systems(board).model_dump())

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(docs_page(app.openapi()))


def _add_site(app: FastAPI, board: Board) -> None:
    @app.get("/v1/{system}/{site}", response_model=SiteInfo, responses={404: REFUSED[404]})
    async def site_info(system: str, site: str) -> Response:
        """Everything that a client needs to know of a site: agents, axes, limits, JSON schemas, an example."""
        return _json(_site_info(board.find(system, site)).model_dump())

    body = {"required": True, "content": {"application/json": {"schema": ActRequest.model_json_schema()}}}

    @app.post(
        "/v1/{system}/{site}/act",
        response_model=ActAnswer,
        responses=REFUSED,
        openapi_extra={"requestBody": body},
    )
    async def act(system: str, site: str, request: Request) -> Response:
        """Decide one tick of a whole site. Keeps nothing: the same tick gives the same commands."""
        service = board.find(system, site)
        return _json(await service.act_async(await _body(request)))


def _add_refusals(app: FastAPI) -> None:
    @app.exception_handler(ReadingError)
    async def unusable(_: Request, error: ReadingError) -> Response:
        return _refuse(422, brief(error.field), error.value, error.mend)

    @app.exception_handler(NotServed)
    async def not_served(_: Request, error: NotServed) -> Response:
        return _refuse(404, error.field, brief(error.value), error.mend)

    @app.exception_handler(TooLong)
    async def too_long(_: Request, error: TooLong) -> Response:
        # The rest of the body is not read, so the connection is of no further use.
        answer = _refuse(
            413, "body", f"more than {MAX_BODY_BYTES} bytes", f"send at most {MAX_BODY_BYTES} bytes a tick"
        )
        answer.headers["connection"] = "close"
        return answer

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> Response:
        mend = "GET /docs lists what there is"
        return _refuse(error.status_code, "address", f"{request.method} {brief(request.url.path)}", mend)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return _refuse(500, "service", None, "this is a fault of the service: its log has the trace")


async def _body(request: Request) -> bytes:
    """The body, as long as it is not too long.

    Raises:
        TooLong: before more than `MAX_BODY_BYTES` are kept.
    """
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise TooLong
        chunks.append(chunk)
    return b"".join(chunks)


def _systems(board: Board) -> Systems:
    summaries = []
    for name, sites in board.systems.items():
        system = get_system(name)
        rows = [
            SiteSummary(name=site, url=f"/v1/{name}/{site}", agents=len(s.site.agents), controller=s.controller.name)
            for site, s in sites.items()
        ]
        summaries.append(SystemSummary(name=name, description=system.description, command=system.command, sites=rows))
    return Systems(systems=summaries)


def _site_info(service: SiteService) -> SiteInfo:
    site = service.site
    return SiteInfo(
        system=site.system,
        site=site.name,
        site_hash=site.hash,
        agents=list(site.agents),
        axes={axis: list(ids) for axis, ids in site.axes.items()},
        limits=site.limits,
        in_charge=service.in_charge,
        request_schema=request_schema(site),
        answer_schema=answer_schema(site),
        example=example_tick(site),
    )


def _json(content: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(content, default=repr), status, media_type="application/json")


def _refuse(status: int, field: str, value: object, mend: str) -> Response:
    return _json({"error": {"field": field, "value": value, "mend": mend}}, status)
