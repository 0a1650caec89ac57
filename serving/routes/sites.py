"""HTTP routes of a site: its description, its state, one tick."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response

from serving.access.principal import Role
from serving.core.wire import ActAnswer, ActRequest, SiteInfo
from serving.forms import SiteStanding
from serving.gateway import Gateway
from serving.routes.bodies import GONE, as_model, refused, takes
from serving.routes.places import SiteName, SystemName
from serving.routes.ticks import Answer, answer_tick

GONE_ANSWER: Answer = (GONE, {}, b"")
"""Response if the client has gone away."""


def add_sites(app: FastAPI, gateway: Gateway) -> None:
    """The routes."""

    @app.get("/v1/{system}/{site}", response_model=SiteInfo, responses=refused(401, 403, 404, 422, 429))
    async def site_info(system: SystemName, site: SiteName, request: Request) -> Response:
        """Everything that a client needs to know of a site: agents, axes, limits, JSON schemas, an example."""
        gateway.enter(request.headers, Role.READ, system, site)
        return as_model(await gateway.info(system, site))

    @app.get("/v1/{system}/{site}/state", response_model=SiteStanding, responses=refused(401, 403, 404, 422, 429))
    async def state(system: SystemName, site: SiteName, request: Request) -> Response:
        """How things stand: the last answer and its age, who is in charge, commands by hand, the sensors."""
        gateway.enter(request.headers, Role.READ, system, site)
        return as_model(await gateway.standing(system, site))

    @app.post(
        "/v1/{system}/{site}/act",
        response_model=ActAnswer,
        responses=refused(401, 403, 404, 409, 413, 422, 429, 503),
        openapi_extra=takes(ActRequest),
    )
    async def act(system: SystemName, site: SiteName, request: Request) -> Response:
        """Decide one tick of a whole site. The same body asked again gets the same answer."""
        answer = await answer_tick(gateway, system, site, request.headers, request.receive)
        status, headers, body = answer or GONE_ANSWER
        return Response(body, status, headers, "application/json")
