"""A booking service in a process of its own: ``python -m tests.serving.booking.child FOLDER PORT``."""

from __future__ import annotations

import sys
from pathlib import Path

import uvicorn

from envs.transit.settings import Charging, Timing
from envs.transit.site import TransitSite
from serving.app import create_app
from serving.booking.desk import Desk
from serving.booking.settings import BookingSettings, Vehicle
from serving.booking.zones import Zones
from serving.charge.settings import SiteConfig
from serving.gateway import Gateway
from serving.tick.sites import SiteService
from tests.envs.transit.small import three_zones
from tests.serving.booking.databases import database_of

VEHICLES = 40


def settings_in(folder: Path) -> BookingSettings:
    fleet = tuple(Vehicle(id=f"v{k}", seats=3, at=str(k % 6), range_km=20.0 * (k % 2)) for k in range(VEHICLES))
    return BookingSettings(database=database_of(folder), vehicles=fleet, charging=Charging(low=0.9, until=0.95))


def site() -> TransitSite:
    """Where riders who wait are given to other vehicles, vehicles sent to charge or to stand by, every 15 s."""
    timing = Timing(decision_s=15, reassign_s=15.0)
    return three_zones().model_copy(update={"timing": timing, "vehicles": VEHICLES})


if __name__ == "__main__":
    desk = Desk(site(), settings_in(Path(sys.argv[1])))
    service = SiteService.open(desk.site, SiteConfig(site="transit/street", champion="standby"))
    desk.zones = Zones(service)
    gateway = Gateway([service], desks={"street": desk})
    uvicorn.run(create_app(gateway), port=int(sys.argv[2]), log_level="error")
