"""Drivers' breaks: kept free in every plan, begun and ended by report, remembered, and none that comes too late."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from serving.booking.settings import BookingSettings, Vehicle
from tests.serving.booking.desks import CHARGING, Client, desk, since

REST = {"begins": "8:00", "ends": "9:00", "rest_min": 15.0, "rest_from": "8:10", "rest_until": "8:20"}
RED = (Vehicle(id="red", at="0", **REST),)


def red(client: Client, seconds: float) -> Any:
    client.post("quotes", seconds, **{"from": "0", "to": "1"})
    return client.get("vehicles/red").json()


def test_nobody_is_promised_a_drivers_break(tmp_path: Path) -> None:
    with desk(tmp_path, vehicles=RED) as one:
        client = Client(one)
        begin, end = red(client, 0.0)["plan"]
        assert (begin["do"], since(begin["not_before"]), since(begin["latest"])) == ("begin break", 600.0, 1200.0)
        assert (end["do"], end["booking"], end["latest"]) == ("end break", None, None)
        before = client.book(1.0, "1", "2").json()
        assert since(before["dropoff"]["expected"]) < 600.0
        after = client.post("quotes", 2.0, **{"from": "2", "to": "3"}, depart="2026-03-02T08:19:00+00:00").json()
        assert since(after["offers"][0]["pickup"]["expected"]) == 600.0 + 900.0, "when the break is over"
        assert [stop["stop"] for stop in red(client, 3.0)["plan"] if "break" in stop["do"]] == ["2", "2"]


def test_it_begins_and_ends_when_the_driver_says_so(tmp_path: Path) -> None:
    with desk(tmp_path, vehicles=RED) as one:
        client = Client(one)
        red(client, 0.0)
        early = client.event(599.0, "red", "break-began")
        assert early.status_code == 409
        assert "the break begins at 2026-03-02T08:10:00" in early.json()["error"]["mend"]
        began = client.event(700.0, "red", "break-began", corner="1")
        assert began.json()["vehicle"]["on_break"]
        assert (began.json()["vehicle"]["corner"], began.json()["vehicle"]["aboard"]) == ("1", 0)
        assert since(began.json()["vehicle"]["plan"][0]["expected"]) == 1600.0
        assert "already" in client.event(710.0, "red", "break-began").json()["error"]["mend"]
    with desk(tmp_path, vehicles=RED) as one:
        client = Client(one)
        client.sent = 100  # requests have names of their own
        assert red(client, 800.0)["on_break"], "another process knows"
        ended = client.event(1610.0, "red", "break-ended")
        assert (ended.json()["vehicle"]["on_break"], ended.json()["vehicle"]["plan"]) == (False, [])
        assert "report break-began before" in client.event(1620.0, "red", "break-ended").json()["error"]["mend"]
        assert "holds no break" in client.event(1630.0, "red", "break-began").json()["error"]["mend"]
    with desk(tmp_path, vehicles=RED) as one:
        assert red(Client(one), 1640.0)["plan"] == [], "and that it is over"


def test_who_has_riders_aboard_has_no_break(tmp_path: Path) -> None:
    with desk(tmp_path, vehicles=RED) as one:
        client = Client(one)
        booked = client.book(0.0, "0", "5").json()["id"]
        client.event(15.0, "red", "boarded", booking=booked)
        assert "a party is aboard" in client.event(610.0, "red", "break-began").json()["error"]["mend"]


def test_a_vehicle_that_is_plugged_in_has_ended_its_break(tmp_path: Path) -> None:
    """Afterwards too little is left of the shift, unless it charges."""
    low = RED[0].model_copy(update={"range_km": 6.0, "charged": 0.4})
    with desk(tmp_path, vehicles=(low,), charging=CHARGING) as one:
        client = Client(one)
        assert [stop["do"] for stop in red(client, 0.0)["plan"]][:2] == ["plug in", "unplug"]
        rests = client.event(610.0, "red", "break-began", corner="0").json()["vehicle"]
        assert (rests["on_break"], rests["charges"]) == (True, False)
        plugged = client.event(700.0, "red", "plugged-in").json()["vehicle"]
        assert (plugged["on_break"], plugged["charges"], plugged["corner"]) == (False, True, "0")
        assert [stop["do"] for stop in plugged["plan"]] == ["unplug"]
    with desk(tmp_path, vehicles=(low,), charging=CHARGING) as one:
        client = Client(one)
        client.sent = 100
        assert red(client, 710.0)["plan"] == plugged["plan"]
        gone = client.event(800.0, "red", "unplugged").json()["vehicle"]
        assert (gone["on_break"], gone["charges"], gone["plan"]) == (False, False, [])


def test_a_service_that_begins_later_finds_none_to_come(tmp_path: Path) -> None:
    with desk(tmp_path, vehicles=RED) as one:
        assert red(Client(one), 1300.0)["plan"] == []


def test_what_was_not_taken_is_gone_with_the_shift(tmp_path: Path) -> None:
    with desk(tmp_path, vehicles=RED) as one:
        client = Client(one)
        assert red(client, 0.0)["plan"] != []
        assert red(client, 3700.0)["plan"] == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rest_until": ""}, "go together"),
        ({"begins": "", "ends": ""}, "with begins and ends"),
        ({"rest_from": "7:00"}, "lie within the shift, 8:00 to 9:00"),
        ({"rest_until": "8:50"}, "lie within the shift"),
        ({"rest_from": "8:30"}, "lie within the shift"),
    ],
)
def test_breaks_that_cannot_be_are_refused(changes: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        BookingSettings(vehicles=({"id": "red", "at": "0"} | REST | changes,))
