"""A service that plays a script, on a clock that nobody waits for, and the same questions by both clients."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from typing import Any

import orjson
import pytest

from envs.core.readings import Readings
from envs.core.site import Site
from serving.client import AsyncSiteClient, Decided, Late, SiteClient
from serving.client.transport import Reply, Unreachable

DEADLINE_S = 1.0


class Clock:
    """Time passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds

    async def asleep(self, seconds: float) -> None:
        self.sleep(seconds)


Answer = Callable[[dict[str, Any]], Reply]


class Script:
    """A transport that plays a script, then answers properly; each entry takes so many seconds."""

    def __init__(self, clock: Clock, site: Site, steps: Iterable[tuple[float, Any]] = ()):
        self.clock, self.site, self.steps = clock, site, list(steps)
        self.bodies: list[dict[str, Any]] = []

    def ask(self, body: bytes, tick: int, left_s: float) -> Reply:
        asked = orjson.loads(body)
        self.bodies.append(asked)
        took_s, what = self.steps.pop(0) if self.steps else (0.01, good(self.site))
        if took_s > left_s:
            self.clock.now += left_s
            raise Late("no answer in time")
        self.clock.now += took_s
        if isinstance(what, Exception):
            raise what
        return what(asked)

    def close(self) -> None:
        pass


class AsyncScript(Script):
    async def ask(self, body: bytes, tick: int) -> Reply:  # type: ignore[override]
        try:
            return super().ask(body, tick, DEADLINE_S)
        except Late:
            raise TimeoutError from None

    async def close(self) -> None:  # type: ignore[override]
        pass


def good(site: Site, stage: int = 0, **changes: Any) -> Answer:
    def answer(asked: dict[str, Any]) -> Reply:
        commands = {agent: {"stage": stage} for agent in site.agents}
        content = {"tick": asked["tick"], "time_s": asked["time_s"], "commands": commands} | changes
        return Reply(200, orjson.dumps(content))

    return answer


def status(code: int, **headers: str) -> Answer:
    content = orjson.dumps({"error": {"field": "queue", "value": 9, "mend": "wait"}})
    return lambda asked: Reply(code, content, {key.replace("_", "-"): value for key, value in headers.items()})


class Both:
    """The same questions to the client for threads and to the one for asyncio."""

    def __init__(self, kind: str, site: Site, readings: Readings, steps: Iterable[tuple[float, Any]] = (), **more: Any):
        self.clock, self.readings, self.tick = Clock(), readings, 0
        settings = {"clock": self.clock, "rng": random.Random(0), "fallback": "max-pressure"} | more
        self.script = (Script if kind == "sync" else AsyncScript)(self.clock, site, steps)
        if kind == "sync":
            self.client: Any = SiteClient(
                site, "http://x", DEADLINE_S * 1e3, sleep=self.clock.sleep, transport=self.script, **settings
            )
        else:
            self.client = AsyncSiteClient(
                site,
                "http://x",
                DEADLINE_S * 1e3,
                sleep=self.clock.asleep,
                transport=self.script,
                **settings,  # type: ignore[arg-type]
            )

    def run(self, name: str, *arguments: Any) -> Any:
        found = getattr(self.client, name)(*arguments)
        return asyncio.run(found) if asyncio.iscoroutine(found) else found

    def next(self, readings: Readings | None = None) -> Decided:
        self.tick += 1
        self.clock.now += 5.0
        found = self.run("decide", self.tick, 5.0 * self.tick, readings or self.readings)
        assert isinstance(found, Decided)
        return found


KINDS = pytest.mark.parametrize("kind", ["sync", "async"])


BAD: dict[str, tuple[float, Any]] = {
    "late": (2.0, None),
    "dead": (0.3, Unreachable("connection refused")),
    "garbage": (0.01, lambda asked: Reply(200, b"\x00\xff")),
    "no object": (0.01, lambda asked: Reply(200, b"[1]")),
    "an error": (0.01, status(500)),
    "refused": (0.01, status(422)),
    "busy": (0.01, status(503, retry_after="3")),
}
