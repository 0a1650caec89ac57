"""What a service writes is its own: a second one is refused before it writes, and nothing that ended still holds it."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from envs import CityloopError
from serving.build import Plan
from serving.cluster.ports import free_ports
from serving.config import ServiceConfig
from serving.holding import Holding, check_held
from serving.run import serve
from tests.serving.plants import GRID
from tests.serving.test_serve import no_cluster

BOOKED = {"site": "transit/hcmc", "booking": {"database": "sqlite:///bookings.db"}}

HOLDER = """
import sys
from serving.config import ServiceConfig
from serving.holding import Holding
with Holding(ServiceConfig.make({"state": sys.argv[1], "sites": ["drainage/theta"]})):
    print(flush=True)
    sys.stdin.read()
"""


def config(folder: Path, **changes: Any) -> ServiceConfig:
    made = ServiceConfig.make({"port": free_ports(1)[0], "sites": [GRID], **changes}).in_folder(folder)
    for one in (made.state, made.audit and made.audit.folder, made.audit and made.audit.anchors):
        if one is not None:
            one.mkdir(exist_ok=True)
    return made


@pytest.mark.parametrize(
    ("first", "second", "what"),
    [
        ({"state": "a"}, {"state": "a"}, "state folder .*a"),
        ({"state": "a", "audit": {"folder": "b"}}, {"state": "c", "audit": {"folder": "b"}}, "audit folder .*b"),
        ({"audit": {"folder": "a", "anchors": "c"}}, {"audit": {"folder": "b", "anchors": "c"}}, "anchors folder .*c"),
        ({"sites": [BOOKED]}, {"sites": [BOOKED]}, r"database .*bookings\.db"),
    ],
)
def test_a_second_service_is_refused_before_it_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: dict[str, Any], second: dict[str, Any], what: str
) -> None:
    monkeypatch.setattr("serving.run.Cluster", no_cluster)
    monkeypatch.setattr("serving.run.Plan.make", lambda _: pytest.fail("sites are opened, which takes long"))
    one, other = config(tmp_path, **first), config(tmp_path, **second)
    with Holding(one):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(
            CityloopError, match=rf"^{what} is in use by another service \(process \d+\): stop"
        ) as error:
            serve(other)
        assert "\n" not in str(error.value)
        assert sorted(tmp_path.rglob("*")) == before
    with Holding(other):
        pass


def test_of_two_services_that_begin_at_once_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first takes what the second has just found free."""
    monkeypatch.setattr("serving.run.Cluster", no_cluster)
    one, make = config(tmp_path, state="a"), Plan.make
    with ExitStack() as opened:

        def late(asked: ServiceConfig) -> Plan:
            opened.enter_context(Holding(one))
            return make(asked)

        monkeypatch.setattr("serving.run.Plan.make", late)
        with pytest.raises(CityloopError, match=r"^state folder .*a is in use"):
            serve(one)


def test_a_look_for_who_holds_it_makes_nothing(tmp_path: Path) -> None:
    """Nor does it stumble over what is refused in words later."""
    check_held(config(tmp_path, state="a", sites=[BOOKED, {"site": "transit/cologne", "booking": {"database": 5}}]))
    assert [path.name for path in tmp_path.rglob("*")] == ["a"]


def test_a_service_may_use_one_folder_for_all_and_one_database_for_two_sites(tmp_path: Path) -> None:
    sites = [BOOKED, {**BOOKED, "site": "transit/cologne"}]
    with Holding(config(tmp_path, state="a", audit={"folder": "a", "anchors": "a"}, sites=sites)):
        assert sorted(path.name for path in tmp_path.rglob("*lock")) == ["bookings.db-lock", "service.lock"]


def test_a_service_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    one = config(tmp_path, state="a")
    line = [sys.executable, "-c", HOLDER, str(one.state)]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(CityloopError, match=rf"process {holder.pid}\)"), Holding(one):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with Holding(one):
            pass


def test_a_database_on_a_server_has_no_lock(tmp_path: Path) -> None:
    """Nor has one where no file can be made: whoever opens it says why."""
    served = {"site": "transit/hcmc", "booking": {"database": "postgresql://city@db/bookings"}}
    nowhere = {"site": "transit/hcmc", "booking": {"database": "sqlite:///none/bookings.db"}}
    with Holding(config(tmp_path, sites=[served, {**nowhere, "site": "transit/cologne"}])):
        assert list(tmp_path.iterdir()) == []
