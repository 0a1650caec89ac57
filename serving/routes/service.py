"""HTTP routes of the service as a whole: health, readiness, lists, documentation, metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse

from serving.access.entry import credentials
from serving.access.principal import Principal, Role
from serving.core.description import Once
from serving.core.docs import docs_page
from serving.core.wire import Health, Ready, Systems, SystemSummary
from serving.gateway import Gateway
from serving.routes.bodies import as_json, as_model, refused


def add_service(app: FastAPI, gateway: Gateway) -> None:
    """The routes."""

    @app.head("/healthz", include_in_schema=False)  # as load balancers ask
    @app.get("/healthz", response_model=Health, responses=refused(401, 429))
    async def healthz(request: Request) -> Response:
        """Whether the service is alive, and where the fallback decides. Where there are keys, only they see where."""
        return as_json(_visible(gateway, request.headers, await gateway.health()))

    @app.head("/readyz", include_in_schema=False)
    @app.get(
        "/readyz",
        response_model=Ready,
        responses=refused(401, 429) | {503: {"model": Ready, "description": "it is not"}},
    )
    async def readyz(request: Request) -> Response:
        """Whether the service can be relied on: every site has decided an example within the last seconds, state and
        audit can be written, and somebody is let in.
        """
        found = await gateway.ready()
        return as_json(_visible(gateway, request.headers, found), 200 if found["status"] == "ready" else 503)

    @app.get("/v1/systems", response_model=Systems, responses=refused(401, 429, 503))
    async def systems(request: Request) -> Response:
        """The systems and sites that are served here, as far as the key may read them."""
        principal = gateway.access.authenticate(request.headers)
        return as_model(_readable(await gateway.summaries(), principal))

    openapi = Once(lambda: orjson.dumps(app.openapi()))
    page = Once(lambda: docs_page(app.openapi()).encode())

    @app.head("/openapi.json", include_in_schema=False)
    @app.get("/openapi.json", include_in_schema=False)
    async def description() -> Response:
        return Response(await openapi.get(), media_type="application/json")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(await page.get())

    if gateway.metrics is not None:

        @app.get(
            "/metrics",
            response_class=Response,  # of no kind of its own, which refusals would be described as, too
            responses=refused(401, 403, 429) | {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
        )
        async def metrics(request: Request) -> Response:
            """The metrics, for Prometheus."""
            gateway.enter(request.headers, Role.READ)
            content, kind = await gateway.exposition()
            return Response(content, media_type=kind)


def _visible(gateway: Gateway, headers: Mapping[str, str], found: dict[str, Any]) -> dict[str, Any]:
    """The part that the key may read; the status alone where there are keys and none was sent."""
    known = gateway.access.open or credentials(headers)
    principal = gateway.access.authenticate(headers) if known else None
    return {key: value if key == "status" else readable_by(principal, value) for key, value in found.items()}


def readable_by(principal: Principal | None, value: Any) -> Any:
    """The part of a value by site, or for the service as a whole, that a caller may read."""
    if isinstance(value, dict):
        return {ref: text for ref, text in value.items() if may_read(principal, ref)}
    return value if may_read(principal, "") else type(value)()


def may_read(principal: Principal | None, ref: str) -> bool:
    """Whether a caller may read about ``system/site``; any other text stands for the service as a whole."""
    system, _, site = ref.partition("/")
    return principal is not None and principal.may(Role.READ, *((system, site) if site else ()))


def _readable(found: list[SystemSummary], principal: Principal) -> Systems:
    """The sites that a caller may read."""
    seen = [
        system.model_copy(
            update={"sites": [site for site in system.sites if principal.may(Role.READ, system.name, site.name)]}
        )
        for system in found
    ]
    return Systems(systems=[system for system in seen if system.sites])
