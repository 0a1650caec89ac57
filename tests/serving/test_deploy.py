"""The service as Ray Serve knows it: shards, the file for ``serve deploy``, roles by user_config, what HAProxy says."""

from __future__ import annotations

import asyncio
import fcntl
import os
import resource
import subprocess
from collections.abc import Callable
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import grpc
import httpx
import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from envs import CityloopError
from serving.access.principal import ANYBODY
from serving.alarms.book import Alarm
from serving.build import Plan
from serving.cluster.deploy import build, serve_config, write_serve_config
from serving.cluster.machine import OwnFolder, check_files, connections
from serving.cluster.proxy import PEM, bundle_tls, changes, error_page
from serving.cluster.ray_cluster import SETTINGS, Cluster, free_ports
from serving.cluster.replica import Replica, user_config
from serving.cluster.shards import SILENT, Front, merge_expositions, shards_of
from serving.config import ServiceConfig, Tls
from serving.gateway import Gateway
from serving.refusals import Busy, NotServed
from serving.rpc import cityloop_pb2 as pb
from serving.rpc.cityloop_pb2_grpc import CityloopStub
from serving.run import ServeHandle, _next
from tests.serving.plants import GRID, body_of, grid, tick_of
from tests.serving.running import running

ROOT = Path(__file__).resolve().parents[2]
SITES = [GRID, "intersections/grid3x3", "drainage/theta"]


def config(**changes_: Any) -> ServiceConfig:
    defaults = {"champion": "max-pressure"}
    return ServiceConfig.make({"sites": [GRID], "defaults": defaults} | changes_)


def three(shards: str) -> Plan:
    sites = [{"site": ref, "champion": "static" if ref.startswith("drainage") else "max-pressure"} for ref in SITES]
    return Plan.make(config(sites=sites, shards=shards))


@pytest.mark.parametrize(
    ("shards", "routes"),
    [
        ("one", ["/"]),
        ("system", ["/v1/intersections", "/v1/drainage", "/"]),
        ("site", ["/v1/intersections/grid2x2", "/v1/intersections/grid3x3", "/v1/drainage/theta", "/"]),
    ],
)
def test_every_site_has_one_shard(shards: str, routes: list[str]) -> None:
    found = shards_of(three(shards))
    assert [shard.route for shard in found] == routes
    assert sorted(site for shard in found for _, site in shard.plan.sites) == sorted(s for _, s in three("one").sites)
    assert found[-1].asks == {
        shard.name: tuple(f"{site.system}/{site.name}" for _, site in shard.plan.places()) for shard in found[:-1]
    }


def test_the_one_in_front_counts_what_it_answers_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = three("site").part(()).gateway()
    front = Front(gateway, {"cityloop-a": ()})

    async def heard(method: str) -> dict[str, tuple[bytes, str]]:
        return {"cityloop-a": (b"# TYPE a gauge\na 1.0\n", "text/plain")}

    monkeypatch.setattr(front, "_heard", heard)
    assert front.metrics is not None
    try:
        front.metrics.answered("/v1/me", 401)
        told = asyncio.run(front.exposition())[0].decode()
    finally:
        gateway.close()
    assert 'a{shard="cityloop-a"} 1.0' in told
    assert 'cityloop_http_answers_total{shard="cityloop",route="/v1/me",status="401"} 1.0' in told


def test_a_shard_that_does_not_answer_is_told_of_and_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Health, readiness and metrics of every site hung until it was replaced, and were cut off meanwhile."""

    from ray.exceptions import RayActorError

    async def well(method: str) -> Any:
        if method == "exposition":
            return b"# TYPE a gauge\na 1.0\n", "text/plain"
        return {"status": "ok", "sites": {"s/a": "ok"}, "audit": "ok", "faults": {}}

    async def hangs(_: str) -> None:
        await asyncio.Event().wait()

    async def dead(_: str) -> None:
        raise RayActorError

    class Handle:
        def __init__(self, answer: Callable[[str], Any]):
            self._answer = answer

        def __getattr__(self, method: str) -> Any:
            return SimpleNamespace(remote=lambda *_: self._answer(method))

    front = Front(Gateway([]), {"a": ("s/a",), "b": ("s/b",), "c": ("s/c",)})
    front._handles = [Handle(answer) for answer in (well, hangs, dead)]
    monkeypatch.setattr("serving.cluster.shards.ANSWERS_S", 0.01)
    silent = dict.fromkeys(("s/b", "s/c"), SILENT)
    told = asyncio.run(front.health())
    assert told == {"status": "degraded", "sites": {"s/a": "ok", **silent}, "audit": "ok", "access": "ok"}
    assert asyncio.run(front.ready()) == {"status": "unready", "faults": silent}
    assert asyncio.run(front.exposition())[0] == b'# TYPE a gauge\na{shard="a"} 1.0\n'
    for part in (front.summaries(), front.list_alarms(ANYBODY)):  # that would look like the whole
        with pytest.raises(Busy, match="one of its processes does not answer"):
            asyncio.run(part)


def test_alarms_are_seen_to_while_another_shard_hangs_or_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.exceptions import RayActorError

    rang = Alarm(id=2, system="s", site="b", key="k", priority="low", text="", incident=2, raised_s=0.0)
    asked: list[tuple[str, str]] = []

    class Handle:
        def __init__(self, name: str, answer: Callable[[int], Any]):
            self._name, self._answer = name, answer

        def __getattr__(self, method: str) -> Any:
            async def remote(number: int, *_: Any) -> Any:
                asked.append((self._name, method))
                return await self._answer(number)

            return SimpleNamespace(remote=remote)

    async def well(number: int) -> Alarm | None:
        return rang if number == rang.id else None

    async def hangs(_: int) -> None:
        await asyncio.Event().wait()

    async def dead(_: int) -> None:
        raise RayActorError

    front = Front(Gateway([]), {"a": ("s/a",), "b": ("s/b",), "c": ("s/c",)})
    front._handles = [Handle("a", hangs), Handle("b", well), Handle("c", dead)]
    monkeypatch.setattr("serving.cluster.shards.ANSWERS_S", 0.01)
    assert asyncio.run(front.alarm(2)) == rang
    assert asyncio.run(front.acknowledge(2, "ana")) == rang
    assert asyncio.run(front.shelve(2, "ana", "seen to", 60.0)) == rang
    assert {one for one in asked if one[1] != "alarm"} == {("b", "acknowledge"), ("b", "shelve")}
    for part in (front.alarm(3), front.acknowledge(3, "ana"), front.shelve(3, "ana", "", 0.0)):
        with pytest.raises(Busy, match="one of its processes does not answer"):
            asyncio.run(part)
    front._handles = [Handle(name, well) for name in "abc"]
    with pytest.raises(NotServed):
        asyncio.run(front.acknowledge(3, "ana"))


def test_ray_s_controller_is_asked_once_where_the_shards_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be away: each request then held up the one in front for eight seconds."""
    asked: list[str] = []

    async def health() -> dict[str, Any]:
        return {"status": "ok", "sites": {}, "audit": "ok"}

    def find(name: str) -> Any:
        asked.append(name)
        return SimpleNamespace(health=SimpleNamespace(remote=health))

    monkeypatch.setattr("ray.serve.get_app_handle", find)
    front = Front(Gateway([]), {"a": (), "b": ()})
    for _ in range(2):
        assert asyncio.run(front.health())["status"] == "ok"
    assert asked == ["a", "b"]


def test_metrics_of_shards_are_joined() -> None:
    from prometheus_client.parser import text_string_to_metric_families

    text = '# HELP a what\n# TYPE a gauge\na 1.0\na{site="x}"} 2.0\n# HELP b what\n# TYPE b counter\nb_total{} 3.0\n'
    found = list(text_string_to_metric_families(merge_expositions({"one": text, "two": text})))
    samples = [(s.name, s.labels, s.value) for family in found for s in family.samples]
    assert samples == [
        ("a", {"shard": "one"}, 1.0),
        ("a", {"shard": "one", "site": "x}"}, 2.0),
        ("a", {"shard": "two"}, 1.0),
        ("a", {"shard": "two", "site": "x}"}, 2.0),
        ("b_total", {"shard": "one"}, 3.0),
        ("b_total", {"shard": "two"}, 3.0),
    ]


def test_the_file_for_serve_deploy_is_taken_by_ray_serve_and_stays_on_loopback(tmp_path: Path) -> None:
    from ray.serve.schema import ServeDeploySchema

    write_serve_config(three("system").config, tmp_path / "serve.yaml")
    content = yaml.safe_load((tmp_path / "serve.yaml").read_text())
    said = [line for line in (tmp_path / "serve.yaml").read_text().splitlines() if line.startswith("# export ")]
    assert said == [f"# export {name}={value}" for name, value in SETTINGS.items()]
    assert (tmp_path / "serve.yaml").stat().st_mode & 0o777 == 0o600, "it may hold the password of a database"
    parsed = ServeDeploySchema.model_validate(content)
    assert parsed.http_options.host == "127.0.0.1"
    assert [app.name for app in parsed.applications] == ["cityloop-intersections", "cityloop-drainage", "cityloop"]
    roles = content["applications"][1]["deployments"][0]["user_config"]["sites"]["drainage/theta"]
    assert roles == {"champion": "static", "challenger": None, "mode": "shadow", "share": 1.0}
    for app in content["applications"]:
        built = build(app["args"])
        assert built._bound_deployment.name == app["name"]


def test_what_somebody_else_s_cluster_would_leave_out_is_refused() -> None:
    for changes_, words in (
        ({"tls": {"certificate": "c.pem", "key": "k.pem"}}, r"tls\.certificate is 'c\.pem': .* leave tls away"),
        ({"grpc_port": 9000}, "grpc_port is 9000: .* leave it away"),
    ):
        with pytest.raises(CityloopError, match=words):
            serve_config(config(**changes_))


def test_arguments_that_do_not_fit_are_one_sentence() -> None:
    resolved = serve_config(config())["applications"][0]["args"]["config"]
    for arguments, words in (
        ({"config": resolved, "shard": "x"}, r"args\.shard is 'x'"),
        ({"config": resolved, "shard": "cityloop", "colour": 1}, "give config and shard"),
        ({"config": 3, "shard": "cityloop"}, "give config and shard"),
    ):
        with pytest.raises(CityloopError, match=words):
            build(arguments)  # type: ignore[arg-type]


def test_roles_come_by_user_config_and_only_where_they_changed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("serving.cluster.replica.configure_logs", lambda *_: None)  # this process logs elsewhere
    (shard,) = shards_of(Plan.make(config()))
    replica = Replica(shard)
    (service,) = replica.gateway.all
    asked = user_config(shard)

    async def reconfigure() -> list[str]:
        seen = []
        for content in (
            asked,
            {"sites": {GRID: asked["sites"][GRID] | {"champion": "greedy"}}},
            {"sites": {GRID: asked["sites"][GRID] | {"champion": "oracle"}}},
            {"sites": {GRID: asked["sites"][GRID] | {"colour": 1}}},
            {"sites": {"tides/x": asked["sites"][GRID]}},
        ):
            await replica.reconfigure(content)
            seen.append(service.standing.crew.roles.champion)
        return seen

    try:
        assert asyncio.run(reconfigure()) == ["max-pressure", "greedy", "greedy", "greedy", "greedy"]
        assert service.standing.crew.roles.former == ("max-pressure",)
        assert f"tides/x is not served here: choose {GRID}" in caplog.text
    finally:
        replica.gateway.close()


def test_the_example_configuration_can_be_served() -> None:
    found = ServiceConfig.load(ROOT / "docs" / "city.yaml")
    assert [site.roles.mode for site in found.sites] == ["shadow", "canary", "shadow"]
    assert len(shards_of(Plan.make(found))) == 3


def test_what_is_changed_of_ray_serve_is_there_to_be_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.serve._private.haproxy_templates import HAPROXY_CONFIG_TEMPLATE

    monkeypatch.setenv("CITYLOOP_TLS_PEM", "/x.pem")
    template = HAPROXY_CONFIG_TEMPLATE
    for old, new in changes():
        assert template.count(old) == 1
        template = template.replace(old, new)


def test_too_few_files_are_said_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (64, 64))
    with pytest.raises(CityloopError, match="may open 64 files here: allow for more with 'ulimit -n 4096'"):
        check_files()


def test_a_full_folder_is_said_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=100_000))
    with pytest.raises(CityloopError, match=r"folder /tmp has 0\.1 MB left, and Ray needs 20: make room there"):
        Cluster(ServiceConfig.make({"sites": ["intersections/cologne1"]}))


def test_its_folder_is_spared_by_who_cleans_and_missed_where_it_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.cluster.machine.SHORT", str(tmp_path))
    own = OwnFolder()
    try:
        cleaning = os.open(own.path, os.O_RDONLY)
        with pytest.raises(BlockingIOError):  # systemd-tmpfiles asks for this lock before it removes anything
            fcntl.flock(cleaning, fcntl.LOCK_SH | fcntl.LOCK_NB)
        os.close(cleaning)
        own.check()
        own.path.rmdir()
        with pytest.raises(CityloopError, match=f"folder {own.path} was removed, .*: start the service anew"):
            own.check()
        own.path.mkdir()  # as Ray does
        with pytest.raises(CityloopError, match="was removed"):
            own.check()
    finally:
        own.remove()
        own.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_service_that_cannot_go_on_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process lived on while nobody answered, so that nothing started it anew."""
    monkeypatch.setattr("serving.run.AWAKE_S", 0.0)
    looks = iter([None, CityloopError("its folder is gone")])

    def check() -> None:
        if (error := next(looks)) is not None:
            raise error

    with pytest.raises(CityloopError, match="is gone"):
        _next(SimpleQueue(), check)


@pytest.mark.parametrize(("most", "kept"), [(256, 76), (4096, 1612), (1 << 20, 4096), (resource.RLIM_INFINITY, 4096)])
def test_haproxy_keeps_no_more_connections_than_it_may_open_files(
    monkeypatch: pytest.MonkeyPatch, most: int, kept: int
) -> None:
    """It asks for 10 267 files for 4096, and does not begin where there are fewer."""
    monkeypatch.setattr("resource.getrlimit", lambda _: (256, most))
    assert connections() == kept


def test_what_haproxy_says_of_itself_is_a_refusal_of_ours() -> None:
    head, _, body = error_page().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: 1" in head
    assert f"Content-Length: {len(body)}".encode() in head
    assert body.startswith(b'{"error":{"field":"service"')


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    folder = tmp_path_factory.mktemp("tls")
    found = Tls(certificate=folder / "c.pem", key=folder / "k.pem")
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(found.key), "-out", str(found.certificate)]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject, *files],
        check=True,
        capture_output=True,
    )
    return found


def test_certificates_that_do_not_fit_are_one_sentence(tls: Tls, tmp_path: Path) -> None:
    assert bundle_tls(tls, tmp_path).stat().st_mode & 0o777 == 0o600
    for certificate, key in ((tls.key, tls.key), (tls.certificate, tls.certificate), (tmp_path / "no", tls.key)):
        with pytest.raises(CityloopError, match=r"tls: .* cannot be used"):
            bundle_tls(Tls(certificate=certificate, key=key), tmp_path)


def test_a_key_that_anybody_may_read_is_told(tls: Tls, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for mode in (0o600, 0o640):
        tls.key.chmod(mode)
        bundle_tls(tls, tmp_path)
    assert caplog.text == ""
    tls.key.chmod(0o644)
    bundle_tls(tls, tmp_path)
    tls.key.chmod(0o600)
    assert f"anybody on this machine may read {tls.key}: run 'chmod o= {tls.key}'" in caplog.text


def test_a_renewed_certificate_is_taken_and_one_that_does_not_fit_leaves_the_old(tls: Tls, tmp_path: Path) -> None:
    new = Tls(certificate=tmp_path / "c.pem", key=tmp_path / "k.pem")
    with closing(Cluster(config(tls=tls))) as cluster:
        cluster.take_certificate()
        pem = Path(os.environ[PEM])
        assert pem.read_bytes() == tls.certificate.read_bytes() + tls.key.read_bytes()
        certify(new, days=(-2, 2))
        cluster.config = config(tls=new)
        cluster.take_certificate()
        assert pem.read_bytes() == new.certificate.read_bytes() + new.key.read_bytes()
        cluster.config = config(tls=Tls(certificate=tls.certificate, key=new.key))
        with pytest.raises(CityloopError, match="cannot be used"):
            cluster.take_certificate()
        assert pem.read_bytes() == new.certificate.read_bytes() + new.key.read_bytes()


def test_every_process_is_replaced_under_the_certificate_of_now() -> None:
    done: list[str] = []
    names = ("take_certificate", "run", "wait_until_ready")
    cluster: Any = SimpleNamespace(**{name: lambda *_, name=name: done.append(name) for name in names})
    ServeHandle(cluster, three("one"), [], ExitStack()).roll()
    assert done == list(names)


@pytest.mark.parametrize(("days", "said"), [((-2, -1), True), ((1, 2), True), ((-1, 1), False)])
def test_a_certificate_that_clients_refuse_is_told_of(
    days: tuple[int, int], said: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tls = Tls(certificate=tmp_path / "c.pem", key=tmp_path / "k.pem")
    certify(tls, days)
    bundle_tls(tls, tmp_path)
    assert (f"tls: {tls.certificate} holds from" in caplog.text) == said


def certify(tls: Tls, days: tuple[int, int]) -> None:
    """Make a certificate that holds between so many days from now."""
    key, name, now = ed25519.Ed25519PrivateKey.generate(), x509.Name([]), datetime.now(UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(x509.random_serial_number())
    made = made.not_valid_before(now + timedelta(days[0])).not_valid_after(now + timedelta(days[1]))
    tls.certificate.write_bytes(made.sign(key, None).public_bytes(Encoding.PEM))
    tls.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


@pytest.mark.slow
def test_shards_over_tls_have_one_address_and_outlive_a_restart(tls: Tls, tmp_path: Path) -> None:
    port, rpc = free_ports(2)
    content = {
        "port": port,
        "grpc_port": rpc,
        "state": tmp_path / "state",
        "shards": "site",
        "tls": {"certificate": tls.certificate, "key": tls.key},
        "sites": [
            {"site": GRID, "champion": "max-pressure"},
            {"site": "drainage/theta", "champion": "static"},
        ],
    }
    base, site = f"/v1/{GRID}", grid()
    for champion in ("max-pressure", "greedy"):
        with running(content) as found, httpx.Client(verify=str(tls.certificate), base_url=found.url) as http:
            assert found.url.startswith("https://")
            assert set(http.get("/healthz").json()["sites"]) == {GRID, "drainage/theta"}
            assert http.get("/readyz").json() == {"status": "ready", "faults": {}}
            assert len(http.get("/v1/systems").json()["systems"]) == 2
            assert http.get("/v1/drainage/theta/policies").json()["in_charge"]["controller"] == "static"
            assert http.get("/v1/tides/x").status_code == 404
            assert 'shard="cityloop-drainage-theta"' in http.get("/metrics").text
            assert http.get("/v1/alarms").json()["alarms"] == []
            with http.stream("GET", "/v1/events") as told:  # the console's: of every site, whichever process has it
                assert told.headers["content-type"].startswith("text/event-stream")
                change = http.post("/v1/drainage/theta/policies/shadow", json={"policy": "efd", "reason": "a look"})
                assert change.status_code == 200, change.text
                assert next(line for line in told.iter_lines() if line.startswith("event:")) == "event: change"
                assert http.post("/v1/drainage/theta/policies/demote", json={"reason": "seen"}).status_code == 200
            answer = http.post(f"{base}/act", content=body_of(tick_of(site))).json()
            assert answer["controller"] == champion
            with grpc.insecure_channel(f"127.0.0.1:{rpc}") as channel:  # which is told of no application
                stub = CityloopStub(channel)
                assert stub.Health(pb.HealthRequest(), timeout=30).sites.keys() == {GRID, "drainage/theta"}
                for place in ({"system": site.system, "site": site.name}, {"system": "drainage", "site": "theta"}):
                    assert stub.Info(pb.SiteRequest(**place), timeout=30).site == place["site"]
                with pytest.raises(grpc.RpcError) as caught:
                    stub.Act(pb.ActRequest(system="drainage", site="theta"), timeout=30)
                assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
            if champion == "max-pressure":
                body = {"policy": "greedy", "reason": "test"}
                assert http.post(f"{base}/policies/promote", json=body).json()["saved"]
