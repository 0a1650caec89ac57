"""A rolling update under load: every process is replaced, and no tick is missed."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import httpx
import orjson
import pytest

from serving.bench.ticks import record_episode
from serving.cluster.ports import free_ports
from serving.cluster.processes import title
from tests.serving.plants import GRID, body_of
from tests.serving.running import Running, running, started

pytestmark = pytest.mark.chaos

DYKE = "dampers/dyke"

ROLLED_S = 120.0


def replicas(found: Running) -> set[int]:
    return {pid for pid in found.family() if "ServeReplica:cityloop" in title(pid)}


def test_no_tick_fails_while_every_process_is_replaced(tmp_path: Path) -> None:
    content = {
        "port": free_ports(1)[0],
        "state": tmp_path / "state",
        "sites": [{"site": GRID, "champion": "max-pressure"}],
    }
    failed: list[str] = []
    answered, end = 0, threading.Event()
    ticks = [orjson.loads(body) for body in record_episode(GRID, "greedy")[1]]
    with running(content, tmp_path / "log") as found:
        act = f"{found.url}/v1/{GRID}/act"
        httpx.post(f"{found.url}/v1/{GRID}/policies/promote", json={"policy": "greedy", "reason": "before"})

        def drive() -> None:
            nonlocal answered
            with httpx.Client(trust_env=False, timeout=10) as http:
                while not end.wait(0.02):
                    run, k = divmod(answered, len(ticks))
                    body = body_of(ticks[k] | {"episode": f"run {run}"})
                    try:
                        answer = http.post(act, content=body)
                        if answer.status_code != 200 or answer.json()["controller"] != "greedy":
                            failed.append(f"tick {answered}: {answer.status_code} {answer.text[:120]}")
                    except httpx.HTTPError as error:
                        failed.append(f"tick {answered}: {error!r}")
                    answered += 1

        thread = threading.Thread(target=drive, daemon=True)
        thread.start()
        try:
            for _ in range(2):
                before, deadline = replicas(found), time.monotonic() + ROLLED_S
                os.kill(found.process.pid, signal.SIGHUP)
                while replicas(found) & before or not replicas(found):
                    assert time.monotonic() < deadline, "the old processes stay"
                    time.sleep(0.2)
        finally:
            end.set()
            thread.join(15)
    assert failed == []
    assert answered > 50


def test_an_update_that_cannot_begin_leaves_the_old_processes(tmp_path: Path) -> None:
    state = tmp_path / "state"
    saved, log = state / "sites" / f"{GRID}.json", tmp_path / "log"
    with running({"port": free_ports(1)[0], "state": state, "sites": [GRID]}, log) as found:
        before, deadline = replicas(found), time.monotonic() + ROLLED_S
        saved.write_text("{")
        os.kill(found.process.pid, signal.SIGHUP)
        while "not every process is new, the old ones go on: state file" not in log.read_text():
            assert time.monotonic() < deadline, "it does not say that the update failed"
            time.sleep(0.2)
        assert httpx.get(f"{found.url}/healthz").json()["status"] == "ok"
        assert before <= replicas(found)
        saved.unlink()
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        while not replicas(found) - before or httpx.get(f"{found.url}/healthz").status_code != 200:
            assert time.monotonic() < deadline + ROLLED_S, "an old process that dies is replaced no more"
            time.sleep(0.2)
        before, deadline = replicas(found), time.monotonic() + ROLLED_S
        os.kill(found.process.pid, signal.SIGHUP)
        while replicas(found) & before:
            assert time.monotonic() < deadline + ROLLED_S, "what failed once stays in the way"
            time.sleep(0.2)
        assert httpx.get(f"{found.url}/healthz").json()["status"] == "ok"


@pytest.mark.parametrize("shards", ["one", "site"])
def test_sites_come_and_go_while_another_is_served(tmp_path: Path, shards: str) -> None:
    """By the configuration's file and SIGHUP; a mistake in it changes nothing."""
    file, log, port = tmp_path / "city.yaml", tmp_path / "log", free_ports(1)[0]
    ticks = [orjson.loads(body) for body in record_episode(GRID, "greedy")[1]]
    failed: list[str] = []
    end = threading.Event()

    def write(*sites: str) -> None:
        file.write_bytes(orjson.dumps({"port": port, "shards": shards, "state": "state", "sites": sites}))

    def reloaded(said: str) -> None:
        """Ask for a reload, and wait for what is said of it."""
        begins, deadline = len(log.read_text()), time.monotonic() + ROLLED_S
        os.kill(found.process.pid, signal.SIGHUP)
        while "every process is new" not in log.read_text()[begins:]:
            assert time.monotonic() < deadline, log.read_text()[begins:]
            time.sleep(0.2)
        assert said in log.read_text()[begins:]

    def served() -> set[str]:
        systems = httpx.get(f"{found.url}/v1/systems").json()["systems"]
        return {f"{system['name']}/{site['name']}" for system in systems for site in system["sites"]}

    def drive() -> None:
        count = 0
        with httpx.Client(trust_env=False, timeout=10) as http:
            while not end.wait(0.02):
                run, k = divmod(count, len(ticks))
                try:
                    answer = http.post(f"{found.url}/v1/{GRID}/act", content=body_of(ticks[k] | {"episode": f"{run}"}))
                    if answer.status_code != 200:
                        failed.append(f"tick {count}: {answer.status_code} {answer.text[:120]}")
                except httpx.HTTPError as error:
                    failed.append(f"tick {count}: {error!r}")
                count += 1

    write(GRID)
    with started([sys.executable, "-m", "cityloop", "serve", "--config", str(file), "--json"], log) as found:
        thread = threading.Thread(target=drive, daemon=True)
        thread.start()
        try:
            write(GRID, DYKE)
            reloaded(f"every process is new; new: {DYKE}")
            assert served() == {GRID, DYKE}
            assert httpx.get(f"{found.url}/v1/{DYKE}").status_code == 200
            write(GRID, "intersections/atlantis")
            reloaded("not every process is new, the old ones go on: scenario 'intersections/atlantis' is unknown")
            assert served() == {GRID, DYKE}
            write(GRID)
            reloaded(f"every process is new; no longer: {DYKE}")
            assert served() == {GRID}
            assert httpx.get(f"{found.url}/v1/{DYKE}").status_code == 404
        finally:
            end.set()
            thread.join(15)
    assert failed == []
