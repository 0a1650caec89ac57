"""The loop of a fast plant: a building asks a hundred times a second over a WebSocket, for a minute.

Ticks are sent when they are due, whatever became of those before, as a plant does not wait. An answer that is not there
within the period is too late: the plant's own fallback has decided, and the late answer is discarded.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from agents import POLICY, fallback_name, make_controller
from envs.core.env import make_loop
from envs.core.readings import Readings
from envs.core.world import Controller, Observation
from serving.access.keys import create_key
from serving.access.principal import Grant, Role
from serving.cluster.ports import free_ports
from serving.config import ServiceConfig
from serving.run import serve

TICKS = 400
"""Ticks of an episode that are recorded, and sent again and again."""

WARM_UP_S = 2.0


@dataclass
class RecordedPlant:
    """A recorded episode, and who decides there when the service is late."""

    site: str
    ticks: list[tuple[Readings, Observation, dict[str, Any]]]
    fallback: Controller


@dataclass
class Measured:
    """What became of the ticks: milliseconds from sending to the answer, and who decided."""

    answered_ms: list[float] = field(default_factory=list)
    by_fallback: int = 0
    refused: int = 0
    too_late: int = 0
    lost: int = 0


def bench_loop(
    scenario: str = "dampers/jansen", policy: str = POLICY, rate_hz: float = 100.0, seconds: float = 60.0
) -> dict[str, Any]:
    """Serve a building with keys, and ask it over its loop.

    Args:
        scenario: what is served; its ticks are recorded from a simulated episode first.
        policy: who decides.
        rate_hz: ticks a second; an answer must be there within the period.
        seconds: how long.

    Returns:
        ``{"bench", "ratios", "figures"}``; ratios are shares of ticks.

    Raises:
        CityloopError: if the scenario or the policy cannot be served.
    """
    plant = _record(scenario)
    with TemporaryDirectory() as folder:
        keys = Path(folder) / "keys.json"
        token, _ = create_key(keys, "plant", [Grant(role=Role.ACT)])
        config = ServiceConfig.make(
            {
                "port": free_ports(1)[0],
                "access": {"keys": keys},
                "sites": [{"site": scenario, "champion": policy}],
            }
        )
        handle = serve(config, block=False)
        assert handle is not None
        with handle:
            url = f"{handle.url.replace('http', 'ws', 1)}/v1/{plant.site}/loop"
            found = asyncio.run(_drive(plant, url, token, 1.0 / rate_hz, seconds))
    total = len(found.answered_ms) + found.by_fallback
    times = np.array(found.answered_ms) if found.answered_ms else np.array([np.nan])
    return {
        "bench": "loop",
        "ratios": {
            f"{plant.site} at {rate_hz:g} Hz: answered within the period": len(found.answered_ms) / total,
            "decided by the plant's own fallback": found.by_fallback / total,
        },
        "figures": {
            "ticks": float(total),
            "answers that came too late": float(found.too_late),
            "ticks that were refused": float(found.refused),
            "connections that were lost": float(found.lost),
            "answer within the period, median ms": float(np.median(times)),
            "answer within the period, p99 ms": float(np.quantile(times, 0.99)),
            "answer within the period, p99.9 ms": float(np.quantile(times, 0.999)),
        },
    }


def _record(scenario: str) -> RecordedPlant:
    loop = make_loop(scenario)
    try:
        controller = make_controller(fallback_name(loop.site.system), loop.site)
        loop.reset(loop.scenario.seeds.test.first)
        ticks = []
        for _ in range(TICKS):
            ticks.append((loop.readings, loop.observation, loop.system.readings.to_json(loop.readings)))
            if loop.step(controller.act(loop.readings, loop.observation)).done:
                break
        return RecordedPlant(f"{loop.site.system}/{loop.site.name}", ticks, controller)
    finally:
        loop.close()


async def _drive(plant: RecordedPlant, url: str, token: str, period_s: float, seconds: float) -> Measured:
    """Ask for some time; the first moments do not count."""
    line = Connection(url, token)
    try:
        await line.open()
        first = round(WARM_UP_S / period_s)
        await _ask(plant, line, 0, first, period_s)
        return await _ask(plant, line, first, round(seconds / period_s), period_s)
    finally:
        await line.close()


class Connection:
    """A connection that is made again, beside everything else, when it is lost."""

    def __init__(self, url: str, token: str):
        self._url, self._headers = url, {"authorization": f"Bearer {token}"}
        self._opening: asyncio.Task[None] | None = None
        self.socket: ClientConnection | None = None

    async def open(self) -> None:
        """Try until it is there."""
        while self.socket is None:
            try:
                self.socket = await connect(
                    self._url, additional_headers=self._headers, compression=None, proxy=None, open_timeout=2.0
                )
            except (OSError, WebSocketException):
                await asyncio.sleep(0.1)

    def lost(self) -> None:
        """It is gone: begin to make another."""
        self.socket = None
        self._opening = asyncio.create_task(self.open())

    async def close(self) -> None:
        """End it."""
        if self._opening is not None:
            self._opening.cancel()
        if self.socket is not None:
            await self.socket.close()


async def _ask(plant: RecordedPlant, line: Connection, first: int, count: int, period_s: float) -> Measured:
    found = Measured()
    begin = time.perf_counter()
    for k in range(count):
        due = begin + k * period_s
        if (left := due - time.perf_counter()) > 0:
            await asyncio.sleep(left)
        readings, observation, content = plant.ticks[(first + k) % len(plant.ticks)]
        body = orjson.dumps({"tick": first + k, "time_s": (first + k) * period_s, "readings": content})
        sent = time.perf_counter()
        answer = await _exchange(line, body, first + k, sent + period_s, found)
        if answer is None:
            plant.fallback.act(readings, observation)
            found.by_fallback += 1
        else:
            found.answered_ms.append((time.perf_counter() - sent) * 1e3)
    return found


async def _exchange(line: Connection, body: bytes, tick: int, until: float, found: Measured) -> dict[str, Any] | None:
    """The answer to a tick if it comes in time; what belongs to older ones is thrown away."""
    socket = line.socket
    if socket is None:
        return None
    try:
        await socket.send(body)
        while True:
            async with asyncio.timeout(max(until - time.perf_counter(), 0.0)):
                answer = orjson.loads(await socket.recv())
            if answer["tick"] != tick:
                found.too_late += 1
            elif "error" in answer:
                found.refused += 1
                return None
            else:
                return answer
    except TimeoutError:
        return None
    except ConnectionClosed:
        found.lost += 1
        line.lost()
        return None
