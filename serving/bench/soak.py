"""Soak test: a service of all systems answers for a long time, and its memory and open files must not grow."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import orjson

from agents import POLICY
from envs.core.errors import CityloopError
from envs.core.registry import SYSTEMS, get_system
from serving.bench.ticks import record_episode
from serving.cluster.ports import free_ports
from serving.cluster.processes import family, open_files, resident_bytes, title
from serving.config import ServiceConfig
from serving.run import serve

PER_S = 5.0
"""Ticks a second, over all systems together."""

SETTLED = 1 / 6
"""Share of the time after which everything is loaded: five minutes of thirty."""

PLACES = {"intersections": "grid2x2", "dampers": "jansen", "drainage": "theta", "transit": "hcmc"}
"""Where each system is asked; others at their first scenario."""


def bench_soak(seconds: float = 1800.0) -> dict[str, Any]:
    """Ask a service of four systems five times a second, everything on.

    Returns:
        ``{"bench", "ratios", "figures"}``: growth of memory and of open files after the first sixth of the time.

    Raises:
        CityloopError: if it cannot be served, or answers so late that there is but one measurement.
    """
    refs = [f"{name}/{PLACES.get(name) or get_system(name).scenario_names[0]}" for name in SYSTEMS]
    episodes = [record_episode(ref) for ref in refs]
    with tempfile.TemporaryDirectory() as folder:
        config = ServiceConfig.make(
            {
                "port": free_ports(1)[0],
                "state": Path(folder) / "state",
                "audit": {"folder": Path(folder) / "audit"},
                "sites": [{"site": ref, "champion": POLICY} for ref in refs],
            }
        )
        handle = serve(config, block=False)
        assert handle is not None
        with handle:
            held, statuses = _drive(handle.url, episodes, seconds)
    begin, end = _settled(held, seconds)
    return {
        "bench": "soak",
        "ratios": {"memory at the end / when settled": end[1] / begin[1]},
        "figures": {
            "seconds": seconds,
            "ticks": float(sum(statuses.values())),
            **{f"status {status}": float(n) for status, n in sorted(statuses.items())},
            "memory when settled, MB": begin[1] / 1e6,
            "memory at the end, MB": end[1] / 1e6,
            "open files when settled": float(begin[2]),
            "open files at the end": float(end[2]),
        },
    }


def _drive(
    url: str, episodes: list[tuple[str, list[bytes]]], seconds: float
) -> tuple[list[tuple[float, int, int]], dict[int, int]]:
    """Rows of (seconds, bytes, files) of the replicas, and how often each status was answered."""
    held: list[tuple[float, int, int]] = []
    statuses: dict[int, int] = {}
    started, number = time.monotonic(), 0
    with httpx.Client(trust_env=False, timeout=10) as http:
        while time.monotonic() - started < seconds:
            path, bodies = episodes[number % len(episodes)]
            run, tick = divmod(number // len(episodes), len(bodies))
            # Plants do not leap from their last tick back to their first: input checks would find that.
            body = orjson.loads(bodies[tick]) | {"episode": f"run {run}"}
            try:
                status = http.post(f"{url}/v1/{path}/act", content=orjson.dumps(body)).status_code
            except httpx.HTTPError:
                status = 0
            statuses[status] = statuses.get(status, 0) + 1
            number += 1
            settles = (held[-1][0] if held else 0.0) < SETTLED * seconds <= time.monotonic() - started < seconds
            if settles or number % round(PER_S * 5) == 0:
                held.append((time.monotonic() - started, *_held()))
            time.sleep(max(0.0, number / PER_S - (time.monotonic() - started)))
        held.append((time.monotonic() - started, *_held()))
    return held, statuses


def _settled(held: list[tuple[float, int, int]], seconds: float) -> tuple[tuple[float, int, int], ...]:
    """The rows of when everything was loaded and of the end.

    Raises:
        CityloopError: if they are one and the same: then nothing is known of growth.
    """
    settled = [row for row in held if row[0] >= SETTLED * seconds]
    if len(settled) < 2:
        raise CityloopError(f"in {seconds:g} s what is held was measured but once: give the soak test more seconds")
    return settled[0], settled[-1]


def _held() -> tuple[int, int]:
    """Bytes of memory and files that the replicas hold."""
    pids = [pid for pid in family(os.getpid()) if "ServeReplica:cityloop" in title(pid)]
    return sum(map(resident_bytes, pids)), sum(map(open_files, pids))
