"""A simulated day over HTTP: riders book, cancel or stay away, drivers follow their plans, every promise is checked.

The service runs on loopback, with a database in a temporary folder, and is told what time it is. What was promised is
compared with what the drivers did, not with what the service says that they did; their batteries are their own, too.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from pydantic import ValidationError

from envs.core.errors import CityloopError
from envs.core.frozen import first_problem
from envs.transit.network import day_of, load_site
from envs.transit.scenarios import TransitScenario
from envs.transit.site import TransitSite
from envs.transit.sources.day import Day
from serving.bench.riders.day import BEGIN, SimulatedDay
from serving.booking.desk import Desk
from serving.booking.places import DAY_S
from serving.booking.settings import BookingSettings, Vehicle, fleet_of
from serving.booking.zones import Zones
from serving.charge.settings import SiteConfig
from serving.gateway import Gateway
from serving.tick.sites import SiteService


@contextmanager
def served(site: TransitSite, settings: BookingSettings, ref: str, controller: str) -> Iterator[str]:
    """A booking service on loopback, in a thread, with a controller for stand-by positions; yields its address."""
    import uvicorn

    from serving.app import create_app
    from serving.cluster.ports import free_ports

    with (
        closing(SiteService.open(site, SiteConfig(site=ref, champion=controller))) as service,
        closing(Desk(site, settings)) as desk,
    ):
        desk.zones = Zones(service) if settings.standby else None
        app, port = create_app(Gateway([service], desks={site.name: desk})), free_ports(1)[0]
        server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        try:
            while not server.started and thread.is_alive():
                time.sleep(0.01)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join(10)


def play(
    scenario: TransitScenario,
    hours: float,
    seed: int,
    slower: float = 0.0,
    vehicles: int | None = None,
    controller: str | None = "policy",
    rest_min: float = 0.0,
    show: Callable[[float], object] = lambda now_s: None,
) -> dict[str, Any]:
    """Play the beginning of a scenario's day over HTTP.

    Args:
        scenario: the fleet.
        hours: of the day.
        seed: of its requests.
        slower: every street takes up to this share longer than the service thinks.
        vehicles: their number; the scenario's if not given.
        controller: decides where vehicles without riders stand by; None: they stay where they are.
        rest_min: of every driver's break, in the middle of the time that is played.
        show: called with the time of the played day, in seconds.

    Raises:
        CityloopError: if a number is out of range, nobody asks for a trip in that time, or
            the service refuses what is true.
    """
    site = load_site(scenario)
    day = day_of(scenario, site, seed)
    every = fleet_of(scenario, site)
    if vehicles is not None and not 1 <= vehicles <= len(every):
        raise CityloopError(f"vehicles is {vehicles}: give a number from 1 to {len(every)}, which the scenario has")
    if not slower >= 0:
        raise CityloopError(f"slower is {slower:g}: give a share from 0 on")
    fleet = tuple(_with_rest(vehicle, hours, rest_min) for vehicle in every[:vehicles])
    site = site.model_copy(update={"vehicles": len(fleet)})
    with tempfile.TemporaryDirectory() as folder:
        database = f"sqlite:///{Path(folder) / 'bookings.db'}"
        settings = BookingSettings(
            database=database,
            vehicles=fleet,
            charging=scenario.charging,
            timezone="Asia/Ho_Chi_Minh",
            speeds=_around_the_clock(day),
            usual_from=f"{BEGIN:%H:%M}",
            standby=controller is not None,
            clock="caller",
        )
        with (
            served(site, settings, scenario.ref, controller or "policy") as url,
            httpx.Client(timeout=30, trust_env=False) as http,
        ):
            played = SimulatedDay(site, day, settings, http, f"{url}/v1/transit/{site.name}", slower, seed)
            return played.run(hours * 3600, show)


def _with_rest(vehicle: Vehicle, played_h: float, rest_min: float) -> Vehicle:
    """The vehicle, whose driver has a break that begins in the second or third quarter of the time that is played.

    Raises:
        CityloopError: if there can be no such break.
    """
    if not rest_min:
        return vehicle
    first, last = (f"{BEGIN + timedelta(hours=played_h * share):%H:%M}" for share in (0.25, 0.75))
    changes = {"begins": f"{BEGIN:%H:%M}", "ends": "24:00", "rest_min": rest_min}
    try:
        return Vehicle.model_validate(vehicle.model_dump() | changes | {"rest_from": first, "rest_until": last})
    except ValidationError as error:
        raise CityloopError(first_problem(error)) from None


def _around_the_clock(day: Day) -> tuple[float, ...]:
    """The speeds of a day that begins at `BEGIN`, in equal parts from midnight to midnight."""
    moments = np.arange(0.0, DAY_S, day.slot_s) - 3600.0 * BEGIN.hour
    slots = np.clip(moments // day.slot_s, 0, len(day.speed) - 1).astype(int)
    return tuple(np.where(moments < 0, 1.0, day.speed[slots]).tolist())
