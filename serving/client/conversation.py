"""The client's protocol, whatever carries it: questions, checks of answers, retries, and the choice of who decides.

Nothing here waits or uses a network: `Terms.conversation` yields the next step and is sent its result. Clients for
threads and for asyncio (`site_client.py`) therefore cannot differ in what they accept as an answer.
"""

from __future__ import annotations

import math
import random
import time
import uuid
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from envs.core.errors import CityloopError
from envs.core.readings import Readings
from envs.core.registry import get_system
from envs.core.site import Site
from envs.core.world import Commands, Controller
from serving.client.takeover import Decided, LocalControl, Takeover, Unsafe, Unusable
from serving.client.transport import Reply, bearer, scheme_of
from serving.core.deadline import Late
from serving.core.refusals import brief, words_of
from serving.core.wire import MAX_DEADLINE_MS

BACKOFF_S, TRIES = 0.02, 4
"""First wait before a question is asked again, doubled each time and jittered by half; and how often it is asked."""

BUSY = (429, 503)
"""HTTP statuses of a service that has no time now."""


@dataclass(frozen=True)
class Ask:
    """Next step: ask, within so many seconds."""

    left_s: float


@dataclass(frozen=True)
class Wait:
    """Next step: wait."""

    seconds: float


Conversation = Generator[Ask | Wait, Reply | Exception | None, dict[str, Any]]
"""Yields the next step and is sent its result; returns the answer."""


class Terms:
    """Base of both clients: addresses, questions, checks of answers, choice of who decides. Nothing here waits.

    Args: as `SiteClient`.
    """

    def __init__(
        self,
        site: Site,
        url: str,
        deadline_ms: float = 1000.0,
        *,
        key: str | None = None,
        fallback: Controller | str | None = None,
        after: int = 2,
        back: int = 3,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ):
        self.site, self.url, self.deadline_ms = site, url.rstrip("/"), deadline_ms
        self._system = get_system(site.system)
        scheme = scheme_of(url, "http", "https", "ws", "wss")
        if not deadline_ms > 0:
            raise CityloopError(f"deadline_ms is {deadline_ms:g}: give a time above 0")
        self.socket = scheme.startswith("ws")
        self._path = f"/v1/{site.system}/{site.name}"
        self._headers = bearer(key, "key")
        self._clock, self._rng = clock, rng or random.Random()
        self.takeover = Takeover(after, back)
        self.local = LocalControl(site, fallback)  # guard and fallback beside the plant; no tick has time for it
        self._not_before = -math.inf
        self._usual_s = 0.0
        self.episode = ""
        self._name_episode(None)

    def _check_beside(self, also: Terms, has_another: bool) -> None:
        """Refuse a second client that cannot stand in for this one.

        Raises:
            CityloopError: if it asks of another site, or has a second itself.
        """
        if also.site.hash != self.site.hash:
            raise CityloopError(f"also asks of site {also.site.name!r}, not of this {self.site.name!r}: give one of it")
        if has_another:
            raise CityloopError("also has another client beside it, and two services are asked at most: leave it out")

    def _name_episode(self, name: str | None) -> None:
        self.episode = name or uuid.uuid4().hex[:16]
        self.takeover.reset()
        self.local.reset()

    @property
    def address(self) -> str:
        """Address of ticks."""
        return self.url + self._path + ("/loop" if self.socket else "/act")

    @property
    def info_address(self) -> str:
        """Address of the site's description: HTTP, whatever ticks travel by."""
        return "http" + self.url.removeprefix("ws" if self.socket else "http") + self._path

    def described(self, status: int, body: bytes) -> dict[str, Any]:
        """The service's description of the site.

        Raises:
            CityloopError: if it does not serve this site.
        """
        content = _json(body)
        if status in BUSY:
            raise CityloopError(
                f"the service at {self.url} has no time for {self._path} now (status {status}): "
                "it may be starting still; ask again, or see its /readyz"
            )
        if status != 200 or not isinstance(content, dict):
            raise CityloopError(f"the service at {self.url} does not serve {self._path}: {_refusal(content)}")
        if content.get("site_hash") != self.site.hash:
            raise CityloopError(
                f"the service's site {self.site.name!r} is another than this plant's (hash {content.get('site_hash')}, "
                f"here {self.site.hash}): serve the scenario that you control"
            )
        return content

    def body(self, tick: int, time_s: float, readings: Readings) -> bytes:
        """The body of a tick's request."""
        content: dict[str, Any] = {"tick": tick, "time_s": time_s}
        content |= {"episode": self.episode, "deadline_ms": min(self.deadline_ms, float(MAX_DEADLINE_MS))}
        return orjson.dumps(content | {"readings": self._system.readings.to_json(readings)})

    def conversation(self, tick: int, time_s: float) -> Conversation:
        """Ask until there is an answer, or no time.

        Raises:
            Late: if there is none in time.
            Unusable: if there is one that cannot be used, or the service has asked for a pause.
        """
        started, tries = self._clock(), 0
        deadline_s = self.deadline_ms / 1e3
        if started < self._not_before:
            raise Unusable(f"the service asked not to be asked for another {self._not_before - started:.3g} s")
        while True:
            left_s = deadline_s - (self._clock() - started)
            if left_s <= 0:
                raise Late(f"no answer within {self.deadline_ms:g} ms")
            asked = self._clock()
            found = yield Ask(left_s)
            now = self._clock()
            if now - started > deadline_s or isinstance(found, (Late, TimeoutError)):
                raise Late(f"no answer within {self.deadline_ms:g} ms")
            tries += 1
            if isinstance(found, Reply) and found.status not in BUSY:
                self._usual_s = now - asked
                return self._answer(found, tick, time_s)
            why, wait_s = self._again(found, tries, now)
            if tries >= TRIES or wait_s + self._usual_s >= deadline_s - (now - started):
                raise Unusable(why)
            yield Wait(wait_s)

    def _again(self, found: Reply | Exception | None, tries: int, now_s: float) -> tuple[str, float]:
        """Reason for asking again, and the wait before it in seconds."""
        wait_s = BACKOFF_S * 2 ** (tries - 1) * self._rng.uniform(0.5, 1.5)
        if not isinstance(found, Reply):
            return str(found), wait_s
        asked_s = _seconds(found.headers.get("retry-after"))
        if asked_s is not None:
            self._not_before = now_s + asked_s
            wait_s = max(asked_s, wait_s)
        return f"status {found.status}: {_refusal(_json(found.content))}", wait_s

    def _answer(self, reply: Reply, tick: int, time_s: float) -> dict[str, Any]:
        try:
            content = orjson.loads(reply.content)
        except orjson.JSONDecodeError as error:
            raise Unusable(str(error)) from None
        if reply.status != 200 or not isinstance(content, dict):
            raise Unusable(f"status {reply.status}: {_refusal(content)}")
        if content.get("tick") != tick or content.get("time_s") != time_s:
            raise Unusable(f"it is for tick {brief(content.get('tick'))}, not {tick}")
        if content.get("episode", self.episode) not in (self.episode, None):
            raise Unusable(f"it is for episode {brief(content.get('episode'))}, not {self.episode}")
        return content

    def commands(self, answer: Mapping[str, Any]) -> Commands:
        """The commands of an answer, one an agent in the site's order: ``(N,)``, or ``(N, k)`` if each is k numbers.

        Raises:
            Unusable: if an agent has none, or one that is neither a number nor as many numbers as the others'.
        """
        given = answer.get("commands")
        if not isinstance(given, dict) or set(given) != set(self.site.agents):
            raise Unusable("its commands are not one an agent")
        values = [given[agent].get(self._system.command) if isinstance(given[agent], dict) else None for agent in given]
        widths = {_width(value) for value in values}
        if len(widths) != 1 or None in widths:
            raise Unusable(f"its commands are not all numbers named {self._system.command!r}")
        order = dict(zip(given, values, strict=True))
        return np.array([order[agent] for agent in self.site.agents])

    def answered(self, readings: Readings, answer: Mapping[str, Any], took_ms: float) -> Decided:
        """The decision of a tick that was answered.

        Raises:
            Unusable: if the answer has no commands, or the local guard does not let them through.
        """
        commands = self.local.passed(readings, self.commands(answer))
        if self.takeover.answered():
            return Decided(commands, "service", None, took_ms, answer)
        reason = f"the service answers again: {self.takeover.answers} of {self.takeover.back} ticks"
        return Decided(self.local.decide(readings), "fallback", reason, None, answer)

    def missed(self, readings: Readings, why: Exception | None) -> Decided:
        """The decision of a tick that was not answered."""
        late, unsafe, reason = isinstance(why, Late), isinstance(why, Unsafe), str(why)
        held = None if self.takeover.missed() else self.local.held(readings)
        if held is not None:
            return Decided(held, "held", reason, late=late, unsafe=unsafe)
        return Decided(self.local.decide(readings), "fallback", reason, late=late, unsafe=unsafe)


def _width(value: Any) -> int | None:
    """Length of a list of numbers; 0 for a number, None for anything else."""
    if isinstance(value, list):
        return len(value) if value and all(type(part) in (int, float) for part in value) else None
    return 0 if type(value) in (int, float) else None


def _json(content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return None


def _seconds(text: str | None) -> float | None:
    """A Retry-After in seconds, 3600 at most; None if it is missing, or a date."""
    try:
        found = float(text or "")
    except ValueError:
        return None
    return min(max(found, 0.0), 3600.0) if math.isfinite(found) else None


def _refusal(content: Any) -> str:
    """The service's own words for a refusal, if it has any."""
    problem = content.get("error") if isinstance(content, dict) else None
    if not isinstance(problem, dict):
        return f"it answers {brief(content)}"
    return words_of(problem)
