"""The Ray Serve deployment: a gateway behind its ASGI app, with a health check that decides a tick."""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Literal

from starlette.types import ASGIApp

from envs.core.errors import CityloopError
from serving.access.principal import Principal
from serving.alarms.book import Alarm
from serving.alarms.told import AlarmsTold
from serving.app import create_app
from serving.cluster.joined import BEGINS
from serving.cluster.options import options
from serving.cluster.shards import Front, RefusedThere, Shard
from serving.core.refusals import NotServed, Refused, as_refusal
from serving.core.wire import SystemSummary
from serving.forms import read_roles
from serving.operations import configure
from serving.rpc.service import Rpc
from serving.watch.logs import configure as configure_logs
from serving.watch.streams import Frame

LOGGER = logging.getLogger("cityloop.serving")

SWITCH_S = 0.0005
"""Seconds that a thread may keep the others waiting: a tick takes about as long."""


class Replica(Rpc):
    """One process of the service.

    Args:
        shard: its application.
    """

    def __init__(self, shard: Shard):
        sys.setswitchinterval(SWITCH_S)
        configure_logs(shard.plan.config.log, shard.plan.logs)
        gateway = shard.plan.gateway()
        self._tensorboard = shard.plan.config.tensorboard
        self.gateway = Front(gateway, shard.asks, shard.has_booking, shard.waits_s) if shard.asks else gateway

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """The app; Ray Serve asks for it after the constructor."""
        return create_app(self.gateway, self._tensorboard)

    def __del__(self) -> None:
        """Ray Serve asks for the end of a process this way."""
        if hasattr(self, "gateway"):
            self.gateway.close()

    async def check_health(self) -> None:
        """Ray Serve asks now and then, and replaces a process that raises."""
        await self.gateway.check()

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Take the roles that a deployment's ``user_config`` asks for: ``{"sites": {"system/site": roles}}``.

        Unusable roles are logged, and the former ones stay: a plant is better served by an old policy than by a
        deployment that Ray Serve gives up.
        """
        try:
            asked = read_roles(user_config)
        except CityloopError as error:
            LOGGER.error("user_config: %s; nothing is changed", error)  # noqa: TRY400
            return
        served = {service.ref: service for service in self.gateway.all}
        for ref in asked.keys() - served.keys():
            LOGGER.error(
                "user_config: %s is not served here: choose %s", ref, ", ".join(served) or "another deployment"
            )
        for service in served.values():
            if service.ref in asked:
                try:
                    await configure(service, asked[service.ref])
                except (CityloopError, Refused) as error:
                    LOGGER.error("%s: %s; its roles stay", service.ref, error)  # noqa: TRY400

    async def health(self) -> dict[str, Any]:
        """For the front; see `Gateway`."""
        return await self.gateway.health()

    async def ready(self) -> dict[str, Any]:
        """For the front; see `Gateway`."""
        return await self.gateway.ready()

    async def exposition(self) -> tuple[bytes, str]:
        """For the front; see `Gateway`."""
        return await self.gateway.exposition()

    async def summaries(self) -> list[SystemSummary]:
        """For the front; see `Gateway`."""
        return await self.gateway.summaries()

    async def ask(self, what: Literal["act", "info", "standing"], system: str, site: str, *args: Any) -> Any:
        """For the front, which has checked the caller: the site's answer, or a `RefusedThere`."""
        try:
            return await getattr(self.gateway, what)(system, site, *args)
        except (Refused, CityloopError) as error:
            return RefusedThere.of(as_refusal(error, what))

    async def events(
        self, principal: Principal, since: str | None, last: int, only: tuple[str, str] | None = None
    ) -> AsyncIterator[list[Frame]]:
        """For the front, which checks whether the caller may still listen; see `Gateway.listen`."""
        events = await self.gateway.listen(principal, since, lambda: True, last, only)
        try:
            yield [Frame(events.place, BEGINS, b"")]  # from now on nothing is missed
            async for frames in events:
                yield frames
        finally:
            events.close()

    async def told(self, principal: Principal) -> AlarmsTold:
        """For the front; see `Gateway.list_alarms`."""
        return await self.gateway.list_alarms(principal)

    async def alarm(self, number: int) -> Alarm | None:
        """For the front; see `Gateway`."""
        return await self.gateway.alarm(number)

    async def acknowledge(self, number: int, who: str) -> Alarm | None:
        """For the front; see `Gateway`. None: the alarm is not here."""
        with suppress(NotServed):
            return await self.gateway.acknowledge(number, who)
        return None

    async def shelve(self, number: int, who: str, reason: str, seconds: float) -> Alarm | None:
        """For the front; see `Gateway`. None: the alarm is not here."""
        with suppress(NotServed):
            return await self.gateway.shelve(number, who, reason, seconds)
        return None


def application(shard: Shard) -> Any:
    """The application that Ray Serve runs for a shard."""
    from ray import serve

    # Without a version of its own, every deployment is a new one: whoever goes back to the former would replace it.
    version = shard.plan.config.release or "first"
    return (
        serve.deployment(serve.ingress()(Replica), name=shard.name, **options())
        .options(user_config=user_config(shard))
        .options(version=version, _internal=True)
        .bind(shard)
    )


def user_config(shard: Shard) -> dict[str, Any]:
    """The roles of a shard's sites, as `Replica.reconfigure` takes them."""
    places = shard.plan.places()
    return {
        "sites": {f"{site.system}/{site.name}": config.roles.model_dump(exclude={"former"}) for config, site in places}
    }
