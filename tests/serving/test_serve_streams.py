"""The real thing with keys: the loop, the events and gRPC through Ray Serve and HAProxy, all on loopback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import orjson
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from serving.access.keys import create_key
from serving.access.principal import Grant, Role
from serving.cluster.ports import free_ports
from serving.rpc import cityloop_pb2 as pb
from serving.rpc.cityloop_pb2_grpc import CityloopStub
from tests.serving.rpc.test_rpc import columns_of
from tests.serving.running import LOOPBACK, Running, listeners, started

pytestmark = pytest.mark.slow

SITE = "dampers/jansen"


@dataclass
class Guarded:
    """A service that wants keys, and one of them."""

    service: Running
    grpc: str
    key: str
    log: Path

    @property
    def url(self) -> str:
        return self.service.url

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("service")
    key, _ = create_key(folder / "keys.json", "plant", [Grant(role=Role.ACT, system="dampers"), Grant(role=Role.READ)])
    port, rpc = free_ports(2)
    words = ["serve", SITE, "--port", str(port), "--grpc-port", str(rpc), "--keys", str(folder / "keys.json")]
    line = [sys.executable, "-m", "cityloop", *words, "--state", str(folder / "state"), "--log", "json", "--json"]
    with started(line, folder / "log") as service:
        yield Guarded(service, f"127.0.0.1:{rpc}", key, folder / "log")


def test_the_loop_and_the_events_beside_it(running: Guarded) -> None:
    example = httpx.get(f"{running.url}/v1/{SITE}", headers=running.headers).json()["example"]
    address = f"{running.url.replace('http', 'ws', 1)}/v1/{SITE}/loop"
    with (
        httpx.stream("GET", f"{running.url}/v1/events", headers=running.headers, timeout=30) as events,
        connect(address, additional_headers=running.headers, compression=None, proxy=None) as loop,
    ):
        for k in range(20):
            loop.send(orjson.dumps(example | {"tick": k, "time_s": 0.01 * k}))
            assert orjson.loads(loop.recv(30))["tick"] == k
        lines = (line for line in events.iter_lines() if line.startswith("data: "))
        assert orjson.loads(next(lines).removeprefix("data: "))["tick"] == 0
    with pytest.raises(InvalidStatus) as caught:
        connect(address, proxy=None)
    assert caught.value.response.status_code == 401


def test_grpc(running: Guarded) -> None:
    system, site = SITE.split("/")
    example = httpx.get(f"{running.url}/v1/{SITE}", headers=running.headers).json()["example"]
    metadata = tuple(running.headers.items())
    with grpc.insecure_channel(running.grpc) as channel:
        stub = CityloopStub(channel)
        # An episode of its own: after twenty ticks of the same readings input checks hold the sensors for stuck.
        mine = {"system": system, "site": site, "episode": "rpc", "readings": columns_of(example["readings"])}
        tick = pb.ActRequest(tick=1000, **mine)
        assert stub.Act(tick, metadata=metadata, timeout=30).source == "champion"
        ticks = [pb.ActRequest(tick=k, **mine) for k in (1001, 1002)]
        assert [a.tick for a in stub.Loop(iter(ticks), metadata=metadata, timeout=30)] == [1001, 1002]
        for call, code in (
            (lambda: stub.Act(tick, timeout=30), grpc.StatusCode.UNAUTHENTICATED),
            (lambda: stub.Act(pb.ActRequest(system="x" * 3_000_000), timeout=30), grpc.StatusCode.RESOURCE_EXHAUSTED),
            (lambda: stub.Info(pb.SiteRequest(system=system, site="x"), metadata=metadata), grpc.StatusCode.NOT_FOUND),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                call()
            assert caught.value.code() == code
            assert "Traceback" not in caught.value.details()
        reflection = channel.unary_unary("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
        with pytest.raises(grpc.RpcError) as caught:
            reflection(b"", timeout=30)
        assert caught.value.code() in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNKNOWN)


def test_metrics_tell_of_it_and_the_log_has_no_key(running: Guarded) -> None:
    text = httpx.get(f"{running.url}/metrics", headers=running.headers).text
    assert 'cityloop_ticks_total{site="jansen",source="champion",system="dampers"}' in text
    assert 'gauge="drift_peak_mm"' in text
    log = running.log.read_text()
    assert running.key not in log
    assert "cityloop.access" in {orjson.loads(line)["logger"] for line in log.splitlines()}


def test_everything_listens_on_loopback(running: Guarded) -> None:
    found = listeners([running.service.process.pid, *running.service.family()])
    assert found
    assert set(found.values()) <= set(LOOPBACK)
