"""The service's configuration: what it accepts, and one sentence for what it does not."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import orjson
import pytest

from envs import CityloopError
from envs.core.site import Site
from serving import run
from serving.cluster.ports import free_ports
from serving.config import ServiceConfig
from serving.run import _starting, announce
from tests.serving.plants import service
from tests.serving.watch.test_logs import Disk

SITE = "intersections/grid2x2"


def test_defaults_hold_for_every_site_that_does_not_say_otherwise() -> None:
    config = ServiceConfig.make(
        {
            "defaults": {"champion": "greedy", "deadline_ms": 50},
            "sites": [SITE, {"site": "intersections/cologne1", "deadline_ms": 70}],
        }
    )
    assert [(site.site, site.champion, site.deadline_ms) for site in config.sites] == [
        (SITE, "greedy", 50),
        ("intersections/cologne1", "greedy", 70),
    ]
    assert config.changed(port=9000).sites == config.sites


def test_nested_defaults_hold_key_by_key() -> None:
    config = ServiceConfig.make(
        {
            "defaults": {
                "checks": {"envelope": "fall_back", "respond": {"stage": "report", "count_veh": "report"}},
                "rollback": {"window": 600, "everyday": ["clearing", "max_red"]},
                "trusted_keys": [],
            },
            "sites": [
                {
                    "site": SITE,
                    "checks": {"hold_ticks": 5, "respond": {"stage": "local"}},
                    "rollback": {"late": 0.3, "everyday": ["invalid"]},
                }
            ],
        }
    )
    (site,) = config.sites
    assert (site.checks.envelope, site.checks.hold_ticks) == ("fall_back", 5)
    assert site.checks.respond == {"stage": "local", "count_veh": "report"}
    assert (site.rollback.window, site.rollback.late, site.rollback.everyday) == (600, 0.3, ("invalid",))
    assert config.changed(port=9000).sites == config.sites


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"colour": 1}, "unknown key 'colour'"),
        ({"sites": []}, "sites"),
        ({"sites": [{"site": SITE, "champoin": "x"}]}, "unknown key 'sites.0.champoin'"),
        ({"defaults": {"champoin": "x"}}, "unknown key 'defaults.champoin'"),
        ({"defaults": {"site": SITE}}, "'defaults.site' is each site's own"),
        ({"sites": [{"champion": "x"}]}, "key 'sites.0.site' is missing"),
        ({"sites": [{"site": SITE, "champion": "x", "challenger": "x"}]}, "champion and challenger"),
        ({"sites": [{"site": SITE, "champion": ""}]}, "champion is '': give some text"),
        ({"sites": [{"site": SITE, "mode": "bright"}]}, "mode"),
        ({"sites": [{"site": SITE, "deadline_ms": 0}]}, "deadline_ms"),
        ({"sites": [{"site": SITE, "deadline_ms": float("nan")}]}, "deadline_ms"),
        ({"sites": [{"site": SITE, "rollback": {"late": 2}}]}, "rollback.late"),
        ({"port": 0}, "port"),
        ({"port": 70000}, "port"),
        ({"host": "0.0.0.0"}, "there are no keys"),
        ({"host": "city.example"}, "there are no keys"),
        ({"shards": "many"}, "shards"),
        ({"tensorboard": "ftp://x"}, "tensorboard is 'ftp://x': give an address such as"),
        ({"access": {"jwt": {"algorithm": "none", "key_file": "k"}}}, "access.jwt.algorithm is 'none': .*'EdDSA'"),
        ({"access": {"keys": "k", "rate_s": True}}, "rate_s is true: give a number"),
        ({"access": {"keys": "k", "burst": float("inf")}}, "access.burst is inf: give a finite number"),
        ({"audit": {"folder": ""}}, "folder is '': give a path"),
        ({"state": ""}, "state is '': give a path"),
        ({"port": 8001, "grpc_port": 8001}, "port and grpc_port are both 8001"),
    ],
)
def test_what_does_not_fit_is_one_sentence(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(CityloopError, match=words) as error:
        ServiceConfig.make({"sites": [SITE]} | changes)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_needs_no_keys(host: str) -> None:
    assert ServiceConfig.make({"sites": [SITE], "host": host}).host == host


def test_a_file_is_read_and_its_paths_start_at_its_folder(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "bundle").mkdir()
    (tmp_path / "city.yaml").write_text(
        "state: state\ntls: {certificate: c.pem, key: k.pem}\naccess: {keys: keys.json}\nhost: 0.0.0.0\n"
        f"sites:\n- {SITE}\n- {{site: town.json, champion: deep/bundle, fallback: max-pressure}}\n"
    )
    config = ServiceConfig.load(tmp_path / "city.yaml")
    assert config.state == tmp_path / "state"
    assert config.tls is not None
    assert (config.tls.certificate, config.tls.key) == (tmp_path / "c.pem", tmp_path / "k.pem")
    assert config.access is not None
    assert config.access.keys == tmp_path / "keys.json"
    assert config.url == "https://0.0.0.0:8000"
    assert [site.site for site in config.sites] == [SITE, str(tmp_path / "town.json")]
    assert config.sites[1].champion == str(tmp_path / "deep" / "bundle")
    assert config.sites[1].fallback == "max-pressure"


def test_a_bundle_beside_the_file_is_found_wherever_the_service_is_started(tmp_path: Path) -> None:
    for name in ("mine", "greedy"):
        (tmp_path / name).mkdir()
    (tmp_path / "city.yaml").write_text(
        f"sites: [{{site: {SITE}, champion: mine, challenger: greedy, fallback: ./greedy}}]\n"
    )
    (site,) = ServiceConfig.load(tmp_path / "city.yaml").sites
    assert (site.champion, site.challenger) == (str(tmp_path / "mine"), "greedy"), "a controller's name is one first"
    assert site.fallback == str(tmp_path / "greedy")


def test_a_path_may_start_at_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home" / "mine").mkdir(parents=True)
    booking = "{database: 'sqlite:///~/b.db'}"
    (tmp_path / "city.yaml").write_text(
        f"state: ~/svc\naudit: {{folder: ~/log}}\nsites: [{{site: ~/town.yaml, champion: ~/mine, booking: {booking}}}]"
    )
    config = ServiceConfig.load(tmp_path / "city.yaml")
    assert config.audit is not None
    assert [config.state, config.audit.folder] == [tmp_path / "home" / "svc", tmp_path / "home" / "log"]
    (site,) = config.sites
    assert (site.site, site.champion) == (str(tmp_path / "home" / "town.yaml"), str(tmp_path / "home" / "mine"))
    assert site.booking == {"database": f"sqlite:///{tmp_path}/home/b.db"}
    (tmp_path / "city.yaml").write_text(f"state: ~nobody.here/svc\nsites: [{SITE}]\n")
    with pytest.raises(CityloopError, match=r"'~nobody\.here/svc' starts at the home of somebody who has none here"):
        ServiceConfig.load(tmp_path / "city.yaml")


def test_a_key_of_a_file_is_a_name_also_where_yaml_has_another_word_for_true(tmp_path: Path) -> None:
    (tmp_path / "service.yaml").write_text("sites: [{site: dampers/jansen, checks: {on: off}}]")
    config = ServiceConfig.load(tmp_path / "service.yaml")
    assert not config.sites[0].checks.on


def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(CityloopError, match="cannot be read"):
        ServiceConfig.load(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("sites: 3\n")
    with pytest.raises(CityloopError, match=r"bad\.yaml: sites"):
        ServiceConfig.load(tmp_path / "bad.yaml")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("audit:\n", "audit"),
        ("tls:\n", "tls"),
        ("access: {keys: }\n", "access.keys"),
        ("audit: {folder: audit, key: }\n", "audit.key"),
        ("defaults:\n  trusted_keys:\n  # - one that was taken out\n", "defaults.trusted_keys"),
    ],
)
def test_a_key_of_a_file_without_a_value_is_not_taken_for_none(tmp_path: Path, text: str, place: str) -> None:
    (tmp_path / "city.yaml").write_text(f"{text}sites: [{SITE}]\n")
    with pytest.raises(CityloopError, match=rf"city\.yaml: key '{place}' is empty: give it a value, or remove it"):
        ServiceConfig.load(tmp_path / "city.yaml")


def test_a_site_may_do_without_what_defaults_give(tmp_path: Path) -> None:
    sites = f"sites: [{SITE}, {{site: intersections/cologne1, challenger: }}]\n"
    (tmp_path / "city.yaml").write_text("defaults: {challenger: max-pressure}\n" + sites)
    assert [site.challenger for site in ServiceConfig.load(tmp_path / "city.yaml").sites] == ["max-pressure", None]
    (tmp_path / "city.yaml").write_text(sites)
    with pytest.raises(CityloopError, match=r"key 'sites\.1\.challenger' is empty"):
        ServiceConfig.load(tmp_path / "city.yaml")
    trust = f"defaults: {{trusted_keys: [{'A' * 43}=]}}\nsites: [{{site: {SITE}, trusted_keys: }}]\n"
    (tmp_path / "city.yaml").write_text(trust)
    with pytest.raises(CityloopError, match=r"key 'sites\.0\.trusted_keys' is empty"):
        ServiceConfig.load(tmp_path / "city.yaml")


@pytest.mark.parametrize(
    "text",
    [
        "sites: [{site: dampers/jansen, monitor: null}]",
        "defaults: {monitor: null}\nsites: [dampers/jansen]",
        "defaults: {monitor: shipped}\nsites: [{site: dampers/jansen, monitor: null}]",
    ],
)
def test_nobody_listens_where_a_file_says_so(tmp_path: Path, text: str) -> None:
    (tmp_path / "city.yaml").write_text(text)
    assert ServiceConfig.load(tmp_path / "city.yaml").sites[0].monitor is None


def test_a_value_that_contains_itself_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "city.yaml").write_text(f"defaults: &all {{booking: *all}}\nsites: [{{site: {SITE}, booking: }}]\n")
    with pytest.raises(CityloopError, match="a value contains itself: write it out"):
        ServiceConfig.load(tmp_path / "city.yaml")
    (tmp_path / "city.yaml").write_text(
        f"defaults: {{booking: &a {{a: *a}}}}\nsites: [{{site: {SITE}, booking: &b {{a: *b}}}}]\n"
    )
    with pytest.raises(CityloopError, match="a value contains itself: write it out"):
        ServiceConfig.load(tmp_path / "city.yaml")


def test_a_log_of_json_begins_before_the_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def start(*_: object) -> None:
        raise CityloopError("that is enough")

    monkeypatch.setattr(run, "_start", start)
    with pytest.raises(CityloopError, match="that is enough"):
        run.serve(ServiceConfig.make({"sites": [SITE], "port": free_ports(1)[0], "log": "json"}))
    said = orjson.loads(capsys.readouterr().err.splitlines()[0])
    assert (said["level"], said["text"][:15]) == ("info", "starting 1 site"), "a start says nothing else until its end"


def test_a_proxy_that_does_not_start_is_told_in_a_sentence(tmp_path: Path) -> None:
    """In a process of its own, as this one must not import Ray."""
    script = """
import ray
from ray import serve
from envs.core.errors import CityloopError
from serving.cluster import ray_cluster
from serving.config import ServiceConfig

ray_cluster.check_processes = lambda: None
late = TimeoutError("HTTP proxies not available after 60s.")
taken = ray.exceptions.RayError('''ray::ready()
  File "haproxy.py", line 2107, in _reload_haproxy
RuntimeError: HAProxy crashed during startup:
[ALERT] : Binding [haproxy.cfg:48] for frontend stats: cannot bind socket (Address already in use) for [127.0.0.1:30819]
[ALERT] : [haproxy.main()] Some protocols failed to start their listeners! Exiting.''')
for error in (late, taken):
    def start(**options):
        raise error

    ray.init, serve.start = lambda **options: None, start
    try:
        ray_cluster.Cluster(ServiceConfig(sites=[{"site": "transit/hcmc"}]))._start()
    except CityloopError as told:
        print(told)
"""
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert [line.removesuffix(": try again, or free what it needs") for line in said.stdout.splitlines()] == [
        "Ray did not start (HTTP proxies not available after 60s)",
        "Ray did not start (cannot bind socket Address already in use for [127.0.0.1:30819])",
    ], said.stderr


def test_ray_that_is_late_is_started_once_more_and_told_as_a_busy_machine() -> None:
    """In a process of its own, as this one must not import Ray."""
    script = """
import ray
from ray import serve
from envs.core.errors import CityloopError
from serving.cluster import ray_cluster
from serving.config import ServiceConfig

ray_cluster.check_processes = lambda: None
serve.start = lambda **options: print("serves")
late = Exception("The current node timed out during startup. The GCS may be overloaded.")
for errors in ([late], [late, late], [late, Exception("empty")], [Exception("empty")]):
    def start(**options):
        print("starts")
        if errors:
            raise errors.pop(0)

    ray.init = start
    try:
        ray_cluster.Cluster(ServiceConfig(sites=[{"site": "transit/hcmc"}]))._start()
    except CityloopError as told:
        print(told)
"""
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    why = "Ray did not start (The current node timed out during startup. The GCS may be overloaded)"
    other = "Ray did not start (empty): see to memory, and to how many processes may run, 'ulimit -u', and try again"
    assert said.stdout.splitlines() == [
        *("starts", "starts", "serves"),
        *("starts", "starts", f"{why}: the machine is too busy: try again when less is at work on it"),
        *("starts", "starts", other),
        *("starts", other),
    ], said.stderr


def test_a_service_that_has_ended_leaves_its_ports_to_nobody() -> None:
    """Neither to the children of its process nor to the next service there, which may begin all the same. In a process
    of its own, as this one must not import Ray."""
    script = """
import os
from serving.cluster.ray_cluster import Cluster, check_ray
from serving.config import ServiceConfig

config, before = ServiceConfig(sites=[{"site": "transit/hcmc"}]), set(os.environ)
one = Cluster(config)
one.configure()
print("RAY_SERVE_HAPROXY_STATS_PORT" in os.environ)
one.close()
left = set(os.environ) - before
print([key for key in left if key.endswith(("_PORT", "_LOC", "_PATH", "_BASE", "_FILE"))])
check_ray()
"""
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert said.stdout.splitlines() == ["True", "[]"], said.stderr
    assert said.returncode == 0, said.stderr


@pytest.mark.parametrize("open_", [True, False])
def test_what_a_start_says_to_try_brings_a_key_where_one_is_due(
    open_: bool, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    announce(SimpleNamespace(url="http://127.0.0.1:9"), [service(site)], open_)  # type: ignore[arg-type]
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "curl" in line]
    assert line.count('-H "X-API-Key: $KEY"') == (0 if open_ else 2)


def test_a_start_of_many_sites_says_that_it_takes_longer() -> None:
    def says(count: int) -> str:
        return _starting(ServiceConfig.make({"sites": [SITE] * count}))

    assert says(1) == "starting 1 site, which takes ten seconds to a minute"
    assert says(52) == "starting 52 sites, which takes 20 to 112 seconds"


def test_a_service_begins_though_its_log_is_on_a_full_disk(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rolling update says its line in the same way; it ended the service."""
    monkeypatch.setattr("sys.stderr", Disk())
    announce(SimpleNamespace(url="http://127.0.0.1:9"), [service(site)], True)  # type: ignore[arg-type]


@pytest.mark.parametrize("style", ["json", "text"])
def test_an_update_that_fails_is_an_error_in_the_log(
    style: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As where a renewed certificate does not fit its key: in a log for machines it was no more than information."""
    handle, numbers = MagicMock(url="http://127.0.0.1:9"), iter([signal.SIGHUP, signal.SIGTERM])
    handle.__enter__.return_value = handle
    handle.roll.side_effect = CityloopError("the key does not fit")
    monkeypatch.setattr(run, "_start", lambda *_: handle)
    monkeypatch.setattr(run, "_next", lambda *_: next(numbers))
    monkeypatch.setattr(run, "keep_to_the_end", lambda _: None)
    run.serve(ServiceConfig.make({"sites": [SITE], "log": style, "port": free_ports(1)[0]}))
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "not every process is new" in line]
    assert re.search('"level":"error"' if style == "json" else r"^\S+ error ", line)
    assert "the old ones go on: the key does not fit" in line


def test_a_log_for_machines_holds_what_a_start_says(site: Site, caplog: pytest.LogCaptureFixture, capsys: Any) -> None:
    with caplog.at_level("INFO", "cityloop"):
        announce(SimpleNamespace(url="http://127.0.0.1:9"), [service(site)], True, "json")  # type: ignore[arg-type]
    first, *_, last = [record.getMessage() for record in caplog.records]
    assert first.startswith("intersections/grid2x2: 4 agents, max-pressure")
    assert last == "serving on http://127.0.0.1:9"
    assert capsys.readouterr().err == "", "a line that is no JSON stops whoever reads it"
