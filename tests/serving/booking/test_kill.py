"""Killed under load, again and again: no confirmed booking is lost, none is made twice, and no seat is sold twice."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest

from envs.transit.kernel.fleet import CHARGING
from serving.booking.desk import Desk
from serving.cluster.ports import free_ports
from tests.envs.transit import brute
from tests.serving.booking.child import settings_in, site

KILLS = 10
CLIENTS = 8
CONFIRMED_A_LIFE = 15
"""So many bookings are confirmed before the service is killed, in the middle of others."""

START_S = 120.0


class Load:
    """Clients that book, each under a name of its own, and again under the same one if no answer came."""

    def __init__(self, url: str):
        self.url = url
        self.confirmed: dict[str, str] = {}
        self.refused: set[str] = set()
        self.unanswered: set[str] = set()
        self._lock = threading.Lock()
        self._next = 0

    def name(self) -> str:
        """The next request: one whose answer never came, or a new one."""
        with self._lock:
            if self.unanswered:
                return self.unanswered.pop()
            self._next += 1
            return f"r{self._next}"

    def book(self, http: httpx.Client, name: str) -> bool:
        """Whether an answer came."""
        a, b = np.random.default_rng(int(name[1:])).choice(6, 2, replace=False)
        try:
            answer = http.post(f"{self.url}/bookings", json={"request_id": name, "from": str(a), "to": str(b)})
        except httpx.HTTPError:
            with self._lock:
                self.unanswered.add(name)
            return False
        with self._lock:
            if answer.status_code == 200:
                booking = answer.json()["id"]
                assert self.confirmed.setdefault(name, booking) == booking, "another booking under the same name"
            else:
                assert answer.json()["error"]["value"] == "too_late", answer.text
                self.refused.add(name)
        return True

    def work(self, stop: threading.Event, enough: threading.Event, many: int) -> None:
        """Book until told to stop, or until the service does not answer any more."""
        with httpx.Client(timeout=30, trust_env=False) as http:
            while not stop.is_set() and self.book(http, self.name()):
                if len(self.confirmed) + len(self.refused) >= many:
                    enough.set()


@contextmanager
def child(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """The service, once it answers."""
    command = [sys.executable, "-m", "tests.serving.booking.child", str(folder), str(port)]
    process = subprocess.Popen(command)
    try:
        transport = httpx.HTTPTransport(retries=20)  # it backs off longer and longer
        with httpx.Client(transport=transport, timeout=START_S, trust_env=False) as http:
            assert http.get(f"http://127.0.0.1:{port}/v1/transit/street/vehicles").status_code == 200
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_kill_under_load(tmp_path: Path) -> None:
    port = free_ports(1)[0]
    load = Load(f"http://127.0.0.1:{port}/v1/transit/street")
    for life in range(KILLS):
        stop, enough = threading.Event(), threading.Event()
        with child(tmp_path, port) as process, ThreadPoolExecutor(CLIENTS) as pool:
            many = (life + 1) * CONFIRMED_A_LIFE
            workers = [pool.submit(load.work, stop, enough, many) for _ in range(CLIENTS)]
            assert enough.wait(START_S)
            process.kill()  # SIGKILL, while seven others have a request under way
            stop.set()
            for worker in workers:
                worker.result(START_S)
    lost = set(load.unanswered)
    assert len(load.confirmed) > KILLS * CLIENTS
    desk = Desk(site(), settings_in(tmp_path))
    try:
        roster = desk._fresh(desk._clock.now(None))
        # No confirmed booking is lost.
        assert set(load.confirmed.values()) <= set(roster.rows)
        # None was made twice: what is there beyond is what was asked by those who got no answer, once each at most.
        assert len(set(load.confirmed.values())) == len(load.confirmed)
        assert len(roster.rows) <= len(load.confirmed) + len(lost)
        # Everybody is in one plan, to be picked up and let off, and no plan breaks a promise or a seat.
        stops = [(r, pick) for v in range(len(roster.duties)) for r, pick, _ in roster.live.plan(v)]
        stops = [stop for stop in stops if roster.live.riders.state[stop[0]] != CHARGING]
        assert sorted(stops) == sorted((r, pick) for r in roster.slots.values() for pick in (True, False))
        for v in range(len(roster.duties)):
            plan, live = brute.stops_of(v, roster.live.fleet), roster.live
            load_of = np.cumsum([live.riders.size[r, 0] * (1 if pick else -1) for r, pick, _ in plan])
            assert load_of.max(initial=0) <= live.fleet.room[v, 0]
    finally:
        desk.close()
