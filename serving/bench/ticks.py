"""Cost of a decision on top of Ray Serve itself: served ticks against empty requests, in one run."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson

from agents import POLICY, fallback_name, find_bundle, make_controller
from envs.core.env import make_loop
from serving.access.keys import create_key
from serving.access.principal import Grant, Role
from serving.bench.load import NextRequest, Tally, press, request
from serving.cluster.ports import free_ports
from serving.config import ServiceConfig
from serving.run import serve
from serving.site_files import load_site

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


TICK, EMPTY, AS_IT_COMES = "tick", "empty", "empty-as-it-comes"
"""What is asked: ticks, empty requests of a process with the same settings, and of one with Ray Serve's own."""


def bench_serving(
    scenario: str = "intersections/cologne8", policy: str = POLICY, rounds: int = ROUNDS, seconds: float = SECONDS
) -> dict[str, Any]:
    """Serve a scenario beside empty deployments and ask all: in turn by one client, then by sixteen at a time.

    Everything that a service has is on: keys, checks of the readings, the audit log.

    Args:
        scenario: what is served; its ticks are recorded from a simulated episode first.
        policy: who decides.
        rounds: requests of each kind by the one client.
        seconds: how long sixteen clients ask, of each kind; each drives a plant of its own.

    Returns:
        ``{"bench", "ratios", "figures"}``; times in milliseconds, throughput in requests a second, processor time of
        a request in microseconds.

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
        with handle, httpx.Client(trust_env=False, headers=headers, base_url=handle.url) as http:
            handle.run_empty(EMPTY)
            handle.run_empty(AS_IT_COMES, as_it_comes=True)
            alone = _measure(http, f"/v1/{site_path}/act", bodies, rounds)
            many = _press(config, site_path, bodies, key, seconds)
            obeyed = [_in_charge(http, f"/v1/{site_path}-{k}") for k in range(CLIENTS)]
    return {
        "bench": "serving",
        "ratios": {name: ratio for floor in FLOORS for name, ratio in _ratios(alone, many, floor).items()},
        "figures": {
            **_latencies(alone, label),
            **_throughputs(many),
            f"{CLIENTS} clients, plants whose policy is in charge at the end": float(sum(obeyed)),
            **_ledger(many),
        },
    }


FLOORS = {EMPTY: "", AS_IT_COMES: " as Ray Serve comes"}
"""Kind of empty request → what is said of it."""


def _ratios(alone: Mapping[str, np.ndarray], many: Mapping[str, Tally], floor: str) -> dict[str, float]:
    """Ticks over empty requests of one kind."""
    tick, empty, how = alone[TICK], alone[floor], FLOORS[floor]
    return {
        f"served tick / empty request{how}, median": float(np.median(tick) / np.median(empty)),
        f"served tick / empty request{how}, p99": float(np.quantile(tick, 0.99) / np.quantile(empty, 0.99)),
        f"throughput of {CLIENTS} clients, ticks / empty requests{how}": many[TICK].per_s / many[floor].per_s,
    }


def _latencies(alone: Mapping[str, np.ndarray], label: str) -> dict[str, float]:
    names = _names(label)
    quantiles = {"median": 0.5, "p99": 0.99}
    return {
        f"{names[kind]}, {name} ms": float(np.quantile(times, q))
        for kind, times in alone.items()
        for name, q in quantiles.items()
    }


def _names(tick: str) -> dict[str, str]:
    """Kind of request → what it is called."""
    return {TICK: tick, **{floor: f"empty request{how}" for floor, how in FLOORS.items()}}


def _throughputs(many: Mapping[str, Tally]) -> dict[str, float]:
    ticks = many[TICK]
    return {
        **{f"{CLIENTS} clients, empty requests{how} a second": many[floor].per_s for floor, how in FLOORS.items()},
        f"{CLIENTS} clients, ticks a second": ticks.per_s,
        f"{CLIENTS} clients, tick p99 ms": ticks.quantile_ms(0.99),
        f"{CLIENTS} clients, errors but 429 and 503 with Retry-After": float(ticks.errors),
        **{f"{CLIENTS} clients, status {status}": float(n) for status, n in sorted(ticks.statuses.items())},
    }


def _ledger(many: Mapping[str, Tally]) -> dict[str, float]:
    """Who spends how much of a processor's time on a request."""
    names = _names("tick")
    return {f"{names[kind]}, {who}, us": us for kind, tally in many.items() for who, us in tally.spent_us.items()}


def full_service(folder: Path, scenario: str, policy: str) -> tuple[ServiceConfig, str]:
    """A configuration with everything on, under which a place is served by its name and as plants of so many clients.

    Returns:
        The configuration, and a key that may act.
    """
    site = load_site(scenario)
    sites = [site, *(site.model_copy(update={"name": f"{site.name}-{k}"}) for k in range(CLIENTS))]
    for one in sites:
        one.save(folder / f"{one.name}.json")
    bundle = find_bundle(policy, site)  # the same at plants of other names
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
) -> dict[str, Tally]:
    """What many clients got of each kind, in slices by turns so that a busy moment hits all."""
    host = f"{config.host}:{config.port}"
    many = {kind: Tally() for kind in (*FLOORS, TICK)}
    for turn in range(SLICES):
        for floor in FLOORS:
            nothing = request("GET", host, f"/{floor}", key=key)
            asks: list[NextRequest] = [lambda _, nothing=nothing: nothing] * CLIENTS  # type: ignore[misc]
            many[floor].add(press(config.host, config.port, asks, seconds / SLICES))
        asks = [_ticks_of(host, f"/v1/{site_path}-{k}/act", bodies, key, f"turn {turn}") for k in range(CLIENTS)]
        many[TICK].add(press(config.host, config.port, asks, seconds / SLICES))
    return many


def _ticks_of(host: str, path: str, bodies: list[bytes], key: str | None, episode: str) -> NextRequest:
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


def record_episode(scenario: str, controller: str | None = None) -> tuple[str, list[bytes]]:
    """The site's address and the bodies of an episode's first `TICKS` ticks, or of all if there are fewer.

    Args:
        scenario: what is played, on its first test seed.
        controller: who decides meanwhile: readings are what the one that is asked later would itself bring about. The
            system's fallback if not given.
    """
    loop = make_loop(scenario)
    try:
        decides = make_controller(controller or fallback_name(loop.site.system), loop.site)
        loop.reset(loop.scenario.seeds.test.first)
        bodies = []
        for tick in range(TICKS):
            readings = loop.system.readings.to_json(loop.readings)
            bodies.append(orjson.dumps({"tick": tick, "time_s": loop.world.time_s, "readings": readings}))
            if loop.step(decides.act(loop.readings, loop.observation)).done:
                break
        return f"{loop.site.system}/{loop.site.name}", bodies
    finally:
        loop.close()


def _measure(http: httpx.Client, address: str, bodies: list[bytes], rounds: int) -> dict[str, np.ndarray]:
    """Milliseconds of requests of each kind, asked in turn so that a busy moment hits all alike."""
    asks: dict[str, Callable[[int], httpx.Response]] = {
        **{floor: lambda _, floor=floor: http.get(f"/{floor}") for floor in FLOORS},  # type: ignore[misc]
        TICK: lambda k: http.post(address, content=bodies[k % len(bodies)]),
    }
    times = {kind: np.empty(rounds) for kind in asks}
    for k in range(-WARM_UP, rounds):
        for kind, ask in asks.items():
            took = _time(lambda ask=ask, k=k: ask(k))  # type: ignore[misc]
            if k >= 0:
                times[kind][k] = took
    return times


def _time(ask: Callable[[], httpx.Response]) -> float:
    started = time.perf_counter()
    ask().raise_for_status()
    return (time.perf_counter() - started) * 1e3
