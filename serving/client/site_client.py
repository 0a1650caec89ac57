"""Clients of a plant: checked answers in time, and a safe command at every tick, whatever the service does.

`SiteClient` is for threads, `AsyncSiteClient` for asyncio; both speak HTTP, or a WebSocket where the address begins
with ``ws``. `decide` never raises for what the service does; `takeover` defines who decides instead, and when the
service does again. An answer counts if it is for this tick of this episode and arrived in time. A question is asked
again only where there is time for it, which is harmless, as the same tick has the same answer (`conversation.py`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self

import httpx

from envs.core.errors import CityloopError
from envs.core.readings import Readings
from envs.core.site import Site
from serving.client.conversation import Terms, Wait
from serving.client.takeover import Decided, Unusable
from serving.client.transport import (
    AsyncHttpTransport,
    AsyncSocketTransport,
    AsyncTransport,
    HttpTransport,
    Reply,
    SocketTransport,
    Transport,
    Unreachable,
    no_service,
    trust,
)
from serving.core.deadline import Late

INFO_TIMEOUT_S = 10.0
"""Seconds that a client waits for the description of a site before it reports that there is no service."""


class SiteClient(Terms):
    """Asks a service for the commands of one site.

    Args:
        site: the site.
        url: the service's address; ``http``, or ``ws`` for the WebSocket loop.
        deadline_ms: longest time of an answer, from the question to the last byte, all tries together.
        key: the API key, if the service needs one.
        fallback: local controller that decides when the service does not; the system's own fallback if not given.
        after: the fallback decides from so many missed ticks in a row on; before that the last safe command is held.
        back: the service decides again once it answered so many ticks in a row.
        also: client of an independent service of the same site, which is asked where this client has no answer that can
            be carried out. Both are one service to the plant: misses, answers and held commands are counted here. It
            begins its episodes, and is closed, with this one.
        clock: seconds, for tests.
        sleep: waits, for tests.
        rng: jitters waits.
        transport: of ticks, for tests.

    Raises:
        CityloopError: if the address or another argument cannot be used.
    """

    def __init__(
        self,
        site: Site,
        url: str,
        deadline_ms: float = 1000.0,
        *,
        also: SiteClient | None = None,
        sleep: Callable[[float], None] = time.sleep,
        transport: Transport | None = None,
        **settings: Any,
    ):
        super().__init__(site, url, deadline_ms, **settings)
        kind = SocketTransport if self.socket else HttpTransport
        self._sleep, self._transport = sleep, transport or kind(self.address, self._headers)
        self._others = () if also is None else (also,)
        for other in self._others:
            self._check_beside(other, bool(other._others))
            other._name_episode(self.episode)

    def info(self) -> dict[str, Any]:
        """The service's description of the site, or the second service's if it gives none; see `wire.SiteInfo`.

        Raises:
            CityloopError: if no service answers there, or it does not serve this site.
        """
        try:
            return self._info()
        except CityloopError:
            for other in self._others:
                with suppress(CityloopError):
                    return other._info()
            raise

    def _info(self) -> dict[str, Any]:
        try:
            answer = httpx.get(
                self.info_address, timeout=INFO_TIMEOUT_S, headers=self._headers, trust_env=False, verify=trust()
            )
        except httpx.HTTPError as error:
            raise no_service(self.url, error) from None
        return self.described(answer.status_code, answer.content)

    def begin(self, episode: str | None = None) -> None:
        """Begin an episode: the service is in charge, and earlier ticks are forgotten. Needed for all but the first."""
        self._name_episode(episode)
        if self.socket:
            self._transport.close()  # late answers belong to the old episode
        for other in self._others:
            other.begin(self.episode)

    def act(self, tick: int, time_s: float, readings: Readings) -> dict[str, Any]:
        """Ask for one tick; see `wire.ActAnswer`.

        Raises:
            Late: if the answer is not there in time.
            Unusable: if it cannot be used or belongs to another tick.
        """
        body, talk = self.body(tick, time_s, readings), self.conversation(tick, time_s)
        told: Reply | Exception | None = None
        try:
            while True:
                step = talk.send(told)
                if isinstance(step, Wait):
                    told = self._sleep(step.seconds)
                    continue
                try:
                    told = self._transport.ask(body, tick, step.left_s)
                except (Late, Unreachable) as error:
                    told = error
        except StopIteration as end:
            return end.value

    def report(self, tick: int, time_s: float, readings: Readings) -> dict[str, Any]:
        """As `act`, and from the second service where the first has no answer; for a program inside the plant, which
        decides whatever the answer is.

        Raises:
            Late, Unusable: as the first, if neither has one.
        """
        try:
            return self.act(tick, time_s, readings)
        except (Late, Unusable):
            for other in self._others:
                with suppress(Late, Unusable):
                    return other.act(tick, time_s, readings)
            raise

    def decide(self, tick: int, time_s: float, readings: Readings) -> Decided:
        """The commands to carry out at a tick. Never raises for what the service does."""
        started, why = self._clock(), None
        for client in (self, *self._others):
            try:
                answer = client.act(tick, time_s, readings)
                return self.answered(readings, answer, (self._clock() - started) * 1e3)
            except (Late, Unusable) as error:
                why = why or error
        return self.missed(readings, why)

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()
        for other in self._others:
            other.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncSiteClient(Terms):
    """As `SiteClient`, for asyncio: one tick at a time."""

    def __init__(
        self,
        site: Site,
        url: str,
        deadline_ms: float = 1000.0,
        *,
        also: AsyncSiteClient | None = None,
        sleep: Callable[[float], Any] = asyncio.sleep,
        transport: AsyncTransport | None = None,
        **settings: Any,
    ):
        super().__init__(site, url, deadline_ms, **settings)
        kind = AsyncSocketTransport if self.socket else AsyncHttpTransport
        self._sleep, self._transport = sleep, transport or kind(self.address, self._headers)
        self._others = () if also is None else (also,)
        for other in self._others:
            self._check_beside(other, bool(other._others))
            other._name_episode(self.episode)

    async def info(self) -> dict[str, Any]:
        """As `SiteClient.info`."""
        try:
            return await self._info()
        except CityloopError:
            for other in self._others:
                with suppress(CityloopError):
                    return await other._info()
            raise

    async def _info(self) -> dict[str, Any]:
        try:
            async with httpx.AsyncClient(
                timeout=INFO_TIMEOUT_S, headers=self._headers, trust_env=False, verify=trust()
            ) as http:
                answer = await http.get(self.info_address)
        except httpx.HTTPError as error:
            raise no_service(self.url, error) from None
        return self.described(answer.status_code, answer.content)

    async def begin(self, episode: str | None = None) -> None:
        """As `SiteClient.begin`."""
        self._name_episode(episode)
        if self.socket:
            await self._transport.close()
        for other in self._others:
            await other.begin(self.episode)

    async def act(self, tick: int, time_s: float, readings: Readings) -> dict[str, Any]:
        """As `SiteClient.act`."""
        body, talk = self.body(tick, time_s, readings), self.conversation(tick, time_s)
        told: Reply | Exception | None = None
        try:
            while True:
                step = talk.send(told)
                if isinstance(step, Wait):
                    told = await self._sleep(step.seconds)
                    continue
                try:
                    async with asyncio.timeout(step.left_s):
                        told = await self._transport.ask(body, tick)
                except (TimeoutError, Unreachable) as error:
                    told = error
        except StopIteration as end:
            return end.value

    async def report(self, tick: int, time_s: float, readings: Readings) -> dict[str, Any]:
        """As `SiteClient.report`."""
        try:
            return await self.act(tick, time_s, readings)
        except (Late, Unusable):
            for other in self._others:
                with suppress(Late, Unusable):
                    return await other.act(tick, time_s, readings)
            raise

    async def decide(self, tick: int, time_s: float, readings: Readings) -> Decided:
        """As `SiteClient.decide`."""
        started, why = self._clock(), None
        for client in (self, *self._others):
            try:
                answer = await client.act(tick, time_s, readings)
                return self.answered(readings, answer, (self._clock() - started) * 1e3)
            except (Late, Unusable) as error:
                why = why or error
        return self.missed(readings, why)

    async def close(self) -> None:
        """Close the connection."""
        await self._transport.close()
        for other in self._others:
            await other.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
