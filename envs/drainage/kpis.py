"""Indicators of an episode: what they mean, and the account of overflow and volumes that they are computed from."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.drainage.objectives import OBJECTIVES
from envs.drainage.scenarios import DrainageScenario
from envs.drainage.site import DrainageSite
from envs.drainage.swmm.simulation import Swmm

CONTINUITY_PCT = 1.0
"""A run whose water is not accounted for by more than this is invalid."""

KPIS = {
    "controllable_m3": "overflow at the nodes that gates can influence",
    "overflow_m3": "water that left the network at all nodes, and at the outfalls that count as overflow",
    "sensitive_m3": "overflow that went into sensitive waters",
    "flooded_nodes": "nodes at which water left the network; no outfalls",
    "flooded_h": "hours for which water left the network at a node, summed over nodes; no outfalls",
    "peak_outflow_cms": "largest flow through all outfalls together, at decisions",
    "treated_m3": "volume that reached the outfalls that lead to treatment",
    "stored_m3": "what the tanks hold at the end",
    "movement": "sum over gates of all changes of their setting, 1 from shut to open",
    "moves": "number of movements",
    "rain_mm": "rain, mean over gauges",
    "objective": "the scenario's published objective; 0 where it has none",
    "continuity_pct": "water that SWMM lost or made in routing, % of what came in",
    "runoff_continuity_pct": "water that SWMM lost or made in runoff, % of what fell; gates do not touch it",
    "invalid": "1 if routing lost or made more than 1 %: the run's volumes mean nothing",
}
"""Indicator → definition."""


class Account:
    """Overflow and volumes of one simulation, decision by decision and in the end.

    Args:
        swmm: the running simulation.
        scenario: what counts as overflow, and the published objective.
        site: the network.

    Attributes:
        fine: whether a published objective is summed, which takes routing steps one by one.
        flooding: nodes whose flooded volumes `since_last` needs.
        spilling: outfalls that count as overflow, whose inflow volumes it needs.
        outfalls: all outfalls.
    """

    def __init__(self, swmm: Swmm, scenario: DrainageScenario, site: DrainageSite):
        self._swmm = swmm
        counted = dict.fromkeys([*site.controllable, *scenario.sensitive])
        inner, spills = swmm.inner_nodes, [name for name in site.outfalls if name in counted]
        self._names = [*inner, *spills]
        self._nodes, self.spilling = swmm.nodes(inner), swmm.nodes(spills)
        self.flooding = swmm.nodes(name for name in counted if name not in site.outfalls)
        kinds = swmm.nodes(site.controllable), swmm.nodes(scenario.sensitive)
        places = np.concatenate([self.flooding, self.spilling])
        self._counts = np.array([np.isin(places, kind) for kind in kinds], dtype=np.float64)
        self._treated = swmm.nodes(scenario.treatment or [name for name in site.outfalls if name not in counted])
        self.outfalls, self._tanks = swmm.nodes(site.outfalls), swmm.nodes(tank.id for tank in site.tanks)
        self._objective = OBJECTIVES[scenario.objective](swmm) if scenario.objective else None
        self.fine = self._objective is not None
        self._lost_m3: list[float] = []
        self._controllable_m3 = self._sensitive_m3 = 0.0
        self._score, self._counted, self._peak_cms = 0.0, 0.0, 0.0

    def routed(self, last: bool) -> None:
        """Account for a routing step; ``last``: the run ends with it."""
        if self._objective is not None:
            self._score += self._objective.step(last)

    def since_last(self, flooded_m3: np.ndarray, spilt_m3: np.ndarray, inflows_cms: np.ndarray) -> dict[str, Any]:
        """Since the last call: overflow ``controllable_m3`` and ``sensitive_m3``, and the ``objective``.

        Args:
            flooded_m3: volumes that left the network at the nodes `flooding` since the start.
            spilt_m3: volumes that came to the outfalls `spilling` since the start.
            inflows_cms: present inflows of the nodes `outfalls`.
        """
        before = self._controllable_m3, self._sensitive_m3
        lost = [*flooded_m3.tolist(), *spilt_m3.tolist()]
        if lost != self._lost_m3:  # most of the time nothing overflows
            self._lost_m3 = lost
            self._controllable_m3, self._sensitive_m3 = self._counts.dot(lost).tolist()
        self._peak_cms = max(self._peak_cms, sum(inflows_cms.tolist()))
        cost, self._counted = self._score - self._counted, self._score
        return {
            "controllable_m3": self._controllable_m3 - before[0],
            "sensitive_m3": self._sensitive_m3 - before[1],
            "objective": cost,
        }

    @property
    def stored_m3(self) -> float:
        """Volume in all tanks."""
        return float(self._swmm.volumes_m3(self._tanks).sum())

    def close(self) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
        """End the simulation: its indicators, and overflow and flooded hours of every node."""
        flooded, hours = self._swmm.flooded(self._nodes)
        volumes = np.concatenate([flooded, self._swmm.inflow_m3(self.spilling)])
        hours = np.concatenate([hours, np.zeros(len(self.spilling))])
        kpis = {
            "controllable_m3": self._controllable_m3,
            "overflow_m3": float(volumes.sum()),
            "sensitive_m3": self._sensitive_m3,
            "flooded_nodes": float((flooded > 0).sum()),
            "flooded_h": float(hours.sum()),
            "peak_outflow_cms": self._peak_cms,
            "treated_m3": float(self._swmm.inflow_m3(self._treated).sum()),
            "stored_m3": self.stored_m3,
            "objective": self._score,
        }
        self._swmm.close()
        continuity_pct = self._swmm.continuity_pct
        kpis |= {
            "continuity_pct": continuity_pct,
            "runoff_continuity_pct": self._swmm.runoff_continuity_pct,
            "invalid": float(not abs(continuity_pct) <= CONTINUITY_PCT),
        }
        found = {"overflow_m3": volumes, "flooded_h": hours}
        return kpis, {key: dict(zip(self._names, values.tolist(), strict=True)) for key, values in found.items()}
