"""Scenarios: a generated district, taxi days, SUMO networks, and any graph and requests of a user's own.

The scenario class, and the scenarios that ship. Each source is read by a module of its own in `sources`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from envs.core.errors import CityloopError
from envs.core.scenario import Scenario, SeedRange, Seeds
from envs.core.sumo.resco import RESCO_BEGIN_S, resco_files
from envs.transit.settings import Breakdowns, Charging, Costs, Crew, Promise, StreetNoise, Timing, Walk, Weights
from envs.transit.sources.settings import District, Trips

DATA = "CITYLOOP_DATA"
"""Environment variable: the folder that holds ``transit/nyc2015``. The data do not ship."""

TIMES = Path(__file__).parent / "times"
"""Folder of the travel times that were measured for shipped scenarios. Scenarios saved with runs name its files."""

USUAL_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
"""Folder of those data where `DATA` is not set: ``shared/data`` beside the project."""


class TransitScenario(Scenario):
    """A demand-responsive fleet.

    Attributes:
        district: a generated district; None: the town is read from files.
        days: folder of taxi days in the layout of nyc2015, see `sources.taxi`.
        nodes, roads, requests: CSV files of a user's own; see `sources.tables`.
        gtfs: a feed, zip or folder, whose stops are the published ones on those corners; see `sources.gtfs`.
        snap_m: longest distance of such a stop from a corner.
        net, routes: a SUMO network and its route files; see `sources.streets`.
        times: travel times that were measured on that network (`referee.measure`); None: lengths at speed limits.
        trips: which of their trips are served.
        fleet: the vehicles.
        more: further vehicles, of other kinds or shifts.
        promise, timing, costs: terms of service.
        walk: walks to and from stops.
        breakdowns: of vehicles.
        streets: deviation of actual travel times from those that the dispatcher knows.
        charging: of vehicles with limited range.
        weights: the objective of training.
        speeds: speeds relative to the graph's times, in equal parts of the episode.
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
    streets: StreetNoise = StreetNoise()
    charging: Charging = Charging()
    weights: Weights = Weights()
    speeds: tuple[float, ...] = ()

    @property
    def _own(self) -> dict[str, Path | None]:
        """Key → a user's own CSV file, those included that are not given."""
        return {"nodes": self.nodes, "roads": self.roads, "requests": self.requests}

    @model_validator(mode="after")
    def _one_source(self) -> TransitScenario:
        own = any(path is not None for path in self._own.values())
        if sum([self.district is not None, self.days is not None, own, self.net is not None]) != 1:
            raise ValueError(
                "give one of: district (a generated one), days (a folder), nodes, roads and requests, or net and routes"
            )
        return self

    @model_validator(mode="after")
    def _complete(self) -> TransitScenario:
        if (self.net is not None) != bool(self.routes):
            raise ValueError("net and routes go together: give a SUMO network and its route files")
        missing = [name for name, path in self._own.items() if path is None]
        if 0 < len(missing) < len(self._own):
            raise ValueError(f"key {missing[0]!r} is missing: nodes, roads and requests go together")
        if self.times is not None and self.net is None:
            raise ValueError("times are of a SUMO network: give net and routes")
        return self

    @model_validator(mode="after")
    def _files_exist(self) -> TransitScenario:
        network = ("net", self.net), ("times", self.times), *(("routes", path) for path in self.routes)
        for name, path in (*self._own.items(), *network):
            if path is not None and not path.is_file():
                raise ValueError(f"{name} is {str(path)!r}: give an existing file")
        if self.days is not None and not (self.days / "graph.csv").is_file():
            raise ValueError(f"days is {str(self.days)!r}: give a folder with graph.csv, zones.csv and trips/")
        return self

    @model_validator(mode="after")
    def _stops_reachable(self) -> TransitScenario:
        if self.district is not None and self.district.anywhere and not self.walk.metres:
            raise ValueError("district.anywhere is true and walk.metres 0: let riders walk to a stop")
        return self

    @model_validator(mode="after")
    def _feed(self) -> TransitScenario:
        if self.gtfs is not None and self.nodes is None:
            raise ValueError("gtfs goes with nodes, roads and requests: its stops are put on one's own corners")
        if self.gtfs is not None and not self.gtfs.exists():
            raise ValueError(f"gtfs is {str(self.gtfs)!r}: give an existing feed")
        return self

    @model_validator(mode="after")
    def _of_use(self) -> TransitScenario:
        if any(not 0.05 <= speed <= 5 for speed in self.speeds):
            raise ValueError(f"speeds are {list(self.speeds)}: give numbers from 0.05 to 5")
        if self.speeds and self.district is not None:
            raise ValueError("speeds are those that a district draws for each day: leave them out")
        if self.walk.metres and (self.days is not None or self.net is not None):
            raise ValueError(f"walk.metres is {self.walk.metres:g}: riders of days and of a SUMO network ask at stops")
        return self

    @property
    def decision_s(self) -> float:
        """Seconds between two decisions, from the timing."""
        return float(self.timing.decision_s)

    @property
    def crews(self) -> tuple[Crew, ...]:
        """All vehicles."""
        return (self.fleet, *self.more)

    def shortened(self, duration_s: float, first_s: float = 0.0) -> TransitScenario:
        """The same, cut to a time with requests: a network's trips begin later, an episode of files lasts longer."""
        if first_s < duration_s:
            return super().shortened(duration_s)
        if self.net is None:
            until_s = (first_s // self.decision_s) * self.decision_s + duration_s
            return super().shortened(min(until_s, self.duration_s))
        begin_s = self.trips.begin_s + first_s / self.trips.stretch
        return self.override({"trips.begin_s": begin_s, "duration_s": duration_s})

    def files(self) -> list[Path]:
        """All files that the scenario reads."""
        if self.days is not None:
            return sorted([*self.days.glob("*.csv"), *(self.days / "trips").glob("*.csv")])
        mine = (self.nodes, self.roads, self.requests, *feed_files(self.gtfs), self.net, self.times, *self.routes)
        return [path for path in mine if path is not None]


def feed_files(feed: Path | None) -> list[Path]:
    """The files of a GTFS feed, which is a ZIP or a folder; none if there is no feed."""
    if feed is None:
        return []
    return sorted(feed.glob("*.txt")) if feed.is_dir() else [feed]


SCENARIOS: dict[str, str] = {
    "hcmc": "a generated district in the manner of a minibus pilot: peaks, schools, trains, rain; 6 to 20 o'clock",
    "ingolstadt": "three tidal hours on the streets of Ingolstadt (RESCO), trips of its SUMO demand",
    "cologne": "three tidal hours on the streets of Cologne (RESCO), trips of its SUMO demand",
    "nyc2015": "real taxi requests of Manhattan, 2015, an hour of a day each, 11 zones (data do not ship)",
}
NAMES = tuple(SCENARIOS)

RESCO: dict[str, tuple[str, float, int, tuple[int, int]]] = {
    "ingolstadt": ("ingolstadt21", 0.4, 36, (4, 3)),
    "cologne": ("cologne8", 0.6, 16, (3, 3)),
}
"""Scenario → RESCO map, share of trips, vehicles, zones."""


def load(name: str) -> TransitScenario:
    """A shipped scenario by its short name (one of `NAMES`).

    Raises:
        CityloopError: if its data are not there.
    """
    common: dict[str, Any] = {"name": name, "description": SCENARIOS[name]}
    if name == "hcmc":
        fleet = Crew(vehicles=40, seats=8, places=1)
        # Reassigning waiting riders pays here, see RESULTS.md: rides are long and plans full.
        timing = Timing(reassign_s=60.0)
        return TransitScenario(**common, district=District(), duration_s=14 * 3600.0, fleet=fleet, timing=timing)
    if name in RESCO:
        network, share, vehicles, zones = RESCO[name]
        net, routes = resco_files(network)
        return TransitScenario(
            **common,
            net=net,
            routes=(routes,),
            times=TIMES / f"{name}.json",
            trips=Trips(begin_s=RESCO_BEGIN_S[network], share=share, zones=zones),
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
        # The seeds of a split cycle through its days in order, with other positions of the vehicles each time.
        seeds=Seeds(
            test=SeedRange(first=0, last=9_999),
            validation=SeedRange(first=10_000, last=19_999),
            train=SeedRange(first=100_000, last=2**31 - 1),
        ),
    )


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
