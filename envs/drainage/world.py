"""The plant: a drainage network simulated by EPA SWMM, in this process."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from envs.core.readings import Readings
from envs.core.world import Commands, World
from envs.drainage.inp import Inp, strip, tell_gauges
from envs.drainage.kpis import CONTINUITY_PCT
from envs.drainage.objectives import OBJECTIVES
from envs.drainage.rain import chicago, file_rain, gauge_places_m, series_start, storm
from envs.drainage.scenarios import DrainageScenario
from envs.drainage.sensing import Faults, Forecaster
from envs.drainage.site import DrainageSite
from envs.drainage.swmm import Swmm

DAY_S = 86400.0


class SwmmWorld(World):
    """Gates of one network in SWMM.

    Args:
        scenario: where, when and how.
        site: the scenario's site.
    """

    def __init__(self, scenario: DrainageScenario, site: DrainageSite):
        self.scenario, self.site = scenario, site
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._swmm: Swmm | None = None
        self._fixed: tuple[Inp, datetime, np.ndarray | None] | None = None
        self._truth: dict[str, Any] = {}
        self._kpis: dict[str, float] = {}
        self._places: dict[str, dict[str, float]] = {}

    # -- beginning ----------------------------------------------------------------------------------------------

    def _prepared(self) -> tuple[Inp, datetime, np.ndarray | None]:
        """The input as it is run, when it starts, and its rain if that is the same in every episode."""
        scenario, inp = self.scenario, Inp(self.scenario.inp)
        start = _when(inp.options["START_DATE"], inp.options.get("START_TIME", "0:00"))
        if scenario.rain != "file":
            tell_gauges(inp)
        elif scenario.series:
            rows = inp.rows("RAINGAGES")
            names = [f"{scenario.series}{k}" for k in range(1, len(rows) + 1)]
            start = series_start(inp, names[0])
            inp.replace("RAINGAGES", [[*row[:5], name] for row, name in zip(rows, names, strict=True)])
        inp.replace("CONDUITS", [_blocked(row, scenario.faults.blocked) for row in inp.rows("CONDUITS")])
        strip(inp)
        if not scenario.objective:  # SWMM never yields a last part of a step: let it have one more
            end = start + timedelta(seconds=(scenario.decisions + 1) * scenario.decision_s)
            for key, when in (("START", start), ("REPORT_START", start), ("END", end)):
                inp.set_options(**{f"{key}_DATE": f"{when:%m/%d/%Y}", f"{key}_TIME": f"{when:%H:%M:%S}"})
        table = None
        if scenario.rain == "file":
            table = file_rain(inp, self.site.gauges, start, scenario.decisions, scenario.decision_s)
        return inp, start, table

    @property
    def input(self) -> Inp:
        """The SWMM input as it is run, but for what is told at run time."""
        if self._fixed is None:
            self._fixed = self._prepared()
        return self._fixed[0]

    def reset(self, seed: int, program: Any = None) -> Readings:
        """Start SWMM afresh; see `World.reset`. Gates begin at their static settings.

        Raises:
            CityloopError: if SWMM refuses the input, or another simulation is open in this process.
        """
        self.close()
        scenario, site = self.scenario, self.site
        if self._fixed is None:
            self._fixed = self._prepared()
        inp, self._start, table = self._fixed
        if table is None:
            table = self._random_rain(inp, seed)
        self._rain_mm = table
        self._folder = tempfile.TemporaryDirectory(prefix="cityloop-")
        try:
            self._swmm = Swmm(inp, Path(self._folder.name))
        except BaseException:
            self.close()
            raise
        swmm = self._swmm
        self._gates = swmm.links(gate.id for gate in site.gates)
        self._tanks = swmm.nodes(tank.id for tank in site.tanks)
        self._gauges, self._outfalls = swmm.gauges(site.gauges), swmm.nodes(site.outfalls)
        sections = ("JUNCTIONS", "STORAGE", "DIVIDERS")
        names = [row[0] for section in sections for row in inp.rows(section)]
        self._names, self._nodes = names, swmm.nodes(names)
        self._helped = swmm.nodes(scenario.controllable or names)
        self._spared = swmm.nodes(scenario.sensitive)
        self._treated = swmm.nodes(scenario.treatment or site.outfalls)
        self._objective = OBJECTIVES[scenario.objective](swmm) if scenario.objective else None
        self._faults = Faults(scenario, len(site.tanks), len(site.gates), seed)
        self._forecaster = Forecaster(scenario.forecast, table, scenario.decision_s, seed)
        self._phase = float(np.random.default_rng([seed, 7]).random())
        n = len(site.gates)
        self._decision, self._last = 0, False
        self._still_s = np.full(n, DAY_S)
        self._recent: list[deque[float]] = [deque() for _ in range(n)]
        self._moves = 0
        self._movement, self._score, self._peak_cms = 0.0, 0.0, 0.0
        self._over = (0.0, 0.0)
        self._kpis = {}
        static = np.array([gate.static for gate in site.gates])
        for link, setting in zip(self._gates, static, strict=True):
            swmm.set_setting(link, setting)
        self._settings = static
        area_ha = np.array([tank.catchment_ha for tank in site.tanks])
        shares = np.array([tank.rain for tank in site.tanks]).reshape(len(area_ha), len(site.gauges))
        self._event_m3 = float(10.0 * (area_ha @ shares @ table.sum(axis=0)))
        self._set_tide()
        return self._observe(np.zeros(n))

    def _random_rain(self, inp: Inp, seed: int) -> np.ndarray:
        scenario, gauges = self.scenario, self.site.gauges
        length = (scenario.decisions, scenario.decision_s)
        if scenario.rain == "design":
            return chicago(scenario.design, len(gauges), *length, seed)
        return storm(scenario.storms, gauge_places_m(inp, gauges), *length, seed)

    # -- going on -----------------------------------------------------------------------------------------------

    def step(self, commands: Commands | None) -> Readings:
        """Move the gates, let it rain, advance one decision; see `World.step`."""
        assert self._swmm is not None
        moved = self._move(np.asarray(commands, dtype=np.float64).reshape(-1))
        if self.scenario.rain != "file":
            for gauge, depth_mm in zip(self._gauges, self._rain_mm[self._decision], strict=True):
                self._swmm.set_rain(gauge, depth_mm * 3600.0 / self.scenario.decision_s)
        self._set_tide()
        self._advance()
        self._decision += 1
        self._still_s += self.scenario.decision_s
        readings = self._observe(moved)
        if self.done:
            self._finish()
        return readings

    def _set_tide(self) -> None:
        """The level of the receiving water in the middle of the coming decision."""
        assert self._swmm is not None
        tide = self.scenario.tide
        if tide.amplitude_m:
            hours = (self._decision + 0.5) * self.scenario.decision_s / 3600
            level_m = tide.mean_m + tide.amplitude_m * np.sin(2 * np.pi * (hours / tide.hours + self._phase))
            for outfall in self._outfalls:
                self._swmm.set_stage(outfall, level_m)

    def _move(self, wanted: np.ndarray) -> np.ndarray:
        """How far each gate moves, having carried that out."""
        assert self._swmm is not None
        moved = np.where(self._faults.stuck_gate, 0.0, wanted - self._settings)
        moved[np.abs(moved) < np.maximum(self.scenario.timing.deadband, 1e-6)] = 0.0
        for k in np.flatnonzero(moved):
            self._settings[k] = wanted[k]
            self._swmm.set_setting(self._gates[k], wanted[k])
            self._still_s[k] = 0.0
            self._recent[k].append(self.time_s)
            self._moves += 1
        self._movement += float(np.abs(moved).sum())
        return np.abs(moved)

    def _advance(self) -> None:
        """To the next decision: at once, or by routing steps where an objective counts them."""
        assert self._swmm is not None
        if self._objective is None:
            self._last = not self._swmm.advance(self.scenario.decision_s)
            return
        until = self._start + timedelta(seconds=(self._decision + 1) * self.scenario.decision_s)
        while not self._last and self._swmm.time < until:
            self._last = not self._swmm.advance(None)
            self._score += self._objective.step(self._last)

    def _observe(self, moved: np.ndarray) -> Readings:
        swmm = self._swmm
        assert swmm is not None
        k, now = self._decision, self.time_s
        outflow = swmm.inflows_cms(self._outfalls)
        self._peak_cms = max(self._peak_cms, float(outflow.sum()))
        helped, spared = swmm.flooded(self._helped)[0].sum(), swmm.flooded(self._spared)[0].sum()
        self._truth = {
            "controllable_m3": float(helped - self._over[0]),
            "sensitive_m3": float(spared - self._over[1]),
            "event_m3": self._event_m3,
            "moved": moved,
        }
        self._over = (float(helped), float(spared))
        depth = swmm.depths_m(self._tanks)
        rain = self._rain_mm[k - 1] * 3600.0 / self.scenario.decision_s if k else np.zeros(len(self.site.gauges))
        self._trace = {
            "rain_mmh": float(rain.mean()) if len(rain) else 0.0,
            "stored_m3": float(swmm.volumes_m3(self._tanks).sum()),
            "overflow_m3": self._truth["controllable_m3"],
        }
        for times in self._recent:
            while times and now - times[0] >= DAY_S:
                times.popleft()
        return self._faults.apply(
            {
                "depth_m": depth,
                "setting": self._settings.copy(),
                "flow_cms": swmm.flows_cms(self._gates),
                "still_s": self._still_s.copy(),
                "moves": np.array([len(times) for times in self._recent], dtype=np.float64),
                "rain_mmh": rain,
                "forecast_mm": self._forecaster(k),
                "tide_m": swmm.heads_m(self._outfalls),
            }
        )

    @property
    def truth(self) -> Mapping[str, Any]:
        """Overflow since the last decision ``*_m3``, the event's rain ``event_m3``, and ``moved`` ``(N,)``."""
        return self._truth

    @property
    def time_s(self) -> float:
        """Seconds since the start."""
        return self._decision * self.scenario.decision_s

    @property
    def done(self) -> bool:
        """Whether the scenario's time is up."""
        return self._last or self._decision >= self.scenario.decisions

    def trace(self) -> dict[str, float]:
        """Rain, what all tanks hold, and controllable overflow since the last decision."""
        return dict(self._trace)

    def _finish(self) -> None:
        """Read all volumes, end SWMM, and read its mass balance."""
        swmm = self._swmm
        assert swmm is not None
        while self._objective is not None and not self._last:  # the published sum goes to the very end
            self._last = not swmm.advance(None)
            self._score += self._objective.step(self._last)
        volumes, hours = swmm.flooded(self._nodes)
        found = {"overflow_m3": volumes, "flooded_h": hours}
        self._places = {key: dict(zip(self._names, values.tolist(), strict=True)) for key, values in found.items()}
        kpis = {
            "controllable_m3": self._over[0],
            "overflow_m3": float(volumes.sum()),
            "sensitive_m3": self._over[1],
            "flooded_nodes": float((volumes > 0).sum()),
            "flooded_h": float(hours.sum()),
            "peak_outflow_cms": self._peak_cms,
            "treated_m3": float(swmm.inflow_m3(self._treated).sum()),
            "stored_m3": float(swmm.volumes_m3(self._tanks).sum()),
            "movement": self._movement,
            "moves": float(self._moves),
            "rain_mm": float(self._rain_mm.sum(axis=0).mean()) if self._rain_mm.size else 0.0,
            "objective": self._score,
        }
        swmm.close()
        kpis["continuity_pct"], kpis["runoff_continuity_pct"] = swmm.continuity_pct, swmm.runoff_continuity_pct
        kpis["invalid"] = float(abs(swmm.continuity_pct) > CONTINUITY_PCT)
        self._kpis = kpis
        self.close()

    def kpis(self) -> dict[str, float]:
        """The finished episode's indicators; see `kpis.KPIS`."""
        return dict(self._kpis)

    def places(self) -> dict[str, dict[str, float]]:
        """Overflow of every node in m³, and for how many hours."""
        return {indicator: dict(values) for indicator, values in self._places.items()}

    def close(self) -> None:
        """Stop SWMM and remove its files."""
        if self._swmm is not None:
            self._swmm.close()
            self._swmm = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


def _blocked(row: list[str], blocked: Mapping[str, float]) -> list[str]:
    """A conduit as rough as lets the given share of its full flow pass: by Manning's formula Q ~ 1/n."""
    if row[0] not in blocked:
        return row
    return [*row[:4], f"{float(row[4]) / blocked[row[0]]:.6g}", *row[5:]]


def _when(date: str, time: str) -> datetime:
    hours, minutes, *seconds = [int(float(part)) for part in time.split(":")]
    day = datetime.strptime(date.replace("-", "/"), "%m/%d/%Y")
    return day + timedelta(hours=hours, minutes=minutes, seconds=seconds[0] if seconds else 0)
