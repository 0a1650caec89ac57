"""Vehicles without riders stand by where the site's own controller wants them, and that outlives the process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import sqlalchemy as sql

from agents import CHECKPOINTS
from envs import get_system
from serving.booking import desk, tables
from serving.booking.desk import Desk
from serving.booking.settings import Vehicle
from serving.booking.zones import WHO, Zones
from serving.build import Plan
from serving.charge.settings import SiteConfig
from serving.checks import CheckSettings, InputChecks
from serving.config import ServiceConfig
from serving.core.events import Decision
from serving.core.wire import example_tick
from serving.tick.sites import SiteService
from tests.envs.transit.own import write
from tests.envs.transit.small import three_zones
from tests.serving.booking.databases import database_of, of_sqlite
from tests.serving.booking.desks import START, Client, settings_of, since
from tests.serving.operators import Clock

RED = (Vehicle(id="red", at="0"),)
"""Alone, at one end of the street."""


class Told:
    """A sink."""

    def __init__(self) -> None:
        self.decisions: list[Decision] = []

    def record(self, event: Any) -> None:
        if isinstance(event, Decision):
            self.decisions.append(event)

    def close(self) -> None:
        pass


def patient(champion: str) -> SiteConfig:
    """A site whose fallback does not take over on a busy machine."""
    return SiteConfig(site="transit/street", champion=champion, deadline_ms=60_000.0)


@contextmanager
def street(folder: Path, champion: str = "standby", told: Told | None = None, **changes: Any) -> Iterator[Client]:
    """Booking on a street, whose last zone has all the demand, from eight o'clock on."""
    site = three_zones(usual=((0.0, 0.0, 60.0),) * 12, slot_s=300.0).model_copy(update={"vehicles": 1})
    sinks = () if told is None else (told,)
    service = SiteService.open(site, patient(champion), sinks=sinks)
    one = Desk(site, settings_of(folder, **({"vehicles": RED, "usual_from": "8:00"} | changes)))
    one.zones = Zones(service) if one.settings.standby else None
    try:
        yield Client(one)
    finally:
        one.close()
        service.close()


def look(client: Client, seconds: float) -> Any:
    """Red, after a message at a time."""
    client.post("quotes", seconds, **{"from": "0", "to": "1"})
    return client.get("vehicles/red").json()


def test_an_idle_vehicle_is_sent_where_it_will_be_needed(tmp_path: Path) -> None:
    told = Told()
    with street(tmp_path, told=told) as client:
        (stop,) = look(client, 0.0)["plan"]
        assert (stop["do"], stop["stop"], stop["booking"], stop["latest"]) == ("stand by", "4", None, None)
        assert since(stop["expected"]) == 240.0
        assert look(client, 90.0)["corner"] == "2", "it is on its way"
        client.event(240.0, "red", "position", corner="4")
        assert look(client, 250.0)["plan"] == []
    first = told.decisions[0]
    assert (first.who, first.controller, first.source, first.time_s) == (WHO, "standby", "champion", 0.0)
    assert first.episode == "2026-03-02", "the service's day, for which controllers begin anew"


def test_it_shortens_the_wait_of_who_comes_next(tmp_path: Path) -> None:
    waits = []
    for standby in (False, True):
        (tmp_path / str(standby)).mkdir()
        with street(tmp_path / str(standby), standby=standby) as client:
            look(client, 0.0)
            client.event(241.0, "red", "position", corner="4" if standby else "0")
            waits.append(since(client.book(300.0, "5", "3").json()["pickup"]["expected"]) - 300.0)
    assert waits == [300.0, 60.0]


def test_a_rider_on_the_way_comes_first(tmp_path: Path) -> None:
    with street(tmp_path) as client:
        look(client, 0.0)
        assert client.book(90.0, "2", "1").json()["vehicle"] == "red"
        assert [stop["do"] for stop in look(client, 91.0)["plan"]] == ["pick up", "drop off"]


def test_a_restart_remembers_who_was_sent_where_and_what_hurries(tmp_path: Path) -> None:
    plans = []
    for seconds in (0.0, 59.0):  # no new decision in between
        with street(tmp_path) as client:
            plans.append(look(client, seconds)["plan"])
            desk = client.gateway.desks["street"]
            roster = desk._fresh(desk._clock.now(None))
            assert np.isfinite(roster.live.urgency).all()
            plans.append(roster.urgencies)
    assert plans[0] == plans[2] != []
    assert plans[1] == plans[3] != {}


def test_who_decides_nothing_for_zones_moves_nobody(tmp_path: Path) -> None:
    with street(tmp_path, standby=False) as client:
        assert look(client, 0.0)["plan"] == []


def test_where_zones_cannot_be_asked_bookings_go_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A site that knows of one vehicle, and a fleet of three: the contradiction is told once, not every minute."""
    three = tuple(Vehicle(id=f"v{k}", at="0") for k in range(3))
    with street(tmp_path, vehicles=three) as client:
        for seconds in (0.0, 60.0, 120.0):
            assert client.book(seconds, "0", "1").status_code == 200
    assert [record.message for record in caplog.records if "zones cannot be asked" in record.message] == [
        "bookings at street: zones cannot be asked (readings.idle_veh + inbound_veh + busy_veh is 3.0: "
        "the fleet has 1 vehicles: count each once)"
    ]


def test_a_breakdown_is_reported_and_takes_nobody_out_of_charge(tmp_path: Path) -> None:
    """Readings do not show why a vehicle is gone."""
    told, fleet = Told(), tuple(Vehicle(id=f"v{k}", at=str(k)) for k in range(3))
    site = three_zones(usual=((1.0, 1.0, 2.0),) * 12, slot_s=300.0).model_copy(update={"vehicles": 3})
    limits = CheckSettings(limits=CHECKPOINTS / "transit" / "hcmc.json")
    checks = InputChecks(get_system("transit"), site, settings=limits)
    service = SiteService.open(site, patient("standby"), checks=checks, sinks=(told,))
    one = Desk(site, settings_of(tmp_path, vehicles=fleet, usual_from="8:00"))
    one.zones = Zones(service)
    try:
        client = Client(one)
        client.post("quotes", 0.0, **{"from": "0", "to": "1"})
        assert client.event(30.0, "v2", "breakdown").status_code == 200
        client.post("quotes", 60.0, **{"from": "0", "to": "1"})
    finally:
        one.close()
        service.close()
    before, after = told.decisions
    assert before.findings == ()
    assert after.findings == ("readings contradict each other: vehicles come and go as no shift does",)
    assert after.fallback_reason is None


@pytest.mark.parametrize("named", [{}, {"episode": "mine"}, {"episode": START.date().isoformat()}])
def test_a_stray_tick_of_another_sender_does_not_end_the_asking_of_zones(tmp_path: Path, named: dict[str, str]) -> None:
    """As of somebody who tries the example that the site's description gives."""
    told = Told()
    with street(tmp_path, told=told) as client:
        look(client, 0.0)
        service = client.gateway.desks["street"].zones._service
        service.act(orjson.dumps({**example_tick(service.site), "tick": 10**9, **named}), "curl")
        for minute in (1, 2, 3):
            look(client, 60.0 * minute)
    assert [tick.who for tick in told.decisions] == [WHO, "curl", WHO, WHO, WHO]
    assert len({tick.episode for tick in told.decisions[2:]}) == 1, "one new episode, and no more"


def test_refusals_are_demand_too(tmp_path: Path) -> None:
    told = Told()
    with street(tmp_path, told=told) as client:
        assert client.book(0.0, "0", "1", party=50).status_code == 409
        assert client.book(1.0, "2", "1").status_code == 200
        look(client, 61.0)
    asked = told.decisions[-1].readings
    assert (asked["requests"].tolist(), asked["refused"].tolist()) == ([1, 1, 0], [1, 0, 0])


def test_a_database_from_before_is_taken_up(tmp_path: Path) -> None:
    with street(tmp_path, standby=False) as client:
        booked = client.book(0.0, "2", "3").json()["id"]
    engine = sql.create_engine(database_of(tmp_path))
    with engine.begin() as db:
        for table in (tables.SENT, tables.URGENCIES):
            table.drop(db)
        db.execute(sql.update(tables.EVENTS).values(corner=None))  # of bookings it was not kept
    engine.dispose()
    with street(tmp_path) as client:
        look(client, 60.0)
        assert client.get(f"bookings/{booked}").json()["state"] == "confirmed"


@of_sqlite
def test_a_database_that_an_earlier_release_made_is_taken_up(tmp_path: Path) -> None:
    """Its tables, column for column, as they were made then; what they hold is read."""
    engine = sql.create_engine(f"sqlite:///{tmp_path / 'b.db'}")
    keys = "site VARCHAR(128) NOT NULL, duty VARCHAR(96) NOT NULL"
    with engine.begin() as db:
        for name, columns in (
            ("breaks", 'rest VARCHAR(128) NOT NULL, "begin" DOUBLE, "over" BOOLEAN NOT NULL'),
            ("sent", "node VARCHAR(128) NOT NULL"),
        ):
            db.execute(sql.text(f"CREATE TABLE transit_{name} ({keys}, {columns}, PRIMARY KEY (site, duty))"))
    engine.dispose()
    for _ in range(2):
        with street(tmp_path) as client:
            assert [stop["do"] for stop in look(client, 0.0)["plan"]] == ["stand by"]


def test_a_service_asks_its_own_site(tmp_path: Path) -> None:
    """By its configuration: with as many vehicles as are booked on."""
    write(tmp_path)
    vehicles = "vehicles: [{id: red, at: a}, {id: blue, at: a}, {id: gold, at: a}]"
    path = tmp_path / "city.yaml"
    path.write_text(f"sites:\n  - {{site: mine.yaml, champion: standby, booking: {{{vehicles}, clock: caller}}}}\n")
    gateway = Plan.make(ServiceConfig.load(path)).gateway()
    try:
        (service,) = gateway.all
        assert service.site.vehicles == 3
        client = Client(gateway.desks["mine"])
        client.gateway.desks["mine"] = gateway.desks["mine"]
        client.base = "/v1/transit/mine"
        client.post("quotes", 0.0, **{"from": "a", "to": "c"})
        assert service.last is not None
        assert service.last["controller"] == "standby"
    finally:
        gateway.close()


def test_a_service_that_nobody_speaks_to_decides_all_the_same(tmp_path: Path) -> None:
    """By the wall's clock, whenever its health is looked at; where the clock is the caller's, only when told."""
    for clock, decides in (("wall", True), ("caller", False)):
        with street(tmp_path, clock=clock, database=f"sqlite:///{tmp_path / clock}.db") as client:
            desk, (service,) = client.gateway.desks["street"], [client.gateway.desks["street"].zones._service]
            assert service.last is None
            desk._roster.decided = 0.0

            async def check(gateway: Any = client.gateway) -> None:
                await gateway.check()
                await gateway._looking

            asyncio.run(check())
            assert (service.last is not None) == decides
            told = desk.telemetry()
            assert (told is not None) == decides
            assert told is None or [(one.id, one.load) for one in told.things] == [("red", 0.0)]


def test_periodic_decisions_that_fail_are_a_fault_until_they_succeed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise KeyError("red")

    with street(tmp_path, clock="wall") as client:
        desk = client.gateway.desks["street"]
        assert desk.fault is None
        desk._roster.decided = 0.0
        with monkeypatch.context() as patch:
            patch.setattr("serving.booking.rounds.decide", fail)
            with pytest.raises(KeyError):
                desk.decide_due()
        assert desk.fault == "nothing can be booked (its periodic decisions fail: KeyError)"
        desk.decide_due()
        assert desk.fault is None


@pytest.mark.parametrize("jump_s", [3600.0, 40 * 86400.0])
def test_a_clock_that_was_ahead_for_a_while_stops_nothing_and_forgets_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump_s: float
) -> None:
    clock = Clock()
    clock.now_s = START.timestamp()
    monkeypatch.setattr(desk.time, "time", clock)
    with street(tmp_path, clock="wall") as client:
        one = client.gateway.desks["street"]
        booked = client.post("bookings", request_id="a", **{"from": "2", "to": "4"}).json()
        clock.now_s += jump_s
        assert client.get("vehicles/red").status_code == 200
        clock.now_s -= jump_s
        assert client.get(f"bookings/{booked['id']}").json() == booked
        assert client.post("bookings", request_id="a", **{"from": "2", "to": "4"}).json() == booked
        clock.now_s += one.site.timing.decision_s
        client.get("vehicles/red")
        assert one.zones._service.last["tick"] == clock.now_s // one.site.timing.decision_s, "zones are asked again"
