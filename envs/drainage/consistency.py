"""Consistency of levels, flows and gate drives: no flow through a shut gate, no water out of a dry tank."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from envs.core.consistency import Plausible, Rule
from envs.core.readings import Readings
from envs.drainage.features import FLOW_CMS, FORECAST_MM, RAIN_MMH
from envs.drainage.site import NEARLY_FULL, DrainageSite

NEAR_ZERO = 0.01
"""Largest filling at which a tank counts as dry, and largest setting at which a gate counts as shut."""


class DrainageConsistency:
    """See `envs.core.consistency.Consistency`.

    Args:
        site: the network.
    """

    def __init__(self, site: DrainageSite):
        self.interval_s = float(site.timing.decision_s)
        gates, tanks, gauges = len(site.gates), len(site.tanks), len(site.gauges)
        self._full_m = np.array([tank.full_m for tank in site.tanks])
        self._tank = np.array([gate.tank for gate in site.gates])
        pumps = np.array([gate.kind == "pump" for gate in site.gates])
        self._gates_of = self._tank[None, :] == np.arange(tanks)[:, None]
        drained = np.array([tank.id in site.drained for tank in site.tanks])
        self._kept = self._gates_of.any(axis=1) & ~drained  # while their gates are shut
        every = np.arange(gates)
        self.rules = {
            "shut": Rule("gate", "water flows through a gate that is shut", {"flow_cms": every}),
            "dry": Rule("gate", "water flows out of a tank that is dry", {"flow_cms": every, "depth_m": self._tank}),
            "kept": Rule("tank", "a tank falls while nothing leaves it", {"depth_m": np.arange(tanks)}),
            "clock": Rule("gate", "a gate's rest does not fit its movements and the clock", {"still_s": every}, 1.5),
        }
        told = Plausible(jumps=False, moves=False, imputable=False)
        self.plausible = {
            "depth_m": Plausible(self._full_m, rest_low=NEAR_ZERO * self._full_m, rest_high=self._full_m),
            "flow_cms": Plausible(FLOW_CMS, moves=~pumps, rest_low=0.0),  # a pump's flow may stay at its design flow
            "rain_mmh": Plausible(RAIN_MMH, jumps=False, moves=False),  # a cloudburst begins at once
            "forecast_mm": Plausible(FORECAST_MM, jumps=False, moves=False),
            "tide_m": Plausible(moves=False),  # a river may keep its level
            **dict.fromkeys(("setting", "still_s", "moves"), told),
        }
        own = np.zeros((gates, tanks), dtype=bool)
        for k, gate in enumerate(site.gates):
            own[k, [index for index in (gate.tank, gate.below) if index >= 0]] = True
        tides = np.array([gate.tide for gate in site.gates])[:, None] == np.arange(len(site.tides))[None, :]
        self.concerns = {
            "tank": own,
            "gate": np.eye(gates, dtype=bool),
            "gauge": np.ones((gates, gauges), dtype=bool),
            "forecast": np.ones((gates, len(site.axes["forecast"])), dtype=bool),
            "tide": tides,
        }

    def residuals(self, before: Readings | None, now: Readings, seconds: float) -> Mapping[str, np.ndarray]:
        """How far readings are from each rule: flows and depths on the columns' own scales, seconds."""
        if before is None:
            return {}
        flow = np.abs(now["flow_cms"]) / FLOW_CMS
        shut = (now["setting"] <= NEAR_ZERO) & (before["setting"] <= NEAR_ZERO)
        filled, was = now["depth_m"] / self._full_m, before["depth_m"] / self._full_m
        dry = np.append((filled <= NEAR_ZERO) & (was <= NEAR_ZERO), False)[self._tank]
        fallen = np.where((was < NEARLY_FULL) & self._kept & ~(self._gates_of & ~shut).any(axis=1), was - filled, 0.0)
        steady = np.abs(now["setting"] - before["setting"]) <= 1e-6
        still = now["still_s"]
        # A gate that was looked at less often may have moved, and back, in between.
        rested = (
            np.abs(still - before["still_s"] - seconds) if seconds <= 1.5 * self.interval_s else np.zeros(len(still))
        )
        return {
            "shut": np.where(shut, flow, 0.0),
            "dry": np.where(dry, flow, 0.0),
            "kept": np.maximum(fallen, 0.0),
            "clock": np.where(steady, rested, np.maximum(still - seconds, 0.0)),
        }
