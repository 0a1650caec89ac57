"""HAProxy before the service: what it says of itself, what it may open, and its certificates."""

from __future__ import annotations

import os
import resource
import subprocess
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from envs import CityloopError
from serving.cluster import proxy
from serving.cluster.machine import connections
from serving.cluster.ports import free_ports
from serving.cluster.proxy import PEM, bundle_tls, changes, error_page
from serving.cluster.ray_cluster import Cluster
from serving.config import Tls
from serving.rpc import cityloop_pb2 as pb
from serving.rpc.cityloop_pb2_grpc import CityloopStub
from tests.serving.plants import GRID, body_of, grid, tick_of
from tests.serving.running import running
from tests.serving.sharded import config


def test_what_is_changed_of_ray_serve_is_there_to_be_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.serve._private.haproxy_templates import HAPROXY_CONFIG_TEMPLATE

    monkeypatch.setenv("CITYLOOP_TLS_PEM", "/x.pem")
    template = HAPROXY_CONFIG_TEMPLATE
    for old, new in changes():
        assert template.count(old) == 1
        template = template.replace(old, new)


def test_over_grpc_nobody_is_told_of_the_sites_and_a_service_that_starts_is_unavailable() -> None:
    """Ray Serve lists them to whoever asks without a key, and NOT_FOUND is for good to a plant."""
    from ray.serve._private.haproxy_templates import HAPROXY_CONFIG_TEMPLATE as template

    for old, new in changes():
        template = template.replace(old, new)
    _, _, rpc = template.partition("frontend grpc_frontend\n")
    assert "Ping /ray.serve" not in rpc
    assert "use_backend grpc_fallback_backend" not in rpc
    assert 'grpc-status 12 hdr grpc-message "ask Info of a site" if is_list_applications' in rpc
    assert 'grpc-status 14 hdr grpc-message "no replica answers now: decide locally and ask again"' in rpc


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
        cluster.take_certificate(tls)
        pem = Path(os.environ[PEM])
        assert pem.read_bytes() == tls.certificate.read_bytes() + tls.key.read_bytes()
        certify(new, days=(-2, 2))
        cluster.take_certificate(new)
        assert pem.read_bytes() == new.certificate.read_bytes() + new.key.read_bytes()
        with pytest.raises(CityloopError, match="cannot be used"):
            cluster.take_certificate(Tls(certificate=tls.certificate, key=new.key))
        assert pem.read_bytes() == new.certificate.read_bytes() + new.key.read_bytes()


def test_files_that_are_renewed_while_they_are_read_leave_the_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls, read = Tls(certificate=tmp_path / "c.pem", key=tmp_path / "k.pem"), Path.read_bytes
    certify(tls, days=(-2, 2))
    before = bundle_tls(tls, tmp_path).read_bytes()

    def renew(path: Path) -> bytes:
        content = read(path)
        if path == tls.certificate:
            certify(tls, days=(-2, 2))
        return content

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", renew)
        with pytest.raises(CityloopError, match=r"tls: .* cannot be used"):
            bundle_tls(tls, tmp_path)
    assert (tmp_path / "tls.pem").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"c.pem", "k.pem", "tls.pem"}
    monkeypatch.setattr(proxy, "_tell_of_time", lambda *_: tls.key.unlink())  # the next one comes in a moment
    assert bundle_tls(tls, tmp_path).read_bytes() != before


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
            from ray.serve.generated.serve_pb2 import ListApplicationsRequest
            from ray.serve.generated.serve_pb2_grpc import RayServeAPIServiceStub

            with grpc.insecure_channel(f"127.0.0.1:{rpc}") as channel:  # which is told of no application
                stub = CityloopStub(channel)
                assert stub.Health(pb.HealthRequest(), timeout=30).sites.keys() == {GRID, "drainage/theta"}
                for place in ({"system": site.system, "site": site.name}, {"system": "drainage", "site": "theta"}):
                    assert stub.Info(pb.SiteRequest(**place), timeout=30).site == place["site"]
                with pytest.raises(grpc.RpcError) as caught:
                    stub.Act(pb.ActRequest(system="drainage", site="theta"), timeout=30)
                assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
                with pytest.raises(grpc.RpcError) as caught:  # which would name the sites without a key
                    RayServeAPIServiceStub(channel).ListApplications(ListApplicationsRequest(), timeout=30)
                assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
            if champion == "max-pressure":
                body = {"policy": "greedy", "reason": "test"}
                assert http.post(f"{base}/policies/promote", json=body).json()["saved"]
