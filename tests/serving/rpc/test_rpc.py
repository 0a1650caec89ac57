"""The service over gRPC: a real server and a real channel on loopback, no Ray; and the stubs are the proto's."""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import orjson
import pytest
from ray.serve.grpc_util import RayServegRPCContext

from envs import get_system, load_scenario
from envs.core.site import Site
from serving.access.entry import Access
from serving.access.keys import create_key, revoke_key
from serving.access.principal import AccessSettings, Grant, Role
from serving.cluster.joined import JoinedEvents
from serving.cluster.replica import Replica
from serving.cluster.shards import Front
from serving.core.wire import example_tick, parse_tick
from serving.gateway import Gateway
from serving.rpc import cityloop_pb2 as pb
from serving.rpc import service as module
from serving.rpc.cityloop_pb2_grpc import CityloopStub, add_CityloopServicer_to_server
from serving.rpc.messages import body_of
from serving.rpc.service import Rpc
from serving.watch.streams import Frame, Streams
from tests.serving.cluster.test_joined import Source
from tests.serving.plants import service, tick_of

pytestmark = pytest.mark.anyio

HERE = {"system": "intersections", "site": "grid2x2"}
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module", autouse=True)
async def one_event_loop(anyio_backend: str) -> AsyncIterator[None]:
    """For all tests: gRPC's threads may call upon the loop of a test that is over, which is an error in the next."""
    loop = asyncio.get_running_loop()
    yield
    assert asyncio.get_running_loop() is loop


class Served(Rpc):
    """A server of one's own."""

    def __init__(self, gateway: Gateway):
        self.gateway = gateway

    async def __aenter__(self) -> CityloopStub:
        self.server = grpc.aio.server()
        add_CityloopServicer_to_server(self, self.server)
        port = self.server.add_insecure_port("127.0.0.1:0")
        await self.server.start()
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        return CityloopStub(self.channel)

    async def __aexit__(self, *_: object) -> None:
        await self.channel.close()
        await self.server.stop(0)


def served(site: Site, access: Access | None = None, **more: Any) -> Served:
    streams = Streams(heartbeat_s=60.0)
    return Served(Gateway([service(site, sinks=[streams], **more)], access, streams=streams))


def columns_of(readings: dict[str, list[Any]]) -> dict[str, pb.Column]:
    return {name: pb.Column(values=[math.nan if v is None else v for v in vs]) for name, vs in readings.items()}


def request(site: Site, tick: int = 0, **readings: Any) -> pb.ActRequest:
    tick_ = tick_of(site) if site.system == "intersections" else example_tick(site)
    columns = columns_of(tick_["readings"] | readings)
    return pb.ActRequest(system=site.system, site=site.name, tick=tick, time_s=5.0 * tick, readings=columns)


async def code_of(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details()


async def test_how_old_readings_are_is_heard(site: Site) -> None:
    old = request(site)
    old.ages_s["count_veh"] = 99.0
    assert orjson.loads(body_of(old))["ages_s"] == {"count_veh": 99.0}
    assert "ages_s" not in orjson.loads(body_of(request(site))), "a tick is the same as before"
    async with served(site) as stub:
        assert (await stub.Act(old)).tick == 0
        for age in (-1.0, float("nan")):
            old.ages_s["count_veh"] = age
            assert (await code_of(stub.Act(old)))[0] is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_tick_is_answered_as_over_http(site: Site) -> None:
    over_http = await service(site).act_async(body_of(request(site, 3)))
    async with served(site) as stub:
        answer = await stub.Act(request(site, 3))
    assert (answer.tick, answer.time_s, answer.source) == (3, 15.0, "champion")
    commands = {agent: {c.name: c.values[0]} for agent, c in answer.commands.items()}
    assert commands == over_http["commands"]
    assert not answer.HasField("bundle")
    assert not answer.HasField("fallback_reason")


@pytest.mark.parametrize("ref", ["intersections/grid2x2", "drainage/estuary", "dampers/jansen"])
def test_a_tick_in_protobuf_is_the_tick_in_json(ref: str) -> None:
    system = get_system(ref.partition("/")[0])
    site = system.load_site(load_scenario(ref))
    tick = example_tick(site)
    columns = columns_of(tick["readings"])
    asked = pb.ActRequest(tick=7, time_s=1.5, readings=columns, deadline_ms=20, episode="storm")
    parsed = parse_tick(system, site, body_of(asked))
    expected = parse_tick(system, site, orjson.dumps(tick | {"tick": 7, "time_s": 1.5}))
    assert (parsed.tick, parsed.time_s, parsed.deadline_ms, parsed.episode) == (7, 1.5, 20.0, "storm")
    for name, values in expected.readings.items():
        assert parsed.readings[name].tobytes() == values.tobytes()


async def test_the_order_of_columns_makes_no_other_tick(site: Site) -> None:
    first = request(site, 1)
    first.ages_s.update({"green_s": 1.0, "stage": 2.0})
    again = b"".join(
        pb.ActRequest(readings={name: first.readings[name]}).SerializeToString()
        for name in sorted(first.readings, reverse=True)
    )
    rest = pb.ActRequest(tick=first.tick, time_s=first.time_s, **HERE).SerializeToString()
    ages = b"".join(
        pb.ActRequest(ages_s={name: first.ages_s[name]}).SerializeToString() for name in ("stage", "green_s")
    )
    other = pb.ActRequest.FromString(again + ages + rest)
    assert body_of(first) == body_of(other)
    async with served(site) as stub:
        assert await stub.Act(first) == await stub.Act(other)


async def test_silent_sensors_and_infinities(site: Site) -> None:
    async with served(site) as stub:
        silent = [None] * len(site.axes["approach"])
        assert (await stub.Act(request(site, queue_veh=silent))).tick == 0
        code, details = await code_of(stub.Act(request(site, queue_veh=[math.inf] * len(silent))))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert details.startswith("readings.queue_veh is 'infinite'")


async def test_what_cannot_be_used_is_named(site: Site) -> None:
    async with served(site) as stub:
        wrong = [2.0] * len(site.axes["approach"])
        code, details = await code_of(stub.Act(request(site, occupancy=wrong)))
        assert code == grpc.StatusCode.INVALID_ARGUMENT
        assert "readings.occupancy[0]" in details
        for elsewhere in ({"site": "atlantis"}, {"system": "tides"}):
            tick = request(site)
            for name, value in elsewhere.items():
                setattr(tick, name, value)
            assert (await code_of(stub.Act(tick)))[0] == grpc.StatusCode.NOT_FOUND


async def test_a_fault_of_the_service_shows_no_trace(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(site) as stub:
        monkeypatch.setattr(Gateway, "act", None)
        code, details = await code_of(stub.Act(request(site)))
    assert code == grpc.StatusCode.INTERNAL
    assert "NoneType" not in details


async def test_info_state_and_health(site: Site) -> None:
    async with served(site) as stub:
        info = await stub.Info(pb.SiteRequest(**HERE))
        assert (list(info.agents), info.site_hash) == (list(site.agents), site.hash)
        assert {axis: tuple(ids.ids) for axis, ids in info.axes.items()} == {a: tuple(i) for a, i in site.axes.items()}
        assert orjson.loads(info.json)["request_schema"]["properties"]["readings"]
        await stub.Act(request(site, 4))
        assert orjson.loads((await stub.State(pb.SiteRequest(**HERE))).json)["last"]["tick"] == 4
        health = await stub.Health(pb.HealthRequest())
        assert (health.status, dict(health.sites)) == ("ok", {"intersections/grid2x2": "ok"})


async def test_a_loop_answers_each_tick_and_survives_what_cannot_be_used(site: Site) -> None:
    async def ticks() -> AsyncIterator[pb.ActRequest]:
        yield request(site, 0)
        yield request(site, 1, occupancy=[2.0] * len(site.axes["approach"]))
        yield request(site, 2)

    async with served(site) as stub:
        answers = [answer async for answer in stub.Loop(ticks())]
    assert [(a.tick, a.error.status, bool(a.commands)) for a in answers] == [
        (0, 0, True),
        (1, 422, False),
        (2, 0, True),
    ]


async def test_events_are_streamed_and_resumed(site: Site) -> None:
    async with served(site) as stub:
        events = stub.Events(pb.EventsRequest(since="00000000-0"))
        assert (await events.read()).kind == "gap"
        await stub.Act(request(site, 1))
        heard = await events.read()
        events.cancel()
        assert (heard.kind, orjson.loads(heard.json)["tick"]) == ("decision", 1)
        await stub.Act(request(site, 2))
        again = stub.Events(pb.EventsRequest(**HERE, since=heard.id))
        assert orjson.loads((await again.read()).json)["tick"] == 2
        again.cancel()


async def test_in_front_of_processes_the_events_of_all_of_them_are_streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    front = Front(Gateway([]), {"one": (), "two": ()})
    sources = [Source([Frame("a-1", "decision", b"{}")], [Frame("a-2", "alarm", b"{}")]), Source()]

    async def listen(_: Any, since: str | None, allowed: Callable[[], bool], last: int, only: None) -> JoinedEvents:
        return JoinedEvents("ana", lambda k, _: sources[k], len(sources), since, allowed)

    monkeypatch.setattr(front, "listen", listen)
    async with Served(front) as stub:
        events = stub.Events(pb.EventsRequest())
        assert [(await events.read()).kind for _ in range(2)] == ["decision", "alarm"]
        events.cancel()


class Handle:
    """Calls a process as Ray's handle does."""

    def __init__(self, of: Any):
        self._of = of

    def options(self, stream: bool) -> Handle:
        return self

    def __getattr__(self, method: str) -> Any:
        def remote(*args: Any) -> Any:
            answer = getattr(self._of, method)(*args)
            return answer if hasattr(answer, "__await__") else Stream(answer)

        return SimpleNamespace(remote=remote)


class Stream:
    """A stream as Ray's handle has it."""

    def __init__(self, frames: AsyncIterator[Any]):
        self._frames = frames

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._frames

    def cancel(self) -> None:
        """The one who reads it has cancelled already."""


class Process(Replica):
    """A process without Ray."""

    def __init__(self, gateway: Gateway):
        self.gateway = gateway

    def __del__(self) -> None:
        """The test owns its gateway."""


class Spread(Served, Process):
    """A process that serves gRPC."""


async def test_in_front_of_processes_every_method_reaches_every_site(site: Site) -> None:
    other = get_system("drainage").load_site(load_scenario("drainage/theta"))
    parts = [
        Gateway([service(one, sinks=[streams])], streams=streams) for one in (site, other) for streams in [Streams()]
    ]
    front = Front(
        Gateway([]), {name: (f"{one.system}/{one.name}",) for name, one in (("a", site), ("b", other))}, waits_s=60.0
    )
    front._handles = [Handle(Process(part)) for part in parts]
    async with Spread(front) as stub:
        assert (await stub.Health(pb.HealthRequest())).status == "ok"
        for one in (site, other):
            place = {"system": one.system, "site": one.name}
            events = stub.Events(pb.EventsRequest(**place, since="00000000-0"))
            assert (await events.read()).kind == "gap"
            assert (await stub.Act(request(one, 1))).tick == 1
            assert [answer.tick async for answer in stub.Loop(iter([request(one, 2)]))] == [2]
            info = await stub.Info(pb.SiteRequest(**place))
            assert (info.site, info.site_hash) == (one.name, one.hash)
            assert orjson.loads((await stub.State(pb.SiteRequest(**place))).json)["last"]["tick"] == 2
            assert [orjson.loads((await events.read()).json)["tick"] for _ in range(2)] == [1, 2]
            events.cancel()
            code, words = await code_of(stub.Act(pb.ActRequest(**place, tick=3)))
            assert (code, "readings" in words) == (grpc.StatusCode.INVALID_ARGUMENT, True)
        for call in (stub.Info, stub.State):
            assert (await code_of(call(pb.SiteRequest(system="tides", site="x"))))[0] == grpc.StatusCode.NOT_FOUND


class TestWhoMay:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        return tmp_path / "keys.json"

    def access(self, file: Path, role: Role, system: str = "intersections", **more: Any) -> tuple[Access, Any]:
        token, _ = create_key(file, "plc", [Grant(role=role, system=system)], **more)
        return Access(AccessSettings(keys=file)), (("authorization", f"Bearer {token}"),)

    async def test_statuses(self, site: Site, file: Path) -> None:
        access, metadata = self.access(file, Role.READ)
        async with served(site, access) as stub:
            code, words = await code_of(stub.Act(request(site)))
            assert (code, "None" in words) == (grpc.StatusCode.UNAUTHENTICATED, False)
            assert (await code_of(stub.Act(request(site), metadata=metadata)))[0] == grpc.StatusCode.PERMISSION_DENIED
            assert (await stub.Info(pb.SiteRequest(**HERE), metadata=metadata)).site == "grid2x2"
            other = pb.SiteRequest(system="drainage", site="estuary")
            assert (await code_of(stub.Info(other, metadata=metadata)))[0] == grpc.StatusCode.PERMISSION_DENIED
            assert not (await stub.Health(pb.HealthRequest())).sites
            for call in (stub.Events(pb.EventsRequest()), stub.Loop(iter([request(site)]))):
                assert (await code_of(call.read()))[0] == grpc.StatusCode.UNAUTHENTICATED

    async def test_the_rate(self, site: Site, file: Path) -> None:
        access, metadata = self.access(file, Role.ACT, rate_s=0.001, burst=1.0)
        async with served(site, access) as stub:
            await stub.Act(request(site), metadata=metadata)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Act(request(site, 1), metadata=metadata)
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert int(dict(caught.value.trailing_metadata())["retry-after"]) > 0

    async def test_the_rate_as_ray_hands_it_on(self, site: Site, file: Path) -> None:
        access, metadata = self.access(file, Role.READ, rate_s=0.001, burst=1.0)
        context = RayServegRPCContext(
            SimpleNamespace(
                invocation_metadata=lambda: metadata,
                trailing_metadata=lambda: [("request_id", "1")],
                **dict.fromkeys(
                    ("auth_context", "code", "details", "peer", "peer_identities", "peer_identity_key"), lambda: None
                ),
            )
        )
        rpc = Rpc()
        rpc.gateway = Gateway([service(site)], access)
        for _ in range(2):
            await rpc.State(pb.SiteRequest(**HERE), context)
        assert context.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        told = dict(context.trailing_metadata())
        assert (told["request_id"], int(told["retry-after"]) > 0) == ("1", True)

    async def test_a_key_that_is_revoked_ends_a_loop(
        self, site: Site, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "RECHECK_S", 0.0)
        access, metadata = self.access(file, Role.ACT)
        async with served(site, access) as stub:
            loop = stub.Loop(metadata=metadata)
            await loop.write(request(site, 0))
            assert (await loop.read()).tick == 0
            revoke_key(file, "plc")
            await loop.write(request(site, 1))
            assert (await code_of(loop.read()))[0] == grpc.StatusCode.UNAUTHENTICATED


def test_the_stubs_are_those_of_the_proto(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools", reason="grpcio-tools is for developers")
    outs = [f"--{kind}={tmp_path}" for kind in ("python_out", "pyi_out", "grpc_python_out")]
    proto = "serving/rpc/cityloop.proto"
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", "-I.", *outs, proto], cwd=ROOT, check=True)
    made = sorted(path.name for path in (tmp_path / "serving" / "rpc").iterdir())
    assert made == ["cityloop_pb2.py", "cityloop_pb2.pyi", "cityloop_pb2_grpc.py"]
    for name in made:
        fresh, kept = (tmp_path / "serving/rpc" / name).read_text(), (ROOT / "serving/rpc" / name).read_text()
        assert fresh == kept, "run `make protos`"
