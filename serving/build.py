"""Builds a gateway from a configuration; the one module that knows all parts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Self
from uuid import uuid4

from agents import find_bundle
from envs.core.errors import CityloopError
from envs.core.machine.files import make_folder
from envs.core.registry import get_system
from envs.core.site import Site
from envs.transit.site import TransitSite
from serving.access.entry import Access
from serving.audit import AuditLog
from serving.audit.anchor import signing_key
from serving.booking.database import database_of
from serving.booking.opening import check_database, open_desks, staffed
from serving.charge.settings import SiteConfig
from serving.charge.state import StateStore
from serving.checks import InputChecks
from serving.config import AuditConfig, ServiceConfig
from serving.core.events import Sink
from serving.gateway import Gateway
from serving.site_files import load_site
from serving.structural.opening import open_monitors
from serving.tick.sites import SiteService
from serving.watch.sinks import Sinks


@dataclass(frozen=True)
class Plan:
    """All that a process needs to build its gateway: plain data, so it travels to another process.

    Attributes:
        config: the configuration.
        sites: (system, site as JSON), in the order of the configuration's.
        logs: the socket of the process that prints the log of all others; None: each prints its own.
        numbers: the first alarm number and the step to the next, so that no two processes use one twice.
    """

    config: ServiceConfig
    sites: tuple[tuple[str, str], ...]
    logs: Path | None = None
    numbers: tuple[int, int] = (1, 1)

    @classmethod
    def make(cls, config: ServiceConfig) -> Self:
        """Load the sites of a configuration.

        Raises:
            CityloopError: if one is unknown or cannot be read, two have one name, or a setting fits none of them.
        """
        found: dict[str, Site] = {}
        for one in config.sites:
            site = staffed(load_site(one.site), one.booking)
            address = f"{site.system}/{site.name}"
            if address in found:
                raise CityloopError(f"two sites are called {address}: rename one of them")
            found[address] = site
        everyday = [one.rollback for one in config.sites if one.rollback.everyday]
        if everyday:  # else nobody need wait for what guards bring: one setting may be meant for several systems
            told = [get_system(site.system).make_guard(site).reasons for site in found.values()]
            for rollback in everyday:
                rollback.check_reasons(tuple(dict.fromkeys(chain(*told))))
        return cls(config, tuple((site.system, site.model_dump_json()) for site in found.values()))

    def released(self) -> Self:
        """The same plan under a new release name, for which every process is replaced."""
        config = self.config.model_copy(update={"release": uuid4().hex})
        return replace(self, config=config)

    def part(self, chosen: Sequence[int]) -> Self:
        """The same plan for some of the sites."""
        config = self.config.model_copy(update={"sites": tuple(self.config.sites[k] for k in chosen)})
        return replace(self, config=config, sites=tuple(self.sites[k] for k in chosen))

    def places(self) -> list[tuple[SiteConfig, Site]]:
        """Sites with their settings."""
        sites = [get_system(system).site_class.model_validate_json(text) for system, text in self.sites]
        return list(zip(self.config.sites, sites, strict=True))

    def check_files(self) -> None:
        """Make sure that this process can write the configured folders, and can sign what it writes.

        Raises:
            CityloopError: if a folder cannot be made or written, or the key of the audit log is none.
        """
        audit = self.config.audit
        folders = {"state": self.config.state}
        if audit is not None:
            folders |= {"audit": audit.folder, "anchors": audit.anchors}
        for called, folder in folders.items():
            if folder is not None:
                make_folder(folder, f"{called} folder")
        if audit is not None and audit.key is not None:
            signing_key(audit.key)

    def check_databases(self) -> None:
        """Make sure that this process can use the databases of bookings; their missing tables are made.

        Raises:
            CityloopError: if one cannot be used.
        """
        for config, (_, text) in zip(self.config.sites, self.sites, strict=True):
            if config.booking is not None:
                check_database(database_of(config.booking), TransitSite.model_validate_json(text).name)

    def gateway(self, restore: bool = True) -> Gateway:
        """A gateway with its services.

        Args:
            restore: continue from the saved state; otherwise it is only read, for a look at what would be served.

        Raises:
            CityloopError: if a controller is unknown, unfit, or cannot decide, a file that the configuration names
                cannot be used, or the state cannot be read.
        """
        if restore:
            self.check_files()
        folder = self.config.state
        places = self.places()
        access = Access(self.config.access)
        monitors = open_monitors([(config.monitor, site) for config, site in places])
        with ExitStack() as opened:  # all of it is closed again where not all can be had
            sinks = None
            if restore:
                audit = open_log(self.config.audit)
                if audit is not None:
                    opened.callback(audit.close)
                sinks = Sinks([site for _, site in places], folder, audit, monitors, self.numbers)
                opened.callback(sinks.close)
                access.announce()
            services: list[SiteService] = []
            for config, site in places:
                services.append(
                    open_service(site, config, StateStore(folder, site, keep=restore), sinks.all if sinks else ())
                )
                opened.callback(services[-1].close)
            bookings = [(config.site, site, config.booking) for config, site in places]
            desks = open_desks(bookings, {service.ref: service for service in services}, restore)
            for desk in desks.values():
                opened.callback(desk.close)
            if restore:
                for service in services:
                    service.begin()
                if audit is not None:
                    keep_what_decides(audit, services)
            opened.pop_all()
        if sinks is None:
            return Gateway(services, access)
        return Gateway(
            services,
            access,
            audit=audit,
            streams=sinks.streams,
            metrics=sinks.metrics,
            alarms=sinks.alarms,
            structural=sinks.structural,
            sinks=sinks.all,
            desks=desks,
        )


def open_service(site: Site, config: SiteConfig, store: StateStore, sinks: Sequence[Sink]) -> SiteService:
    """The service of a site, with its saved state.

    Raises:
        CityloopError: if a controller is unknown, unfit, or cannot decide, or the state cannot be read.
    """
    checks = InputChecks(get_system(site.system), site, settings=config.checks)
    return SiteService.open(site, config, checks=checks, store=store, sinks=sinks)


def open_log(config: AuditConfig | None) -> AuditLog | None:
    """The audit log of a configuration, if it has one.

    Raises:
        CityloopError: if its folder or its key cannot be used.
    """
    return None if config is None else AuditLog(config.folder, config)


def keep_what_decides(audit: AuditLog, services: Sequence[SiteService]) -> None:
    """Let the log keep every site and bundle, so that what they decide can be replayed."""
    for service in services:
        crew = service.standing.crew
        audit.keep_site(service.site, crew.fallback.name, crew.in_charge[0].why)
        for seat in crew.seats:
            folder = None if seat.bundle is None else find_bundle(seat.ref, service.site)
            if folder is not None:
                audit.keep_bundle(folder)
