"""Descriptions that stay as they are while the process runs; each is made once, in a thread, when first asked for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from envs.core.site import Site
from envs.core.system import System
from serving.core.wire import CommandRange, InCharge, SiteInfo, answer_schema, example_tick, request_schema

Made = TypeVar("Made")


class Once(Generic[Made]):
    """A value that is made once. Making it takes longer than a tick, so the event loop does not wait for it.

    Args:
        make: makes it, in a thread; called again if it fails.
    """

    def __init__(self, make: Callable[[], Made]):
        self._make, self._lock = make, threading.Lock()
        self._made: Made | None = None

    async def get(self) -> Made:
        """The value."""
        return self._made if self._made is not None else await asyncio.to_thread(self._get)

    def _get(self) -> Made:
        with self._lock:
            if self._made is None:
                self._made = self._make()
            return self._made


class Description:
    """Descriptions of a site for clients.

    Args:
        system: of the site.
        site: the site.
        in_charge: describes the controller in charge, which alone may change.
    """

    def __init__(self, system: System, site: Site, in_charge: Callable[[], InCharge]):
        self._in_charge = in_charge
        self._info = Once(lambda: info_of(system, site, in_charge()))
        self._scene = Once(lambda: system.make_scene(site).model_dump_json().encode())

    async def info(self) -> SiteInfo:
        """All facts of the site that a client needs."""
        return (await self._info.get()).model_copy(update={"in_charge": self._in_charge()})

    async def scene(self) -> bytes:
        """The site's scene, as JSON."""
        return await self._scene.get()


def info_of(system: System, site: Site, in_charge: InCharge) -> SiteInfo:
    """Facts of a site that a client needs."""
    return SiteInfo(
        system=site.system,
        site=site.name,
        site_hash=site.hash,
        agents=list(site.agents),
        axes={axis: list(ids) for axis, ids in site.axes.items()},
        limits=site.limits,
        command=CommandRange.of(system, site),
        in_charge=in_charge,
        request_schema=request_schema(site),
        answer_schema=answer_schema(site),
        example=example_tick(site),
    )
