"""Scenarios of gates: Astlingen, the pystorms networks, and SWMM inputs of users' own.

The networks are not ours to ship: they are read from the installed pystorms package, which bundles them. Its code is
not imported.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from envs.core.errors import CityloopError
from envs.core.frozen import Frozen
from envs.core.scenario import Scenario
from envs.drainage.settings import Timing, Weights
from envs.drainage.swmm.inp import Inp
from envs.drainage.swmm.times import moment

MOST_STORMS, MOST_H = 1000, 10_000
"""Largest number of an episode's storms; most hours between two, and before the first."""

DEPTHS_MM, LENGTHS_H = (1.0, 120.0), (0.4, 14.0)
"""Least and largest depth, shortest and longest duration of random storms."""


class Storms(Frozen):
    """Random storms that pass over a network's rain gauges; see `rain.py` for their form.

    Attributes:
        depth_mm: median of a storm's depth; draws are clipped to `DEPTHS_MM`.
        depth_spread: standard deviation of the depth's logarithm.
        hours: median of its duration; draws are clipped to `LENGTHS_H`.
        hours_spread: standard deviation of the duration's logarithm.
        dry_hours: shortest and longest time without rain before it.
        count: fewest and most storms of an episode; later ones may find tanks that have not emptied yet.
        gap_hours: shortest and longest time from the end of one to the beginning of the next.
    """

    depth_mm: float = Field(default=9.0, ge=DEPTHS_MM[0], le=DEPTHS_MM[1])
    depth_spread: float = Field(default=0.6, ge=0, le=2)
    hours: float = Field(default=2.5, ge=LENGTHS_H[0], le=LENGTHS_H[1])
    hours_spread: float = Field(default=0.6, ge=0, le=2)
    dry_hours: tuple[float, float] = (0.5, 3.0)
    count: tuple[int, int] = (1, 1)
    gap_hours: tuple[float, float] = (2.0, 18.0)

    @model_validator(mode="after")
    def _ordered(self) -> Storms:
        for name, least, most in (("dry_hours", 0, MOST_H), ("count", 1, MOST_STORMS), ("gap_hours", 0, MOST_H)):
            low, high = getattr(self, name)
            if not least <= low <= high <= most:
                raise ValueError(f"{name} must be two numbers with {least} <= low <= high <= {most}, not {[low, high]}")
        return self


class Varied(Frozen):
    """The input's own rain, harder or gentler, slower or quicker.

    Attributes:
        depth_spread: standard deviation of the logarithm of the factor on all depths.
        hours_spread: the same of the factor on all times, from when the rain begins.
    """

    depth_spread: float = Field(default=0.3, ge=0, le=1)
    hours_spread: float = Field(default=0.3, ge=0, le=1)


RECORD_MM, RECORD_POWER = 422.0, 0.475
"""The heaviest rains ever measured are about 422 d^0.475 mm deep, d their duration in hours (WMO, Guide to Hydrological
Practices, 1994)."""


class Idf(Frozen):
    """An intensity-duration-frequency curve, i = a T^k / (d + c)^b in mm/h: T in years, d in hours.

    The form is that of MSMA (Malaysia), ``lambda, kappa, theta, eta`` there. The default is Kuching's, from Sarawak's
    HP26 (2018), table 4.2: a placeholder, as no curve of Brunei is published.
    """

    a: float = Field(default=84.6865, gt=0, le=1e4)
    k: float = Field(default=0.1820, ge=0, le=2)
    c: float = Field(default=0.4599, gt=0, le=100)
    b: float = Field(default=0.7092, gt=0, lt=1)

    def intensity_mmh(self, years: float, hours: np.ndarray) -> np.ndarray:
        """Mean intensity over durations at a return period, mm/h."""
        return np.asarray(self.a * years**self.k / (hours + self.c) ** self.b)


class Design(Frozen):
    """Design storms of a random return period and duration.

    Attributes:
        idf: intensity of the rain.
        years: smallest and largest return period, drawn evenly in its logarithm.
        hours: shortest and longest duration, drawn likewise.
        peak: earliest and latest place of the peak, as a share of the duration.
    """

    idf: Idf = Idf()
    years: tuple[float, float] = (0.5, 50.0)
    hours: tuple[float, float] = (0.5, 4.0)
    peak: tuple[float, float] = (0.25, 0.5)

    @model_validator(mode="after")
    def _ordered(self) -> Design:
        for name, limit in (("years", 1e4), ("hours", 72.0), ("peak", 0.95)):
            low, high = getattr(self, name)
            if not 0 < low <= high <= limit:
                raise ValueError(f"{name} must be two numbers with 0 < low <= high <= {limit:g}, not {[low, high]}")
        for hours in self.hours:
            deep = hours * float(self.idf.intensity_mmh(self.years[1], np.array(hours)))
            if deep > RECORD_MM * hours**RECORD_POWER:
                raise ValueError(
                    f"idf gives {deep:.0f} mm in {hours:g} h once in {self.years[1]:g} years, more than was ever "
                    "measured anywhere: give coefficients for mm/h, years and hours"
                )
        return self


class Tide(Frozen):
    """Level of the outfalls' receiving water: a sine with a random phase.

    Attributes:
        mean_m: over the datum.
        amplitude_m: half the range; 0: no tide, and outfalls are as the input says.
        hours: its period; 12.42: the moon's.
    """

    mean_m: float = 0.0
    amplitude_m: float = Field(default=0.0, ge=0, le=10)
    hours: float = Field(default=12.42, gt=0)


class Forecast(Frozen):
    """Forecast of the rain.

    Attributes:
        kind: ``perfect``, ``degraded`` (rain between two lead times is multiplied by a random factor), or
            ``none``.
        error: standard deviation of the logarithm of that factor, an hour ahead; it grows with the square root of the
            lead time, as a random walk from one to the next. Its mean is one.
        absent: share of episodes without any forecast.
    """

    kind: Literal["perfect", "degraded", "none"] = "perfect"
    error: float = Field(default=0.5, ge=0, le=2)
    absent: float = Field(default=0.0, ge=0, le=1)


class Sensors(Frozen):
    """Noise and faults of the sensors.

    Attributes:
        noise: relative standard deviation of levels and flows.
        dropout: share of level sensors that are silent for the episode.
        stuck: share of level sensors that show their first value for the episode.
    """

    noise: float = Field(default=0.0, ge=0, le=1)
    dropout: float = Field(default=0.0, ge=0, le=1)
    stuck: float = Field(default=0.0, ge=0, le=1)


class Faults(Frozen):
    """Faults of the network.

    Attributes:
        stuck_gates: number of gates that do not move, drawn for each episode.
        blocked: conduit → share of its full flow that still passes.
    """

    stuck_gates: int = Field(default=0, ge=0)
    blocked: dict[str, float] = Field(default_factory=dict)


class DrainageScenario(Scenario):
    """A drainage network under rain.

    Attributes:
        inp: SWMM input file.
        gates: links that are controlled; none given: all orifices, weirs and pumps.
        settings: gate → its static setting, used by the ``static`` controller; 1 if not given.
        fail_safe: gate → where it goes while its tank's level is unknown; the static setting if not given.
        reduced: gate → its setting in the equal-filling rule while its tank is the emptiest; half of the static one if
            not given.
        controllable: nodes whose overflow the gates can influence, and outfalls whose outflow counts as overflow;
            none given: all nodes but outfalls, and the outfalls in ``sensitive``.
        sensitive: nodes that overflow into a water that is to be spared, and outfalls that lead to one.
        treatment: outfalls whose water is treated; none given: all where it does not count as overflow.
        objective: a published objective that is computed beside the volumes (`objectives.OBJECTIVES`).
        rain: ``file`` (that of the input file), or new for each seed: ``varied`` (the file's, harder or slower),
            ``storms`` (random ones) or ``design`` (Chicago storms of a random return period).
        series: prefix of the input file's rain series to run on instead of its gauges' own, one a gauge,
            numbered from 1; the episode then begins when the first does.
        storms, design, varied: parameters of random rain.
        tide: level of the outfalls' receiving water.
        forecast: of the rain.
        timing: limits of the gates' movements.
        weights: of the reward.
        sensors, faults: noise and faults.
    """

    system: Literal["drainage"] = "drainage"
    inp: Path
    gates: tuple[str, ...] = ()
    settings: dict[str, float] = Field(default_factory=dict)
    fail_safe: dict[str, float] = Field(default_factory=dict)
    reduced: dict[str, float] = Field(default_factory=dict)
    controllable: tuple[str, ...] = ()
    sensitive: tuple[str, ...] = ()
    treatment: tuple[str, ...] = ()
    objective: Literal["", "theta", "alpha", "gamma", "epsilon"] = ""
    rain: Literal["file", "varied", "storms", "design"] = "file"
    series: str = ""
    duration_s: float = Field(default=86400.0, gt=0)
    storms: Storms = Storms()
    design: Design = Design()
    varied: Varied = Varied()
    tide: Tide = Tide()
    forecast: Forecast = Forecast()
    timing: Timing = Timing()
    weights: Weights = Weights()
    sensors: Sensors = Sensors()
    faults: Faults = Faults()

    @model_validator(mode="before")
    @classmethod
    def _as_long_as_its_input(cls, content: Any) -> Any:
        """An episode lasts as long as the input says where the scenario does not."""
        if not isinstance(content, dict) or {"duration_s", "series"} & set(content):
            return content
        path = Path(str(content.get("inp", "")))
        seconds = input_s(Inp(path)) if path.is_file() else 0.0
        return content | {"duration_s": seconds} if seconds else content

    @model_validator(mode="after")
    def _readable(self) -> DrainageScenario:
        if not self.inp.is_file():
            raise ValueError(f"file {self.inp} is missing: give an existing SWMM input file")
        if len(set(self.gates)) < len(self.gates):
            raise ValueError(f"gates are {list(self.gates)}: name each once")
        for field in ("settings", "fail_safe", "reduced"):
            for gate, value in getattr(self, field).items():
                if not 0 <= value <= 1:
                    raise ValueError(f"{field}.{gate} is {value:g}: give a number from 0 (shut) to 1 (open)")
        for conduit, share in self.faults.blocked.items():
            if not 0 < share <= 1:
                raise ValueError(f"faults.blocked.{conduit} is {share:g}: give a share above 0 and up to 1")
        if self.weights.objective and not self.objective:
            raise ValueError(f"weights.objective is {self.weights.objective:g}, and there is no objective: name one")
        return self

    @property
    def held_out(self) -> bool:
        """Whether it runs on a recorded event that is for tests."""
        return any(self.series == f"{event}raingage" for event in TEST_EVENTS)

    @property
    def dated(self) -> bool:
        """Whether the rain is that of other dated series, with which the episode begins."""
        return bool(self.series) and self.rain in ("file", "varied")

    @property
    def kpi(self) -> str:
        """The published objective, where there is one."""
        return "objective" if self.objective else ""

    @property
    def decision_s(self) -> float:
        """Seconds between two decisions, from the timing."""
        return float(self.timing.decision_s)

    def files(self) -> list[Path]:
        """The SWMM input, and the files of its time series."""
        return [self.inp, *Inp(self.inp).files()]


def input_s(inp: Inp) -> float:
    """Duration of an input's run in seconds; 0 where it is not given.

    Raises:
        CityloopError: if it ends before it begins.
    """
    if "END_DATE" not in inp.options:
        return 0.0
    start, end = (moment(inp, f"{key}_DATE", f"{key}_TIME") for key in ("START", "END"))
    if end <= start:
        raise CityloopError(
            f"{inp.path.name}: END_DATE and END_TIME are {end:%m/%d/%Y %H:%M:%S}, and it starts at "
            f"{start:%m/%d/%Y %H:%M:%S}: let it end later, or give duration_s"
        )
    return (end - start).total_seconds()


ASTLINGEN: dict[str, Any] = {
    "gates": ("V2", "V3", "V4", "V6"),
    "settings": {"V2": 0.2366, "V3": 0.6508, "V4": 0.3523, "V6": 0.4303},
    "reduced": {"V2": 0.1075, "V3": 0.3159, "V4": 0.1894, "V6": 0.1687},
    "controllable": ("T1", "T2", "T3", "T4", "T6"),
    "sensitive": ("T6", "CSO7", "CSO9"),
    "treatment": ("Out_to_WWTP",),
    "timing": Timing(dwell_s=300, moves_per_day=288),
}
"""Static and reduced settings are those of Sun et al. 2020 (Water 12:1034), as in open-toolbox/SWMM-Astlingen;
the timing lets the published rules, which move gates every five minutes, do so. Storms have a day and a half: SWMM's
account of the water is off by some per cent while tanks are full."""

EVENTS = {"aug2000": 13.0, "oct2000": 5.0, "oct2005": 4.0, "aug2008": 5.0}
"""Recorded events of Astlingen, and the days that they cover; the first is for training, the others for test alone."""

TEST_EVENTS = tuple(event for event in EVENTS if event != "aug2000")

PYSTORMS: dict[str, tuple[float, tuple[str, ...], str]] = {
    "theta": (78, (), "two basins in parallel"),
    "alpha": (12, tuple(f"Or{k}" for k in range(1, 6)), "five gates of a combined sewer that spills over weirs"),
    "gamma": (180, (), "eleven detention ponds in a row"),
    "epsilon": (360, tuple(f"ISD{k:03d}" for k in range(1, 12)), "eleven dams in sewers that hold solids back"),
}
"""Scenario of pystorms → hours, controlled links (none named: all), and description."""

SCENARIOS: dict[str, str] = {
    "astlingen": "six tanks and four gates of the Astlingen benchmark, random storms",
    **{f"astlingen-{event}": f"Astlingen, the recorded rain of {event[:3]} {event[3:]}" for event in EVENTS},
    "astlingen-days": "Astlingen, three days with up to four storms, which may find tanks that have not emptied yet",
    "astlingen-varied": "Astlingen under variations of the rain of aug 2000, new for each seed",
    "estuary": "a tropical, tidal district: two ponds, a tidal gate, a pump, streets that flood, design storms",
    **{name: f"pystorms {name}: {what}, its one design storm" for name, (_, _, what) in PYSTORMS.items()},
    **{f"{name}-varied": f"{name} under variations of its storm, new for each seed" for name in PYSTORMS},
}
NAMES = tuple(SCENARIOS)


def load(name: str) -> DrainageScenario:
    """A shipped scenario by its short name (one of `NAMES`)."""
    common: dict[str, Any] = {"name": name, "description": SCENARIOS[name]}
    network, _, event = name.partition("-")
    if name == "estuary":
        return DrainageScenario(
            **common,
            inp=Path(__file__).parent / "estuary.inp",
            settings={"SLUICE": 0.5},
            rain="design",
            tide=Tide(mean_m=0.3, amplitude_m=1.0),
            timing=Timing(decision_s=300, dwell_s=600),
        )
    if network != "astlingen":
        hours, gates, _ = PYSTORMS[network]
        return DrainageScenario(
            **common,
            inp=_pystorms(network),
            gates=gates,
            objective=network,  # type: ignore[arg-type]  # its keys are the objectives'
            rain="varied" if event else "file",
            duration_s=hours * 3600,
        )
    return _astlingen(common, event)


def _astlingen(common: dict[str, Any], event: str) -> DrainageScenario:
    """Astlingen under random storms, or under recorded rain."""
    common |= ASTLINGEN | {"inp": _pystorms("zeta")}
    if not event:
        return DrainageScenario(**common, rain="storms", duration_s=36 * 3600)
    if event == "days":
        storms = Storms(depth_mm=7.0, depth_spread=0.7, count=(1, 4))
        return DrainageScenario(**common, rain="storms", storms=storms, duration_s=72 * 3600)
    recorded = "aug2000" if event == "varied" else event
    common |= {"series": f"{recorded}raingage", "duration_s": EVENTS[recorded] * 86400 - 300}
    return DrainageScenario(**common, rain="varied" if event == "varied" else "file")


def _pystorms(network: str) -> Path:
    spec = find_spec("pystorms")
    if spec is None or not spec.submodule_search_locations:
        raise CityloopError("package pystorms is not installed, and it brings the networks: pip install pystorms")
    return Path(spec.submodule_search_locations[0]) / "networks" / f"{network}.inp"
