"""Settings of a booking service beyond its site: the database, the vehicles, the clock.

In a configuration file this is the section ``booking`` of a site.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal
from zoneinfo import ZoneInfo

import numpy as np
from pydantic import Field, ValidationError, field_validator, model_validator
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from envs.core.errors import CityloopError
from envs.core.frozen import Frozen, first_problem, mend_of, problem_of
from envs.core.registry import load_scenario
from envs.core.site import Site
from envs.transit.matrices import there_and_back
from envs.transit.scenarios import TransitScenario
from envs.transit.settings import Charging
from envs.transit.site import TransitSite

HOUR = re.compile(r"([01]?\d|2[0-4]):([0-5]\d)")
DAY_H = 24.0


def hours(text: str) -> float:
    """``"07:30"`` → 7.5.

    Raises:
        ValueError: if it is not a time of day.
    """
    found = HOUR.fullmatch(text)
    value = int(found[1]) + int(found[2]) / 60 if found else DAY_H + 1
    if value > DAY_H:
        raise ValueError(f"{text!r} is no time of a day: give hours and minutes such as '07:30'")
    return value


class Vehicle(Frozen):
    """One vehicle.

    Attributes:
        id: its name.
        seats, places: seats, and places for wheelchairs.
        at: corner at which it begins.
        begins, ends: of its shift, every day, local time; a shift that ends before it begins lasts into the next day.
            Empty: it always works.
        rest_min, rest_from, rest_until: the driver's break on every shift: how many minutes, and when it begins at the
            earliest and latest, local time; 0: none.
        range_km: how far a full battery lasts; 0: there is nothing to be heeded.
        kwh_per_km: what that takes, which says how long charging takes.
        charged: share of its range that it has when a shift begins.
    """

    id: str = Field(max_length=64, pattern=r"^[\w.:-]+$")
    seats: int = Field(default=6, ge=1, le=200)
    places: int = Field(default=0, ge=0, le=20)
    at: str
    begins: str = ""
    ends: str = ""
    rest_min: float = Field(default=0.0, ge=0, le=600)
    rest_from: str = ""
    rest_until: str = ""
    range_km: float = Field(default=0.0, ge=0, le=2000)
    kwh_per_km: float = Field(default=0.4, gt=0, le=10)
    charged: float = Field(default=1.0, gt=0, le=1)

    @model_validator(mode="after")
    def _shift(self) -> Vehicle:
        if bool(self.begins) != bool(self.ends):
            raise ValueError("begins and ends go together: give both, or neither for a vehicle that always works")
        if self.begins and hours(self.begins) % DAY_H == hours(self.ends) % DAY_H:
            raise ValueError(
                f"a shift from {self.begins} to {self.ends} has no end: leave both out for a vehicle that always works"
            )
        return self

    @model_validator(mode="after")
    def _rest(self) -> Vehicle:
        given = bool(self.rest_min), bool(self.rest_from), bool(self.rest_until)
        if any(given) and not (all(given) and self.begins):
            raise ValueError("rest_min, rest_from, rest_until go together, and with begins and ends: give all, or none")
        if not any(given):
            return self
        (begin, end), (first, last) = self.shift_h, self.rest_h
        if not begin <= first <= last or last + self.rest_min / 60 > end:
            raise ValueError(
                f"a break of {self.rest_min:g} min begins from {self.rest_from} to {self.rest_until}: "
                f"let all of that lie within the shift, {self.begins} to {self.ends}"
            )
        return self

    @property
    def shift_h(self) -> tuple[float, float]:
        """When its shift begins and ends, in hours from midnight; beyond 24 on the next day."""
        begin, end = hours(self.begins), hours(self.ends)
        return begin, end if end > begin else end + DAY_H

    @property
    def rest_h(self) -> tuple[float, float]:
        """When its driver's break begins at the earliest and latest, likewise."""
        found = hours(self.rest_from), hours(self.rest_until)
        first, last = (hour if hour >= self.shift_h[0] else hour + DAY_H for hour in found)
        return first, last


class BookingSettings(Frozen):
    """A site's booking.

    Attributes:
        database: SQLAlchemy URL; SQLite keeps a file of its own.
        vehicles: the fleet.
        charging: where and when those with a range charge.
        timezone: in which shifts, speeds and answers are.
        speeds: how fast streets are driven, relative to the graph's times, in each of equal parts of the day.
        standby: whether vehicles without riders are sent to where the site's controller wants them.
        usual_from: local time at which the scenario begins, whose usual demand is then expected; empty: none is known.
        ahead_h: how far ahead one may book.
        walk_m: how far a rider may have to walk to a stop, as the crow flies; 0: a stop must be named.
        walk_mps: how fast.
        keep_days: what is over for so long is deleted.
        clock: ``wall``; or ``caller``: every message says what time it is, as a simulation does.
    """

    database: str = "sqlite:///bookings.db"
    vehicles: tuple[Vehicle, ...] = Field(min_length=1)
    charging: Charging = Charging()
    timezone: str = "UTC"
    speeds: tuple[float, ...] = (1.0,)
    standby: bool = True
    usual_from: str = ""
    ahead_h: float = Field(default=24.0, gt=0, le=24 * 31)
    walk_m: float = Field(default=500.0, ge=0, le=5000)
    walk_mps: float = Field(default=1.0, gt=0, le=3)
    keep_days: float = Field(default=30.0, gt=0)
    clock: Literal["wall", "caller"] = "wall"

    @field_validator("database")
    @classmethod
    def _url(cls, value: str) -> str:
        try:
            url = make_url(value)
        except (ArgumentError, ValueError):  # the latter if its port is no number
            raise ValueError("it is no URL: give one such as sqlite:///bookings.db") from None
        if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
            raise ValueError("it is SQLite without a file, which forgets: give sqlite:///bookings.db")
        return value

    @field_validator("timezone")
    @classmethod
    def _zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            raise ValueError(f"timezone {value!r} is unknown: give one such as Asia/Ho_Chi_Minh") from None
        return value

    @field_validator("usual_from")
    @classmethod
    def _hour(cls, value: str) -> str:
        if value:
            hours(value)
        return value

    @model_validator(mode="after")
    def _sound(self) -> BookingSettings:
        names = [vehicle.id for vehicle in self.vehicles]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two vehicles are called {twice!r}: rename one")
        if not self.speeds or any(not 0.05 <= speed <= 5 for speed in self.speeds):
            raise ValueError(f"speeds are {list(self.speeds)}: give numbers from 0.05 to 5")
        return self

    def check(self, site: TransitSite) -> None:
        """Refuse vehicles that begin at unknown corners or dead ends, and chargers at unknown corners or too far away.

        Raises:
            CityloopError: naming the vehicle, or the charger.
        """
        corners = {node.id: k for k, node in enumerate(site.nodes)}
        for vehicle in self.vehicles:
            if vehicle.at not in corners:
                raise CityloopError(
                    f"vehicle {vehicle.id!r} begins at {vehicle.at!r}, no corner of site {site.name!r}: name one"
                )
        stops = np.array([node.stop for node in site.nodes])
        usable = there_and_back(np.isfinite(site.matrices.free_s), stops)
        for vehicle in self.vehicles:
            if not usable[corners[vehicle.at]]:
                raise CityloopError(
                    f"vehicle {vehicle.id!r} begins at {vehicle.at!r}, from which it cannot drive to a stop and back: "
                    "name another corner for at, or add a road"
                )
        ranged = [vehicle for vehicle in self.vehicles if vehicle.range_km]
        if not ranged:
            return
        from envs.transit.kernel.charging import places_of  # the kernel, which takes long to load
        from envs.transit.kernel.travel_times import charger_m

        to_m = charger_m(site.matrices, places_of(self.charging, site)[:, 0])
        for vehicle in ranged:
            left_km, far_km = vehicle.charged * vehicle.range_km, to_m[corners[vehicle.at]] / 1000
            if left_km < far_km:
                raise CityloopError(
                    f"vehicle {vehicle.id!r} begins with {left_km:g} km left, and it is {far_km:.1f} km to a charger: "
                    "raise its range_km or charged, or add to charging.stops"
                )


def fleet_of(scenario: TransitScenario, site: TransitSite) -> tuple[Vehicle, ...]:
    """Vehicles as a scenario describes them, spread over the zones' stands; they always work.

    Their batteries begin a shift at the lower end of the scenario's range.
    """
    stands = [zone.stand for zone in site.zones if zone.stand >= 0]
    crews = [crew for crew in scenario.crews for _ in range(crew.vehicles)]
    width = len(str(len(crews)))
    return tuple(
        Vehicle(
            id=f"v{k + 1:0{width}d}",
            seats=crew.seats,
            places=crew.places,
            at=site.nodes[stands[k % len(stands)]].id,
            range_km=crew.range_km,
            kwh_per_km=crew.kwh_per_km,
            charged=crew.charged[0],
        )
        for k, crew in enumerate(crews)
    )


def booking_of(ref: str, site: Site, given: Mapping[str, Any] | None) -> tuple[TransitSite, BookingSettings] | None:
    """A site's booking, if its configuration has any.

    Args:
        ref: reference of the site; a scenario brings its vehicles and chargers, unless others are given.
        site: the site.
        given: the section ``booking``.

    Raises:
        CityloopError: if trips cannot be booked there, or something does not fit.
    """
    if given is None:
        return None
    if not isinstance(site, TransitSite):
        raise CityloopError(f"booking is given at {site.system}/{site.name}: trips are booked at transit sites alone")
    content = dict(given)
    if not ref.endswith(".json"):
        scenario = load_scenario(ref)
        assert isinstance(scenario, TransitScenario)
        content.setdefault("vehicles", fleet_of(scenario, site))
        content.setdefault("charging", scenario.charging)
    try:
        settings = BookingSettings.model_validate(content)
    except ValidationError as error:
        field, problem = problem_of(error)
        told = f"{field}: {mend_of(problem)}" if field == "database" else first_problem(error)  # it may hold a password
        raise CityloopError(f"booking at {site.system}/{site.name}: {told}") from None
    settings.check(site)
    return site, settings
