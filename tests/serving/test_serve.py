"""The real thing: Ray Serve behind HAProxy in a process of its own, driven over HTTP, and gone when told to stop."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from agents import make_controller
from envs import CityloopError, get_system, load_scenario
from envs.core.env import make_loop
from envs.core.scenario import Scenario
from serving.build import Plan
from serving.cluster.ray_cluster import free_ports
from serving.config import ServiceConfig
from serving.control import control
from serving.run import serve
from tests.serving.plants import GRID, body_of, grid, tick_of

START_S, STOP_S = 120, 60
"""Far more than it takes; a machine may be busy with other things."""

PROGRAM = """
import sys
from serving.config import ServiceConfig
from serving.run import serve
site = {"site": sys.argv[1], "champion": "max-pressure"}
serve(ServiceConfig.make({"port": int(sys.argv[2]), "sites": [site]}), as_json=True)
"""


@dataclass
class Running:
    process: subprocess.Popen[bytes]
    url: str
    said: dict[str, Any]


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return load_scenario(GRID, duration_s=150.0)


@pytest.fixture(scope="module")
def running(scenario: Scenario, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    path = tmp_path_factory.mktemp("site") / "site.json"
    get_system("intersections").load_site(scenario).save(path)
    port = free_ports(1)[0]
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(path), str(port)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], START_S)[0], "it did not start in time"
        yield Running(process, f"http://127.0.0.1:{port}", orjson.loads(process.stdout.readline()))
    finally:
        family = descendants(process.pid)
        process.terminate()
        try:
            process.wait(STOP_S)
        finally:
            for pid in [process.pid, *family]:
                if alive(pid):
                    os.kill(pid, signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """All processes under a process."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue  # it has just ended
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def listeners(pids: list[int]) -> dict[str, str]:
    """Address → program of everything that these processes listen on."""
    sockets = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                sockets[fields[9]] = fields[1].split(":")[0]
    found = {}
    for pid in pids:
        try:
            name = Path(f"/proc/{pid}/comm").read_text().strip()
            links = [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()]
        except OSError:
            continue  # it has just ended
        for link in links:
            inode = link.removeprefix("socket:[").removesuffix("]")
            if inode in sockets:
                found[f"{name} {inode}"] = sockets[inode]
    return found


LOOPBACK = ("0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000")


def test_says_where_and_what_it_serves(running: Running) -> None:
    assert running.said["url"] == running.url
    (site,) = running.said["sites"]
    assert site["act"] == f"{running.url}/v1/{GRID}/act"
    assert (site["controller"], site["fallback"]) == ("max-pressure", "max-pressure")
    assert httpx.get(f"{running.url}/healthz").json()["status"] == "ok"


def test_everything_listens_on_loopback_alone(running: Running) -> None:
    found = listeners([running.process.pid, *descendants(running.process.pid)])
    assert any(name.startswith("haproxy") for name in found)
    assert {name: address for name, address in found.items() if address not in LOOPBACK} == {}


def test_a_plant_is_driven_as_in_process(running: Running, scenario: Scenario) -> None:
    result = control(scenario, running.url, seed=5, deadline_ms=30_000)
    loop = make_loop(scenario)
    try:
        last = loop.episode(make_controller("max-pressure", loop.site), seed=5)
    finally:
        loop.close()
    assert result["kpis"] == last.kpis
    assert (result["answered"], result["local_fallback"]) == (30, 0)


def test_refusals_come_through_the_proxy(running: Running) -> None:
    act = f"{running.url}/v1/{GRID}/act"
    assert httpx.post(act, content=b"{").status_code == 422
    assert httpx.get(f"{running.url}/v1/tides/x").status_code == 404
    assert httpx.post(act, content=b" " * (3 << 20)).status_code == 413
    assert "Cityloop" in httpx.get(f"{running.url}/docs").text


def test_many_clients_get_their_own_answers(running: Running) -> None:
    site, barrier = grid(), threading.Barrier(8)

    def ask(client: int) -> list[int]:
        with httpx.Client(timeout=60) as http:
            barrier.wait(30)
            ticks = [client * 1000 + k for k in range(20)]
            bodies = [body_of(tick_of(site) | {"tick": tick}) for tick in ticks]
            answers = [http.post(f"{running.url}/v1/{GRID}/act", content=body).json() for body in bodies]
        return [tick - answer["tick"] for tick, answer in zip(ticks, answers, strict=True)]

    with ThreadPoolExecutor(8) as pool:
        assert all(difference == 0 for differences in pool.map(ask, range(8)) for difference in differences)


def test_a_port_in_use_is_one_sentence(running: Running) -> None:
    port = int(running.url.rsplit(":", 1)[1])
    with pytest.raises(CityloopError, match=rf"port {port} on 127.0.0.1 cannot be used \(address already in use\)"):
        serve(config(port=port))


def test_it_stops_without_a_trace(running: Running) -> None:
    """Last, as it stops the service of the others."""
    family = descendants(running.process.pid)
    names = {Path(f"/proc/{pid}/comm").read_text().strip() for pid in family}
    assert any(name.startswith("haproxy") for name in names)
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(STOP_S) == 0
    assert running.process.stdout is not None
    assert running.process.stdout.read() == b""
    assert [pid for pid in family if alive(pid)] == []


def config(**changes: Any) -> ServiceConfig:
    return ServiceConfig.make({"sites": [GRID], "defaults": {"champion": "max-pressure"}} | changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sites": ["intersections/atlantis"]}, "'intersections/atlantis' is unknown"),
        ({"sites": [GRID, GRID]}, "two sites are called"),
        ({"defaults": {"champion": "oracle"}}, "'oracle' is unknown"),
        ({"defaults": {"champion": "no/such/bundle"}}, "cannot be read"),
        ({"defaults": {"champion": "max-pressure", "fallback": "fixed"}}, "cannot take over"),
    ],
)
def test_what_cannot_be_served_is_one_sentence(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(CityloopError, match=words) as error:
        serve(config(**({"port": free_ports(1)[0]} | changes)))
    assert "\n" not in str(error.value)


def test_whom_policy_means_is_said_clearly() -> None:
    gateway = Plan.make(ServiceConfig.make({"sites": ["drainage/estuary", "drainage/astlingen"]})).gateway(
        restore=False
    )
    try:
        estuary, astlingen = (service.in_charge for service in gateway.all)
        assert (estuary.controller, estuary.bundle) == ("static", None)
        assert estuary.why is not None
        assert estuary.why.startswith("static decides, as ")
        assert astlingen.controller == "gates"
        assert astlingen.why == "gates decides, as it was shown to be no worse than static at astlingen*"
    finally:
        gateway.close()
