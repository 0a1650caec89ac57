"""Cost of the audit log per tick, and the speed of verification and replay."""

from __future__ import annotations

import asyncio
import gzip
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from agents import POLICY
from serving.audit.log import AuditLog
from serving.audit.replay import replay
from serving.audit.segments import list_segments
from serving.audit.verify import verify
from serving.bench.ticks import record_episode
from serving.build import keep_what_decides
from serving.charge.settings import SiteConfig
from serving.core.events import Event
from serving.site_files import load_site
from serving.tick.sites import SiteService

TICKS = 3000
PAUSE_S = 0.001
"""Between two records, as a loop of a kilohertz has it: the writer works meanwhile, as it does in service."""


class Collector:
    """A sink that keeps everything."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def record(self, event: Event) -> None:
        """Keep it."""
        self.events.append(event)

    def close(self) -> None:
        """Nothing to finish."""


def bench_audit(scenario: str = "intersections/cologne8", policy: str = POLICY, ticks: int = TICKS) -> dict[str, Any]:
    """Answer ticks in process with and without a log, in turn, and time the log by itself.

    Args:
        scenario: what is decided; its ticks are recorded from a simulated episode first.
        policy: who decides.
        ticks: how many.

    Returns:
        ``{"bench", "ratios", "figures"}``.

    Raises:
        CityloopError: if the scenario or the policy cannot be served.
    """
    _, bodies = record_episode(scenario)
    with tempfile.TemporaryDirectory(prefix="cityloop-audit-") as name:
        folder = Path(name)
        site, config = load_site(scenario), SiteConfig(site=scenario, champion=policy)
        events = Collector()
        with (
            closing(AuditLog(folder / "service")) as log,
            closing(SiteService.open(site, config, sinks=[events])) as bare,
            closing(SiteService.open(site, config, sinks=[log])) as logged,
        ):
            keep_what_decides(log, [logged])
            plain_ms, logged_ms = asyncio.run(_answer([bare, logged], bodies, ticks))
        records = log.status["records"]
        record_us, rate = _record(folder / "alone", events.events)
        text = b"".join(line for segment in list_segments(folder / "service" / "chain-0") for line in segment.lines())
        verified = _seconds(lambda: verify(folder / "service"))
        replayed = _seconds(lambda: replay(folder / "service"))
    return {
        "bench": "audit",
        "ratios": {"answered tick with a log / without": float(np.median(logged_ms) / np.median(plain_ms))},
        "figures": {
            "record, median µs": float(np.median(record_us)),
            "record, p99 µs": float(np.quantile(record_us, 0.99)),
            "written, records/s": rate,
            "a record, bytes": len(text) / records,
            "a record in a closed segment, bytes": len(gzip.compress(text, 6)) / records,
            "verified, records/s": records / verified,
            "replayed, decisions/s": ticks / replayed,
        },
    }


async def _answer(services: list[SiteService], bodies: list[bytes], ticks: int) -> np.ndarray:
    """Milliseconds of an answer, ``(services, ticks)``; asked in turn, so that a busy moment hits all alike."""
    found = np.empty((len(services), ticks))
    for k in range(ticks):
        body = orjson.dumps(orjson.loads(bodies[k % len(bodies)]) | {"tick": k})
        for row in range(len(services)) if k % 2 else reversed(range(len(services))):  # the second has it warm
            started = time.perf_counter()
            await services[row].act_async(body)
            found[row, k] = (time.perf_counter() - started) * 1e3
        await asyncio.sleep(2 * PAUSE_S)  # what comes after an answer is not part of the next
    return found


def _record(folder: Path, events: list[Event]) -> tuple[np.ndarray, float]:
    """Microseconds of each `AuditLog.record`, and how many records a second are written when they come at once."""
    found = np.empty(len(events))
    with closing(AuditLog(folder)) as log:
        for k, event in enumerate(events):
            started = time.perf_counter()
            log.record(event)
            found[k] = (time.perf_counter() - started) * 1e6
            time.sleep(PAUSE_S)
        log.flush()
        started = time.perf_counter()
        for event in events:
            log.record(event)
        log.flush(60.0)
        rate = len(events) / (time.perf_counter() - started)
    return found, rate


def _seconds(job: Any) -> float:
    started = time.perf_counter()
    job()
    return time.perf_counter() - started
