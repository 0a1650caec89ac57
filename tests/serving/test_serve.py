"""The real thing: Ray Serve behind HAProxy in a process of its own, driven over HTTP, and gone when told to stop."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from http.client import HTTPConnection
from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from agents import make_controller
from envs import CityloopError, get_system, load_scenario
from envs.core.env import make_loop
from envs.core.machine.sockets import SHORT
from envs.core.scenario import Scenario
from serving.build import Plan
from serving.client.control import control
from serving.cluster.ports import free_ports
from serving.cluster.processes import alive, title
from serving.config import ServiceConfig
from serving.forms import RoleChange
from serving.operations import change_roles
from serving.run import _next, serve
from tests.serving.plants import GRID, body_of, grid, tick_of
from tests.serving.running import LOOPBACK, STOP_S, Running, listeners
from tests.serving.running import running as started_service


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return load_scenario(GRID, duration_s=150.0)


@pytest.fixture(scope="module")
def running(scenario: Scenario, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    path = tmp_path_factory.mktemp("site") / "site.json"
    get_system("intersections").load_site(scenario).save(path)
    site = {"site": str(path), "champion": "max-pressure"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(path))  # which is no folder: an account without a home, as services often have
        with started_service({"port": free_ports(1)[0], "sites": [site]}) as service:
            yield service


def test_says_where_and_what_it_serves(running: Running) -> None:
    assert running.said["url"] == running.url
    (site,) = running.said["sites"]
    assert site["act"] == f"{running.url}/v1/{GRID}/act"
    assert (site["controller"], site["fallback"]) == ("max-pressure", "max-pressure")
    assert httpx.get(f"{running.url}/healthz").json()["status"] == "ok"


def test_everything_listens_on_loopback_alone(running: Running) -> None:
    found = listeners([running.process.pid, *running.family()])
    assert any(name.startswith("haproxy") for name in found)
    assert {name: address for name, address in found.items() if address not in LOOPBACK} == {}


def test_no_other_user_may_enter_its_folder(running: Running) -> None:
    """Ray opens its folder to everybody, and HAProxy's socket there gave its listening sockets to whoever asked."""
    (proxy,) = [title(pid) for pid in running.family() if "/haproxy " in title(pid)]
    config = Path(proxy.split(" -f ")[1].split()[0])
    own = next(folder for folder in config.parents if folder.parent == Path(SHORT))
    assert stat.S_IMODE(own.stat().st_mode) == 0o700


def test_nothing_of_it_gives_way_to_whoever_started_it(running: Running) -> None:
    ours, members = os.getpriority(os.PRIO_PROCESS, 0), [running.process.pid, *running.family()]
    assert {os.getpriority(os.PRIO_PROCESS, pid) for pid in members if alive(pid)} == {ours}


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
    unknown = httpx.request("BREW", f"{running.url}/docs")
    assert (unknown.status_code, unknown.json()["error"]["field"]) == (405, "method")
    for path in ("/readyz", "/v1/events"):
        head = httpx.head(running.url + path)
        assert (head.status_code, head.content) == (200, b"")
        assert httpx.get(f"{running.url}/healthz").status_code == 200, "it does not wait behind a stream"
    routes = httpx.get(f"{running.url}/-/routes")  # of Ray Serve's own, which asked for no key
    assert (routes.status_code, routes.json()["error"]["field"]) == (404, "address")
    with closing(HTTPConnection(running.url.removeprefix("http://"))) as whole:
        whole.request("OPTIONS", "*")
        answer = whole.getresponse()
        assert answer.status == 404, "no replica is missing"
        assert b'"field":"address"' in answer.read()


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
    with pytest.raises(CityloopError, match="choose another --grpc-port"):
        serve(config(port=free_ports(1)[0], grpc_port=port))


LOCALHOST = "127.0.0.1"


def answers_at(address: tuple[str, int]) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(address) == 0


def test_it_answers_what_it_was_asked_and_stops_without_a_trace(running: Running) -> None:
    """Last, as it stops the service of the others."""
    family = running.family()
    names = {Path(f"/proc/{pid}/comm").read_text().strip() for pid in family}
    assert any(name.startswith("haproxy") for name in names)
    address = LOCALHOST, int(running.url.rsplit(":", 1)[1])
    body = body_of(tick_of(grid()))
    with closing(HTTPConnection(*address, timeout=60)) as asker:
        asker.request("GET", "/healthz")
        asker.getresponse().read()
        asker.putrequest("POST", f"/v1/{GRID}/act")
        asker.putheader("content-type", "application/json")
        asker.putheader("content-length", str(len(body)))
        asker.endheaders(body[:10])
        running.process.send_signal(signal.SIGINT)
        begun_s = time.monotonic()
        while answers_at(address) and time.monotonic() < begun_s + STOP_S:
            pass
        asker.send(body[10:])
        assert asker.getresponse().status == 200
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
        ({"host": "::1"}, "host is '::1': give an IPv4 address"),
        ({"defaults": {"champion": "oracle"}}, "'oracle' is unknown"),
        ({"defaults": {"champion": "no/such/bundle"}}, "cannot be read"),
        ({"defaults": {"champion": "max-pressure", "fallback": "fixed"}}, "cannot take over"),
    ],
)
def test_what_cannot_be_served_is_one_sentence(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(CityloopError, match=words) as error:
        serve(config(**({"port": free_ports(1)[0]} | changes)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("called", ["state", "audit"])
def test_folders_that_cannot_be_written_are_refused_before_ray_starts(tmp_path: Path, called: str) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "folder"
    change = {"audit": {"folder": folder}} if called == "audit" else {"state": folder}
    with pytest.raises(CityloopError, match=rf"{called} folder {folder} cannot be made or written \(Not a directory\)"):
        serve(config(port=free_ports(1)[0], **change))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sites": [{"site": "dampers/jansen", "monitor": "none.json"}]}, r"none\.json cannot be read"),
        ({"sites": [{"site": GRID, "monitor": "none.json"}]}, "only buildings are listened to"),
        ({"audit": {"folder": "audit", "key": "file"}}, r"key file file has mode 644: run 'chmod 600 file'"),
        ({"audit": {"folder": "audit", "key": "own"}}, "holds no Ed25519 private key"),
        ({"audit": {"folder": "audit", "anchors": "file"}}, "anchors folder file cannot be made or written"),
    ],
)
def test_files_that_cannot_be_used_are_refused_before_ray_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch(0o644)
    Path("own").touch(0o600)
    monkeypatch.setattr("serving.run.Cluster", no_cluster)
    with pytest.raises(CityloopError, match=words):
        serve(ServiceConfig.make({"port": free_ports(1)[0], "sites": [GRID], **changes}))


def test_a_database_that_cannot_be_used_is_told_before_ray_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It took a minute, in which three replicas died of it."""
    monkeypatch.setattr("serving.run.Cluster", no_cluster)
    booked = {"site": "transit/hcmc", "booking": {"database": f"sqlite:///{tmp_path}/none/bookings.db"}}
    with pytest.raises(CityloopError, match=r"database .*/none/bookings\.db cannot be used \(unable to open"):
        serve(ServiceConfig.make({"port": free_ports(1)[0], "sites": [booked]}))


def no_cluster(*_: Any) -> Any:
    raise AssertionError("Ray would have started")


def test_a_service_that_cannot_begin_leaves_no_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(threading.enumerate())
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(CityloopError, match="cannot be used"):
            serve(config(port=taken.getsockname()[1]))
    log = {"folder": tmp_path / "audit"}
    for wrong in ({"champion": "oracle"}, {"booking": {}}):
        sites = [{"site": "dampers/jansen", "champion": "clipped-optimal"}, {"site": GRID, **wrong}]
        with pytest.raises(CityloopError, match=r"unknown|booking"):
            Plan.make(ServiceConfig.make({"audit": log, "sites": sites})).gateway()
    left = set(threading.enumerate()) - before
    for thread in left:
        thread.join(1.0)
    assert [thread.name for thread in left if thread.is_alive()] == []


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, CityloopError)], ids=["ctrl-c", "kill"]
)
def test_a_start_is_interrupted_or_stopped(
    monkeypatch: pytest.MonkeyPatch, number: signal.Signals, error: type[BaseException]
) -> None:
    before = signal.getsignal(number)
    monkeypatch.setattr("serving.run._start", lambda *_: signal.raise_signal(number))
    with pytest.raises(error):
        serve(config(port=free_ports(1)[0]))
    assert signal.getsignal(number) is before


def test_a_reload_that_is_asked_for_while_it_starts_comes_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hook that renews a certificate may come at any time; it ended the process without a word."""
    rolled: list[str] = []

    def roll(after: ServiceConfig) -> None:
        rolled.append(after.sites[0].site)
        signal.raise_signal(signal.SIGTERM)

    def start(*_: object) -> Any:
        signal.raise_signal(signal.SIGHUP)
        return nullcontext(SimpleNamespace(roll=roll, refs=[], check=lambda: pytest.fail("it waits")))

    monkeypatch.setattr("serving.run._start", start)
    monkeypatch.setattr("serving.run.announce", lambda *_: None)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # without the mend it would end the tests
    port = free_ports(1)[0]
    try:
        serve(config(port=port), again=lambda: config(port=port, sites=["intersections/cologne1"]))
    finally:
        signal.signal(signal.SIGHUP, before)
    assert rolled == ["intersections/cologne1"], "by the configuration of now"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_breaks_off_an_update_and_goes_before_those_that_wait(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A supervisor kills a service that has not stopped after a minute or two, which several updates may take."""
    told: list[str] = []

    def roll(_: ServiceConfig) -> None:
        told.append("begun")
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(number)
        told.append("ended")

    def close() -> None:
        signal.raise_signal(number)  # a second one, as of somebody who is impatient
        told.append("closed")

    @contextmanager
    def start(*_: object) -> Iterator[Any]:
        yield SimpleNamespace(roll=roll, refs=[], check=lambda: signal.raise_signal(signal.SIGHUP))
        close()

    monkeypatch.setattr("serving.run._start", start)
    monkeypatch.setattr("serving.run.announce", lambda *_: None)
    serve(config(port=free_ports(1)[0]))
    assert told == ["begun", "closed"]


@pytest.mark.parametrize("error", [CityloopError("no such site"), OSError(5, "the disk is ill"), ValueError("odd")])
def test_an_update_that_fails_ends_no_service(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the reading of a site's files may raise."""
    told: list[str] = []

    def roll(_: ServiceConfig) -> None:
        told.append("begun")
        raise error

    def check() -> None:
        told.append("goes on")
        signal.raise_signal(signal.SIGTERM)

    def start(*_: object) -> Any:
        signal.raise_signal(signal.SIGHUP)
        return nullcontext(SimpleNamespace(roll=roll, refs=[], check=check))

    monkeypatch.setattr("serving.run._start", start)
    monkeypatch.setattr("serving.run.announce", lambda *_: None)
    monkeypatch.setattr("serving.run.configure", lambda *_: None)  # the log is looked at here
    serve(config(port=free_ports(1)[0]))
    assert told == ["begun", "goes on"]
    assert "the old ones go on: " in caplog.text
    assert str(error) in caplog.text


def test_signals_that_wait_are_one_update_or_a_stop() -> None:
    waiting = SimpleQueue[int]()
    for number in (signal.SIGHUP, signal.SIGHUP):
        waiting.put(number)
    assert _next(waiting, lambda: None) == signal.SIGHUP
    assert waiting.empty()
    for number in (signal.SIGHUP, signal.SIGTERM):
        waiting.put(number)
    assert _next(waiting, lambda: None) == signal.SIGTERM


def test_a_look_at_what_will_be_served_heeds_what_was_saved_and_writes_nothing(tmp_path: Path) -> None:
    content = {"sites": [{"site": "drainage/estuary", "champion": "static"}], "state": tmp_path / "state"}
    plan = Plan.make(ServiceConfig.make(content))
    with closing(plan.gateway(restore=False)):
        assert not (tmp_path / "state").exists()
    with closing(plan.gateway()) as gateway:
        asyncio.run(change_roles(gateway.all[0], "promote", RoleChange(policy="efd", reason="a test"), "me"))
    with closing(plan.gateway(restore=False)) as look:
        assert look.all[0].in_charge.controller == "efd"


@pytest.mark.parametrize("called", ["alarms", "health"])
def test_a_file_where_a_folder_of_its_state_should_be_is_one_sentence(tmp_path: Path, called: str) -> None:
    (tmp_path / called).touch()
    content = {"sites": [{"site": "dampers/jansen", "champion": "clipped-optimal"}], "state": tmp_path}
    with pytest.raises(CityloopError, match=rf"state folder {tmp_path}/{called} cannot be made or written"):
        Plan.make(ServiceConfig.make(content)).gateway()


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
