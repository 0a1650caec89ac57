"""HTTP routes of the console: its files, the caller, scenes, past decisions, alarms, telemetry, runs and bundles."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from pydantic import Field

from envs.core.errors import ReadingError
from envs.core.scene import Scene
from serving.access.principal import Principal, Role
from serving.alarms.book import Alarm
from serving.console.evaluations import beside, evaluations_of
from serving.console.files import INDEX, File, load_files
from serving.console.past import MOST_DECISIONS, past
from serving.console.runs import bundles_of, curves_of, runs_of
from serving.core.form import Form, read_form
from serving.core.refusals import NotServed
from serving.core.telemetry import Telemetry, TelemetryForm
from serving.core.wire import Model
from serving.gateway import Gateway
from serving.routes.bodies import as_json, as_model, body_of, refused, takes
from serving.routes.places import AlarmNumber, RunName, SiteName, SystemName

RUNS = Path("runs")
"""Folder of training runs and evaluations, in the folder in which the service was started."""

MAX_FORM_BYTES = 1 << 12
MAX_TELEMETRY_BYTES = 1 << 19

READS, WRITES = refused(401, 403, 404, 422, 429), refused(401, 403, 404, 413, 422, 429)


class Me(Model):
    """Who asks, and what they may do; and whether an audit log knows what was before they came."""

    name: str = Field(description="of the key")
    grants: list[dict[str, str]] = Field(description="role, system and site of each grant")
    audit: bool = Field(description="whether an audit log is kept")


class AlarmList(Model):
    """The alarms that stand, what needs a person first; how many came in the last ten minutes, and in every ten minutes
    of the last day at most, the oldest first: at all sites, whoever asks.
    """

    alarms: list[Alarm] = Field(description="what needs a person first")
    rate: int = Field(description="how many came in the last ten minutes, at all sites")
    course: list[int] = Field(description="how many in every ten minutes, the oldest first, of a day at most")


class Decisions(Model):
    """Decisions as the stream told them, oldest first."""

    decisions: list[dict[str, Any]] = Field(description="oldest first")
    since: float = Field(description="from when on they are: later than asked for where there were too many to read")


class RunList(Model):
    """Training runs in a folder, and the address of a TensorBoard that shows them."""

    folder: str = Field(description="where they lie")
    tensorboard: str | None = Field(description="address of a TensorBoard that shows them; null: there is none")
    runs: list[dict[str, Any]] = Field(description="one each")


class EvaluationList(Model):
    """Evaluations, the newest first."""

    evaluations: list[dict[str, Any]] = Field(description="the newest first")


class BundleList(Model):
    """Policies that can be served, with their cards."""

    bundles: list[dict[str, Any]] = Field(description="card of each")


class Shelf(Form):
    """Keep an alarm out of sight for a time."""

    reason: str = Field(max_length=500, description="why; it may be empty where it is brought back")
    seconds: float = Field(ge=0, le=8 * 3600, description="0 brings it back")


def add_console(app: FastAPI, gateway: Gateway, tensorboard: str | None = None) -> None:
    """The routes.

    Args:
        app: to add them to.
        gateway: of the shown sites.
        tensorboard: address of a TensorBoard, for a link.
    """
    _add_page(app)
    _add_scenes(app, gateway)
    _add_runs(app, gateway, tensorboard)
    if gateway.has_alarms:
        _add_alarms(app, gateway)


def _add_page(app: FastAPI) -> None:
    files = load_files()

    @app.get("/", include_in_schema=False)
    async def index(request: Request) -> Response:
        return _send(files[INDEX], request)

    @app.get("/console/{name}", include_in_schema=False)
    async def file(name: str, request: Request) -> Response:
        if name not in files:
            raise NotServed("file", name, list(files))
        return _send(files[name], request)


def _send(file: File, request: Request) -> Response:
    headers = {"etag": file.tag, "cache-control": "no-cache"}
    if request.headers.get("if-none-match") == file.tag:
        return Response(status_code=304, headers=headers)
    return Response(file.content, media_type=file.kind, headers=headers)


def _add_scenes(app: FastAPI, gateway: Gateway) -> None:
    @app.get("/v1/me", response_model=Me, responses=refused(401, 429))
    async def me(request: Request) -> Response:
        """Who the key belongs to, and what it may do; whether an audit log is kept here."""
        principal = gateway.access.authenticate(request.headers)
        grants = [grant.plain() for grant in principal.grants]
        return as_model(Me(name=principal.name, grants=grants, audit=gateway.audit is not None))

    @app.get("/v1/{system}/{site}/scene", response_model=Scene, responses=READS)
    async def scene(system: SystemName, site: SiteName, request: Request) -> Response:
        """What the site looks like: marks on a plane, with the identifiers of its readings."""
        gateway.enter(request.headers, Role.READ, system, site)
        content = await gateway.find(system, site).description.scene()
        return Response(content, media_type="application/json")

    @app.get("/v1/{system}/{site}/history", response_model=Decisions, responses=refused(401, 403, 404, 422, 429))
    async def history(
        system: SystemName,
        site: SiteName,
        request: Request,
        since: Annotated[float, Query(allow_inf_nan=False, description="seconds since 1970")],
        until: Annotated[
            float | None, Query(allow_inf_nan=False, description="seconds since 1970; now if not given")
        ] = None,
        limit: Annotated[int, Query(ge=1, le=MOST_DECISIONS, description="how many, evenly thinned")] = 200,
    ) -> Response:
        """Decisions of the past, as the stream told them, oldest first; none where no audit log is kept. Of very many
        the last ones alone are read: `since` says from when on.
        """
        gateway.enter(request.headers, Role.READ, system, site)
        service = gateway.find(system, site)
        service.settle()
        asked = (service.site, since, until, limit)
        found = await asyncio.to_thread(past, gateway.audit, *asked)
        return as_json(found._asdict())

    @app.post(
        "/v1/{system}/{site}/telemetry",
        status_code=204,
        responses=WRITES,
        openapi_extra=takes(TelemetryForm),
    )
    async def telemetry(system: SystemName, site: SiteName, request: Request) -> Response:
        """What a plant tells beside its ticks: what moves about, what it has cost so far. Streamed, not kept."""
        gateway.enter(request.headers, Role.ACT, system, site)
        gateway.find(system, site)
        told = read_form(TelemetryForm, await body_of(request, MAX_TELEMETRY_BYTES))
        if gateway.streams is not None:
            parts: dict[str, Any] = {name: getattr(told, name) for name in TelemetryForm.model_fields}
            gateway.streams.telemetry(Telemetry(system=system, site=site, at_s=time.time(), **parts))
        return Response(status_code=204)


def _add_alarms(app: FastAPI, gateway: Gateway) -> None:
    async def enter(number: int, request: Request) -> Principal:
        """Somebody who may operate the site of an alarm; to those who may not read there it is none."""
        principal = gateway.access.authenticate(request.headers)
        alarm = await gateway.alarm(number)
        if alarm is None or not principal.may(Role.READ, alarm.system, alarm.site):
            raise NotServed("alarm", str(number), [])
        gateway.permit(principal, Role.OPERATE, alarm.system, alarm.site)
        return principal

    @app.get("/v1/alarms", response_model=AlarmList, responses=refused(401, 429, 503))
    async def alarms(request: Request) -> Response:
        """The alarms of the sites that the key may read."""
        listed = await gateway.list_alarms(gateway.access.authenticate(request.headers))
        return as_model(AlarmList(alarms=listed.alarms, rate=listed.rate, course=listed.course))

    @app.post("/v1/alarms/{number}/acknowledge", response_model=Alarm, responses=WRITES | refused(503))
    async def acknowledge(number: AlarmNumber, request: Request) -> Response:
        """Somebody has seen it."""
        principal = await enter(number, request)
        return as_model(await gateway.acknowledge(number, principal.name))

    @app.post(
        "/v1/alarms/{number}/shelve",
        response_model=Alarm,
        responses=WRITES | refused(503),
        openapi_extra=takes(Shelf),
    )
    async def shelve(number: AlarmNumber, request: Request) -> Response:
        """Keep it out of sight for a time, a shift at most."""
        principal = await enter(number, request)
        asked = read_form(Shelf, await body_of(request, MAX_FORM_BYTES))
        if asked.seconds and not asked.reason.strip():
            raise ReadingError("reason", asked.reason, "say why, in 1 to 500 characters")
        return as_model(await gateway.shelve(number, principal.name, asked.reason, asked.seconds))


def _add_runs(app: FastAPI, gateway: Gateway, tensorboard: str | None) -> None:
    @app.get("/v1/runs", response_model=RunList, responses=refused(401, 403, 429))
    async def runs(request: Request) -> Response:
        """The training runs on this machine, and where a TensorBoard shows them, if one does."""
        gateway.enter(request.headers, Role.READ)
        found = await asyncio.to_thread(runs_of, RUNS)
        return as_json({"folder": RUNS.name, "tensorboard": tensorboard, "runs": found})

    @app.get("/v1/runs/{name:path}", response_model=dict[str, Any], responses=READS)
    async def run(name: RunName, request: Request) -> Response:
        """The curves of one run."""
        gateway.enter(request.headers, Role.READ)
        return as_json(await asyncio.to_thread(curves_of, RUNS, name))

    @app.get("/v1/evaluations", response_model=EvaluationList, responses=refused(401, 403, 429))
    async def evaluations(request: Request) -> Response:
        """What was evaluated on this machine, the newest first."""
        gateway.enter(request.headers, Role.READ)
        return as_json({"evaluations": await asyncio.to_thread(evaluations_of, RUNS)})

    @app.get("/v1/evaluations/beside", response_model=dict[str, Any], responses=refused(401, 403, 404, 422, 429))
    async def compare_evaluations(
        request: Request,
        first: Annotated[str, Query(description="an evaluation's name")],
        controller: Annotated[str, Query(description="in it")],
        second: Annotated[str, Query(description="the other's name")],
        beside_controller: Annotated[str, Query(alias="beside", description="in that")],
    ) -> Response:
        """Two controllers on the same seeds: values by seed, quantiles, the paired difference with its interval."""
        gateway.enter(request.headers, Role.READ)
        pair = (first, controller), (second, beside_controller)
        return as_json(await asyncio.to_thread(beside, RUNS, *pair))

    @app.get("/v1/bundles", response_model=BundleList, responses=refused(401, 403, 429))
    async def bundles(request: Request) -> Response:
        """The cards of the policies that can be served."""
        gateway.enter(request.headers, Role.READ)
        return as_json({"bundles": await asyncio.to_thread(bundles_of, RUNS)})
