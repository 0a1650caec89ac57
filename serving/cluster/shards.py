"""What has a process of its own: all sites together, each system, or each site; and the one that stands in front.

Every site lives in exactly one replica, which keeps its state. Addresses are the same however the sites are spread: a
shard's applications take the addresses of its sites, the one in front all others, and it asks the shards.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serving.build import Plan
from serving.gateway import Gateway
from serving.refusals import NotServed
from serving.tick.sites import SiteService
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
    shards = [Shard(f"{NAME}-{key.replace('/', '-')}", f"/v1/{key}", plan.part(ks)) for key, ks in parts.items()]
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

    def find(self, system: str, site: str) -> SiteService:
        """Nothing: the addresses of what is served lead elsewhere."""
        raise NotServed("site", f"{system}/{site}", ["one of those that GET /v1/systems lists"])

    async def _ask(self, method: str, *args: Any) -> list[Any]:
        from ray import serve

        handles = [serve.get_app_handle(name) for name in self._names]
        return list(await asyncio.gather(*(getattr(handle, method).remote(*args) for handle in handles)))

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
        """See `Gateway.exposition`: those of every shard, told apart by a label."""
        found = await self._ask("exposition")
        texts = {name: content.decode() for name, (content, _) in zip(self._names, found, strict=True)}
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
