"""What an episode's water did: overflow decision by decision, and the account at the end."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.drainage.kpis import CONTINUITY_PCT
from envs.drainage.objectives import OBJECTIVES
from envs.drainage.scenarios import DrainageScenario
from envs.drainage.site import DrainageSite
from envs.drainage.swmm import Swmm


class Ledger:
    """Accounts for one simulation.

    Args:
        swmm: it, running.
        scenario: what counts, and how much.
        site: the network.

    Attributes:
        fine: whether a published objective is summed, which takes routing steps one by one.
        spilling, outfalls: nodes whose floods and inflows `since_last` wants to know.
    """

    def __init__(self, swmm: Swmm, scenario: DrainageScenario, site: DrainageSite):
        self._swmm = swmm
        self._names = swmm.inner_nodes
        self._nodes = swmm.nodes(self._names)
        self.spilling = swmm.nodes(dict.fromkeys([*site.controllable, *scenario.sensitive]))
        kinds = swmm.nodes(site.controllable), swmm.nodes(scenario.sensitive)
        self._counts = np.array([np.isin(self.spilling, kind) for kind in kinds], dtype=np.float64)
        self._treated = swmm.nodes(scenario.treatment or site.outfalls)
        self.outfalls, self._tanks = swmm.nodes(site.outfalls), swmm.nodes(tank.id for tank in site.tanks)
        self._objective = OBJECTIVES[scenario.objective](swmm) if scenario.objective else None
        self.fine = self._objective is not None
        self._flooded_m3: list[float] = []
        self._controllable_m3 = self._sensitive_m3 = 0.0
        self._score, self._counted, self._peak_cms = 0.0, 0.0, 0.0

    def routed(self, last: bool) -> None:
        """A routing step has been taken; ``last``: the run ends with it."""
        if self._objective is not None:
            self._score += self._objective.step(last)

    def since_last(self, flooded_m3: np.ndarray, inflows_cms: np.ndarray) -> dict[str, Any]:
        """Since the last call: overflow ``controllable_m3`` and ``sensitive_m3``, and the ``objective``.

        Args:
            flooded_m3: what has left the network at the nodes `spilling` since the start.
            inflows_cms: what comes to the nodes `outfalls` now.
        """
        before = self._controllable_m3, self._sensitive_m3
        flooded = flooded_m3.tolist()
        if flooded != self._flooded_m3:  # most of the time nothing overflows
            self._flooded_m3 = flooded
            self._controllable_m3, self._sensitive_m3 = self._counts.dot(flooded_m3).tolist()
        self._peak_cms = max(self._peak_cms, sum(inflows_cms.tolist()))
        cost, self._counted = self._score - self._counted, self._score
        return {
            "controllable_m3": self._controllable_m3 - before[0],
            "sensitive_m3": self._sensitive_m3 - before[1],
            "objective": cost,
        }

    @property
    def stored_m3(self) -> float:
        """What all tanks hold."""
        return float(self._swmm.volumes_m3(self._tanks).sum())

    def close(self) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
        """End the simulation: its indicators, and what happened at every node."""
        volumes, hours = self._swmm.flooded(self._nodes)
        kpis = {
            "controllable_m3": self._controllable_m3,
            "overflow_m3": float(volumes.sum()),
            "sensitive_m3": self._sensitive_m3,
            "flooded_nodes": float((volumes > 0).sum()),
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
