"""How much a decision costs on top of Ray Serve itself: a served tick against an empty request, in one run."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import orjson

from agents import POLICY, fallback_name, make_controller
from envs.core.env import make_loop
from serving.cluster import free_ports
from serving.config import ServiceConfig
from serving.run import serve

ROUNDS = 1500
WARM_UP = 200
TICKS = 60


def bench_serving(
    scenario: str = "intersections/cologne8", policy: str = POLICY, rounds: int = ROUNDS
) -> dict[str, Any]:
    """Serve a scenario beside an empty deployment and ask them in turn over one kept-alive connection each.

    Args:
        scenario: what is served; its ticks are recorded from a simulated episode first.
        policy: who decides.
        rounds: requests of either kind.

    Returns:
        ``{"bench", "ratios", "figures"}``; the ratio is that of the medians, figures are in milliseconds.

    Raises:
        CityloopError: if the scenario or the policy cannot be served.
    """
    site_path, bodies = record_episode(scenario)
    config = ServiceConfig.make({"port": free_ports(1)[0], "sites": [{"site": scenario, "champion": policy}]})
    handle = serve(config, block=False)
    assert handle is not None
    label = f"{site_path} by {handle.sites[0]['controller']}"
    with handle, httpx.Client(trust_env=False) as http:
        handle.run_empty("/empty")
        url = f"{handle.url}/v1/{site_path}/act"
        empty, tick = _measure(http, f"{handle.url}/empty", url, bodies, rounds)
    return {
        "bench": "serving",
        "ratios": {"served tick / empty request": float(np.median(tick) / np.median(empty))},
        "figures": {
            "empty request, median ms": float(np.median(empty)),
            "empty request, p99 ms": float(np.quantile(empty, 0.99)),
            f"{label}, median ms": float(np.median(tick)),
            f"{label}, p99 ms": float(np.quantile(tick, 0.99)),
        },
    }


def record_episode(scenario: str) -> tuple[str, list[bytes]]:
    """The site's address and the bodies of an episode's first ticks."""
    loop = make_loop(scenario)
    try:
        controller = make_controller(fallback_name(loop.site.system), loop.site)
        loop.reset(loop.scenario.seeds.test.first)
        bodies = []
        for tick in range(TICKS):
            readings = loop.system.readings.to_json(loop.readings)
            bodies.append(orjson.dumps({"tick": tick, "time_s": loop.world.time_s, "readings": readings}))
            if loop.step(controller.act(loop.readings, loop.observation)).done:
                break
        return f"{loop.site.system}/{loop.site.name}", bodies
    finally:
        loop.close()


def _measure(
    http: httpx.Client, empty_url: str, tick_url: str, bodies: list[bytes], rounds: int
) -> tuple[np.ndarray, np.ndarray]:
    """Milliseconds of empty requests and of ticks, asked in turn so that a busy moment hits both alike."""
    empty, tick = np.empty(rounds), np.empty(rounds)
    for k in range(-WARM_UP, rounds):
        body = bodies[k % len(bodies)]
        a = _time(lambda: http.get(empty_url))
        b = _time(lambda body=body: http.post(tick_url, content=body))  # type: ignore[misc]
        if k >= 0:
            empty[k], tick[k] = a, b
    return empty, tick


def _time(ask: Callable[[], httpx.Response]) -> float:
    started = time.perf_counter()
    ask().raise_for_status()
    return (time.perf_counter() - started) * 1e3
