"""Parts of the service are killed under load, again and again; the plant must not notice more than a missed tick.

A plant asks every `TICK_S` and gives an answer `DEADLINE_S`. Whatever it carries out is judged by its own guard: an
answer for another tick, or one that is not safe, fails the test. So does a fallback that took longer than a deadline,
and a service that is not back within `BACK_S`.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import orjson
import pytest

from agents import make_controller
from envs import get_system
from envs.core.site import Site
from serving.cluster.ports import free_ports
from serving.cluster.processes import alive, title
from tests.serving.plants import GRID, body_of, grid, tick_of
from tests.serving.running import Running, running

pytestmark = pytest.mark.chaos

KILLS = int(os.environ.get("CITYLOOP_KILLS", "10"))
TICK_S, DEADLINE_S, BACK_S = 0.1, 0.5, 30.0
SLACK_S = 0.25
"""What a busy machine may add before a thread that waits for a deadline runs again."""

VICTIMS = {
    "replica": "ServeReplica:cityloop",
    "proxy": "haproxy -",
    "controller": "ServeController",
}


@dataclass
class Plant:
    """Asks tick after tick, in a thread, and carries out what it may."""

    url: str
    site: Site
    name: str
    sources: list[tuple[float, str]] = field(default_factory=list)
    unsafe: list[str] = field(default_factory=list)
    longest_s: float = 0.0
    statuses: dict[str, int] = field(default_factory=dict)
    _end: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        system = get_system(self.site.system)
        guard, rule = system.make_guard(self.site), make_controller("max-pressure", self.site)
        features = system.make_features(self.site)
        tick = 0
        with httpx.Client(trust_env=False, timeout=DEADLINE_S) as http:
            while not self._end.wait(TICK_S):
                tick += 1
                content = tick_of(self.site) | {"tick": tick, "time_s": 5.0 * tick, "episode": self.name}
                readings = system.readings.validate(content["readings"], self.site.axes)
                started = time.monotonic()
                source = self._ask(http, body_of(content), tick, readings, guard)
                if source != "service":
                    requests = rule.act(readings, features.encode(readings, guard.mask(readings)))
                    assert len(guard.check(readings, requests)[0]) == len(self.site.agents)
                self.longest_s = max(self.longest_s, time.monotonic() - started)
                self.sources.append((time.monotonic(), source))

    def _ask(self, http: httpx.Client, body: bytes, tick: int, readings: dict, guard: object) -> str:
        result: list[httpx.Response] = []

        def post() -> None:
            try:
                result.append(http.post(f"{self.url}/v1/{GRID}/act", content=body))
            except httpx.HTTPError as error:
                self._count(type(error).__name__)

        asking = threading.Thread(target=post, daemon=True)
        asking.start()
        asking.join(DEADLINE_S)
        if not result:
            return "fallback"
        answer = result[0]
        self._count(str(answer.status_code))
        if answer.status_code != 200:
            return "fallback"
        content = orjson.loads(answer.content)
        if content["tick"] != tick:
            self.unsafe.append(f"tick {content['tick']} for {tick}")
            return "fallback"
        commands = [content["commands"][agent]["stage"] for agent in self.site.agents]
        _, changes = guard.check(readings, np.array(commands))  # type: ignore[attr-defined]
        if changes:
            self.unsafe.append(f"tick {tick}: {changes}")
        return "service"

    def _count(self, what: str) -> None:
        self.statuses[what] = self.statuses.get(what, 0) + 1

    def back_after(self, moment: float, patience_s: float) -> float | None:
        """Seconds from a moment until the service answered three ticks in a row; None if it did not in time."""
        while time.monotonic() < moment + patience_s:
            since = [(at, source) for at, source in list(self.sources) if at > moment]
            for k in range(len(since) - 2):
                if all(source == "service" for _, source in since[k : k + 3]):
                    return since[k][0] - moment
            self._end.wait(TICK_S)
        return None

    def stop(self) -> None:
        self._end.set()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Path]]:
    folder = tmp_path_factory.mktemp("chaos")
    content = {
        "port": free_ports(1)[0],
        "state": folder / "state",
        "audit": {"folder": folder / "audit"},
        "sites": [{"site": GRID, "champion": "max-pressure"}],
    }
    with running(content, folder / "log") as found:
        yield found, folder


def victims(found: Running, word: str) -> list[int]:
    return [pid for pid in found.family() if word in title(pid)]


@pytest.mark.parametrize("victim", list(VICTIMS))
def test_the_plant_goes_on_whatever_is_killed(service: tuple[Running, Path], victim: str) -> None:
    found, _ = service
    plant = Plant(found.url, grid(), victim)
    plant_thread = threading.Thread(target=plant.run, daemon=True)
    plant_thread.start()
    back = []
    try:
        assert plant.back_after(time.monotonic(), BACK_S) is not None, "the service never answered"
        for _ in range(KILLS):
            pids = victims(found, VICTIMS[victim])
            assert pids, f"no {victim} runs"
            moment = time.monotonic()
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            # A process that is gone may leave one answer on its way; what counts is what comes after that.
            took = plant.back_after(moment + DEADLINE_S, BACK_S - DEADLINE_S)
            assert took is not None, f"not back within {BACK_S:g} s of killing the {victim}: {plant.statuses}"
            back.append(round(took + DEADLINE_S, 1))
            wait_until_alone(found, victim, pids)
    finally:
        plant.stop()
        plant_thread.join(5)
    print(f"{victim}: back after {back} s; {plant.statuses}; longest tick {plant.longest_s:.3f} s")
    assert plant.unsafe == []
    assert plant.longest_s < DEADLINE_S + SLACK_S
    assert all(status in ("200", "503") or not status.isdigit() for status in plant.statuses), plant.statuses


def wait_until_alone(found: Running, victim: str, gone: list[int]) -> None:
    """Until the killed one has a successor, so that the next kill finds it."""
    deadline = time.monotonic() + BACK_S
    while time.monotonic() < deadline:
        if [pid for pid in victims(found, VICTIMS[victim]) if pid not in gone]:
            return
        time.sleep(0.1)
    raise AssertionError(f"the {victim} has no successor")


def test_the_audit_chain_is_whole_after_all_that(service: tuple[Running, Path]) -> None:
    """Runs last: whatever was killed above, what was written is as it was written."""
    from serving.audit.verify import verify

    _, folder = service
    report = verify(folder / "audit")
    assert report.ok, report


def test_a_service_that_is_killed_can_be_started_again(tmp_path: Path) -> None:
    content = {"port": free_ports(1)[0], "sites": [{"site": GRID, "champion": "max-pressure"}]}
    with running(content, tmp_path / "log") as found:
        members = found.family()
        found.process.kill()
        found.process.wait()
        deadline = time.monotonic() + BACK_S
        while any(map(alive, members)) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert [title(pid) for pid in members if alive(pid)] == []
    with running(content, tmp_path / "log") as found:
        assert httpx.get(f"{found.url}/healthz", trust_env=False).status_code == 200
