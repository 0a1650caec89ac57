"""What has a process of its own: all sites together, each system, or each site; and the one that stands in front.

Every site lives in exactly one replica, which keeps its state. Addresses are the same however the sites are spread: a
shard's applications take the addresses of its sites, the one in front all others, and it asks the shards.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from serving.access.principal import Principal
from serving.alarms.book import Alarm
from serving.alarms.told import AlarmsTold
from serving.build import Plan
from serving.cluster.joined import JoinedEvents
from serving.gateway import Gateway
from serving.refusals import Busy, NotServed
from serving.tick.sites import SiteService
from serving.watch.streams import MAX_EACH, MAX_SUBSCRIBERS
from serving.wire import SystemSummary

NAME = "cityloop"
"""Of the application, and the beginning of the shards' names."""


@dataclass(frozen=True)
class Shard:
    """One application.

    Attributes:
        name, route: of the application.
        plan: what it serves.
        asks: the shards that it stands in front of.
    """

    name: str
    route: str
    plan: Plan
    asks: tuple[str, ...] = ()


def shards_of(plan: Plan) -> list[Shard]:
    """The applications of a service, the one in front last."""
    if plan.config.shards == "one":
        return [Shard(NAME, "/", plan)]
    parts: dict[str, list[int]] = {}
    for k, (_, site) in enumerate(plan.places()):
        parts.setdefault(site.system if plan.config.shards == "system" else f"{site.system}/{site.name}", []).append(k)
    shards = []
    for k, (key, places) in enumerate(parts.items()):
        part = replace(plan.part(places), numbers=(1 + k, len(parts)))
        shards.append(Shard(f"{NAME}-{key.replace('/', '-')}", f"/v1/{key}", part))
    return [*shards, Shard(NAME, "/", plan.part(()), tuple(shard.name for shard in shards))]


class Front(Gateway):
    """A gateway without sites of its own, which asks those that have them.

    Args:
        gateway: without sites.
        names: of the shards' applications.
    """

    def __init__(self, gateway: Gateway, names: Sequence[str]):
        super().__init__([], gateway.access, gateway.audit, metrics=gateway.metrics, sinks=gateway.sinks)
        self._names = names
        self._listening: list[JoinedEvents] = []

    heard = rings = True  # by the shards

    def find(self, system: str, site: str) -> SiteService:
        """Nothing: the addresses of what is served lead elsewhere."""
        raise NotServed("site", f"{system}/{site}", ["one of those that GET /v1/systems lists"])

    def _handles(self) -> list[Any]:
        from ray import serve

        return [serve.get_app_handle(name) for name in self._names]

    async def _ask(self, method: str, *args: Any) -> list[Any]:
        asked = (getattr(handle, method).remote(*args) for handle in self._handles())
        return list(await asyncio.gather(*asked))

    async def listen(
        self, principal: Principal, since: str | None, allowed: Callable[[], bool], last: int
    ) -> JoinedEvents:
        """See `Gateway.listen`: what every shard tells, in the order in which it comes."""
        self._listening = [one for one in self._listening if not one.closed]
        mine = sum(one.name == principal.name for one in self._listening)
        if len(self._listening) >= MAX_SUBSCRIBERS or mine >= MAX_EACH:
            raise Busy("streams", len(self._listening), "close one, or ask again later", retry_after_s=10.0)
        handles = [handle.options(stream=True) for handle in self._handles()]

        def open_(k: int, place: str | None) -> Any:
            return handles[k].events.remote(principal, place, last)

        events = JoinedEvents(principal.name, open_, len(handles), since, allowed)
        self._listening.append(events)
        try:
            await events.opened()
        except asyncio.CancelledError:
            events.close()
            raise
        return events

    async def told(self, principal: Principal) -> AlarmsTold:
        """See `Gateway.told`."""
        return AlarmsTold.joined(await self._ask("told", principal))

    async def alarm(self, number: int) -> Alarm | None:
        """See `Gateway.alarm`."""
        return next((alarm for alarm in await self._ask("alarm", number) if alarm is not None), None)

    async def acknowledge(self, number: int, who: str) -> Alarm:
        """See `Gateway.acknowledge`."""
        return self._one(number, await self._ask("acknowledge", number, who))

    async def shelve(self, number: int, who: str, reason: str, seconds: float) -> Alarm:
        """See `Gateway.shelve`."""
        return self._one(number, await self._ask("shelve", number, who, reason, seconds))

    def _one(self, number: int, found: Sequence[Alarm | None]) -> Alarm:
        for alarm in found:
            if alarm is not None:
                return alarm
        raise NotServed("alarm", str(number), [])

    async def health(self) -> dict[str, Any]:
        """See `Gateway.health`."""
        found = await self._ask("health")
        return {
            "status": "ok" if all(one["status"] == "ok" for one in found) else "degraded",
            "sites": {ref: state for one in found for ref, state in one["sites"].items()},
            "audit": next((one["audit"] for one in found if one["audit"] != "ok"), "ok"),
        }

    async def ready(self) -> dict[str, Any]:
        """See `Gateway.ready`."""
        faults = {what: why for one in await self._ask("ready") for what, why in one["faults"].items()}
        return {"status": "unready" if faults else "ready", "faults": faults}

    async def exposition(self) -> tuple[bytes, str]:
        """See `Gateway.exposition`: those of every shard, and of what it answers itself, told apart by a label."""
        found = [*await self._ask("exposition"), await super().exposition()]
        texts = {name: content.decode() for name, (content, _) in zip((*self._names, NAME), found, strict=True)}
        return joined(texts).encode(), found[0][1]

    async def summaries(self) -> list[SystemSummary]:
        """See `Gateway.summaries`."""
        found: dict[str, SystemSummary] = {}
        for rows in await self._ask("summaries"):
            for row in rows:
                earlier = found[row.name].sites if row.name in found else []
                found[row.name] = row.model_copy(update={"sites": [*earlier, *row.sites]})
        return list(found.values())


def joined(texts: Mapping[str, str]) -> str:
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


HEAD_LINES = 2
"""``# HELP`` and ``# TYPE``."""
