"""A street of six stops, a minute apart, two vehicles at its ends, and requests to book on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from envs.transit.settings import Charging
from envs.transit.site import Node, Road, TransitSite, Zone
from serving.app import create_app
from serving.booking.desk import Desk
from serving.booking.settings import BookingSettings, Vehicle
from serving.gateway import Gateway
from tests.envs.transit.small import three_zones
from tests.serving.booking.databases import database_of

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)

VEHICLES = (Vehicle(id="red", seats=4, places=1, at="0"), Vehicle(id="blue", seats=2, at="5"))

ELECTRIC = tuple(one.model_copy(update={"range_km": 6.0, "charged": 0.75}) for one in VEHICLES)
CHARGING = Charging(stops=("0",), places=1, low=0.5)
"""A charger at one end of the street, where one vehicle at a time gains 35 m in a second."""


def at(seconds: float) -> str:
    """So long after the start."""
    return (START + timedelta(seconds=seconds)).isoformat()


def since(text: str) -> float:
    """Seconds from the start."""
    return (datetime.fromisoformat(text) - START).total_seconds()


def settings_of(folder: Path, **changes: Any) -> BookingSettings:
    plain: dict[str, Any] = {"database": database_of(folder), "vehicles": VEHICLES, "clock": "caller"}
    return BookingSettings(**(plain | changes))


class Client:
    """Speaks to a desk over HTTP, without a network."""

    def __init__(self, desk: Desk, access: Any = None):
        self.gateway = Gateway([], access, desks={"street": desk})
        app = create_app(self.gateway)
        self.http, self.base, self.sent = TestClient(app, base_url="http://localhost"), "/v1/transit/street", 0

    def turn_to(self, desk: Desk) -> None:
        """Another desk, at the same address."""
        self.gateway.desks["street"] = desk

    def post(self, path: str, seconds: float | None = None, **body: Any) -> Any:
        if path != "quotes" and "request_id" not in body:
            self.sent += 1
            body["request_id"] = f"r{self.sent}"
        if seconds is not None:
            body["at"] = at(seconds)
        return self.http.post(f"{self.base}/{path}", json=body)

    def book(self, seconds: float, origin: Any, destination: Any, **more: Any) -> Any:
        return self.post("bookings", seconds, **{"from": origin, "to": destination}, **more)

    def event(self, seconds: float, vehicle: str, kind: str, **more: Any) -> Any:
        return self.post("events", seconds, vehicle=vehicle, kind=kind, **more)

    def get(self, path: str) -> Any:
        return self.http.get(f"{self.base}/{path}")

    def cancel(self, booking: str, seconds: float) -> Any:
        return self.http.delete(f"{self.base}/bookings/{booking}", params={"at": at(seconds)})


def reassigned() -> TransitSite:
    """The street; who waits and is not picked up within a minute may be given to another vehicle, every minute."""
    site = three_zones()
    return site.model_copy(update={"timing": site.timing.model_copy(update={"reassign_s": 60.0})})


def detour() -> TransitSite:
    """From z by a and b to c it is 300 m; the quickest way from a to c is 10 km long."""
    nodes = tuple(Node(id=name, x_m=100.0 * k, y_m=0.0, zone=0) for k, name in enumerate("zabc"))
    ways = (0, 1, 60, 100), (1, 2, 60, 100), (2, 3, 60, 100), (1, 3, 100, 10_000), (3, 0, 500, 100), (2, 0, 60, 100)
    roads = tuple(Road(start=a, end=b, seconds=s, metres=m) for a, b, s, m in ways)
    zones = (Zone(id="all", stand=0),)
    return three_zones().model_copy(update={"nodes": nodes, "roads": roads, "zones": zones})


@contextmanager
def desk(folder: Path, site: TransitSite | None = None, **changes: Any) -> Iterator[Desk]:
    one = Desk(site or three_zones(), settings_of(folder, **changes))
    try:
        yield one
    finally:
        one.close()


def refusal(answer: Any) -> tuple[int, str, Any]:
    error = answer.json()["error"]
    assert set(error) == {"field", "value", "mend"}
    return answer.status_code, error["field"], error["value"]


def hours_of(vehicle: Vehicle, **rest: Any) -> Vehicle:
    """The vehicle, on a shift by day."""
    return vehicle.model_copy(update={"begins": "06:00", "ends": "20:00"} | rest)
