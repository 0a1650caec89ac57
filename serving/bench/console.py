"""Cost of open consoles: ticks with several consoles listening, against ticks with none, in one run."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Semaphore
from typing import Any

import httpx
import numpy as np

from agents import POLICY
from envs.core.errors import CityloopError
from serving.bench.ticks import record_episode
from serving.cluster.ports import free_ports
from serving.config import ServiceConfig
from serving.run import serve

CONSOLES = 5
BLOCKS, TICKS, PERIOD_S = 10, 100, 0.02
"""Blocks of ticks, in turn with and without consoles, so that a busy moment hits both; seconds from tick to tick."""

WARM_UP = 100
START_S = 60.0


def bench_console(
    scenario: str = "intersections/cologne8", consoles: int = CONSOLES, blocks: int = BLOCKS, ticks: int = TICKS
) -> dict[str, Any]:
    """Serve a scenario and ask for ticks over one kept-alive connection, with and without consoles that listen.

    Args:
        scenario: what is served.
        consoles: streams that are open, each reading all that comes, as the page does.
        blocks: of either kind.
        ticks: of each block.

    Returns:
        ``{"bench", "ratios", "figures"}``; the ratio is that of the medians, figures are in milliseconds.

    Raises:
        CityloopError: if the scenario cannot be served.
    """
    path, bodies = record_episode(scenario)
    config = ServiceConfig.make({"port": free_ports(1)[0], "sites": [{"site": scenario, "champion": POLICY}]})
    handle = serve(config, block=False)
    assert handle is not None
    alone: list[float] = []
    watched: list[float] = []
    with handle, httpx.Client(trust_env=False) as http:
        asker = _Asker(http, f"{handle.url}/v1/{path}/act", bodies)
        asker.ask(WARM_UP)
        for _ in range(blocks):
            alone += asker.ask(ticks)
            with _listening(f"{handle.url}/v1/events", consoles):
                watched += asker.ask(ticks)
    return {
        "bench": "console",
        "ratios": {f"tick with {consoles} consoles / with none": float(np.median(watched) / np.median(alone))},
        "figures": {
            "no console, median ms": float(np.median(alone)),
            "no console, p99 ms": float(np.quantile(alone, 0.99)),
            f"{consoles} consoles, median ms": float(np.median(watched)),
            f"{consoles} consoles, p99 ms": float(np.quantile(watched, 0.99)),
        },
    }


class _Asker:
    """Asks for ticks, each another, as the same one is answered from memory."""

    def __init__(self, http: httpx.Client, url: str, bodies: list[bytes]):
        self._http, self._url, self._bodies, self._asked = http, url, bodies, 0

    def ask(self, count: int) -> list[float]:
        """Milliseconds of so many ticks."""
        times = []
        for _ in range(count):
            due = time.perf_counter() + PERIOD_S
            episode = b'{"episode":"%d",' % (self._asked // len(self._bodies))
            body = episode + self._bodies[self._asked % len(self._bodies)][1:]
            self._asked += 1
            started = time.perf_counter()
            self._http.post(self._url, content=body).raise_for_status()
            times.append((time.perf_counter() - started) * 1e3)
            time.sleep(max(0.0, due - time.perf_counter()))
        return times


@contextmanager
def _listening(url: str, consoles: int) -> Iterator[None]:
    """Streams that are open and read, in a process of their own, until the block ends."""
    context = multiprocessing.get_context("spawn")
    ready = context.Semaphore(0)
    process = context.Process(target=_listen, args=(url, consoles, ready), daemon=True)
    process.start()
    try:
        for _ in range(consoles):
            if not ready.acquire(timeout=START_S):
                raise CityloopError("the consoles could not listen: the machine is too busy to measure")
        yield
    finally:
        process.terminate()
        process.join()


def _listen(url: str, consoles: int, ready: Semaphore) -> None:
    threads = [threading.Thread(target=_read, args=(url, ready)) for _ in range(consoles)]
    for thread in threads:
        thread.start()


def _read(url: str, ready: Semaphore) -> None:
    with httpx.stream("GET", url, trust_env=False, timeout=60) as answer:
        answer.raise_for_status()
        ready.release()
        for _ in answer.iter_raw():
            pass
