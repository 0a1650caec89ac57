"""SIGHUP: what the configuration says now is served by new processes, or all stays as it is."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from envs import CityloopError
from serving.build import Plan
from serving.config import ServiceConfig, Tls
from serving.holding import Holding
from serving.run import ServeHandle
from tests.serving.plants import GRID

ONE = "intersections/cologne1"
BOOKED = {"site": "transit/hcmc", "booking": {"database": "sqlite:///bookings.db"}}


class Cluster:
    """Does nothing, and remembers what it was asked for."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.refuses = False

    def take_certificate(self, tls: Tls | None) -> None:
        self.done.append("certificate" if tls is None else str(tls.certificate))

    def run(self, plan: Plan) -> None:
        if self.refuses:
            raise CityloopError("a process did not begin")
        self.done.append(plan.config.release)

    def wait_until_ready(self, plan: Plan) -> None:
        self.done.append(", ".join(site.name for _, site in plan.places()))


def config(folder: Path, *sites: Any, **changes: Any) -> ServiceConfig:
    content = {"state": "state", "sites": sites or (GRID,), **changes}
    return ServiceConfig.make(content).in_folder(folder)


def handle(cluster: Any, before: ServiceConfig, opened: ExitStack) -> ServeHandle:
    return ServeHandle(cluster, Plan.make(before), [], opened.enter_context(Holding(before)), opened)


def taken(one: ServiceConfig) -> bool:
    try:
        Holding(one).close()
    except CityloopError:
        return True
    return False


def test_all_of_it_is_new(tmp_path: Path) -> None:
    cluster = Cluster()
    with ExitStack() as opened:
        running = handle(cluster, config(tmp_path), opened)
        running.roll(config(tmp_path, GRID, ONE))
        assert running.refs == [GRID, ONE]
        running.roll(config(tmp_path, ONE))
        assert running.refs == [ONE]
    certificate, release, ready, *later = cluster.done
    assert (certificate, ready) == ("certificate", "grid2x2, cologne1")
    assert later[2] == "cologne1"
    assert release
    assert release != later[1], "or Ray Serve would replace nothing"


@pytest.mark.parametrize(
    ("sites", "changes", "said"),
    [
        ((), {"port": 8001}, "port changes from 8000 to 8001, which takes a new start"),
        ((), {"grpc_port": 9000}, "grpc_port changes from nothing to 9000"),
        ((), {"shards": "site"}, "shards changes from one to site"),
        ((), {"state": "other"}, "state changes from .*state to .*other"),
        ((), {"audit": {"folder": "audit"}}, "audit.folder changes from nothing to .*audit"),
        ((), {"tls": {"certificate": "a", "key": "b"}}, "tls changes from nothing to a certificate"),
        (("intersections/atlantis",), {}, "'intersections/atlantis' is unknown"),
        (({"site": GRID, "champion": "oracle"},), {}, "oracle"),
        ((GRID, GRID), {}, "two sites are called"),
    ],
)
def test_what_cannot_be_leaves_all_as_it_is(tmp_path: Path, sites: Any, changes: dict[str, Any], said: str) -> None:
    cluster = Cluster()
    with ExitStack() as opened:
        running = handle(cluster, config(tmp_path), opened)
        with pytest.raises(CityloopError, match=said):
            running.roll(config(tmp_path, *sites, **changes))
        assert (running.refs, cluster.done) == ([GRID], [])


def test_what_is_written_is_held_for_as_long_as_it_is_served(tmp_path: Path) -> None:
    cluster, before, after = Cluster(), config(tmp_path), config(tmp_path, GRID, BOOKED)
    bookings = config(tmp_path, BOOKED, state=None)
    (tmp_path / "state").mkdir()
    with ExitStack() as opened:
        running = handle(cluster, before, opened)
        with Holding(bookings), pytest.raises(CityloopError, match=r"database .*bookings\.db is in use by another"):
            running.roll(after)
        cluster.refuses = True
        with pytest.raises(CityloopError, match="did not begin"):
            running.roll(after)
        assert not taken(bookings)
        cluster.refuses = False
        for _ in range(2):
            running.roll(after)
            assert taken(bookings)
        running.roll(before)
        assert (taken(bookings), taken(before)) == (False, True)
    assert not taken(before)
