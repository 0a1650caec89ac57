"""A booking service in a process of its own: ``python -m tests.serving.booking.child FOLDER PORT``."""

from __future__ import annotations

import sys
from pathlib import Path

import uvicorn

from envs.transit.site import TransitSite
from envs.transit.terms import Charging, Timing
from serving.app import create_app
from serving.booking.desk import Desk
from serving.booking.settings import BookingSettings, Vehicle
from serving.gateway import Gateway
from tests.envs.transit.small import three_zones

VEHICLES = 40


def settings_in(folder: Path) -> BookingSettings:
    fleet = tuple(Vehicle(id=f"v{k}", seats=3, at=str(k % 6), range_km=20.0 * (k % 2)) for k in range(VEHICLES))
    return BookingSettings(
        database=f"sqlite:///{folder / 'b.db'}", vehicles=fleet, charging=Charging(low=0.9, until=0.95)
    )


def site() -> TransitSite:
    """Where riders who wait are given to other vehicles, and vehicles sent to charge, every 15 seconds."""
    street = three_zones()
    return street.model_copy(update={"timing": Timing(decision_s=15, reassign_s=15.0)})


if __name__ == "__main__":
    desk = Desk(site(), settings_in(Path(sys.argv[1])))
    uvicorn.run(create_app(Gateway([], desks={"street": desk})), port=int(sys.argv[2]), log_level="error")
