"""Electric vehicles are booked as far as their batteries last, and charge in between."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from envs.transit.settings import Charging
from serving.booking.settings import Vehicle
from tests.serving.booking.desks import CHARGING, ELECTRIC, Client, desk, detour, refusal, since


def test_an_electric_vehicle_is_booked_as_far_as_its_battery_lasts(tmp_path: Path) -> None:
    """Red, at the charger, has 2.4 km and charges to 4.8: it could go to 4 and come back, but not to 5."""
    red = ELECTRIC[0].model_copy(update={"charged": 0.4})
    with desk(tmp_path, vehicles=(red,), charging=CHARGING) as one:
        client = Client(one)
        assert client.post("quotes", 0.0, **{"from": "0", "to": "5"}).json()["refused"]["reason"] == "no_charge"
        shown = client.get("vehicles/red").json()
        assert (shown["charge"], shown["charges"], shown["short_of_charge"]) == (0.4, False, False)
        assert [stop["do"] for stop in shown["plan"]] == ["plug in", "unplug"], "it is low"
        assert refusal(client.event(1.0, "red", "unplugged")) == (409, "vehicle", "red")
        assert client.event(1.0, "red", "plugged-in").json()["vehicle"]["charges"]
        assert refusal(client.book(2.0, "0", "5")) == (409, "trip", "no_charge")
        booked = client.book(2.0, "0", "4").json()
        assert since(booked["pickup"]["expected"]) > 60, "when it has charged"
        left = client.event(62.0, "red", "position", corner="0", charge=0.9).json()["vehicle"]
        assert (left["charge"], left["charges"]) == (0.9, True)
        gone = client.event(70.0, "red", "unplugged", charge=0.95).json()["vehicle"]
        assert [stop["do"] for stop in gone["plan"]] == ["pick up", "drop off"]
    with desk(tmp_path, vehicles=(red,), charging=CHARGING) as one:
        client = Client(one)
        assert client.get("vehicles/red").json()["charge"] == 0.95
        poor = client.event(71.0, "red", "position", corner="0", charge=0.1).json()["vehicle"]
        assert poor["short_of_charge"]
    with desk(tmp_path, database=f"sqlite:///{tmp_path / 'other.db'}") as one:
        assert refusal(Client(one).event(0.0, "red", "position", corner="1", charge=0.5)) == (422, "charge", 0.5)


def test_a_stop_without_which_a_battery_would_not_last_is_passed(tmp_path: Path) -> None:
    """Who cancels is not picked up at b, but to c, where another waits, the vehicle has to go by b all the same."""
    one_km = (Vehicle(id="red", at="z", range_km=1.0),)
    plain: dict[str, Any] = {"vehicles": one_km, "charging": Charging(stops=("z",), low=0.1)}
    with desk(tmp_path, detour(), **plain) as one:
        client = Client(one)
        gone = client.book(0.0, "b", "c").json()["id"]
        stays = client.book(0.0, "c", "z").json()["id"]
        assert client.cancel(gone, 1.0).json()["state"] == "cancelled"
        plan = client.get("vehicles/red").json()["plan"]
        assert [(stop["do"], stop["stop"]) for stop in plan[:3]] == [("pass", "b"), ("pass", "c"), ("pick up", "c")]
    with desk(tmp_path, detour(), **plain) as one:
        client = Client(one)
        assert client.get("vehicles/red").json()["plan"] == plan
        client.event(121.0, "red", "position", corner="b")
        left = client.event(190.0, "red", "position", corner="c").json()["vehicle"]
        assert ([stop["booking"] for stop in left["plan"]], left["charge"]) == ([stays, stays], 0.7)
        assert client.get(f"bookings/{gone}").json()["state"] == "cancelled"
