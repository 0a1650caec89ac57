"""What vehicles report, when they work, and what of it riders are told: shifts, late and lost reports."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from envs import CityloopError
from envs.transit.settings import Timing
from serving.booking.places import Calendar
from serving.booking.settings import Vehicle
from serving.booking.wire import VehicleState
from tests.envs.transit.small import three_zones, with_dead_ends
from tests.serving.booking.desks import CHARGING, ELECTRIC, VEHICLES, Client, at, desk, hours_of, refusal, since


def test_an_offer_can_be_booked_from_its_vehicle_before_its_shift_begins(tmp_path: Path) -> None:
    """Within the promise, red comes to work at five past eight."""
    with desk(tmp_path, vehicles=(Vehicle(id="red", at="0", begins="08:05", ends="12:00"),)) as one:
        client = Client(one)
        offer = client.post("quotes", 0.0, **{"from": "1", "to": "4"}).json()["offers"][0]
        booked = client.book(0.0, "1", "4", vehicle=offer["vehicle"])
        assert booked.json()["pickup"]["expected"] == offer["pickup"]["expected"] == "2026-03-02T08:06:00.000+00:00"


def test_a_driver_sees_who_comes_in_a_wheelchair(tmp_path: Path) -> None:
    """The plan told the party alone, so that a driver learned at the stop that the ramp is needed."""
    with desk(tmp_path, vehicles=VEHICLES[:1]) as one:
        client = Client(one)
        client.book(0.0, "1", "4", party=2, wheelchairs=1)
        plan = client.get("vehicles/red").json()["plan"]
        assert [(stop["do"], stop["party"], stop["wheelchairs"]) for stop in plan] == [
            ("pick up", 2, 1),
            ("drop off", 2, 1),
        ]


def test_who_named_a_vehicle_is_told_when_that_one_can_come(tmp_path: Path) -> None:
    """Red is full on its way there and back, for a quarter of an hour; blue, which is free, was not asked for."""
    with desk(tmp_path, vehicles=(Vehicle(id="red", seats=2, at="0"), Vehicle(id="blue", seats=2, at="0"))) as one:
        client = Client(one)
        for ends in (("0", "5"), ("5", "0")):
            assert client.book(0.0, *ends, party=2, vehicle="red").status_code == 200
        refused = client.book(0.0, "5", "0", party=2, vehicle="red").json()["error"]
        assert refused["value"] == "too_late"
        later = refused["mend"].rpartition("set out at ")[2].partition(" ")[0]
        assert since(later) == 600
        assert client.book(0.0, "5", "0", party=2, vehicle="red", depart=later).status_code == 200


def test_rides_whose_end_was_never_reported_can_be_ended_days_later(tmp_path: Path) -> None:
    with desk(tmp_path, vehicles=(hours_of(VEHICLES[0]),)) as one:
        client = Client(one)
        rides, waits, stays = (client.book(0.0, *ends).json()["id"] for ends in (("0", "4"), ("0", "3"), ("1", "3")))
        client.event(15.0, "red", "boarded", booking=rides)
        days = 3 * 86_400.0
        assert refusal(client.event(days, "red", "boarded", booking=waits))[:2] == (409, "booking")
        ended = client.event(days, "red", "alighted", booking=rides).json()["bookings"]
        ended += client.event(days, "red", "no-show", booking=waits).json()["bookings"]
        ended.append(client.cancel(stays, days).json())
        assert [row["state"] for row in ended] == ["completed", "no-show", "cancelled"]
        client.post("quotes", days + 29 * 86_400.0, **{"from": "1", "to": "2"})
        client.post("quotes", days + 31 * 86_400.0, **{"from": "1", "to": "2"})
        assert client.get(f"bookings/{rides}").status_code == 404, "as all that is over for so long"


def test_off_duty_and_out_of_service(tmp_path: Path) -> None:
    shift = (Vehicle(id="red", at="0", begins="09:00", ends="12:00"),)
    with desk(tmp_path, vehicles=shift) as one:
        client = Client(one)
        refused = client.book(0.0, "1", "4")
        assert refusal(refused) == (409, "trip", "off_duty")
        assert "09:00" in refused.json()["error"]["mend"]
        booked = client.book(0.0, "1", "4", depart=at(3600.0)).json()
        assert since(booked["pickup"]["expected"]) == 3600 + 60, "it begins at 0 at nine"
        tomorrow = client.book(0.0, "1", "4", depart=at(23.9 * 3600)).json()["error"]["mend"]
        assert "2026-03-03T09:00" in tomorrow
        assert client.event(1.0, "red", "breakdown").status_code == 200
    with desk(tmp_path, database=f"sqlite:///{tmp_path / 'other.db'}") as one:
        client = Client(one)
        for vehicle in ("red", "blue"):
            client.event(0.0, vehicle, "breakdown")
        assert refusal(client.book(1.0, "1", "4")) == (409, "trip", "out_of_service")
        client.event(2.0, "red", "back", corner="2")
        assert client.book(3.0, "1", "4").json()["vehicle"] == "red"


def test_events_that_cannot_be(client: Client) -> None:
    booked = client.book(0.0, "1", "4", depart=at(600.0)).json()["id"]
    assert refusal(client.event(1.0, "red", "alighted", booking=booked))[:2] == (409, "booking")
    assert refusal(client.event(1.0, "blue", "boarded", booking=booked)) == (409, "vehicle", "blue")
    assert refusal(client.event(1.0, "red", "no-show", booking=booked))[:2] == (409, "booking")
    assert refusal(client.event(1.0, "red", "boarded"))[:2] == (422, "booking")
    assert refusal(client.event(1.0, "red", "position"))[:2] == (422, "corner")
    assert refusal(client.event(1.0, "green", "position", corner="1")) == (404, "vehicle", "green")
    gone = client.event(700.0, "red", "no-show", booking=booked).json()
    assert (gone["bookings"][0]["state"], gone["vehicle"]["plan"]) == ("no-show", [])


def test_a_report_of_long_ago_is_a_clock_that_is_wrong(client: Client) -> None:
    booked = client.book(0.0, "1", "4").json()
    for told in ("0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z"):
        refused = client.post("events", vehicle="red", kind="boarded", booking=booked["id"], at=told)
        assert refusal(refused)[:2] == (422, "at")
    assert client.event(60.0, "red", "boarded", booking=booked["id"]).status_code == 200


def test_a_shift_may_end_on_the_next_day(tmp_path: Path) -> None:
    rest = {"rest_min": 5.0, "rest_from": "23:40", "rest_until": "00:10"}
    night = (Vehicle(id="red", at="0", begins="22:00", ends="02:00", **rest),)
    evening, past_midnight = 14.5 * 3600.0, 16.5 * 3600.0
    with desk(tmp_path, vehicles=night) as one:
        client = Client(one)
        assert "2026-03-02T22:00" in client.book(0.0, "1", "4").json()["error"]["mend"]
        booked = client.book(evening, "1", "4", depart=at(past_midnight)).json()
        assert since(booked["pickup"]["expected"]) == past_midnight
        for minute, kind in ((0.0, "break-began"), (5.0, "break-ended")):
            told = client.event(15.75 * 3600.0 + 60.0 * minute, "red", kind)
            assert told.status_code == 200, "its time is from 23:40 on"
    with desk(tmp_path, vehicles=night) as one:  # anew, on the next day
        client = Client(one)
        boarded = client.event(past_midnight + 15.0, "red", "boarded", booking=booked["id"]).json()
        assert (boarded["vehicle"]["aboard"], boarded["bookings"][0]["vehicle"]) == (1, "red")
        client.event(past_midnight + 200.0, "red", "alighted", booking=booked["id"])
        assert client.get("vehicles/red").json()["corner"] == "4"
        assert "2026-03-03T22:00" in client.book(18.5 * 3600.0, "1", "4").json()["error"]["mend"]


@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25", "2026-07-01"])
def test_shifts_begin_by_the_clock_on_the_days_when_it_is_changed_too(day: str) -> None:
    calendar = Calendar("Europe/Berlin", datetime.fromisoformat(f"{day}T12:00:00+00:00").timestamp())
    begins, ends = (str(calendar.iso(calendar.to_time(calendar.hour(0, hour)))) for hour in (6.5, 24.0))
    assert begins.startswith(f"{day}T06:30:00")
    assert ends.startswith(f"{calendar.date(1)}T00:00:00")


@pytest.mark.parametrize("day", ["2026-03-28", "2026-03-29", "2026-10-25"])
def test_streets_are_slow_by_the_clock_on_the_days_when_it_is_changed_too(day: str) -> None:
    """All day long they were an hour too early, or too late."""
    calendar = Calendar("Europe/Berlin", datetime.fromisoformat(f"{day}T12:00:00+00:00").timestamp())
    speeds, slot_s = calendar.by_clock([0.2 if hour == 8 else 1.0 for hour in range(24)], 3)
    for days in (0, 1):
        for hour, expected in ((7.75, 1.0), (8.25, 0.2), (8.75, 0.2), (9.25, 1.0)):
            assert speeds[int(calendar.hour(days, hour) // slot_s)] == expected


def test_no_span_ends_before_it_begins_in_the_night_that_is_an_hour_short() -> None:
    calendar = Calendar("Europe/Berlin", datetime.fromisoformat("2027-03-28T12:00:00+00:00").timestamp())
    begin_s, end_s = calendar.span(0, 2.5, 3.25)  # 02:30 comes as 03:30
    assert (begin_s, end_s) == (2.5 * 3600.0, 2.5 * 3600.0)
    assert calendar.span(0, 1.0, 6.0) == (3600.0, 5 * 3600.0)


def test_a_vehicle_whose_clock_is_slow_carries_nobody_before_they_booked(client: Client) -> None:
    booked = client.book(90_000.0, "1", "4").json()["id"]
    boarded = client.event(100.0, "red", "boarded", booking=booked).json()["bookings"][0]
    assert since(boarded["pickup"]["happened"]) == 90_000.0
    told = client.event(50.0, "red", "alighted", booking=booked).json()["bookings"][0]
    assert since(told["dropoff"]["happened"]) >= since(boarded["pickup"]["happened"])


@pytest.mark.parametrize("kind", ["boarded", "alighted", "no-show", "plugged-in", "unplugged", "break-ended"])
@pytest.mark.parametrize("place", [{"corner": "1"}, {"corner": "nowhere"}, {"x_m": 1.0, "y_m": 2.0}, {"y_m": 2.0}])
def test_a_place_that_counts_for_nothing_is_refused(client: Client, kind: str, place: dict[str, Any]) -> None:
    refused = client.event(60.0, "red", kind, **place)
    assert refused.status_code == 422
    assert f"{kind} says nothing of a place" in refused.json()["error"]["mend"]


@pytest.mark.parametrize("kind", ["position", "breakdown", "back"])
def test_a_place_far_from_the_network_is_refused(client: Client, kind: str) -> None:
    """Degrees or another town's metres were taken as the nearest corner."""
    if kind == "back":
        client.event(30.0, "red", "breakdown", corner="1")
    before = client.get("vehicles/red").json()
    refused = client.event(60.0, "red", kind, x_m=456_789.0, y_m=1_234_567.0)
    assert refusal(refused) == (422, "x_m, y_m", [456_789.0, 1_234_567.0])
    assert "km from the nearest corner: give metres" in refused.json()["error"]["mend"]
    after = client.get("vehicles/red").json()
    assert (after["corner"], after["out_of_service"]) == (before["corner"], before["out_of_service"])


def test_reports_that_were_held_up_leave_the_vehicle_where_it_is(client: Client) -> None:
    """It was at 1 after ten minutes and back there after twenty; what happened before is heard of later."""
    booked = client.book(0.0, "1", "4").json()["id"]
    client.event(600.0, "red", "position", corner="1")
    boarded = client.event(75.0, "red", "boarded", booking=booked).json()
    assert since(boarded["bookings"][0]["pickup"]["happened"]) == 60
    assert [since(stop["expected"]) for stop in boarded["vehicle"]["plan"]] == [600 + 180], "from where it was then"
    client.event(1200.0, "red", "position", corner="1")
    before = client.get("vehicles/red").json()
    alighted = client.event(800.0, "red", "alighted", booking=booked).json()
    assert since(alighted["bookings"][0]["dropoff"]["happened"]) == 790, "when it arrived"
    assert alighted["vehicle"] == before | {"aboard": 0, "plan": []}


def test_a_no_show_is_taken_at_the_time_that_was_told(client: Client) -> None:
    """Times are told to the tenth of a second: the party is there from 41.44 s on."""
    booked = client.book(41.44, "1", "4").json()
    told = since(booked["pickup"]["earliest"])
    assert told < 41.44
    assert client.event(told, "red", "no-show", booking=booked["id"]).status_code == 200


def test_who_waits_for_days_is_late(tmp_path: Path) -> None:
    with desk(tmp_path, vehicles=(hours_of(VEHICLES[0]),)) as one:
        client = Client(one)
        booked = client.book(0.0, "0", "4").json()
        client.post("quotes", 3 * 86_400.0, **{"from": "1", "to": "2"})
        shown = client.get(f"bookings/{booked['id']}").json()
        assert (shown["state"], shown["late"]) == ("confirmed", True)


@pytest.mark.parametrize("corner", ["6", "7"])
def test_a_vehicle_is_where_a_road_leads_to_its_next_stop(tmp_path: Path, corner: str) -> None:
    """A one-way road leads to 6, at 3000 m, and none to 7, at 3600 m; none leads out."""
    with desk(tmp_path, with_dead_ends(three_zones())) as one:
        client = Client(one)
        at_once = client.event(1.0, "red", "position", x_m=3600.0, y_m=9.0).json()["vehicle"]
        assert at_once["corner"] == "5", "it could go nowhere from the nearest"
        booked = client.book(2.0, "3", "4", vehicle="red").json()
        refused = client.event(3.0, "red", "position", corner=corner)
        assert refusal(refused) == (422, "corner", corner)
        assert "no road leads from there to the next stop of red" in refused.json()["error"]["mend"]
        for seconds, kind, next_one in ((4.0, "position", "4"), (5.0, "breakdown", "5")):
            told = client.event(seconds, "red", kind, x_m=3500.0, y_m=0.0).json()["vehicle"]
            assert told["corner"] == next_one, "it is at 5, and drives on to 3 if it can"
        assert client.event(6.0, "red", "back", corner=corner).json()["vehicle"]["corner"] == corner
        assert client.get(f"bookings/{booked['id']}").json()["vehicle"] == "blue"


def test_a_vehicle_that_boards_riders_in_another_order_may_have_no_way_on(tmp_path: Path) -> None:
    """A one-way road leads from 5 to 6: who boards there first is in a vehicle that cannot get to the other party."""
    with desk(tmp_path, with_dead_ends(three_zones())) as one:
        client = Client(one)
        client.book(0.0, "5", "4", vehicle="red")
        trapped = client.book(0.0, "5", "6", vehicle="red").json()["id"]
        client.event(400.0, "red", "boarded", booking=trapped)
        gone = client.event(500.0, "red", "alighted", booking=trapped).json()["vehicle"]
        assert (gone["corner"], [stop["expected"] for stop in gone["plan"]]) == ("6", [None, None])
        VehicleState.model_validate(gone)  # as the description of the addresses says
        assert client.post("quotes", 9000.0, **{"from": "5", "to": "4"}).status_code == 200


def test_a_battery_is_where_it_can_be_charged(tmp_path: Path) -> None:
    """No road leads back from 6, at 3000 m, to the charger."""
    site = with_dead_ends(three_zones())
    with desk(tmp_path, site, vehicles=ELECTRIC, charging=CHARGING) as one:
        told = Client(one).event(1.0, "red", "position", x_m=3000.0, y_m=0.0, charge=1.0).json()["vehicle"]
        assert (told["corner"], told["short_of_charge"]) == ("5", False)


def test_between_shifts_a_vehicle_shows_the_plan_of_the_next_one(tmp_path: Path) -> None:
    with desk(tmp_path, vehicles=(Vehicle(id="red", at="0", begins="06:00", ends="09:00"),)) as one:
        client = Client(one)
        rides = client.book(0.0, "1", "4").json()["id"]
        client.event(75.0, "red", "boarded", booking=rides)
        later = client.book(80.0, "1", "4", depart=at(22.5 * 3600.0)).json()
        over = client.event(3700.0, "red", "position", corner="3").json()["vehicle"]
        assert [stop["booking"] for stop in over["plan"]] == [rides], "it still has a rider"
        client.event(3800.0, "red", "alighted", booking=rides)
        client.event(7200.0, "red", "position", corner="2")
        shown = client.get("vehicles/red").json()
        assert (shown["on_duty"], shown["corner"]) == (False, "2")
        assert [(stop["do"], stop["booking"]) for stop in shown["plan"]] == [
            ("pick up", later["id"]),
            ("drop off", later["id"]),
        ]
        assert shown["plan"][0]["expected"] == later["pickup"]["expected"]
        assert client.get("vehicles").json()["vehicles"] == [shown]


def test_a_late_vehicle_is_seen_to_be_late(client: Client) -> None:
    booked = client.book(0.0, "1", "4").json()["id"]
    client.event(500.0, "red", "position", corner="0")
    assert not client.get(f"bookings/{booked}").json()["late"]
    client.event(700.0, "red", "position", corner="0")
    assert client.get(f"bookings/{booked}").json()["late"]


@pytest.mark.parametrize(("after_s", "late"), [(0.0, False), (5.0, True)])
def test_a_ride_is_over_when_the_vehicle_arrives_not_when_the_party_has_got_off(
    client: Client, after_s: float, late: bool
) -> None:
    """The vehicle arrives with the last second of the promised ride, or after it; then the party gets off."""
    booked = client.book(0.0, "1", "4").json()
    client.event(75.0, "red", "boarded", booking=booked["id"])
    arrives = 60.0 + booked["ride_limit_s"] + after_s
    client.event(arrives + Timing().alight_s, "red", "alighted", booking=booked["id"])
    done = client.get(f"bookings/{booked['id']}").json()
    assert (since(done["dropoff"]["happened"]), done["late"]) == (arrives, late)
    assert since(done["dropoff"]["latest"]) == arrives - after_s


def test_a_vehicle_that_was_named_is_told_what_it_lacks(client: Client) -> None:
    mend = client.book(0.0, "1", "4", party=500, vehicle="red").json()["error"]["mend"]
    assert mend == "vehicle red has fewer than 500 seats: split the party"
    mend = client.book(0.0, "1", "4", party=500).json()["error"]["mend"]
    assert mend == "no vehicle has 500 seats: split the party"
    mend = client.book(0.0, "1", "4", wheelchairs=2).json()["error"]["mend"]
    assert mend == "no vehicle has 1 seat and 2 wheelchair places: split the party"


@pytest.mark.parametrize("corner", ["6", "7"])
def test_no_vehicle_begins_at_a_dead_end(tmp_path: Path, corner: str) -> None:
    """To 6 a one-way road leads, to and from 7 none."""
    fleet = (VEHICLES[0], VEHICLES[1].model_copy(update={"at": corner}))
    told = f"vehicle 'blue' begins at '{corner}', from which it cannot drive to a stop and back: name another corner"
    with (
        pytest.raises(CityloopError, match=told),
        desk(tmp_path, with_dead_ends(three_zones()), vehicles=fleet),
    ):
        pass


def test_a_point_is_put_on_a_stop_that_can_be_served(tmp_path: Path) -> None:
    """7, to which no road leads, is nearer than 5."""
    site = with_dead_ends(three_zones())
    nodes = (*site.nodes[:-1], site.nodes[-1].model_copy(update={"x_m": 2520.0}))
    with desk(tmp_path, site.model_copy(update={"nodes": nodes})) as one:
        client, beside = Client(one), {"x_m": 2520.0, "y_m": 0.0}
        out, back = client.book(0.0, beside, "1").json(), client.book(0.0, "1", beside).json()
    assert (out["pickup"]["stop"], out["pickup"]["walk_m"]) == ("5", 20.0)
    assert (back["dropoff"]["stop"], back["dropoff"]["walk_m"]) == ("5", 20.0)
