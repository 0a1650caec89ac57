"""Vehicles that break down: who takes their riders over, who is stranded, and what happens once a vehicle is back."""

from __future__ import annotations

from pathlib import Path

from tests.serving.booking.desks import VEHICLES, Client, at, desk, hours_of, refusal, since


def test_who_takes_over_sets_out_when_a_breakdown_is_heard_of(client: Client) -> None:
    """Nine minutes after it; blue has stood four minutes away all the while."""
    client.book(0.0, "1", "4", depart=at(300.0))
    client.post("quotes", 600.0, **{"from": "1", "to": "2"})
    (taken,) = client.event(60.0, "red", "breakdown").json()["bookings"]
    assert taken["vehicle"] == "blue"
    assert since(taken["pickup"]["expected"]) == 600 + 240


def test_who_is_back_is_where_it_says_even_if_it_never_was_away(client: Client) -> None:
    for seconds, corner in ((10.0, "3"), (20.0, "2")):
        assert client.event(seconds, "red", "back", corner=corner).json()["vehicle"]["corner"] == corner


def test_a_breakdown_hands_riders_over(client: Client) -> None:
    waits, rides = (client.book(0.0, *trip).json()["id"] for trip in (("1", "4"), ("0", "3")))
    client.event(15.0, "red", "boarded", booking=rides)
    client.event(20.0, "red", "position", corner="0")
    found = client.event(30.0, "red", "breakdown").json()
    assert found["vehicle"]["out_of_service"]
    assert {row["id"]: (row["vehicle"], row["state"]) for row in found["bookings"]} == {
        waits: ("blue", "confirmed"),
        rides: ("blue", "confirmed"),
    }
    plan = client.get("vehicles/blue").json()["plan"]
    assert ("pick up", rides, found["vehicle"]["corner"]) in {
        (stop["do"], stop["booking"], stop["stop"]) for stop in plan
    }
    again = client.get(f"bookings/{rides}").json()
    assert since(again["pickup"]["happened"]) == 0, "when the rider boarded first"


def test_a_breakdown_says_where_riders_are_to_be_fetched(client: Client) -> None:
    rides = client.book(0.0, "0", "5").json()["id"]
    client.event(15.0, "red", "boarded", booking=rides)
    assert refusal(client.event(120.0, "red", "breakdown", corner="nowhere")) == (422, "corner", "nowhere")
    found = client.event(120.0, "red", "breakdown", corner="4").json()
    assert (found["vehicle"]["corner"], found["vehicle"]["out_of_service"]) == ("4", True)
    plan = client.get("vehicles/blue").json()["plan"]
    assert [(stop["do"], stop["stop"]) for stop in plan if stop["booking"] == rides] == [
        ("pick up", "4"),
        ("drop off", "5"),
    ]


def test_a_breakdown_between_shifts_is_of_the_next_shift(tmp_path: Path) -> None:
    fleet = tuple(hours_of(vehicle, begins="09:00", ends="12:00") for vehicle in VEHICLES)
    opens = 3600.0
    with desk(tmp_path, vehicles=fleet) as one:
        client = Client(one)
        booked = client.book(0.0, "1", "4", depart=at(opens + 60.0)).json()
        assert booked["vehicle"] == "red"
        (taken,) = client.event(1800.0, "red", "breakdown", corner="2").json()["bookings"]
        assert (taken["id"], taken["vehicle"], taken["broken_down"]) == (booked["id"], "blue", False)
    with desk(tmp_path, vehicles=fleet) as one:  # anew
        client = Client(one)
        for seconds in (1900.0, opens + 10.0):
            offers = client.post("quotes", seconds, **{"from": "1", "to": "2"}, depart=at(opens + 20.0)).json()[
                "offers"
            ]
            red = client.get("vehicles/red").json()
            assert ([offer["vehicle"] for offer in offers], red["out_of_service"]) == (["blue"], True)
        client.event(opens + 20.0, "red", "back", corner="3")
        red = client.get("vehicles/red").json()
        assert (red["out_of_service"], red["corner"]) == (False, "3")


def test_who_is_back_before_the_shift_has_it_all(tmp_path: Path) -> None:
    rest = {"rest_min": 5.0, "rest_from": "10:00", "rest_until": "11:00"}
    fleet = (hours_of(VEHICLES[0], begins="09:00", ends="12:00", **rest),)
    with desk(tmp_path, vehicles=fleet) as one:
        client = Client(one)
        for seconds, kind, place in ((600.0, "breakdown", {}), (1200.0, "back", {"corner": "3"})):
            client.event(seconds, "red", kind, **place)
        assert since(client.book(1300.0, "0", "4", depart=at(3600.0)).json()["pickup"]["expected"]) == 3600.0
    with desk(tmp_path, vehicles=fleet) as one:
        client = Client(one)
        client.post("quotes", 3600.0, **{"from": "1", "to": "2"})
        plan = client.get("vehicles/red").json()["plan"]
        assert [stop["do"] for stop in plan] == ["pick up", "drop off", "begin break", "end break"]


def test_who_is_stranded_can_be_cancelled(tmp_path: Path) -> None:
    with desk(tmp_path, vehicles=VEHICLES[:1]) as one:
        client = Client(one)
        waits, rides = (client.book(0.0, *trip).json()["id"] for trip in (("1", "4"), ("0", "3")))
        client.event(15.0, "red", "boarded", booking=rides)
        found = client.event(30.0, "red", "breakdown").json()["bookings"]
        assert {row["id"]: row["state"] for row in found} == dict.fromkeys((waits, rides), "stranded")
        for booking in (waits, rides):
            gone = client.cancel(booking, 60.0)
            assert (gone.status_code, gone.json()["state"]) == (200, "cancelled")
            assert client.cancel(booking, 90.0).json() == gone.json()
            assert client.get(f"bookings/{booking}").json() == gone.json()


def test_who_is_stranded_long_before_the_trip_gets_the_vehicle_that_is_back(tmp_path: Path) -> None:
    """Red is back within the hour; a trip of the afternoon was given up in the morning, for good."""
    with desk(tmp_path, vehicles=VEHICLES[:1]) as one:
        client = Client(one)
        booked = client.book(0.0, "1", "4", depart=at(8 * 3600.0)).json()
        client.event(60.0, "red", "breakdown")
        client.post("quotes", 600.0, **{"from": "1", "to": "2"})
        gone = client.get(f"bookings/{booked['id']}").json()
        assert (gone["state"], gone["vehicle"], gone["late"]) == ("stranded", None, True)
    with desk(tmp_path, vehicles=VEHICLES[:1]) as one:  # anew
        client = Client(one)
        client.event(3000.0, "red", "back", corner="3")
        client.post("quotes", 3100.0, **{"from": "1", "to": "2"})
        again = client.get(f"bookings/{booked['id']}").json()
        steps = [(step["vehicle"], step["instead_of"], step["why"]) for step in again.pop("handed_over")]
        assert steps == [(None, "red", "breakdown"), ("red", "red", "recovered")]
        assert again == {key: value for key, value in booked.items() if key != "handed_over"}, "as promised at first"
        assert [stop["booking"] for stop in client.get("vehicles/red").json()["plan"]] == [booked["id"]] * 2


def test_who_was_set_down_is_fetched_by_the_first_vehicle_that_has_time(tmp_path: Path) -> None:
    """Blue is full for ten minutes; then it comes to where red stands, under another promise."""
    with desk(tmp_path) as one:
        client = Client(one)
        rides = client.book(0.0, "0", "5", vehicle="red").json()["id"]
        client.event(15.0, "red", "boarded", booking=rides)
        client.event(20.0, "blue", "breakdown")
        (left,) = client.event(120.0, "red", "breakdown", corner="2").json()["bookings"]
        assert left["state"] == "stranded"
        client.event(300.0, "blue", "back", corner="5")
        client.post("quotes", 360.0, **{"from": "1", "to": "2"})
        again = client.get(f"bookings/{rides}").json()
        assert (again["state"], again["vehicle"], again["broken_down"]) == ("confirmed", "blue", True)
        assert (again["pickup"]["stop"], since(again["pickup"]["expected"])) == ("2", 360 + 180)
        client.event(555.0, "blue", "boarded", booking=rides)
        done = client.event(800.0, "blue", "alighted", booking=rides).json()["bookings"][0]
        assert (done["state"], done["late"]) == ("completed", True), "it is later than first promised"


def test_who_is_stranded_is_left_to_a_person_once_the_time_has_passed_or_it_was_cancelled(tmp_path: Path) -> None:
    with desk(tmp_path, vehicles=VEHICLES[:1]) as one:
        client = Client(one)
        late, settled = (client.book(0.0, "1", "4", depart=at(seconds)).json()["id"] for seconds in (0.0, 7200.0))
        client.event(30.0, "red", "breakdown")
        client.cancel(settled, 60.0)
        client.event(3600.0, "red", "back", corner="3")
        client.post("quotes", 3700.0, **{"from": "1", "to": "2"})
        states = [client.get(f"bookings/{booking}").json()["state"] for booking in (late, settled)]
        assert states == ["stranded", "cancelled"]
        assert client.get("vehicles/red").json()["plan"] == []
