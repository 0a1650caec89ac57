"""SWMM runs for the surrogate: inflows of tanks that stay empty, and the response of tanks to moving gates.

Neither runoff nor pipe flow to a tank depends on gates while the tanks are low. So one run with tanks that never fill
and shut gates gives each tank's own inflow under any control; the flow through gates is added to it.
"""

from __future__ import annotations

import copy
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from envs.core.errors import CityloopError
from envs.drainage.kpis import CONTINUITY_PCT
from envs.drainage.scenarios import DrainageScenario
from envs.drainage.site import DrainageSite
from envs.drainage.surrogate.reservoirs import Reservoirs
from envs.drainage.swmm.inp import Inp
from envs.drainage.swmm.simulation import Swmm
from envs.drainage.weather import Weather, set_up

VAST_M2 = 1e6
"""Area of tanks that never fill."""


@dataclass(frozen=True)
class Trace:
    """One run with moving gates, a row a decision; volumes are since the start, other values at the decision's end.

    Attributes:
        depth_m: of the reservoirs, ``(T + 1, K)``, the first at the start.
        flow_cms: of the outlets, ``(T + 1, O)``.
        overflow_m3: of the reservoirs, ``(T + 1, K)``.
        valid: whether SWMM lost or made less than `CONTINUITY_PCT` of the water.
    """

    depth_m: np.ndarray
    flow_cms: np.ndarray
    overflow_m3: np.ndarray
    valid: bool


class Recorder:
    """Runs SWMM in this process on one scenario's network.

    Args:
        scenario: network and rain.
        site: its site.
        parts: its reservoirs.
    """

    def __init__(self, scenario: DrainageScenario, site: DrainageSite, parts: Reservoirs):
        if scenario.tide.amplitude_m > 0 or scenario.objective:
            raise CityloopError(f"scenario {scenario.ref} has a tide or an objective: there is no surrogate of it")
        self._scenario, self._site, self._parts = scenario, site, parts
        self.setup = set_up(scenario, site)
        vast = copy.deepcopy(self.setup.inp)
        rows = [
            [*row[:3], "0", "FUNCTIONAL", "0", "0", str(VAST_M2 / vast.metre**2)] if row[0] in parts.names else row
            for row in vast.rows("STORAGE")
        ]
        vast.replace("STORAGE", rows)
        self._vast = vast

    def weather(self, seed: int) -> Weather:
        """Rain of an episode."""
        return Weather(self._scenario, self._site, self.setup, seed)

    def inflow_cms(self, seed: int) -> np.ndarray:
        """Mean flow into each reservoir after every decision, ``(T, K)``, without that through gates."""
        with tempfile.TemporaryDirectory(prefix="cityloop-") as folder:
            swmm = self._start(self._vast, Path(folder))
            try:
                tanks, volumes = swmm.nodes(self._parts.names), [np.zeros(len(self._parts.names))]
                self._set_gates(swmm, np.zeros(len(self._site.gates)))
                weather = self.weather(seed)
                for k in range(self._scenario.decisions):
                    self._advance(swmm, weather, k)
                    volumes.append(swmm.inflow_m3(tanks))
            finally:
                swmm.close()
        return np.diff(volumes, axis=0) / self._scenario.decision_s

    def trace(self, seed: int, settings: np.ndarray) -> Trace:
        """A run with given settings of the gates, ``(T, N)``."""
        with tempfile.TemporaryDirectory(prefix="cityloop-") as folder:
            swmm = self._start(self.setup.inp, Path(folder))
            try:
                tanks = swmm.nodes(self._parts.names)
                outlets = swmm.links(outlet.link for outlet in self._parts.outlets)
                rows = [(swmm.depths_m(tanks), swmm.flows_cms(outlets), swmm.flooded(tanks)[0])]
                weather = self.weather(seed)
                for k in range(self._scenario.decisions):
                    self._set_gates(swmm, settings[k])
                    self._advance(swmm, weather, k)
                    rows.append((swmm.depths_m(tanks), swmm.flows_cms(outlets), swmm.flooded(tanks)[0]))
            finally:
                swmm.close()
        depth_m, flow_cms, overflow_m3 = (np.array(column) for column in zip(*rows, strict=True))
        return Trace(depth_m, flow_cms, overflow_m3, abs(swmm.continuity_pct) <= CONTINUITY_PCT)

    def _start(self, inp: Inp, folder: Path) -> Swmm:
        swmm = Swmm(inp, folder)
        self._gates, self._gauges = swmm.links(self._site.agents), swmm.gauges(self._site.gauges)
        return swmm

    def _set_gates(self, swmm: Swmm, settings: np.ndarray) -> None:
        swmm.set_settings(self._gates, np.array(settings, dtype=np.float64))

    def _advance(self, swmm: Swmm, weather: Weather, decision: int) -> None:
        weather.apply(swmm, decision, self._gauges, swmm.nodes(()))
        swmm.advance(self._scenario.decision_s)
