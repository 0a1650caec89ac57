"""HTTP route for the last reports of a building's structural monitor."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from pydantic import Field

from serving.access.principal import Role
from serving.core.wire import Model
from serving.gateway import Gateway
from serving.routes.bodies import as_model, refused
from serving.routes.places import SiteName, SystemName

MOST = 500
"""Windows in one answer."""

NO_MONITOR = (
    "nobody listens here: a monitor ships for few buildings; teach one, and name its file as the site's `monitor`"
)


class MonitorFacts(Model):
    """What a monitor was taught, and when it rings."""

    storeys: int = Field(description="of the building")
    window_s: float = Field(description="how long it listens for one report")
    learned: tuple[int, int] = Field(description="windows that it learned from, and windows that set its threshold")
    false_alarms: float = Field(description="share of healthy windows that may be called unusual")
    interval: float = Field(description="probability that the interval of a stiffness covers it")
    needed: int = Field(description="it rings once so many windows are unusual")
    of: int = Field(description="of the last so many")


class HeardWindow(Model):
    """One window: when it ended, and the report (`agents.monitors.storeys.StoreyReport`)."""

    at_s: float = Field(description="when it ended, in seconds since 1970")
    report: dict[str, Any] = Field(description="probability of damage, each storey's stiffness, what to do")


class StructureStanding(Model):
    """Who listens to a building, and what they heard of its last windows, oldest first."""

    monitor: MonitorFacts | None = Field(description="null: nobody listens")
    why: str | None = Field(description="why nobody does")
    windows: list[HeardWindow] = Field(description="the last, oldest first")


def add_structure(app: FastAPI, gateway: Gateway) -> None:
    """The route."""

    @app.get(
        "/v1/{system}/{site}/structure",
        response_model=StructureStanding,
        responses=refused(401, 403, 404, 422, 429),
    )
    async def structure(
        system: SystemName,
        site: SiteName,
        request: Request,
        limit: Annotated[int, Query(ge=1, le=MOST, description="how many windows, the last")] = 100,
    ) -> Response:
        """What a building's health monitor has heard: probability of damage, stiffness of every storey, what to do.

        `monitor` is null, and `why` says so, where nobody listens. It never calls a building safe.
        """
        gateway.enter(request.headers, Role.READ, system, site)
        gateway.find(system, site)
        return as_model(_standing(gateway, (system, site), limit))


def _standing(gateway: Gateway, place: tuple[str, str], limit: int) -> StructureStanding:
    monitor = None if gateway.structural is None else gateway.structural.monitor(place)
    if gateway.structural is None or monitor is None:
        return StructureStanding(monitor=None, why=NO_MONITOR, windows=[])
    config = monitor.config
    facts = MonitorFacts(
        storeys=len(config.masses_kg),
        window_s=config.window_s,
        learned=monitor.learned.windows,
        false_alarms=config.false_alarms,
        interval=config.interval,
        needed=config.persistence.needed,
        of=config.persistence.of,
    )
    windows = [
        HeardWindow(at_s=one.at_s, report=one.report.model_dump(mode="json"))
        for one in gateway.structural.heard(place, limit)
    ]
    return StructureStanding(monitor=facts, why=None, windows=windows)
