"""Where signals are controlled: the RESCO maps, generated grids and towns, and any network and demand of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator, model_validator

from envs.core.frozen import Frozen
from envs.core.scenario import Scenario
from envs.core.sumo.resco import RESCO_BEGIN_S, resco_files
from envs.intersections.generated.grids import generated_crossings, generated_grid
from envs.intersections.generated.junctions import DURATION_S, generated_junction
from envs.intersections.generated.towns import generated_town
from envs.intersections.timing import REGIMES, Regime, Timing


class Demand(Frozen):
    """Variation of a file's demand from seed to seed.

    Flows are only scaled, by their rates: their begin and end stay, and SUMO draws the departures within them.

    Attributes:
        scale: lower and upper bound of a factor on the number of vehicles, drawn uniformly.
        shift_s: the profile of vehicles and trips is turned by up to this much within its window, either way.
        jitter_s: each departure of a vehicle or trip moves by up to this much, either way.
    """

    scale: tuple[float, float] = (1.0, 1.0)
    shift_s: float = Field(default=0.0, ge=0)
    jitter_s: float = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _ordered(self) -> Demand:
        if not 0 < self.scale[0] <= self.scale[1] <= 5:
            raise ValueError(f"scale must be two factors with 0 < low <= high <= 5, not {list(self.scale)}")
        return self


def _share(value: object, parse: ValidatorFunctionWrapHandler) -> float | tuple[float, float]:
    """One sentence for any value that is no share, instead of one for each accepted type."""
    try:
        share: float | tuple[float, float] = parse(value)
    except ValidationError:
        share = -1.0
    low, high = share if isinstance(share, tuple) else (share, share)
    if not 0 <= low <= high <= 1:
        raise ValueError("give a number from 0 to 1, or a range [low, high] of two")
    return share


Share = Annotated[float | tuple[float, float], WrapValidator(_share)]
"""A number from 0 to 1, or the range that each episode's is drawn from."""


class Sensors(Frozen):
    """Range of detectors, and their faults.

    Attributes:
        range_m: how far upstream of the stop line an approach is watched (across edge fragments).
        noise: relative standard deviation of counts, speeds and waiting times. A range (low, high): drawn uniformly
            for each episode.
        dropout: share of approach lanes whose detector is dead for the episode, and the loop of actuated control
            with it. A range: as for noise.
        delay_s: age of detector values, rounded to whole decisions.
        faulty: share of the episodes in which anything is wrong at all; a plain noise or dropout is then the top of a
            range from 0. None: every episode has faults, and a plain number is exactly that.
    """

    range_m: float = Field(default=150.0, ge=10, le=500)
    noise: Share = 0.0
    dropout: Share = 0.0
    delay_s: float = Field(default=0.0, ge=0, le=60)
    faulty: float | None = Field(default=None, ge=0, le=1)

    def drawn(self, seed: int) -> Sensors:
        """Faults in a seed's episode: noise and dropout as plain numbers."""
        rng = np.random.default_rng([seed, 4])
        if self.faulty is not None and rng.random() >= self.faulty:
            return Sensors(range_m=self.range_m)
        drawn = {"noise": self._draw(self.noise, rng), "dropout": self._draw(self.dropout, rng)}
        return self.model_copy(update={**drawn, "faulty": None})

    def _draw(self, share: float | tuple[float, float], rng: np.random.Generator) -> float:
        if not isinstance(share, tuple):
            if self.faulty is None:
                return share
            share = (0.0, share)
        return share[0] + (share[1] - share[0]) * rng.random()


class SignalScenario(Scenario):
    """Signals of a road network under a demand.

    Attributes:
        net: SUMO network; signals, stages, yellow times and conflicts are derived from it.
        routes: SUMO route files (vehicles, trips or flows).
        additional: further SUMO files that the demand needs, e.g. vehicle types.
        begin_s: when the episode begins, in the time of the route files.
        regime: ``engineer`` (rules of practice, default) or ``resco`` (the protocol of the RESCO papers).
        timing: the regime's timing, or one's own; what that leaves out is the regime's.
        demand: variation of every seed's demand.
        training_demand: variation of the training seeds' demand instead.
        sensors: range and faults of detectors.
        training_sensors: the same for the training seeds instead (the range is always that of ``sensors``).
        training_stops_when_locked: whether an episode of a training seed ends once half of all vehicles have stood for
            five minutes; the cost of its last decision is charged for all that would have followed.
        teleport_s: seconds of standstill after which SUMO removes a vehicle; -1: never.
        lateral_resolution_m: width of the strips in which vehicles share a lane (SUMO's sublane model), for mixed
            traffic in which motorcycles pass between cars; None: one behind the other.
    """

    unhashed_defaults: ClassVar[frozenset[str]] = frozenset({"lateral_resolution_m"})

    system: Literal["intersections"] = "intersections"
    net: Path
    routes: tuple[Path, ...] = Field(min_length=1)
    additional: tuple[Path, ...] = ()
    begin_s: float = Field(default=0.0, ge=0)
    duration_s: float = Field(default=3600.0, gt=0)
    regime: Regime = "engineer"
    timing: Timing = Field(default_factory=lambda data: REGIMES[data.get("regime", "engineer")])
    demand: Demand = Demand()
    training_demand: Demand = Demand(scale=(0.6, 1.3), shift_s=900.0, jitter_s=60.0)
    sensors: Sensors = Sensors()
    training_sensors: Sensors = Sensors(noise=0.1, dropout=0.3, faulty=0.5)
    training_stops_when_locked: bool = True
    teleport_s: int = Field(default=-1, ge=-1)
    lateral_resolution_m: float | None = Field(default=None, ge=0.1, le=10.0)

    @model_validator(mode="before")
    @classmethod
    def _rest_of_the_timing(cls, content: Any) -> Any:
        """Fill a partial timing from the regime's."""
        if isinstance(content, dict) and isinstance(content.get("timing"), dict):
            regime = REGIMES.get(str(content.get("regime", "engineer")))
            usual = {} if regime is None else regime.model_dump()
            return content | {"timing": usual | content["timing"]}
        return content

    @model_validator(mode="after")
    def _readable(self) -> SignalScenario:
        for path in self.files():
            if not path.is_file():
                raise ValueError(f"file {path} is missing: give an existing file")
            if "," in str(path):
                raise ValueError(f"file {path} has a comma in its path, where SUMO ends a name: rename or move it")
        return self

    @property
    def label(self) -> str:
        """Its name, and the regime if that is not the default."""
        return self.name if self.regime == "engineer" else f"{self.name}-{self.regime}"

    @property
    def decision_s(self) -> float:
        """Seconds between two decisions, from the timing."""
        return float(self.timing.decision_s)

    def files(self) -> list[Path]:
        """Network, routes and additional files."""
        return [self.net, *self.routes, *self.additional]

    def demand_of(self, seed: int) -> Demand:
        """The demand variation that applies to a seed."""
        return self.training_demand if seed in self.seeds.train else self.demand

    def sensors_of(self, seed: int) -> Sensors:
        """Faults of the detectors in a seed's episode."""
        return (self.training_sensors if seed in self.seeds.train else self.sensors).drawn(seed)

    def shortened(self, duration_s: float, first_s: float = 0.0) -> SignalScenario:
        """The same, cut to a time from the first departure on: before that there is nothing to count."""
        if first_s >= self.duration_s:
            return self  # an episode refuses that, and names the whole window
        begin_s = self.begin_s + min(first_s, self.duration_s - duration_s)
        return self.override({"begin_s": begin_s, "duration_s": duration_s})

    def override(self, settings: dict[str, object]) -> SignalScenario:
        """As `Scenario.override`; changing the regime brings that regime's timing."""
        scenario, settings = self, dict(settings)
        if "regime" in settings:
            content = self.model_dump(mode="json", exclude={"timing"}) | {"regime": settings.pop("regime")}
            if content["regime"] == "resco" and content["name"] in RESCO_TIMINGS:
                content["timing"] = RESCO_TIMINGS[content["name"]].model_dump()
            scenario = self.parse(content, where=f"scenario {self.ref}")
        return super(SignalScenario, scenario).override(settings) if settings else scenario


RESCO_MAPS = {
    "cologne1": "one junction of Cologne, morning peak",
    "cologne3": "three junctions of Cologne, morning peak",
    "cologne8": "eight junctions of Cologne, morning peak",
    "ingolstadt1": "one junction of Ingolstadt, evening peak",
    "ingolstadt7": "an arterial of seven junctions in Ingolstadt, evening peak",
    "ingolstadt21": "twenty-one junctions of Ingolstadt, evening peak",
    "grid4x4": "synthetic grid of sixteen three-lane junctions",
    "arterial4x4": "synthetic grid of sixteen junctions crossed by arterials",
}

RESCO_TIMINGS = {"arterial4x4": Timing(decision_s=5, yellow_s=2, all_red_s=0, min_green_s=3)}
"""Maps on which the RESCO protocol has another timing than in `REGIMES`: shorter decisions and yellows."""

GRIDS = {
    "grid2x2": "a small generated grid for quick tests, ten minutes",
    "grid3x3": "a generated grid of nine junctions, ten minutes",
}

CROSSINGS = {"crossings3x3": "a generated grid of nine junctions with pedestrian crossings, twenty minutes"}

TOWNS = {f"town{k}": f"a generated town, number {k}, an hour" for k in range(1, 10)}

JUNCTIONS = {
    f"junction{k}": f"a generated junction, number {k}, about as full as it gets, half an hour" for k in range(1, 13)
}

NAMES = (*RESCO_MAPS, *TOWNS, *JUNCTIONS, *GRIDS, *CROSSINGS)
VARIANTS = tuple(f"{name}-resco" for name in NAMES)


def load(name: str) -> SignalScenario:
    """A shipped scenario by its short name (one of `NAMES`) or by its label in another regime (one of `VARIANTS`)."""
    if name in VARIANTS:
        return load(name.removesuffix("-resco")).override({"regime": "resco"})
    if name in GRIDS:
        net, routes = generated_grid(int(name[4]))
        return SignalScenario(name=name, description=GRIDS[name], net=net, routes=(routes,), duration_s=600)
    if name in CROSSINGS:
        net, routes = generated_crossings(int(name[-1]))
        return SignalScenario(name=name, description=CROSSINGS[name], net=net, routes=(routes,), duration_s=1200)
    if name in JUNCTIONS:
        net, routes = generated_junction(int(name[8:]))
        about = JUNCTIONS[name]
        return SignalScenario(name=name, description=about, net=net, routes=(routes,), duration_s=DURATION_S)
    if name in TOWNS:
        net, routes = generated_town(int(name[4:]))
        return SignalScenario(name=name, description=TOWNS[name], net=net, routes=(routes,))
    net, routes = resco_files(name)
    return SignalScenario(
        name=name, description=RESCO_MAPS[name], net=net, routes=(routes,), begin_s=RESCO_BEGIN_S[name]
    )
