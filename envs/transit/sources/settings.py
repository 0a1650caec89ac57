"""Settings of a generated district and of a network's trips: parts of `scenarios.TransitScenario`.

The scenario names the files of the other sources.
"""

from __future__ import annotations

from pydantic import Field, model_validator

from envs.core.frozen import Frozen


class Rain(Frozen):
    """Bursts of rain.

    Attributes:
        bursts: mean number in a day, most of them in the afternoon.
        minutes: median duration.
        speed: factor on the speed of streets.
        demand: factor on the number of requests.
    """

    bursts: float = Field(default=1.0, ge=0, le=10)
    minutes: float = Field(default=40.0, gt=0, le=600)
    speed: float = Field(default=0.75, gt=0.1, le=1)
    demand: float = Field(default=1.3, ge=0, le=5)


class District(Frozen):
    """A generated district and its day; see `district`.

    Attributes:
        seed: of streets and places; the same in all episodes.
        columns, rows: numbers of columns and rows of street corners.
        spacing_m: distance between them.
        zones: columns and rows of zones.
        begin_h: hour of the day at which an episode begins.
        requests_h: mean number of requests an hour, over the whole day from 6 to 20.
        booked, cancelled, absent, wheelchair: shares of requests.
        anywhere: riders come from all corners, not only from stops, and have to walk.
        rain: bursts of rain.
    """

    seed: int = Field(default=1, ge=0)
    columns: int = Field(default=14, ge=4, le=60)
    rows: int = Field(default=11, ge=4, le=60)
    spacing_m: float = Field(default=350.0, ge=50, le=2000)
    zones: tuple[int, int] = (4, 3)
    begin_h: float = Field(default=6.0, ge=0, lt=24)
    requests_h: float = Field(default=120.0, gt=0, le=100_000)
    booked: float = Field(default=0.15, ge=0, le=1)
    cancelled: float = Field(default=0.04, ge=0, le=1)
    absent: float = Field(default=0.02, ge=0, le=1)
    wheelchair: float = Field(default=0.02, ge=0, le=1)
    anywhere: bool = False
    rain: Rain = Rain()

    @model_validator(mode="after")
    def _large_enough(self) -> District:
        across, down = self.zones
        if not (1 <= across <= self.columns and 1 <= down <= self.rows):
            raise ValueError(
                f"zones are {list(self.zones)}: give columns and rows of zones, up to {[self.columns, self.rows]}"
            )
        return self


class Trips(Frozen):
    """The selection of a SUMO network's trips that become requests; see `streets`.

    Attributes:
        begin_s: second of the route files at which an episode begins.
        stretch: hours of service that an hour of trips becomes.
        share: share of the trips, drawn anew for every episode.
        tide: relative excess of trips from the border at the beginning, and of trips to it at the end.
        zones: columns and rows of equal cells.
    """

    begin_s: float = Field(default=0.0, ge=0)
    stretch: float = Field(default=3.0, ge=1, le=100)
    share: float = Field(default=0.3, gt=0, le=1)
    tide: float = Field(default=0.7, ge=0, le=1)
    zones: tuple[int, int] = (4, 3)

    @model_validator(mode="after")
    def _some(self) -> Trips:
        if min(self.zones) < 1 or max(self.zones) > 30:
            raise ValueError(f"zones are {list(self.zones)}: give columns and rows from 1 to 30")
        return self
