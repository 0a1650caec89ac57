"""The served sites under one roof, with who lets in and who takes note. Whatever speaks a protocol asks here."""

from __future__ import annotations

import asyncio
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
from serving.closing import close_all
from serving.collaborators import Trail
from serving.events import Sink
from serving.refusals import Forbidden, NotServed
from serving.tick.sites import SiteService
from serving.watch.metrics import Metrics
from serving.watch.streams import Events, Streams
from serving.wire import SiteSummary, SystemSummary

if TYPE_CHECKING:
    from serving.booking.desk import Desk
    from serving.health.watch import HealthWatch


class Gateway:
    """The services by system and site.

    Args:
        services: one a site; the sinks below are among theirs.
        access: knows who asks; everybody may do everything if not given.
        audit, streams, metrics, alarms, health: sinks that can be asked.
        sinks: all of them, to be closed after the services.
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
        health: HealthWatch | None = None,
        sinks: Sequence[Sink] = (),
        desks: Mapping[str, Desk] | None = None,
    ):
        self.all, self.sinks = list(services), tuple(sinks)
        self.access = access or Access()
        self.audit, self.streams, self.metrics, self.alarms, self.listening = audit, streams, metrics, alarms, health
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
            raise NotServed("system", system, self._told(self.systems))
        if site not in self.systems[system]:
            raise NotServed("site", site, self._told(self.systems[system]))
        return self.systems[system][site]

    def _told(self, names: Iterable[str]) -> list[str]:
        """What there is, where nobody has to be kept from knowing it; with a key, `GET /v1/systems` says it."""
        return list(names) if self.access.open else []

    def enter(self, headers: Mapping[str, str], role: Role, system: str = "", site: str = "") -> Principal:
        """Who asks, if they may; no system and site: something of the service as a whole.

        Raises:
            Unauthenticated: if they do not say who they are.
            Limited: if they ask too often.
            Forbidden: if they may not.
        """
        principal = self.access.authenticate(headers)
        self.permit(principal, role, system, site)
        return principal

    def permit(self, principal: Principal, role: Role, system: str = "", site: str = "") -> None:
        """Let somebody who was let in already do something at a site, or with the service as a whole.

        Raises:
            Forbidden: if they may not.
        """
        if not principal.may(role, system, site):
            place = f"{system}/{site}" if system else "the service"
            raise Forbidden("key", principal.name, f"it may not {role.name.lower()} at {place}: use another key")

    async def act(self, system: str, site: str, body: bytes, principal: Principal) -> dict[str, Any]:
        """Answer a tick of a site for somebody who may act there; see `SiteService.act_async`."""
        return await self.find(system, site).act_async(body, principal.name)

    async def health(self) -> dict[str, Any]:
        """Whether the service works, at which sites the fallback decides, or nothing can be saved or booked, and why;
        what is wrong with the audit log, and with the files that say who is let in.
        """
        sites = {service.ref: service.degraded or "ok" for service in self.all}
        unsaved = [(service.ref, service.unsaved) for service in self.all]
        for ref, fault in [*unsaved, *((ref, desk.fault) for ref, desk in self._booking())]:
            if fault is not None:
                sites[ref] = fault if sites.get(ref, "ok") == "ok" else f"{sites[ref]}; {fault}"
        audit = None if self.audit is None else self.audit.degraded
        access = self.access.problem
        well = audit is access is None and set(sites.values()) <= {"ok"}
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
        """Whether the service can be relied on: every site decides; state, bookings and audit log can be written; there
        are keys or tokens that let somebody in.
        """
        faults = {ref: fault for ref, desk in self._booking() if (fault := await asyncio.to_thread(desk.check))}
        faults |= {service.ref: fault for service in self.all if (fault := await service.fault()) is not None}
        if self.audit is not None and self.audit.degraded is not None:
            faults["audit"] = self.audit.degraded
        return self._readiness(faults)

    def _readiness(self, faults: Mapping[str, str]) -> dict[str, Any]:
        """Who lets nobody in is of no use to a plant, which another service may still have."""
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
    def heard(self) -> bool:
        """Whether there are events to listen to."""
        return self.streams is not None

    @property
    def rings(self) -> bool:
        """Whether there are alarms."""
        return self.alarms is not None

    @property
    def books(self) -> bool:
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
        """What happens at every site that somebody may read, or at one of these alone; see `Streams.subscribe`.

        Raises:
            NotServed: if there is no such site.
        """
        assert self.streams is not None
        if only is not None:
            self.find(*only)

        def wanted(*place: str) -> bool:
            return place == only if only is not None else principal.may(Role.READ, *place)

        return self.streams.subscribe(principal.name, wanted, since, allowed, last)

    async def told(self, principal: Principal) -> AlarmsTold:
        """The alarms of the sites that somebody may read, and how often alarms came."""
        assert self.alarms is not None
        self.settle()
        return self.alarms.told(lambda *place: principal.may(Role.READ, *place))

    async def alarm(self, number: int) -> Alarm | None:
        """An alarm by its number; None if it is not there."""
        assert self.alarms is not None
        return self.alarms.find(number)

    async def acknowledge(self, number: int, who: str) -> Alarm:
        """Somebody has seen an alarm; who does so after another changes nothing.

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
        """Do something to an alarm, in a thread, as the book is written."""
        try:
            return await asyncio.to_thread(getattr(self.alarms, verb), number, *how)
        except NoSuchAlarm:
            raise NotServed("alarm", str(number), []) from None

    def settle(self) -> None:
        """Let the sinks know of everything that was answered; before they are asked."""
        for service in self.all:
            service.settle()

    async def exposition(self) -> tuple[bytes, str]:
        """The metrics of all that was answered, and their media type; nothing where there are none."""
        self.settle()
        return (b"", "text/plain") if self.metrics is None else self.metrics.render()

    async def check(self) -> None:
        """Decide something cheap at every site, and what is due where trips are booked; every few seconds.

        What could not be written of a site is tried again: while a disk was away its plant may have ended, and whoever
        waits for a site that is ready before it asks for ticks would wait for ever.

        Raises:
            CityloopError: if a site cannot; a supervisor then replaces this process.
        """
        for service in self.all:
            service.look()
            if (fault := await service.cannot_decide()) is not None:
                raise CityloopError(f"{service.ref}: {fault}")
        if self._looking is None or self._looking.done():  # not waited for: a database may take its time
            self._looking = asyncio.ensure_future(self._look())

    async def _look(self) -> None:
        """Let desks decide what they decide for all, if nobody's message does, and tell where vehicles are."""
        for desk in self.desks.values():
            told = await run_in_threadpool(desk.look)
            if told is not None and self.streams is not None:
                self.streams.telemetry(told)

    def close(self) -> None:
        """Finish what is under way at every site, in every sink, and at every desk, whatever of it fails."""
        close_all([*self.all, *self.sinks, *self.desks.values()])
