"""HTTP route for the last reports of a building's structural monitor."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response

from serving.access.principal import Role
from serving.core.wire import Model
from serving.gateway import Gateway
from serving.routes.bodies import as_model, refused

MOST = 500
"""Windows in one answer."""

NO_MONITOR = (
    "nobody listens here: a monitor ships for few buildings; teach one, and name its file as the site's `monitor`"
)


class MonitorFacts(Model):
    """What a monitor was taught, and when it rings."""

    storeys: int
    window_s: float
    learned: tuple[int, int]
    false_alarms: float
    interval: float
    needed: int
    of: int


class HeardWindow(Model):
    """One window: when it ended, and the report (`agents.monitors.storeys.StoreyReport`)."""

    at_s: float
    report: dict[str, Any]


class StructureStanding(Model):
    """Who listens to a building, and what they heard of its last windows, oldest first."""

    monitor: MonitorFacts | None
    why: str | None
    windows: list[HeardWindow]


def add_structure(app: FastAPI, gateway: Gateway) -> None:
    """The route."""

    @app.get(
        "/v1/{system}/{site}/structure",
        response_model=StructureStanding,
        responses=refused(401, 403, 404, 422, 429),
    )
    async def structure(
        system: str,
        site: str,
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
