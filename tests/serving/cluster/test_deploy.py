"""The service as Ray Serve knows it: the file for ``serve deploy``, roles by user_config, and what it needs here."""

from __future__ import annotations

import asyncio
import fcntl
import os
from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace

import pytest
import yaml

from envs import CityloopError
from serving.build import Plan
from serving.cluster.deploy import build, serve_config, write_serve_config
from serving.cluster.machine import OwnFolder, check_files
from serving.cluster.ray_cluster import SETTINGS, Cluster
from serving.cluster.replica import Replica, user_config
from serving.cluster.shards import shards_of
from serving.config import ServiceConfig
from serving.run import _next
from tests.serving.plants import GRID
from tests.serving.sharded import config, three

ROOT = Path(__file__).resolve().parents[3]


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
