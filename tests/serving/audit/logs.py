"""A log that is written and replayed, and the services that write to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from envs.core.site import Site
from serving.audit import AuditLog
from serving.audit.replay import Replay, replay
from serving.core.events import Sink
from serving.tick.sites import SiteService
from tests.serving.plants import service


class Logged:
    """A log, and services that write to it."""

    def __init__(self, folder: Path):
        self.folder, self.log = folder, AuditLog(folder)
        self._open: list[SiteService] = []

    def service(
        self, site: Site, controller: Any = None, fallback: Any = None, beside: Sequence[Sink] = (), **more: Any
    ) -> SiteService:
        one = service(site, controller, fallback, sinks=(self.log, *beside), **more)
        self._open.append(one)
        self.log.keep_site(site, one.standing.crew.fallback.name)
        return one

    def replay(self, *arguments: Any) -> Replay:
        for one in self._open:
            one.close()
        self.log.close()
        return replay(self.folder, *arguments)


def run(one: SiteService, bodies: Sequence[bytes]) -> None:
    for body in bodies:
        one.act(body)


def all_reproduced(found: Replay) -> bool:
    assert not found.differences
    assert not found.partly
    assert not found.inferred
    return sum(found.reproduced.values()) == found.decisions
