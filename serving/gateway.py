"""The served sites with access control and sinks; all protocols (HTTP, WebSocket, gRPC) ask here."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from starlette.concurrency import run_in_threadpool

from envs.core.errors import CityloopError
from envs.core.registry import get_system
from serving.access.entry import Access
from serving.access.principal import Principal, Role
from serving.alarms.book import Alarm, NoSuchAlarm
from serving.alarms.told import AlarmsTold
from serving.alarms.watch import AlarmWatch
from serving.core.closing import close_all
from serving.core.events import Sink
from serving.core.refusals import Forbidden, NotServed
from serving.core.wire import SiteInfo, SiteSummary, SystemSummary
from serving.forms import SiteStanding
from serving.operations import standing_of
from serving.tick.sites import SiteService
from serving.watch.metrics import Metrics
from serving.watch.streams import Events, Streams

if TYPE_CHECKING:
    from serving.audit.trail import Trail
    from serving.booking.desk import Desk
    from serving.structural.watch import StructuralWatch

LOGGER = logging.getLogger("cityloop.serving")


class Gateway:
    """The services of all sites, by system and site, with access control and sinks.

    Args:
        services: one a site; the sinks below are among theirs.
        access: authenticates callers; everybody may do everything if not given.
        audit, streams, metrics, alarms, structural: sinks that can be asked.
        sinks: all sinks, to be closed after the services.
        desks: where trips are booked, by transit site.
    """

    def __init__(
        self,
        services: Sequence[SiteService],
        access: Access | None = None,
        audit: Trail | None = None,
        streams: Streams | None = None,
        metrics: Metrics | None = None,
        alarms: AlarmWatch | None = None,
        structural: StructuralWatch | None = None,
        sinks: Sequence[Sink] = (),
        desks: Mapping[str, Desk] | None = None,
    ):
        self.all, self.sinks = list(services), tuple(sinks)
        self.access = access or Access()
        self.audit, self.streams, self.metrics = audit, streams, metrics
        self.alarms, self.structural = alarms, structural
        self.desks = dict(desks or {})
        self._looking: asyncio.Future[None] | None = None
        self.systems: dict[str, dict[str, SiteService]] = {}
        for service in services:
            self.systems.setdefault(service.site.system, {})[service.site.name] = service

    def find(self, system: str, site: str) -> SiteService:
        """The service of a site.

        Raises:
            NotServed: if there is none.
        """
        if system not in self.systems:
            raise NotServed("system", system, self._shown(self.systems))
        if site not in self.systems[system]:
            raise NotServed("site", site, self._shown(self.systems[system]))
        return self.systems[system][site]

    def _shown(self, names: Iterable[str]) -> list[str]:
        """Names for a refusal to list: all if the service is open, else none; `GET /v1/systems` has them for a key."""
        return list(names) if self.access.open else []

    def enter(self, headers: Mapping[str, str], role: Role, system: str = "", site: str = "") -> Principal:
        """The caller, if they may do this. Without system and site it concerns the service as a whole.

        Raises:
            Unauthenticated: if the caller cannot be identified.
            Limited: if they ask too often.
            Forbidden: if they may not.
        """
        principal = self.access.authenticate(headers)
        self.permit(principal, role, system, site)
        return principal

    def permit(self, principal: Principal, role: Role, system: str = "", site: str = "") -> None:
        """Check that an authenticated caller may do something at a site, or with the service as a whole.

        Raises:
            Forbidden: if they may not.
        """
        if not principal.may(role, system, site):
            place = f"{system}/{site}" if system else "the service"
            raise Forbidden("key", principal.name, f"it may not {role.name.lower()} at {place}: use another key")

    async def act(self, system: str, site: str, body: bytes, principal: Principal) -> dict[str, Any]:
        """Answer a tick of a site for somebody who may act there; see `SiteService.act_async`."""
        return await self.find(system, site).act_async(body, principal.name)

    async def info(self, system: str, site: str) -> SiteInfo:
        """Facts of a site that a client needs."""
        return await self.find(system, site).description.info()

    async def standing(self, system: str, site: str) -> SiteStanding:
        """Roles, overrides and rollback of a site."""
        return standing_of(self.find(system, site))

    async def health(self) -> dict[str, Any]:
        """Whether the service works: sites at which the fallback decides, or something cannot be saved or booked, and
        why; faults of the audit log, and of the files of keys.
        """
        sites = {service.ref: service.degraded or "ok" for service in self.all}
        unsaved = [(service.ref, service.unsaved) for service in self.all]
        if self.alarms is not None:
            unsaved += [(service.ref, self.alarms.book.fault) for service in self.all]
        for ref, fault in [*unsaved, *((ref, desk.fault) for ref, desk in self._booking())]:
            if fault is not None:
                sites[ref] = fault if sites.get(ref, "ok") == "ok" else f"{sites[ref]}; {fault}"
        audit = None if self.audit is None else self.audit.degraded
        access = self.access.problem
        well = audit is None and access is None and set(sites.values()) <= {"ok"}
        return {
            "status": "ok" if well else "degraded",
            "sites": sites,
            "audit": audit or "ok",
            "access": access or "ok",
        }

    def _booking(self) -> list[tuple[str, Desk]]:
        """The desks, by the ``system/site`` whose trips they book."""
        return [(f"transit/{site}", desk) for site, desk in self.desks.items()]

    async def ready(self) -> dict[str, Any]:
        """Whether the service can be relied on: every site decides; state, bookings and audit log can be written; the
        files of keys let somebody in.
        """
        faults = {ref: fault for ref, desk in self._booking() if (fault := await asyncio.to_thread(desk.check))}
        faults |= {service.ref: fault for service in self.all if (fault := await service.fault()) is not None}
        if self.audit is not None and self.audit.degraded is not None:
            faults["audit"] = self.audit.degraded
        return self._readiness(faults)

    def _readiness(self, faults: Mapping[str, str]) -> dict[str, Any]:
        """Readiness by faults. A service that lets nobody in is unready too: the plant may have another service."""
        shut = self.access.shut
        faults = {**faults, **({} if shut is None else {"access": shut})}
        return {"status": "unready" if faults else "ready", "faults": faults}

    async def summaries(self) -> list[SystemSummary]:
        """The systems and sites that are served."""
        found = []
        for name, sites in self.systems.items():
            system = get_system(name)
            rows = [
                SiteSummary(
                    name=site,
                    url=f"/v1/{name}/{site}",
                    agents=len(s.site.agents),
                    controller=s.in_charge.controller,
                    interval_s=s.interval_s,
                )
                for site, s in sites.items()
            ]
            found.append(SystemSummary(name=name, description=system.description, command=system.command, sites=rows))
        return found

    @property
    def has_streams(self) -> bool:
        """Whether there are event streams."""
        return self.streams is not None

    @property
    def has_alarms(self) -> bool:
        """Whether there are alarms."""
        return self.alarms is not None

    @property
    def has_booking(self) -> bool:
        """Whether trips can be booked."""
        return bool(self.desks)

    async def listen(
        self,
        principal: Principal,
        since: str | None,
        allowed: Callable[[], bool],
        last: int,
        only: tuple[str, str] | None = None,
    ) -> Events:
        """Events of every site that a caller may read, or of one of these alone; see `Streams.subscribe`.

        Raises:
            NotServed: if there is no such site.
        """
        assert self.streams is not None
        if only is not None:
            self.find(*only)

        def wanted(*place: str) -> bool:
            return place == only if only is not None else principal.may(Role.READ, *place)

        return self.streams.subscribe(principal.name, wanted, since, allowed, last)

    async def list_alarms(self, principal: Principal) -> AlarmsTold:
        """The alarms of the sites that a caller may read, and the rate of alarms."""
        assert self.alarms is not None
        self.settle()
        return self.alarms.listed(lambda *place: principal.may(Role.READ, *place))

    async def alarm(self, number: int) -> Alarm | None:
        """An alarm by its number; None if it is not there."""
        assert self.alarms is not None
        return self.alarms.find(number)

    async def acknowledge(self, number: int, who: str) -> Alarm:
        """Acknowledge an alarm; one that was acknowledged already stays as it is.

        Raises:
            NotServed: if it is not there any more.
        """
        alarm, new = cast("tuple[Alarm, bool]", await self._seen_to("acknowledge", number, who))
        if new:
            self.find(alarm.system, alarm.site).change(who, "acknowledge", alarm.text, {"alarm": number})
        return alarm

    async def shelve(self, number: int, who: str, reason: str, seconds: float) -> Alarm:
        """Keep an alarm out of sight for a time; 0 seconds bring it back.

        Raises:
            NotServed: if it is not there any more.
        """
        alarm = cast("Alarm", await self._seen_to("shelve", number, who, reason, seconds))
        what = "shelve" if seconds else "unshelve"
        detail = {"alarm": number, "text": alarm.text, "seconds": seconds}
        self.find(alarm.system, alarm.site).change(who, what, reason or alarm.text, detail)
        return alarm

    async def _seen_to(self, verb: str, number: int, *how: Any) -> Any:
        """Call a method of the alarm watch in a thread, as it writes the book to disk."""
        try:
            return await asyncio.to_thread(getattr(self.alarms, verb), number, *how)
        except NoSuchAlarm:
            raise NotServed("alarm", str(number), []) from None

    def settle(self) -> None:
        """Pass everything that was answered to the sinks, before they are asked."""
        for service in self.all:
            service.settle()

    async def exposition(self) -> tuple[bytes, str]:
        """The metrics as text, and their media type; empty without metrics."""
        self.settle()
        return (b"", "text/plain") if self.metrics is None else self.metrics.render()

    async def check(self) -> None:
        """Health check, every few seconds: an example decision at every site, and due decisions of booking desks.

        State of a site that could not be written is tried again: its plant may have ended while a disk was away, and a
        client that waits for a ready site before it asks for ticks would wait for ever.

        Raises:
            CityloopError: if a site cannot; a supervisor then replaces this process.
        """
        for service in self.all:
            service.take_up_saved()
            if (fault := await service.cannot_decide()) is not None:
                raise CityloopError(f"{service.ref}: {fault}")
        if self._looking is None or self._looking.done():  # not waited for: a database may take its time
            self._looking = asyncio.ensure_future(self._run_desks())

    async def _run_desks(self) -> None:
        """Let desks make periodic decisions that no message has triggered, and stream where vehicles are."""
        for name, desk in self.desks.items():
            try:
                await run_in_threadpool(desk.decide_due)
                told = await run_in_threadpool(desk.telemetry)
            except Exception:  # the other desks go on
                LOGGER.exception("transit/%s: its periodic decisions of bookings failed", name)
                continue
            if told is not None and self.streams is not None:
                self.streams.telemetry(told)

    def close(self) -> None:
        """Close every site, sink and desk, even if some of them fail."""
        close_all([*self.all, *self.sinks, *self.desks.values()])
