"""Who listens to a building in the service: what they hear is asked for, streamed, rings, is logged and is kept."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import orjson
import pytest

from envs.core.errors import CityloopError
from serving.app import create_app
from serving.build import Plan
from serving.config import ServiceConfig
from serving.core.events import Decision
from serving.gateway import Gateway
from tests.serving.audit.written import until
from tests.serving.motions import DAMAGED, PLACE, decisions
from tests.serving.plants import client_of

BASE = "/v1/dampers/jansen"


@pytest.fixture(scope="module")
def damaged() -> list[list[Decision]]:
    """Four motions of a building that lost 15 % of its fifth storey's stiffness."""
    return decisions([4, 5, 6, 7], DAMAGED)


@pytest.fixture(scope="module")
def healthy() -> list[Decision]:
    """A motion of the building as it was."""
    return decisions([4])[0]


def gateway_in(folder: Path, **site: Any) -> Gateway:
    config = ServiceConfig.make(
        {
            "state": folder / "state",
            "audit": {"folder": folder / "audit"},
            "sites": [{"site": "dampers/jansen", "champion": "clipped-optimal", **site}],
        }
    )
    return Plan.make(config).gateway()


def listen(gateway: Gateway, ticks: Iterable[Decision]) -> None:
    assert gateway.structural is not None
    for tick in ticks:
        gateway.structural.take(tick)


def test_lost_stiffness_is_told_rings_is_logged_and_outlives_a_restart(
    tmp_path: Path, damaged: list[list[Decision]]
) -> None:
    gateway = gateway_in(tmp_path)
    with client_of(create_app(gateway)) as client:
        before = client.get(f"{BASE}/structure").json()
        assert before["monitor"]["storeys"] == 6
        assert before["windows"] == []
        listen(gateway, chain(*damaged[:3]))
        found = client.get(f"{BASE}/structure").json()["windows"]
        assert [one["report"]["alarm"] for one in found] == ["watch", "watch", "alarm"]
        assert found[-1]["report"]["location"] == 5
        assert found[-1]["report"]["storeys"][4]["share"] == pytest.approx(0.85, abs=0.03)
        until(lambda: client.get("/v1/alarms").json()["alarms"])  # they are raised in a thread of their own
        alarms = client.get("/v1/alarms").json()["alarms"]
        assert [(alarm["key"], alarm["priority"], alarm["place"]) for alarm in alarms] == [("damage", "high", "s5")]
        assert alarms[0]["text"] == "storey 5 seems to have lost 15 % of its stiffness: have it inspected"
        records = client.get("/v1/audit?what=structure").json()["records"]
        assert [record["report"]["alarm"] for record in records] == ["watch", "watch", "alarm"]
        assert "cityloop_structure_loss_probability" in client.get("/metrics").text
    gateway.close()

    again = gateway_in(tmp_path)
    listen(again, damaged[3])
    assert again.structural is not None
    assert [one.report.alarm for one in again.structural.heard(PLACE)] == ["watch", "watch", "alarm", "alarm"]
    again.close()


def test_a_file_of_reports_that_cannot_be_read_is_kept_and_listening_begins_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, healthy: list[Decision]
) -> None:
    path, later = tmp_path / "state" / "health" / "dampers.jansen.json", '{"heard":[],"of_a_later_version":1}'
    path.parent.mkdir(parents=True)
    path.write_text(later)
    gateway = gateway_in(tmp_path)
    assert gateway.structural is not None
    assert gateway.structural.heard(PLACE) == []
    assert f"{path} cannot be read (unknown key 'of_a_later_version'" in caplog.text
    assert f"what was heard before is not known; it is kept as {path.name}.broken" in caplog.text
    listen(gateway, healthy)
    gateway.close()
    assert path.with_name(f"{path.name}.broken").read_text() == later
    assert len(orjson.loads(path.read_bytes())["heard"]) == 1


def test_what_is_heard_goes_over_the_stream(tmp_path: Path, healthy: list[Decision]) -> None:
    gateway = gateway_in(tmp_path)
    listen(gateway, healthy)
    assert gateway.streams is not None
    frames, _ = gateway.streams.collect(lambda *_: True, 0)
    heard = [orjson.loads(frame.data) for frame in frames if frame.kind == "structure"]
    assert len(heard) == 1
    assert heard[0]["report"]["heard"]
    assert "safe" not in heard[0]["report"]["recommendation"]
    gateway.close()


def test_a_tick_costs_a_place_in_a_queue_and_is_listened_to_in_time(tmp_path: Path, healthy: list[Decision]) -> None:
    gateway = gateway_in(tmp_path)
    assert gateway.structural is not None
    for tick in healthy:
        gateway.structural.record(tick)
    gateway.close()  # lets what waits be listened to
    assert len(gateway.structural.heard(PLACE)) == 1


def test_where_nobody_listens_that_is_said(tmp_path: Path) -> None:
    gateway = gateway_in(tmp_path, monitor=None)
    with client_of(create_app(gateway)) as client:
        found = client.get(f"{BASE}/structure").json()
    assert found["monitor"] is None
    assert "nobody listens here" in found["why"]
    assert found["windows"] == []
    gateway.close()


def test_a_monitor_that_cannot_be_had_stops_the_start_in_words(tmp_path: Path) -> None:
    with pytest.raises(CityloopError, match=r"none\.json cannot be read"):
        gateway_in(tmp_path, monitor=str(tmp_path / "none.json"))
    config = ServiceConfig.make(
        {"sites": [{"site": "intersections/grid2x2", "champion": "fixed", "monitor": "a.json"}]}
    )
    with pytest.raises(CityloopError, match="only buildings are listened to"):
        Plan.make(config).gateway()
