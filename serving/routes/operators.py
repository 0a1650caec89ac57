"""HTTP routes of operators: commands by hand, roles of policies."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response

from serving.access.principal import Role
from serving.core.form import read_form
from serving.forms import ByHand, Overridden, OverrideCheck, OverrideRequest, Policies, RoleChange
from serving.gateway import Gateway
from serving.operations import change_roles, check_override, policies, put_override, release_override
from serving.routes.bodies import as_model, body_of, refused, takes
from serving.routes.places import AgentName, RoleVerb, SiteName, SystemName

MAX_FORM_BYTES = 1 << 16
"""Longest body of an operator."""

READS, WRITES = refused(401, 403, 404, 422, 429), refused(401, 403, 404, 409, 413, 422, 429)


def add_operators(app: FastAPI, gateway: Gateway) -> None:
    """The routes."""
    _add_overrides(app, gateway)
    _add_policies(app, gateway)


def _add_overrides(app: FastAPI, gateway: Gateway) -> None:
    @app.get("/v1/{system}/{site}/overrides", response_model=Overridden, responses=READS)
    async def overrides(system: SystemName, site: SiteName, request: Request) -> Response:
        """The commands by hand that hold."""
        gateway.enter(request.headers, Role.READ, system, site)
        service = gateway.find(system, site)
        service.take_up_saved()
        return as_model(Overridden(overrides=dict(service.standing.overrides.now())))

    @app.post(
        "/v1/{system}/{site}/overrides/check",
        response_model=ByHand,
        responses=WRITES,
        openapi_extra=takes(OverrideCheck),
    )
    async def check_commands(system: SystemName, site: SiteName, request: Request) -> Response:
        """What the guard would make of a command by hand; nothing is changed."""
        gateway.enter(request.headers, Role.READ, system, site)
        asked = read_form(OverrideCheck, await body_of(request, MAX_FORM_BYTES))
        return as_model(check_override(gateway.find(system, site), asked.agent, asked.command))

    async def put(system: str, site: str, agent: str | None, request: Request) -> Response:
        principal = gateway.enter(request.headers, Role.OPERATE, system, site)
        asked = read_form(OverrideRequest, await body_of(request, MAX_FORM_BYTES))
        return as_model(await put_override(gateway.find(system, site), agent, asked, principal.name))

    async def release(system: str, site: str, agent: str | None, request: Request) -> Response:
        principal = gateway.enter(request.headers, Role.OPERATE, system, site)
        return as_model(await release_override(gateway.find(system, site), agent, principal.name))

    wanted = takes(OverrideRequest)

    @app.put("/v1/{system}/{site}/overrides", response_model=Overridden, responses=WRITES, openapi_extra=wanted)
    async def override_site(system: SystemName, site: SiteName, request: Request) -> Response:
        """Command every agent by hand, until it expires. Wins over every policy; the guard wins over it."""
        return await put(system, site, None, request)

    @app.put(
        "/v1/{system}/{site}/overrides/{agent:path}", response_model=Overridden, responses=WRITES, openapi_extra=wanted
    )
    async def override_agent(system: SystemName, site: SiteName, agent: AgentName, request: Request) -> Response:
        """Command one agent by hand, until it expires. Wins over every policy; the guard wins over it."""
        return await put(system, site, agent, request)

    @app.delete("/v1/{system}/{site}/overrides", response_model=Overridden, responses=WRITES)
    async def release_site(system: SystemName, site: SiteName, request: Request) -> Response:
        """End every command by hand."""
        return await release(system, site, None, request)

    @app.delete("/v1/{system}/{site}/overrides/{agent:path}", response_model=Overridden, responses=WRITES)
    async def release_agent(system: SystemName, site: SiteName, agent: AgentName, request: Request) -> Response:
        """End one agent's command by hand."""
        return await release(system, site, agent, request)


def _add_policies(app: FastAPI, gateway: Gateway) -> None:
    @app.get("/v1/{system}/{site}/policies", response_model=Policies, responses=READS)
    async def roles(system: SystemName, site: SiteName, request: Request) -> Response:
        """Who has which role, and how the one in charge does."""
        gateway.enter(request.headers, Role.READ, system, site)
        return as_model(policies(gateway.find(system, site)))

    @app.post(
        "/v1/{system}/{site}/policies/{verb}",
        response_model=Policies,
        responses=WRITES,
        openapi_extra=takes(RoleChange),
    )
    async def change_policies(system: SystemName, site: SiteName, verb: RoleVerb, request: Request) -> Response:
        """Change who has which role: a challenger in the shadow or as canary, a new champion, the former champion."""
        principal = gateway.enter(request.headers, Role.ADMINISTER, system, site)
        asked = read_form(RoleChange, await body_of(request, MAX_FORM_BYTES))
        return as_model(await change_roles(gateway.find(system, site), verb, asked, principal.name))
