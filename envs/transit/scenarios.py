"""Where fleets run: a generated district, taxi days, SUMO networks, and any graph and requests of a user's own.

What a scenario says, and the names that ship. How each source is read, a file of its own knows.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from envs.core.errors import CityloopError
from envs.core.frozen import Frozen
from envs.core.scenario import Scenario, SeedRange, Seeds

DATA = "CITYLOOP_DATA"
"""Environment variable: the folder that holds ``transit/nyc2015``. The data do not ship."""

TIMES = Path(__file__).parent / "times"
"""Folder of the travel times that were measured for shipped scenarios."""

USUAL_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
"""Where they are looked for otherwise."""


class Promise(Frozen):
    """What every rider is promised, or is refused.

    Attributes:
        wait_s: from the wanted time until the vehicle is there, at most.
        ride_factor, ride_allowance_s: a ride takes at most this multiple of the direct one, plus so much.
        margin_s: what of both plans keep in hand, for streets that take longer than known: whatever is planned is
            to be so much sooner than promised, and a ride so much shorter.
    """

    wait_s: float = Field(default=600.0, gt=0, le=7200)
    ride_factor: float = Field(default=1.5, ge=1, le=10)
    ride_allowance_s: float = Field(default=300.0, ge=0, le=7200)
    margin_s: float = Field(default=0.0, ge=0, le=7200)

    @model_validator(mode="after")
    def _within(self) -> Promise:
        most_s = min(self.wait_s, self.ride_allowance_s)
        if self.margin_s and self.margin_s >= most_s:
            raise ValueError(
                f"margin_s is {self.margin_s:g}: keep less in hand than wait_s and ride_allowance_s, below {most_s:g}"
            )
        return self

    @property
    def held(self) -> Promise:
        """What plans are held to: the promise, less what is kept in hand."""
        wait_s, allowance_s = self.wait_s - self.margin_s, self.ride_allowance_s - self.margin_s
        return Promise(wait_s=wait_s, ride_factor=self.ride_factor, ride_allowance_s=allowance_s)


class Crew(Frozen):
    """Vehicles of one kind on one shift. They begin at random stops.

    Attributes:
        vehicles: how many.
        seats: of each.
        places: of each, for wheelchairs.
        begin_s, end_s: of the shift; end 0: works on until the last rider is there.
        rest_s, rest_from_s, rest_until_s: the driver's break: how long, and when it begins at the earliest and latest;
            0 s: none.
        range_km: how far a full battery lasts; 0: there is nothing to be heeded. See `charging.py`.
        kwh_per_km: what that takes, which says how long charging takes.
        charged: share of its range that a vehicle has when its shift begins, drawn evenly between these two.
    """

    vehicles: int = Field(default=24, ge=1, le=10_000)
    seats: int = Field(default=6, ge=1, le=200)
    places: int = Field(default=0, ge=0, le=20)
    begin_s: float = Field(default=0.0, ge=0)
    end_s: float = Field(default=0.0, ge=0)
    rest_s: float = Field(default=0.0, ge=0, le=7200)
    rest_from_s: float = Field(default=0.0, ge=0)
    rest_until_s: float = Field(default=0.0, ge=0)
    range_km: float = Field(default=0.0, ge=0, le=2000)
    kwh_per_km: float = Field(default=0.4, gt=0, le=10)
    charged: tuple[float, float] = (1.0, 1.0)

    @model_validator(mode="after")
    def _ordered(self) -> Crew:
        if self.rest_s and not self.begin_s <= self.rest_from_s < self.rest_until_s:
            raise ValueError(
                f"a break begins from {self.rest_from_s:g} to {self.rest_until_s:g}: "
                "give rest_from_s within the shift, and rest_until_s after it"
            )
        if self.rest_s and self.end_s and self.rest_until_s + self.rest_s > self.end_s:
            raise ValueError(f"a break may last until {self.rest_until_s + self.rest_s:g}, the shift {self.end_s:g}")
        if self.end_s and self.end_s <= self.begin_s:
            raise ValueError(f"end_s is {self.end_s:g}: a shift must end after it begins, at {self.begin_s:g}")
        if not 0 < self.charged[0] <= self.charged[1] <= 1:
            raise ValueError(f"charged is {list(self.charged)}: give two shares above 0, the smaller first, up to 1")
        return self


class Timing(Frozen):
    """When things happen.

    Attributes:
        decision_s: seconds between two decisions of the zones; requests are answered at once.
        board_s, alight_s: how long a vehicle stands for a party.
        reassign_s: at every decision, who is to be picked up later than this from now may be given to another vehicle;
            0: nobody ever is.
        recent_s: requests of so many past seconds are counted as recent.
        ahead_s: what is expected, booked, or soon free, is counted for so many seconds to come.
    """

    decision_s: int = Field(default=60, ge=15, le=3600)
    board_s: float = Field(default=15.0, ge=0, le=600)
    alight_s: float = Field(default=10.0, ge=0, le=600)
    reassign_s: float = Field(default=0.0, ge=0, le=3600)
    recent_s: float = Field(default=900.0, ge=60, le=7200)
    ahead_s: float = Field(default=600.0, ge=60, le=7200)


class Walk(Frozen):
    """Riders who walk to a stop and from one; see `walking.py`.

    Attributes:
        metres: at either end at most, as the crow flies; 0: nobody walks, riders are where they ask from.
        mps: how fast, along that line: the way is longer.
    """

    metres: float = Field(default=0.0, ge=0, le=5000)
    mps: float = Field(default=1.0, gt=0, le=3)


class Breakdowns(Frozen):
    """Vehicles that break down. Others take over whom they can; see `rescue.py`.

    Attributes:
        per_veh_h: mean number in an hour of a vehicle's shift; 0: none.
        repair_s: how long a vehicle is out of service; the dispatcher does not know when it will be back.
    """

    per_veh_h: float = Field(default=0.0, ge=0, le=10)
    repair_s: float = Field(default=3600.0, gt=0, le=1e6)


class Streets(Frozen):
    """How much longer, or less long, streets take than the dispatcher knows; see `unforeseen.py`.

    Attributes:
        spread: standard deviation of the time that a street takes, as a share of what is known, which is the mean; 0:
            it is just as known.
        lasting_s: how long that lasts: over so many seconds its correlation falls to 1/e.
        together: share of its variance that is common to the streets of a zone.
        incidents_h: mean number of incidents an hour, somewhere in the town; 0: none.
        incident_m: how far one reaches, to where streets begin, as the crow flies.
        incident_factor: so many times as long those streets take.
        incident_s: until it is over, in the mean.
    """

    spread: float = Field(default=0.0, ge=0, le=3)
    lasting_s: float = Field(default=600.0, ge=60, le=1e6)
    together: float = Field(default=0.3, ge=0, le=1)
    incidents_h: float = Field(default=0.0, ge=0, le=1000)
    incident_m: float = Field(default=500.0, ge=0, le=100_000)
    incident_factor: float = Field(default=3.0, ge=1, le=100)
    incident_s: float = Field(default=1200.0, gt=0, le=1e6)

    @property
    def known(self) -> bool:
        """Whether streets take just as long as the dispatcher knows."""
        return self.spread == 0 and self.incidents_h == 0


class Charging(Frozen):
    """Where and when vehicles with a range charge; see `charging.py`.

    Attributes:
        stops: corners that have chargers.
        count: where none are named, so many stands of zones, far from each other.
        places: at each, for one vehicle at a time.
        kw: of a place; a battery charges evenly.
        low: who has less than this share of its range goes there as soon as its plan allows.
        until: share at which it has charged enough.
    """

    stops: tuple[str, ...] = ()
    count: int = Field(default=4, ge=1, le=1000)
    places: int = Field(default=4, ge=1, le=1000)
    kw: float = Field(default=50.0, gt=0, le=1000)
    low: float = Field(default=0.3, gt=0, lt=1)
    until: float = Field(default=0.8, gt=0, le=1)

    @model_validator(mode="after")
    def _upwards(self) -> Charging:
        if self.until <= self.low:
            raise ValueError(f"until is {self.until:g}: a vehicle that is low, at {self.low:g}, must charge to more")
        return self


class Costs(Frozen):
    """What an insertion costs, by the second. The defaults come out of
    `agents.baselines.transit_tune` on training days of nyc2015.

    Attributes:
        vehicle: of added driving, at free flow.
        wait, ride: of the rider.
        others: by which others arrive later.
    """

    vehicle: float = Field(default=0.3, ge=0, le=100)
    wait: float = Field(default=1.0, ge=0, le=100)
    ride: float = Field(default=0.3, ge=0, le=100)
    others: float = Field(default=0.5, ge=0, le=100)

    @property
    def tuple(self) -> tuple[float, float, float, float]:
        """In the kernel's order."""
        return self.vehicle, self.wait, self.ride, self.others


class Weights(Frozen):
    """What is wanted, for training: what each thing costs.

    Attributes:
        wait: a rider's minute of waiting.
        refused: a refused party.
        ride: a rider's minute beyond the direct ride.
        empty: an empty kilometre.
    """

    wait: float = Field(default=1.0, ge=0)
    refused: float = Field(default=30.0, ge=0)
    ride: float = Field(default=0.3, ge=0)
    empty: float = Field(default=0.1, ge=0)


class Rain(Frozen):
    """Bursts of rain.

    Attributes:
        bursts: mean number in a day, most of them in the afternoon.
        minutes: median of how long one lasts.
        speed: streets are driven at this share of the usual speed.
        demand: the number of requests is multiplied by this.
    """

    bursts: float = Field(default=1.0, ge=0, le=10)
    minutes: float = Field(default=40.0, gt=0, le=600)
    speed: float = Field(default=0.75, gt=0.1, le=1)
    demand: float = Field(default=1.3, ge=0, le=5)


class District(Frozen):
    """A generated district and its day; `district.py` says how it looks.

    Attributes:
        seed: of streets and places; the same in all episodes.
        columns, rows: of street corners.
        spacing_m: between them.
        zones: columns and rows of zones.
        begin_h: hour of the day at which an episode begins.
        requests_h: mean number of requests an hour, over the whole day from 6 to 20.
        booked, cancelled, absent, wheelchair: shares of requests.
        anywhere: riders come from all corners, not from those alone that are stops: they have to walk.
        rain: bursts of it.
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
    """What of a SUMO network's trips a fleet is asked for; see `streets.py`.

    Attributes:
        begin_s: second of the route files at which an episode begins.
        stretch: an hour of trips becomes so many hours of service.
        share: of the trips, drawn anew for every episode.
        tide: how much more of those from the border there are at the beginning, and of those to it at the end.
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


class TransitScenario(Scenario):
    """A demand-responsive fleet.

    Attributes:
        district: a generated one; None: what the files say.
        days: folder of taxi days in the layout of nyc2015, absolute or from where one runs; see `taxi.py`.
        nodes, roads, requests: CSV files of a user's own; see `tables.py`.
        gtfs: a feed, zip or folder, whose stops are the published ones on those corners; see `gtfs.py`.
        snap_m: how far such a stop may be from a corner.
        net, routes: a SUMO network and its route files; see `streets.py`.
        times: travel times that were measured on that network (`referee.measure`); None: lengths at speed limits.
        trips: what of those is served.
        fleet: the vehicles.
        more: further vehicles, of other kinds or shifts.
        promise, timing, costs: how riders are served.
        walk: to stops and from them.
        breakdowns: of vehicles.
        streets: how far they are from what the dispatcher knows.
        charging: of those with a range.
        weights: what a policy is trained for.
        speeds: how fast streets are driven, relative to the graph's times, in each of equal parts of the episode.
    """

    system: Literal["transit"] = "transit"
    district: District | None = None
    days: Path | None = None
    nodes: Path | None = None
    roads: Path | None = None
    requests: Path | None = None
    gtfs: Path | None = None
    snap_m: float = Field(default=100.0, ge=0, le=2000)
    net: Path | None = None
    routes: tuple[Path, ...] = ()
    times: Path | None = None
    trips: Trips = Trips()
    duration_s: float = Field(default=3600.0, gt=0, le=1e6)
    fleet: Crew = Crew()
    more: tuple[Crew, ...] = ()
    promise: Promise = Promise()
    timing: Timing = Timing()
    costs: Costs = Costs()
    walk: Walk = Walk()
    breakdowns: Breakdowns = Breakdowns()
    streets: Streets = Streets()
    charging: Charging = Charging()
    weights: Weights = Weights()
    speeds: tuple[float, ...] = ()

    @model_validator(mode="after")
    def _readable(self) -> TransitScenario:
        own = {"nodes": self.nodes, "roads": self.roads, "requests": self.requests}
        given = [name for name, path in own.items() if path is not None]
        sources = [self.district is not None, self.days is not None, bool(given), self.net is not None]
        if sum(sources) != 1:
            raise ValueError(
                "give one of: district (a generated one), days (a folder), nodes, roads and requests, or net and routes"
            )
        if (self.net is not None) != bool(self.routes):
            raise ValueError("net and routes go together: give a SUMO network and its route files")
        if given and len(given) < len(own):
            missing = next(name for name in own if name not in given)
            raise ValueError(f"key {missing!r} is missing: nodes, roads and requests go together")
        if self.times is not None and self.net is None:
            raise ValueError("times are of a SUMO network: give net and routes")
        more = ("net", self.net), ("times", self.times), *(("routes", path) for path in self.routes)
        for name, path in (*own.items(), *more):
            if path is not None and not path.is_file():
                raise ValueError(f"{name} is {str(path)!r}: give an existing file")
        if self.days is not None and not (self.days / "graph.csv").is_file():
            raise ValueError(f"days is {str(self.days)!r}: give a folder with graph.csv, zones.csv and trips/")
        if any(not 0.05 <= speed <= 5 for speed in self.speeds):
            raise ValueError(f"speeds are {list(self.speeds)}: give numbers from 0.05 to 5")
        if self.district is not None and self.district.anywhere and not self.walk.metres:
            raise ValueError("district.anywhere is true and walk.metres 0: let riders walk to a stop")
        if self.gtfs is not None and not given:
            raise ValueError("gtfs goes with nodes, roads and requests: its stops are put on one's own corners")
        if self.gtfs is not None and not self.gtfs.exists():
            raise ValueError(f"gtfs is {str(self.gtfs)!r}: give an existing feed")
        if self.decisions < 1:
            raise ValueError(f"duration_s is {self.duration_s:g}: it must cover a decision of {self.decision_s:g} s")
        return self

    @property
    def decision_s(self) -> float:
        """Seconds between two decisions, from the timing."""
        return float(self.timing.decision_s)

    @property
    def crews(self) -> tuple[Crew, ...]:
        """All vehicles."""
        return (self.fleet, *self.more)

    def files(self) -> list[Path]:
        """Whatever files it reads."""
        if self.days is not None:
            return sorted([*self.days.glob("*.csv"), *(self.days / "trips").glob("*.csv")])
        feed = sorted(self.gtfs.glob("*.txt")) if self.gtfs is not None and self.gtfs.is_dir() else [self.gtfs]
        mine = (self.nodes, self.roads, self.requests, *feed, self.net, self.times, *self.routes)
        return [path for path in mine if path is not None]


SCENARIOS: dict[str, str] = {
    "hcmc": "a generated district in the manner of a minibus pilot: peaks, schools, trains, rain; 6 to 20 o'clock",
    "ingolstadt": "three tidal hours on the streets of Ingolstadt (RESCO), trips of its SUMO demand",
    "cologne": "three tidal hours on the streets of Cologne (RESCO), trips of its SUMO demand",
    "nyc2015": "real taxi requests of Manhattan, 2015, an hour of a day each, 11 zones (data do not ship)",
}
NAMES = tuple(SCENARIOS)

RESCO: dict[str, tuple[str, float, float, int, tuple[int, int]]] = {
    "ingolstadt": ("ingolstadt21", 57_600.0, 0.4, 36, (4, 3)),
    "cologne": ("cologne8", 25_200.0, 0.6, 16, (3, 3)),
}
"""Scenario → network of the sumo-rl package (not ours to ship), begin of its hour, share of trips, vehicles, zones."""


def load(name: str) -> TransitScenario:
    """A shipped scenario by its short name (one of `NAMES`).

    Raises:
        CityloopError: if its data are not there.
    """
    common: dict[str, Any] = {"name": name, "description": SCENARIOS[name]}
    if name == "hcmc":
        fleet = Crew(vehicles=40, seats=8, places=1)
        return TransitScenario(**common, district=District(), duration_s=14 * 3600.0, fleet=fleet)
    if name in RESCO:
        network, begin_s, share, vehicles, zones = RESCO[name]
        return TransitScenario(
            **common,
            net=_resco(network, "net"),
            routes=(_resco(network, "rou"),),
            times=TIMES / f"{name}.json",
            trips=Trips(begin_s=begin_s, share=share, zones=zones),
            duration_s=3 * 3600.0,
            fleet=Crew(vehicles=vehicles, seats=6),
            promise=Promise(wait_s=300.0),
        )
    return TransitScenario(
        **common,
        days=data_folder() / "transit" / "nyc2015",
        fleet=Crew(vehicles=24, seats=6),
        promise=Promise(wait_s=300.0),
        timing=Timing(board_s=0.0, alight_s=0.0),
        # Every split's seeds go through its days in order, with other places of the vehicles each time.
        seeds=Seeds(
            test=SeedRange(first=0, last=9_999),
            validation=SeedRange(first=10_000, last=19_999),
            train=SeedRange(first=100_000, last=2**31 - 1),
        ),
    )


def _resco(network: str, kind: str) -> Path:
    spec = find_spec("sumo_rl")
    if spec is None or not spec.submodule_search_locations:
        raise CityloopError("package sumo-rl is not installed, and it brings the networks: pip install sumo-rl")
    return Path(spec.submodule_search_locations[0]) / "nets" / "RESCO" / network / f"{network}.{kind}.xml"


def data_folder() -> Path:
    """The folder of data that do not ship.

    Raises:
        CityloopError: if it is not there.
    """
    folder = Path(os.environ.get(DATA) or USUAL_DATA).expanduser().resolve()
    if not (folder / "transit" / "nyc2015" / "graph.csv").is_file():
        raise CityloopError(
            f"data set nyc2015 is not in {folder}: set {DATA} to the folder that holds transit/nyc2015/graph.csv"
        )
    return folder
