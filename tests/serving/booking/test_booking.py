"""Booking over HTTP: what is offered, promised, refused and why; what vehicles report; nothing is forgotten."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from envs.core.errors import CityloopError
from envs.transit.settings import Charging
from serving.access.principal import Grant, Principal, Role
from serving.booking.desk import Desk
from serving.booking.settings import BookingSettings, Vehicle
from tests.envs.transit.small import three_zones
from tests.serving.booking.desks import (
    CHARGING,
    ELECTRIC,
    VEHICLES,
    Client,
    at,
    desk,
    hours_of,
    reassigned,
    refusal,
    settings_of,
    since,
)


def test_a_trip_from_quote_to_arrival(client: Client) -> None:
    quote = client.post("quotes", 0.0, **{"from": "1", "to": "4"}).json()
    assert [offer["vehicle"] for offer in quote["offers"]] == ["red", "blue"]
    best = quote["offers"][0]
    assert since(best["pickup"]["expected"]) == 60
    assert since(best["pickup"]["latest"]) == 600
    assert since(best["dropoff"]["expected"]) == 60 + 15 + 180
    assert "soonest pick-up" in best["reasons"]
    assert client.get("vehicles/red").json()["plan"] == [], "a quote promises nothing"

    booked = client.book(0.0, "1", "4").json()
    assert (booked["state"], booked["vehicle"], booked["late"]) == ("confirmed", "red", False)
    plan = client.get("vehicles/red").json()["plan"]
    assert [(stop["do"], stop["stop"]) for stop in plan] == [("pick up", "1"), ("drop off", "4")]
    boarded = client.event(75.0, "red", "boarded", booking=booked["id"]).json()
    assert (boarded["vehicle"]["aboard"], boarded["bookings"][0]["state"]) == (1, "aboard")
    assert refusal(client.cancel(booked["id"], 80.0))[:2] == (409, "booking")
    client.event(255.0, "red", "alighted", booking=booked["id"])
    done = client.get(f"bookings/{booked['id']}").json()
    assert (done["state"], done["late"]) == ("completed", False)
    assert since(done["pickup"]["happened"]) == 60, "when boarding began"
    assert since(done["dropoff"]["happened"]) == 245, "when the vehicle arrived"
    red = client.get("vehicles/red").json()
    assert (red["corner"], red["aboard"], red["plan"]) == ("4", 0, [])


@pytest.mark.parametrize("path", ["quotes", "bookings"])
def test_a_party_that_is_given_twice_is_refused(client: Client, path: str) -> None:
    name = '"request_id": "r", ' if path == "bookings" else ""
    content = f'{{{name}"from": "1", "to": "4", "at": "{at(0.0)}", "party": 1, "party": 2}}'
    assert refusal(client.http.post(f"{client.base}/{path}", content=content)) == (422, "party", 2)


@pytest.mark.parametrize(
    ("changes", "mend"),
    [
        ({"request_id": ""}, "give some text"),
        ({"request_id": "a b"}, "give letters, digits and . _ : - alone"),
        ({"from": "nowhere"}, "no corner of this site: its scene labels them, or give a place as x_m and y_m"),
    ],
)
def test_a_refusal_says_in_plain_words_what_would_do(client: Client, changes: dict[str, str], mend: str) -> None:
    answer = client.post("bookings", 0.0, **{"from": "1", "to": "4", "request_id": "r"} | changes)
    assert (answer.status_code, answer.json()["error"]["mend"]) == (422, mend)


def test_the_same_request_gets_the_same_answer(client: Client) -> None:
    first = client.book(0.0, "1", "4", request_id="a")
    again = client.book(9.0, "1", "4", request_id="a")
    assert (again.status_code, again.json()) == (200, first.json())
    assert len(client.get("vehicles/red").json()["plan"]) == 2
    assert refusal(client.book(9.0, "1", "3", request_id="a")) == (409, "request_id", "a")
    boarded = [client.event(75.0, "red", "boarded", booking=first.json()["id"], request_id="b") for _ in range(2)]
    assert boarded[0].json() == boarded[1].json()
    gone = [client.cancel(client.book(80.0, "0", "5", request_id="c").json()["id"], 90.0) for _ in range(2)]
    assert gone[0].json() == gone[1].json()
    assert gone[0].json()["state"] == "cancelled"


def test_a_refused_booking_stays_refused_under_its_name(client: Client) -> None:
    refused = [client.book(float(k), "1", "4", party=9, request_id="big") for k in range(2)]
    assert refused[0].json() == refused[1].json()
    assert refusal(refused[0]) == (409, "trip", "too_large")
    assert "split the party" in refused[0].json()["error"]["mend"]


@pytest.mark.parametrize(
    ("trip", "answer"),
    [
        ({"from": "9", "to": "1"}, (422, "from", "9")),
        ({"from": "1", "to": "1"}, (422, "to", "1")),
        ({"from": {"x_m": 0.0, "y_m": 9000.0}, "to": "1"}, (422, "from", [0.0, 9000.0])),
        ({"from": "1", "to": "2", "depart": at(-60)}, (422, "depart", at(-60))),
        ({"from": "1", "to": "2", "depart": at(2 * 86400)}, (422, "depart", at(2 * 86400))),
        ({"from": {"x_m": 1e9, "y_m": 0.0}, "to": "1"}, (422, "from.x_m", 1e9)),
        ({"from": 5, "to": "1"}, (422, "from", 5)),
        ({"from": "1"}, (422, "to", None)),
        ({"from": "1", "to": "2", "party": 0}, (422, "party", 0)),
        ({"from": "1", "to": "2", "party": "2"}, (422, "party", "2")),
        ({"from": "1", "to": "2", "party": True}, (422, "party", True)),
        ({"from": {"x_m": "0", "y_m": 0}, "to": "1"}, (422, "from.x_m", "0")),
        ({"from": "1", "to": "2", "depart": "2026-03-02T08:00:00"}, (422, "depart", "2026-03-02T08:00:00")),
        ({"from": "1", "to": "2", "name": "Ms Lan"}, (422, "name", "Ms Lan")),
        ({"from": "1", "to": "2", "vehicle": "green"}, (404, "vehicle", "green")),
        ({"origin": "1", "destination": "2"}, (422, "from", None)),
    ],
)
def test_what_makes_no_sense_is_said(client: Client, trip: dict[str, Any], answer: tuple[int, str, Any]) -> None:
    refused = client.post("bookings", 0.0, **trip)
    status, field, value = refusal(refused)
    assert (status, field) == answer[:2]
    assert str(value).replace(" ", "T") == str(answer[2]).replace(" ", "T")


def test_an_unknown_booking_is_repeated_shortly(client: Client) -> None:
    assert refusal(client.get(f"bookings/{'x' * 3000}")) == (404, "booking", "x" * 57 + "...")


def test_what_is_no_json_is_repeated_as_it_was_sent(client: Client) -> None:
    refused = client.http.post(f"{client.base}/bookings", content=b'{"from": \xff')
    assert refusal(refused) == (422, "body", '{"from": \ufffd')


def test_a_refusal_says_what_would_be_possible(tmp_path: Path) -> None:
    """The only vehicle is full on a way of five minutes, and would be back after more than the ten of the promise."""
    with desk(tmp_path, vehicles=(Vehicle(id="red", seats=2, at="0"),)) as one:
        client = Client(one)
        assert client.book(0.0, "0", "5", party=2).status_code == 200
        quote = client.post("quotes", 0.0, **{"from": "0", "to": "5", "party": 2}).json()
        assert quote["offers"] == []
        assert quote["refused"]["reason"] == "too_late"
        later = quote["later"][0]["pickup"]["earliest"]
        assert later in quote["refused"]["mend"]
        assert since(later) == 300
        assert client.book(0.0, "0", "5", party=2, depart=later).status_code == 200


def test_who_asks_from_a_place_walks_to_the_nearest_stop(client: Client) -> None:
    booked = client.book(0.0, {"x_m": 480.0, "y_m": 200.0}, "4").json()
    assert booked["pickup"]["stop"] == "1"
    assert booked["pickup"]["walk_m"] == pytest.approx(201.0, abs=0.1)
    assert since(booked["pickup"]["earliest"]) == pytest.approx(201.0, abs=0.1), "a metre a second"


@pytest.mark.parametrize("plus", ["+", "%2B"])
def test_the_time_of_a_cancellation_may_be_written_as_it_is_said(client: Client, plus: str) -> None:
    booked = client.book(0.0, "1", "4").json()["id"]
    cancelled = client.http.delete(f"{client.base}/bookings/{booked}?at=2026-03-02T15:00:09{plus}07:00")
    assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")


DOES = {"pick up": "boarded", "drop off": "alighted", "plug in": "plugged-in", "unplug": "unplugged"}
DOES |= {"begin break": "break-began", "end break": "break-ended"}


def test_a_restart_forgets_nothing(tmp_path: Path) -> None:
    """After random requests of electric vehicles' riders, who are reassigned, and breaks: what is built from the
    database is what was there, down to every plan, stay at the charger, battery and break."""
    rng = np.random.default_rng(3)
    rest = {"begins": "8:00", "ends": "12:00", "rest_min": 2.0, "rest_from": "8:05", "rest_until": "8:30"}
    vehicles = tuple(one.model_copy(update=rest) for one in ELECTRIC)
    settings = settings_of(tmp_path, vehicles=vehicles, charging=CHARGING)
    one, stays, breaks = Desk(reassigned(), settings), 0, set()
    client, open_ids, now = Client(one), [], 0.0
    for _ in range(30):
        now += float(rng.exponential(30.0))
        what = rng.random()
        if what < 0.6 or not open_ids:
            a, b = rng.choice(6, 2, replace=False)
            answer = client.book(now, str(a), str(b), depart=at(now + float(rng.choice([0.0, 1200.0]))))
            open_ids += [answer.json()["id"]] if answer.status_code == 200 else []
        elif what < 0.7:
            client.cancel(open_ids.pop(int(rng.integers(len(open_ids)))), now)
        elif what < 0.95:
            client.post("quotes", now, **{"from": "0", "to": "1"})  # with which plans are looked through
            plan = [(v["id"], v["plan"][0]) for v in client.get("vehicles").json()["vehicles"] if v["plan"]]
            for vehicle, stop in plan:
                whose = {} if stop["booking"] is None else {"booking": stop["booking"]}
                early = stop["do"] == "begin break" and since(stop["not_before"]) > now
                told = client.event(now, vehicle, DOES[stop["do"]], **whose)
                assert told.status_code == (409 if early else 200), told.text
                breaks |= set() if early else {(vehicle, stop["do"])}
        else:
            client.event(now, "blue", "breakdown")
            client.event(now, "blue", "back", corner="3")
        before, seen = one._fresh(one._clock.now(None)).plain(), client.get("vehicles").json()
        stays += sum("charger" in row for row in before["batteries"].values())
        one.close()
        one = Desk(reassigned(), settings)
        client.turn_to(one)
        client.post("quotes", now, **{"from": "0", "to": "1"})
        assert near(one._fresh(one._clock.now(None)).plain(), before)
        assert client.get("vehicles").json() == seen
    assert len(before["bookings"]) > 1
    assert stays > 3
    assert breaks >= {("red", "begin break"), ("red", "end break")}
    one.close()


def test_who_waits_is_told_which_vehicle_comes_now(tmp_path: Path) -> None:
    """Blue is back next to a rider for whom red was to come: the promise stays, and so does what was told."""
    with desk(tmp_path, reassigned()) as one:
        client = Client(one)
        client.event(0.0, "blue", "breakdown")
        booked = client.book(1.0, "4", "2").json()
        client.event(2.0, "blue", "back", corner="5")
        assert client.get(f"bookings/{booked['id']}").json()["vehicle"] == "red", "until the minute is over"
        client.post("quotes", 60.0, **{"from": "0", "to": "1"})
        told = client.get(f"bookings/{booked['id']}").json()
    assert (booked["vehicle"], booked["handed_over"], told["vehicle"]) == ("red", [], "blue")
    moved = {"at": told["handed_over"][0]["at"], "vehicle": "blue", "instead_of": "red", "why": "reassigned"}
    assert (told["handed_over"], since(moved["at"])) == ([moved], 60.0)
    assert told["pickup"]["latest"] == booked["pickup"]["latest"]
    assert told["ride_limit_s"] == booked["ride_limit_s"]
    with desk(tmp_path, reassigned()) as one:
        client = Client(one)
        assert client.get(f"bookings/{booked['id']}").json() == told
        assert client.event(61.0, "red", "boarded", booking=booked["id"]).status_code == 409
        assert client.event(200.0, "blue", "boarded", booking=booked["id"]).status_code == 200
        client.event(350.0, "blue", "alighted", booking=booked["id"])
        assert client.get(f"bookings/{booked['id']}").json()["handed_over"] == [moved], "when it is over, too"


def near(a: Any, b: Any) -> bool:
    """Equal but for rounding of times."""
    if isinstance(a, dict):
        return set(a) == set(b) and all(near(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(near(*pair) for pair in zip(a, b, strict=True))
    return abs(a - b) < 1e-3 if isinstance(a, float) else a == b


def test_two_processes_on_one_database_book_no_seat_twice(tmp_path: Path) -> None:
    """Two desks, eight threads, one vehicle with two seats: whatever is confirmed fits, and both see the same."""
    vehicles = (Vehicle(id="red", seats=2, at="0"),)
    desks = [Desk(three_zones(), settings_of(tmp_path, vehicles=vehicles)) for _ in range(2)]
    clients = [Client(one) for one in desks]

    def book(k: int) -> Any:
        return clients[k % 2].book(0.0, "0", "5", request_id=f"r{k}").json()

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(book, range(24)))
    confirmed = [answer["id"] for answer in answers if "id" in answer]
    assert len(set(confirmed)) == len(confirmed) == 2
    assert clients[0].get("vehicles").json() == clients[1].get("vehicles").json()
    for one in desks:
        one.close()


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with desk(tmp_path) as one:
        client = Client(one)
        with monkeypatch.context() as patch:
            patch.setattr(one._store, "commit", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
            with pytest.raises(OSError, match="disk full"):
                client.book(0.0, "1", "4", request_id="a")
        assert all(vehicle["plan"] == [] for vehicle in client.get("vehicles").json()["vehicles"])
        assert client.book(1.0, "1", "4", request_id="a").json()["state"] == "confirmed"


def test_only_who_may_can_book(tmp_path: Path) -> None:
    class ReadOnly:
        open = False

        def authenticate(self, headers: Any) -> Principal:
            return Principal("reader", (Grant(role=Role.READ, system="transit"),))

    with desk(tmp_path) as one:
        client = Client(one, ReadOnly())
        assert client.get("vehicles").status_code == 200
        assert refusal(client.book(0.0, "1", "4"))[0] == 403
        assert client.event(0.0, "red", "breakdown").status_code == 403


def test_nothing_is_kept_that_could_tell_who_or_where_from(tmp_path: Path) -> None:
    with desk(tmp_path) as one:
        client = Client(one)
        client.book(0.0, {"x_m": 480.5, "y_m": 203.25}, "4")
        client.event(1.0, "red", "position", x_m=77.25, y_m=1.0)
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"480.5" not in kept
    assert b"203.25" not in kept
    assert b"77.25" not in kept


def test_a_body_that_is_no_object_is_told_the_keys_as_they_are_sent(client: Client) -> None:
    mend = client.http.post(f"{client.base}/quotes", json=[1]).json()["error"]["mend"]
    assert mend == "give an object with the keys from, to, depart, party, wheelchairs, at, offers"


@pytest.mark.parametrize("told", [1764230000, 1764230000.5, True, "1764230000", "2026-03-02T08:00:00", "2026-03-02"])
def test_a_time_is_a_date_with_an_offset_and_no_number(client: Client, told: Any) -> None:
    trip = {"from": "1", "to": "4"}
    assert refusal(client.post("quotes", **trip, depart=told)) == (422, "depart", told)
    assert refusal(client.post("quotes", **trip, at=told)) == (422, "at", told)
    assert refusal(client.post("events", vehicle="red", kind="breakdown", at=told)) == (422, "at", told)
    asked = client.http.delete(f"{client.base}/bookings/x", params={"at": str(told)})
    assert refusal(asked) == (422, "at", str(told))


def test_what_is_long_over_is_deleted(tmp_path: Path) -> None:
    with desk(tmp_path, keep_days=1.0) as one:
        client = Client(one)
        booked = client.book(0.0, "1", "4").json()["id"]
        client.cancel(booked, 1.0)
        assert client.get(f"bookings/{booked}").status_code == 200
        for days in (0.9, 1.8):
            assert client.event(days * 86400.0, "red", "position", corner="0").status_code == 200
        assert refusal(client.get(f"bookings/{booked}"))[0] == 404
        assert one._store.events() == []


def test_a_request_is_known_while_its_trip_is_to_come(tmp_path: Path) -> None:
    with desk(tmp_path, keep_days=1.0, ahead_h=240.0) as one:
        client = Client(one)
        trip = {"request_id": "a1", "depart": at(9 * 86400.0)}
        booked = client.book(0.0, "1", "4", **trip).json()["id"]
        for days in (0.9, 1.8, 2.7):
            assert client.event(days * 86400.0, "red", "position", corner="0").status_code == 200
        assert client.book(2.8 * 86400.0, "1", "4", **trip).json()["id"] == booked
        assert refusal(client.book(2.8 * 86400.0, "1", "3", **trip))[:2] == (409, "request_id")


def test_no_message_takes_time_so_far_that_bookings_are_forgotten(client: Client) -> None:
    """Or that no day could be told."""
    trip = {"from": "1", "to": "4"}
    for first in ("2200-01-01T00:00:00Z", "9999-12-31T23:59:59+00:00"):
        assert refusal(client.http.post(f"{client.base}/quotes", json=trip | {"at": first}))[:2] == (422, "at")
    booked, far = client.book(0.0, "1", "4").json(), 30 * 86400.0 + 1
    for refused in (client.post("quotes", far, **trip), client.book(far, "1", "4"), client.cancel(booked["id"], far)):
        assert refusal(refused)[:2] == (422, "at")
        assert "what is over is kept for 30 days: go on in smaller steps" in refused.json()["error"]["mend"]
    assert client.get(f"bookings/{booked['id']}").json() == booked
    assert since(client.get("vehicles").json()["time"]) == 0.0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"vehicles": (*VEHICLES, VEHICLES[0])}, "two vehicles are called 'red'"),
        ({"database": "nowhere"}, "it is no URL"),
        ({"database": "sqlite://"}, "without a file"),
        ({"timezone": "Mars/Base"}, "timezone 'Mars/Base' is unknown"),
        ({"speeds": (0.0,)}, "give numbers from 0.05 to 5"),
    ],
)
def test_settings_that_make_no_sense(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        settings_of(tmp_path, **changes)


def test_a_vehicle_without_riders_may_go(tmp_path: Path) -> None:
    """Its driver's break, which is in its plan, is nobody's promise."""
    rest = {"rest_min": 30.0, "rest_from": "10:00", "rest_until": "12:00"}
    crew = tuple(hours_of(one, **rest) for one in VEHICLES)
    with desk(tmp_path, vehicles=crew) as one:
        assert Client(one).event(0.0, "red", "position", corner="1").status_code == 200
    with desk(tmp_path, vehicles=crew[1:]) as one:
        assert [row["id"] for row in Client(one).get("vehicles").json()["vehicles"]] == ["blue"]


def test_a_service_that_cannot_work_says_so(tmp_path: Path) -> None:
    with pytest.raises(CityloopError, match="begins at 'z', no corner"):
        Desk(three_zones(), settings_of(tmp_path, vehicles=(Vehicle(id="red", at="z"),)))
    with pytest.raises(CityloopError, match=r"database .* cannot be used"):
        Desk(three_zones(), settings_of(tmp_path, database="sqlite:////proc/none/b.db"))
    for changes, words in (
        ({"charging": Charging(stops=("z",))}, "charging.stops names 'z', no corner of 'street'"),
        (
            {"vehicles": (Vehicle(id="red", at="0", range_km=2.0),), "charging": Charging(stops=("5",))},
            r"vehicle 'red' begins with 2 km left, and it is 2.5 km to a charger: raise its range_km",
        ),
    ):
        with pytest.raises(CityloopError, match=words):
            Desk(three_zones(), settings_of(tmp_path, **({"vehicles": ELECTRIC} | changes)))
    with desk(tmp_path) as one:
        Client(one).book(0.0, "1", "4")
    with pytest.raises(CityloopError, match="vehicle 'red' has riders and is no longer in the settings"):
        Desk(three_zones(), settings_of(tmp_path, vehicles=VEHICLES[1:]))
    with pytest.raises(CityloopError, match=r"vehicle 'red' has riders, and other hours .*: put its begins"):
        Desk(three_zones(), settings_of(tmp_path, vehicles=[hours_of(one) for one in VEHICLES]))
    other = three_zones()
    nodes = [node.model_copy(update={"id": "new"}) if node.id == "4" else node for node in other.nodes]
    with pytest.raises(CityloopError, match="bookings are kept at corner '4', which site 'street' no longer has"):
        Desk(other.model_copy(update={"nodes": tuple(nodes)}), settings_of(tmp_path))
    for vehicle in ({"begins": "9"}, {"begins": "00:00", "ends": "24:00"}, {"begins": "9:00", "ends": "25:00"}):
        with pytest.raises(ValueError, match=r"ends|time of a day"):
            BookingSettings(vehicles=({"id": "red", "at": "0", **vehicle},))
