"""A booking service in a process of its own: ``python -m tests.serving.booking.child FOLDER PORT``."""

from __future__ import annotations

import sys
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from serving.booking.desk import Desk
from serving.booking.routes import booking_router
from serving.booking.settings import BookingSettings, Vehicle
from tests.envs.transit.small import three_zones

VEHICLES = 40


def settings_in(folder: Path) -> BookingSettings:
    fleet = tuple(Vehicle(id=f"v{k}", seats=3, at=str(k % 6)) for k in range(VEHICLES))
    return BookingSettings(database=f"sqlite:///{folder / 'b.db'}", vehicles=fleet)


if __name__ == "__main__":
    app = FastAPI()
    app.include_router(booking_router({"street": Desk(three_zones(), settings_in(Path(sys.argv[1])))}, lambda *_: None))
    uvicorn.run(app, port=int(sys.argv[2]), log_level="error")
