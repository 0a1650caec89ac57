"""How much a decision costs on top of Ray Serve itself: served ticks against empty requests, in one run."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson

from agents import POLICY, fallback_name, find_bundle, make_controller
from envs.core.env import make_loop
from serving.access.keys import create_key
from serving.access.principal import Grant, Role
from serving.bench.load import Ask, Tally, press, request
from serving.cluster.ray_cluster import free_ports
from serving.config import ServiceConfig
from serving.run import serve
from serving.tick.places import load_site

ROUNDS = 1500
WARM_UP = 200

TICKS = 360
"""Ticks of a plant that are recorded: half an hour of signals, whose quiet beginning is a part of it alone."""

KEY_RATE_S = 100_000.0
"""Requests a second that the key may ask: the bench shall not measure its own limit."""

CLIENTS = 16
SECONDS = 60.0
SLICES = 6
"""How often empty requests and ticks take turns."""


def bench_serving(
    scenario: str = "intersections/cologne8", policy: str = POLICY, rounds: int = ROUNDS, seconds: float = SECONDS
) -> dict[str, Any]:
    """Serve a scenario beside an empty deployment and ask both: in turn by one client, then by sixteen at a time.

    Everything that a service has is on: keys, checks of the readings, the audit log.

    Args:
        scenario: what is served; its ticks are recorded from a simulated episode first.
        policy: who decides.
        rounds: requests of either kind by the one client.
        seconds: how long sixteen clients ask, of either kind; each drives a plant of its own.

    Returns:
        ``{"bench", "ratios", "figures"}``; times in milliseconds, throughput in requests a second.

    Raises:
        CityloopError: if the scenario or the policy cannot be served.
    """
    site_path, bodies = record_episode(scenario, policy)
    with tempfile.TemporaryDirectory() as folder:
        config, key = full_service(Path(folder), scenario, policy)
        handle = serve(config, block=False)
        assert handle is not None
        label = f"{site_path} by {handle.sites[0]['controller']}"
        headers = {"authorization": f"Bearer {key}"}
        with handle, httpx.Client(trust_env=False, headers=headers) as http:
            handle.run_empty("/empty")
            url = f"{handle.url}/v1/{site_path}/act"
            empty, tick = _measure(http, f"{handle.url}/empty", url, bodies, rounds)
            none, many = _press(config, site_path, bodies, key, seconds)
            obeyed = [_in_charge(http, f"{handle.url}/v1/{site_path}-{k}") for k in range(CLIENTS)]
    return {
        "bench": "serving",
        "ratios": {
            "served tick / empty request, median": float(np.median(tick) / np.median(empty)),
            "served tick / empty request, p99": float(np.quantile(tick, 0.99) / np.quantile(empty, 0.99)),
            f"throughput of {CLIENTS} clients, ticks / empty requests": many.per_s / none.per_s,
        },
        "figures": {
            "empty request, median ms": float(np.median(empty)),
            "empty request, p99 ms": float(np.quantile(empty, 0.99)),
            f"{label}, median ms": float(np.median(tick)),
            f"{label}, p99 ms": float(np.quantile(tick, 0.99)),
            f"{CLIENTS} clients, empty requests a second": none.per_s,
            f"{CLIENTS} clients, ticks a second": many.per_s,
            f"{CLIENTS} clients, tick p99 ms": many.quantile_ms(0.99),
            f"{CLIENTS} clients, errors but 429 and 503 with Retry-After": float(many.errors),
            f"{CLIENTS} clients, plants whose policy is in charge at the end": float(sum(obeyed)),
            **{f"{CLIENTS} clients, status {status}": float(n) for status, n in sorted(many.statuses.items())},
        },
    }


def full_service(folder: Path, scenario: str, policy: str) -> tuple[ServiceConfig, str]:
    """A configuration with everything on, under which a place is served by its name and as plants of so many clients.

    Returns:
        The configuration, and a key that may act.
    """
    site = load_site(scenario)
    sites = [site, *(site.model_copy(update={"name": f"{site.name}-{k}"}) for k in range(CLIENTS))]
    for one in sites:
        one.save(folder / f"{one.name}.json")
    bundle = find_bundle(policy, site.system, site.name)  # the same at plants of other names
    key, _ = create_key(folder / "keys.json", "bench", [Grant(role=Role.ACT)])
    content = {
        "port": free_ports(1)[0],
        "state": folder / "state",
        "audit": {"folder": folder / "audit"},
        "access": {"keys": folder / "keys.json", "rate_s": KEY_RATE_S, "burst": KEY_RATE_S},
        "defaults": {"champion": policy if bundle is None else str(bundle)},
        "sites": [str(folder / f"{one.name}.json") for one in sites],
    }
    return ServiceConfig.make(content), key


def _press(
    config: ServiceConfig, site_path: str, bodies: list[bytes], key: str | None, seconds: float
) -> tuple[Tally, Tally]:
    """What many clients got of empty requests and of ticks, in slices by turns so that a busy moment hits both."""
    host = f"{config.host}:{config.port}"
    nothing = request("GET", host, "/empty", key=key)
    none, many = Tally(), Tally()
    for turn in range(SLICES):
        none.add(press(config.host, config.port, [lambda _: nothing] * CLIENTS, seconds / SLICES))
        asks = [_ticks_of(host, f"/v1/{site_path}-{k}/act", bodies, key, f"turn {turn}") for k in range(CLIENTS)]
        many.add(press(config.host, config.port, asks, seconds / SLICES))
    return none, many


def _ticks_of(host: str, path: str, bodies: list[bytes], key: str | None, episode: str) -> Ask:
    """A plant's requests: its recorded ticks over and over, every time as an episode of its own.

    Plants do not leap from their last tick back to their first: input checks would find that, and they would be right.
    """

    def ask(number: int) -> bytes:
        run, tick = divmod(number, len(bodies))
        named = b'{"episode":"%s, run %d",%s' % (episode.encode(), run, bodies[tick][1:])
        return request("POST", host, path, named, key)

    return ask


def _in_charge(http: httpx.Client, url: str) -> bool:
    """Whether a site's policy decides there, and not the fallback instead of it."""
    return http.get(f"{url}/state").raise_for_status().json()["in_charge"]["out_of_charge"] is None


def record_episode(scenario: str, controller: str | None = None, ticks: int = TICKS) -> tuple[str, list[bytes]]:
    """The site's address and the bodies of an episode's first ticks.

    Args:
        scenario: what is played, on its first test seed.
        controller: who decides meanwhile: readings are what the one that is asked later would itself bring about. The
            system's fallback if not given.
        ticks: how many, at most.
    """
    loop = make_loop(scenario)
    try:
        decides = make_controller(controller or fallback_name(loop.site.system), loop.site)
        loop.reset(loop.scenario.seeds.test.first)
        bodies = []
        for tick in range(ticks):
            readings = loop.system.readings.to_json(loop.readings)
            bodies.append(orjson.dumps({"tick": tick, "time_s": loop.world.time_s, "readings": readings}))
            if loop.step(decides.act(loop.readings, loop.observation)).done:
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
