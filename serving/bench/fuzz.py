"""Malformed and hostile requests: thousands that no client should send, and none may cause a fault of the service."""

from __future__ import annotations

import copy
import json
import os
import random
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson

from serving.bench.ticks import record_episode
from serving.cluster.ports import free_ports
from serving.cluster.processes import family, resident_bytes, title
from serving.config import ServiceConfig
from serving.run import serve

SCENARIO = "intersections/grid2x2"

ODD: list[Any] = [
    None, True, -1, 0, 2**63, 1e308, -1e308, 0.5, "", "x", "\u0000", "é" * 50, [], [[]], {}, {"a": 1}, [None] * 9,
]  # fmt: skip
"""What stands where something else should."""

BYTES = [
    b"", b"{", b"[" * 5000, b"\xff\xfe\x00", b"null", b'"x"', b"NaN", b'{"tick": NaN}', b'{"tick": 1e999}',
    b'{"tick":1,"tick":2}', b"{}" * 1000, b" " * 100_000,
]  # fmt: skip

PATHS = [
    "", "/state", "/overrides", "/overrides/check", "/overrides/%00", "/overrides/..%2f..", "/policies",
    "/policies/promote", "/policies/canary", "/policies/x", "/act", "/act/", "/../act", "/nothing", "//act",
]  # fmt: skip

SEED = 0
"""Of the requests that are sent."""

TRACES = ("Traceback", 'File "', "site-packages", ".py")
"""What gives away the inside."""


def bench_fuzz(requests: int = 10_000) -> dict[str, Any]:
    """Send a service what no client should.

    Args:
        requests: how many.

    Returns:
        ``{"bench", "ratios", "figures"}``: answers by status, faults of the service, growth of memory.

    Raises:
        CityloopError: if it cannot be served.
    """
    path, bodies = record_episode(SCENARIO)
    statuses: Counter[int] = Counter()
    traces = 0
    with tempfile.TemporaryDirectory() as folder:
        content = {
            "port": free_ports(1)[0],
            "state": Path(folder) / "state",
            "sites": [{"site": SCENARIO, "champion": "max-pressure"}],
        }
        handle = serve(ServiceConfig.make(content), block=False)
        assert handle is not None
        with handle, httpx.Client(trust_env=False, timeout=30) as http:
            sizes = []
            for k, (method, where, body) in enumerate(odd_requests(path, bodies, requests, SEED)):
                try:
                    answer = http.request(method, handle.url + where, content=body)
                    statuses[answer.status_code] += 1
                    traces += any(mark in answer.text for mark in TRACES) and answer.status_code >= 400
                except httpx.HTTPError:
                    statuses[0] += 1
                if k % max(1, requests // 20) == 0 or k == requests - 1:
                    pids = [pid for pid in family(os.getpid()) if "ServeReplica:cityloop" in title(pid)]
                    sizes.append(sum(map(resident_bytes, pids)))
            well = http.get(f"{handle.url}/readyz").status_code == 200
    settled = sizes[len(sizes) // 5 :]
    faults = sum(n for status, n in statuses.items() if status == 0 or (status >= 500 and status != 503))
    return {
        "bench": "fuzz",
        "ratios": {"memory at the end / when settled": settled[-1] / settled[0]},
        "figures": {
            **{f"status {status}": float(n) for status, n in sorted(statuses.items())},
            "faults of the service": float(faults),
            "answers that show a trace": float(traces),
            "ready afterwards": float(well),
        },
    }


def odd_requests(path: str, bodies: list[bytes], count: int, seed: int) -> Iterator[tuple[str, str, bytes]]:
    """Method, address and body of requests: ticks with something wrong in them, forms, noise, addresses."""
    draw = random.Random(seed)
    for _ in range(count):
        kind = draw.random()
        if kind < 0.6:
            yield "POST", f"/v1/{path}/act", _odd_tick(draw, bodies)
        elif kind < 0.75:
            yield "POST", f"/v1/{path}/act", draw.choice([*BYTES, draw.randbytes(draw.randrange(200))])
        elif kind < 0.9:
            where = f"/v1/{path}{draw.choice(PATHS)}"
            yield draw.choice(["GET", "PUT", "POST", "DELETE"]), where, _odd_form(draw)
        else:
            system, site = draw.choice(["intersections", "tides", "%2e%2e", "", "\u00e9"]), draw.choice(["x", "..", ""])
            yield draw.choice(["GET", "POST", "PATCH", "OPTIONS"]), f"/v1/{system}/{site}/act", b"{}"


def _odd_tick(draw: random.Random, bodies: list[bytes]) -> bytes:
    tick = orjson.loads(draw.choice(bodies))
    for _ in range(draw.randrange(4)):
        kind = draw.random()
        if kind < 0.3:
            tick[draw.choice(["tick", "time_s", "readings", "deadline_ms", "episode", "colour"])] = _odd(draw)
        elif isinstance(tick.get("readings"), dict) and tick["readings"]:
            column = draw.choice(list(tick["readings"]))
            values = tick["readings"][column]
            if kind < 0.5 or not isinstance(values, list) or not values:
                tick["readings"][column] = _odd(draw)
            else:
                values[draw.randrange(len(values))] = _odd(draw)
    return _dump(tick)


def _odd(draw: random.Random) -> Any:
    """One of `ODD`, as a copy: what is put into it later shall not change what is drawn next."""
    return copy.deepcopy(draw.choice(ODD))


def _odd_form(draw: random.Random) -> bytes:
    keys = ["command", "reason", "expires_s", "policy", "share", "now", "expected", "agent", "colour"]
    return _dump({key: draw.choice([*ODD, "greedy", "why", 1.0]) for key in keys if draw.random() < 0.5})


def _dump(content: Any) -> bytes:
    return json.dumps(content).encode(errors="surrogatepass")
