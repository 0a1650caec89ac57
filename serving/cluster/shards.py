"""Division of sites among processes: all sites together, each system, or each site; and the gateway in front of them.

Every site lives in exactly one replica, which keeps its state. Addresses are the same however the sites are divided: a
shard's application takes the addresses of its sites, the front takes all others, and it asks the shards.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from serving.access.principal import Principal
from serving.alarms.book import Alarm
from serving.alarms.told import AlarmsTold
from serving.build import Plan
from serving.cluster.joined import JoinedEvents
from serving.cluster.proxy import NAME
from serving.core.refusals import Busy, NotServed, Refused
from serving.core.wire import SiteInfo, SystemSummary
from serving.forms import SiteStanding
from serving.gateway import Gateway
from serving.tick.sites import SiteService
from serving.watch.streams import MAX_EACH, MAX_SUBSCRIBERS

ANSWERS_S = 1.0
"""Seconds for a shard to report its health. One that hangs, or is being replaced, must not make all look dead."""

SILENT = "its process does not answer"

HEAD_LINES = 2
"""``# HELP`` and ``# TYPE``."""


@dataclass(frozen=True)
class Shard:
    """One application.

    Attributes:
        name, route: of the application.
        plan: of its gateway.
        asks: application of each shard behind it → the shard's sites.
        has_booking: whether trips can be booked at one of these.
        waits_s: how long the slowest site of these may take to answer a tick.
    """

    name: str
    route: str
    plan: Plan
    asks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    has_booking: bool = False
    waits_s: float = 0.0


def shards_of(plan: Plan) -> list[Shard]:
    """The applications of a service, the front last."""
    if plan.config.shards == "one":
        return [Shard(NAME, "/", plan)]
    parts: dict[str, list[int]] = {}
    for k, (_, site) in enumerate(plan.places()):
        parts.setdefault(site.system if plan.config.shards == "system" else f"{site.system}/{site.name}", []).append(k)
    shards = []
    for k, (key, places) in enumerate(parts.items()):
        part = replace(plan.part(places), numbers=(1 + k, len(parts)))
        shards.append(Shard(f"{NAME}-{key.replace('/', '-')}", f"/v1/{key}", part))
    asks = {shard.name: tuple(f"{site.system}/{site.name}" for _, site in shard.plan.places()) for shard in shards}
    has_booking = any(config.booking is not None for config in plan.config.sites)
    waits_s = max(config.deadline_ms for config in plan.config.sites) / 1000.0 + ANSWERS_S
    return [*shards, Shard(NAME, "/", plan.part(()), asks, has_booking, waits_s)]


@dataclass(frozen=True)
class RefusedThere:
    """What a shard refuses, as plain data: an exception would be logged where it comes from as a fault."""

    status: int
    field: str
    value: object
    mend: str
    retry_after_s: float | None

    @classmethod
    def of(cls, error: Refused) -> RefusedThere:
        """As data."""
        return cls(error.status, error.field, error.value, error.mend, error.retry_after_s)

    def refused(self) -> Refused:
        """As it was."""
        error = Refused(self.field, self.value, self.mend, retry_after_s=self.retry_after_s)
        error.status = self.status
        return error


class Front(Gateway):
    """A gateway without sites of its own, which asks those that have them.

    Args:
        gateway: without sites.
        shards: application of each shard → its sites.
        has_booking: whether trips can be booked at one.
        waits_s: how long the slowest site may take to answer a tick.
    """

    # Instead of the properties of `Gateway`: the shards have all of it.
    has_streams = has_alarms = True
    has_booking = False

    def __init__(
        self,
        gateway: Gateway,
        shards: Mapping[str, Sequence[str]],
        has_booking: bool = False,
        waits_s: float = ANSWERS_S,
    ):
        super().__init__([], gateway.access, gateway.audit, metrics=gateway.metrics, sinks=gateway.sinks)
        self._shards, self.has_booking, self._waits_s = shards, has_booking, waits_s
        self._listening: list[JoinedEvents] = []

    def find(self, system: str, site: str) -> SiteService:
        """Always refuses: the addresses of sites lead to their shards."""
        raise NotServed("site", f"{system}/{site}", ["one of those that GET /v1/systems lists"])

    @cached_property
    def _handles(self) -> list[Any]:
        """Handles of the shards, found once: Ray's controller is asked for them, and may be away."""
        from ray import serve

        return [serve.get_app_handle(name) for name in self._shards]

    def _shard_of(self, system: str, site: str) -> str:
        """The shard that has a site.

        Raises:
            NotServed: if none has.
        """
        found = next((name for name, refs in self._shards.items() if f"{system}/{site}" in refs), None)
        if found is None:
            self.find(system, site)
        assert found is not None
        return found

    async def ask(self, what: str, system: str, site: str, *args: Any, within_s: float | None = None) -> Any:
        """A site's answer over gRPC, which has one address for all sites; see `Replica.ask`.

        Raises:
            NotServed: if no shard has it.
            Busy: if its shard does not answer in time.
            Refused: as it says.
        """
        name = self._shard_of(system, site)
        found = await self._heard("ask", what, system, site, *args, among=[name], within_s=within_s)
        if name not in found:
            raise Busy("service", None, f"{SILENT}: decide locally and ask again", retry_after_s=ANSWERS_S)
        told = found[name]
        if isinstance(told, RefusedThere):
            raise told.refused()
        return told

    async def act(self, system: str, site: str, body: bytes, principal: Principal) -> dict[str, Any]:
        """See `Gateway.act`."""
        answer: dict[str, Any] = await self.ask("act", system, site, body, principal, within_s=self._waits_s)
        return answer

    async def info(self, system: str, site: str) -> SiteInfo:
        """See `Gateway.info`."""
        info: SiteInfo = await self.ask("info", system, site)
        return info

    async def standing(self, system: str, site: str) -> SiteStanding:
        """See `Gateway.standing`."""
        standing: SiteStanding = await self.ask("standing", system, site)
        return standing

    async def _heard(
        self, method: str, *args: Any, among: Sequence[str] | None = None, within_s: float | None = None
    ) -> dict[str, Any]:
        """Shard → its answer, of these shards (default: all) that answer in time."""
        from ray.exceptions import RayActorError
        from ray.serve.exceptions import RayServeException

        found = {}

        async def ask(name: str, handle: Any) -> None:
            with suppress(TimeoutError, RayActorError, RayServeException):
                async with asyncio.timeout(ANSWERS_S if within_s is None else within_s):
                    found[name] = await getattr(handle, method).remote(*args)

        handles = zip(self._shards, self._handles, strict=True)
        await asyncio.gather(*(ask(name, handle) for name, handle in handles if among is None or name in among))
        return {name: found[name] for name in self._shards if name in found}

    async def _all(self, method: str, *args: Any) -> list[Any]:
        """The answers of all shards, where a part would look like the whole.

        Raises:
            Busy: if one does not answer in time.
        """
        found = await self._heard(method, *args)
        self._check_whole(found)
        return list(found.values())

    def _check_whole(self, found: Mapping[str, Any]) -> None:
        """Refuse an answer that would lack a shard."""
        if len(found) < len(self._shards):
            raise Busy("service", None, "one of its processes does not answer: ask again", retry_after_s=ANSWERS_S)

    def _silent(self, found: Mapping[str, Any]) -> dict[str, str]:
        """Sites of shards that do not answer → that fact."""
        return {ref: SILENT for name, refs in self._shards.items() if name not in found for ref in refs}

    async def listen(
        self,
        principal: Principal,
        since: str | None,
        allowed: Callable[[], bool],
        last: int,
        only: tuple[str, str] | None = None,
    ) -> JoinedEvents:
        """See `Gateway.listen`: events of all shards, or of one site's shard, in the order of arrival."""
        asked = list(self._shards) if only is None else [self._shard_of(*only)]
        self._listening = [one for one in self._listening if not one.closed]
        mine = sum(one.name == principal.name for one in self._listening)
        if len(self._listening) >= MAX_SUBSCRIBERS or mine >= MAX_EACH:
            raise Busy("streams", len(self._listening), "close one, or ask again later", retry_after_s=10.0)
        of = dict(zip(self._shards, self._handles, strict=True))
        handles = [of[name].options(stream=True) for name in asked]

        def open_(k: int, place: str | None) -> Any:
            return handles[k].events.remote(principal, place, last, only)

        events = JoinedEvents(principal.name, open_, len(handles), since, allowed)
        self._listening.append(events)
        try:
            await events.opened()
        except asyncio.CancelledError:
            events.close()
            raise
        return events

    async def list_alarms(self, principal: Principal) -> AlarmsTold:
        """See `Gateway.list_alarms`."""
        return AlarmsTold.joined(await self._all("told", principal))

    async def alarm(self, number: int) -> Alarm | None:
        """See `Gateway.alarm`."""
        found = await self._ringing(number)
        return None if found is None else found[1]

    async def _ringing(self, number: int) -> tuple[str, Alarm] | None:
        """An alarm and the shard that has it; None if it is not there.

        Raises:
            Busy: if it may be with one that does not answer.
        """
        found: dict[str, Alarm | None] = await self._heard("alarm", number)
        for name, alarm in found.items():
            if alarm is not None:
                return name, alarm
        self._check_whole(found)
        return None

    async def acknowledge(self, number: int, who: str) -> Alarm:
        """See `Gateway.acknowledge`."""
        return await self._there("acknowledge", number, who)

    async def shelve(self, number: int, who: str, reason: str, seconds: float) -> Alarm:
        """See `Gateway.shelve`."""
        return await self._there("shelve", number, who, reason, seconds)

    async def _there(self, verb: str, number: int, *how: Any) -> Alarm:
        """Do something to an alarm, where it is: no other shard need answer."""
        found = await self._ringing(number)
        told = {} if found is None else await self._heard(verb, number, *how, among=[found[0]])
        if found is not None and not told:
            raise Busy("alarm", number, f"{SILENT}: ask again", retry_after_s=ANSWERS_S)
        alarm: Alarm | None = next(iter(told.values()), None)
        if alarm is None:
            raise NotServed("alarm", str(number), [])
        return alarm

    async def health(self) -> dict[str, Any]:
        """See `Gateway.health`."""
        found = await self._heard("health")
        silent, told, access = self._silent(found), found.values(), self.access.problem
        return {
            "status": "degraded" if silent or access or any(one["status"] != "ok" for one in told) else "ok",
            "sites": {ref: state for one in told for ref, state in one["sites"].items()} | silent,
            "audit": next((one["audit"] for one in told if one["audit"] != "ok"), "ok"),
            "access": access or "ok",
        }

    async def ready(self) -> dict[str, Any]:
        """See `Gateway.ready`."""
        found = await self._heard("ready")
        faults = {what: why for one in found.values() for what, why in one["faults"].items()} | self._silent(found)
        return self._readiness(faults)

    async def exposition(self) -> tuple[bytes, str]:
        """See `Gateway.exposition`: metrics of every shard that answers, and its own, distinguished by a label."""
        own = await super().exposition()
        found = {**await self._heard("exposition"), NAME: own}
        texts = {name: content.decode() for name, (content, _) in found.items()}
        return merge_expositions(texts).encode(), own[1]

    async def summaries(self) -> list[SystemSummary]:
        """See `Gateway.summaries`."""
        found: dict[str, SystemSummary] = {}
        for rows in await self._all("summaries"):
            for row in rows:
                earlier = found[row.name].sites if row.name in found else []
                found[row.name] = row.model_copy(update={"sites": [*earlier, *row.sites]})
        return list(found.values())


def merge_expositions(texts: Mapping[str, str]) -> str:
    """Prometheus' text of several processes as one: every family once, every sample with the label ``shard``."""
    families: dict[str, tuple[list[str], list[str]]] = {}
    for shard, text in texts.items():
        family = ""
        for line in text.splitlines():
            if line.startswith("# "):
                family = line.split(" ", 3)[2]
                head, _ = families.setdefault(family, ([], []))
                if line not in head and len(head) < HEAD_LINES:
                    head.append(line)
            elif line:
                name, brace, rest = line.partition("{")
                if not brace:
                    name, _, rest = line.partition(" ")
                    rest = f"}} {rest}"
                comma = "" if rest.startswith("}") else ","
                families[family][1].append(f'{name}{{shard="{shard}"{comma}{rest}')
    return "".join(f"{line}\n" for head, samples in families.values() for line in [*head, *samples])
