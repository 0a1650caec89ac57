"""Boundary conditions of an episode: rain and tide, and the input that SWMM runs on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from envs.core.errors import CityloopError
from envs.drainage.rain import chicago, file_rain, gauge_places_m, look_often, storm, varied
from envs.drainage.scenarios import DrainageScenario
from envs.drainage.site import DrainageSite
from envs.drainage.swmm.inp import Inp, dry_gauges, free_pumps, refuse_rain_elsewhere, strip
from envs.drainage.swmm.simulation import Places, Swmm
from envs.drainage.swmm.times import moment, series_start


@dataclass(frozen=True)
class Setup:
    """Setup that all episodes of a scenario share.

    Attributes:
        inp: the input as it is run; rain and tide may be set at run time.
        start: when episodes begin.
        end: when the input's run ends.
        rain_mm: the input's own rain, ``(decisions, gauges)``; None where it is not used.
    """

    inp: Inp
    start: datetime
    end: datetime
    rain_mm: np.ndarray | None


def set_up(scenario: DrainageScenario, site: DrainageSite) -> Setup:
    """The setup of a scenario.

    Raises:
        CityloopError: if its rain cannot be read, or its tide would reach nothing.
    """
    inp = Inp(scenario.inp)
    start, end = (moment(inp, f"{key}_DATE", f"{key}_TIME") for key in ("START", "END"))
    own, rain_mm = scenario.rain in ("file", "varied"), None
    if not own and not site.gauges:
        raise CityloopError(f"scenario {scenario.ref}: {scenario.inp.name} has no rain gauge: add one, or rain: file")
    if scenario.tide.amplitude_m and not site.tides:
        raise CityloopError(
            f"scenario {scenario.ref}: tide.amplitude_m is {scenario.tide.amplitude_m:g}, and no outfall of "
            f"{inp.path.name} has a level: make one FIXED, or leave tide out"
        )
    if scenario.dated:
        rows = inp.rows("RAINGAGES")
        if not rows:
            raise CityloopError(
                f"scenario {scenario.ref}: series is {scenario.series!r}, and {inp.path.name} has no rain gauge: "
                "add one, or leave series out"
            )
        names = [f"{scenario.series}{k}" for k in range(1, len(rows) + 1)]
        start = series_start(inp, names[0])
        inp.replace("RAINGAGES", [[*row[:4], "TIMESERIES", name] for row, name in zip(rows, names, strict=True)])
    if own:
        rain_mm = file_rain(inp, site.gauges, start, scenario.decisions, scenario.decision_s)
    if scenario.rain != "file":
        refuse_rain_elsewhere(inp)
        dry_gauges(inp)
        look_often(inp, start, scenario.timing.decision_s)
    inp.replace("CONDUITS", [_blocked(row, scenario.faults.blocked) for row in inp.rows("CONDUITS")])
    strip(inp, site.agents)
    free_pumps(inp, site.agents)
    if not scenario.objective:  # SWMM does not return after a last partial step, so it runs one more
        end = start + timedelta(seconds=(scenario.decisions + 1) * scenario.decision_s)
        for key, when in (("START", start), ("REPORT_START", start), ("END", end)):
            inp.set_options(**{f"{key}_DATE": f"{when:%m/%d/%Y}", f"{key}_TIME": f"{when:%H:%M:%S}"})
    return Setup(inp, start, end, rain_mm)


def _blocked(row: list[str], blocked: Mapping[str, float]) -> list[str]:
    """A conduit's row, its roughness raised so that the given share of full flow passes (Manning: Q ~ 1/n)."""
    if row[0] not in blocked:
        return row
    return [*row[:4], f"{float(row[4]) / blocked[row[0]]:.6g}", *row[5:]]


class Weather:
    """One episode's rain and tide.

    Args:
        scenario: of the episode.
        site: its gauges and outfalls.
        setup: of the scenario.
        seed: draws storms and the tide's phase.

    Attributes:
        rain_mm: ``(decisions, gauges)``.
        tidal: whether a tide is set at run time.
    """

    def __init__(self, scenario: DrainageScenario, site: DrainageSite, setup: Setup, seed: int):
        self._prescribed = scenario.rain != "file"
        self.tidal, self._tide, self._tides = scenario.tide.amplitude_m > 0, scenario.tide, len(site.tides)
        self._step_s, self._phase = scenario.decision_s, float(np.random.default_rng([seed, 7]).random())
        length = (scenario.decisions, scenario.decision_s)
        if setup.rain_mm is not None:
            self.rain_mm = varied(setup.rain_mm, scenario.varied, seed) if self._prescribed else setup.rain_mm
        elif scenario.rain == "design":
            self.rain_mm = chicago(scenario.design, len(site.gauges), *length, seed)
        else:
            self.rain_mm = storm(scenario.storms, gauge_places_m(setup.inp, site.gauges), *length, seed)
        dry = np.zeros((1, self.rain_mm.shape[1]))
        self._rates_mmh = np.concatenate([dry, self.rain_mm * 3600.0 / self._step_s])

    def event_m3(self, site: DrainageSite) -> float:
        """The rain on all catchments of the site's tanks."""
        area_ha = np.array([tank.catchment_ha for tank in site.tanks])
        shares = np.array([tank.rain for tank in site.tanks]).reshape(len(area_ha), len(site.gauges))
        return float(10.0 * (area_ha @ shares @ self.rain_mm.sum(axis=0)))

    def rates_mmh(self, decision: int) -> np.ndarray:
        """Rain in the interval after a decision, ``(gauges,)``; none before the first."""
        return self._rates_mmh[decision + 1]

    def tide_m(self, decision: float) -> np.ndarray:
        """Level of the receiving waters at a decision, or between two, ``(tides,)``."""
        tide, hours = self._tide, decision * self._step_s / 3600
        level = tide.mean_m + tide.amplitude_m * np.sin(2 * np.pi * (hours / tide.hours + self._phase))
        return np.full(self._tides, level)

    def apply(self, swmm: Swmm, decision: int, gauges: Places, tides: Places) -> None:
        """Set rain and tide for the interval after a decision; the tide is that of its middle."""
        if self._prescribed:
            swmm.set_rain(gauges, self.rates_mmh(decision))
        if self.tidal:
            swmm.set_stages(tides, self.tide_m(decision + 0.5))
