"""A booking service in a process of its own: ``python -m tests.serving.booking.child FOLDER PORT``."""

from __future__ import annotations

import sys
from pathlib import Path

import uvicorn

from serving.app import create_app
from serving.booking.desk import Desk
from serving.booking.settings import BookingSettings, Vehicle
from serving.gateway import Gateway
from tests.envs.transit.small import three_zones

VEHICLES = 40


def settings_in(folder: Path) -> BookingSettings:
    fleet = tuple(Vehicle(id=f"v{k}", seats=3, at=str(k % 6)) for k in range(VEHICLES))
    return BookingSettings(database=f"sqlite:///{folder / 'b.db'}", vehicles=fleet)


if __name__ == "__main__":
    desk = Desk(three_zones(), settings_in(Path(sys.argv[1])))
    uvicorn.run(create_app(Gateway([], desks={"street": desk})), port=int(sys.argv[2]), log_level="error")
