"""One building with dampers, as a world."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np

from envs.core.errors import CityloopError
from envs.core.readings import Readings
from envs.core.world import Commands, World
from envs.dampers.block import Block
from envs.dampers.kpis import BARE
from envs.dampers.mechanics.fatigue import relative_damage
from envs.dampers.scenarios import DampersScenario
from envs.dampers.site import DampersSite

UNMOUNTED = "unmounted"
"""The program of a building whose dampers exert no force: the reference of every ratio."""

LEAST_FATIGUE_M3 = 1e-30
"""Least Miner's sum of drifts, so that ratios stay finite without motion."""


class DampersWorld(World):
    """One building under excitation: a block of one.

    Args:
        scenario: where, when and how.
        site: the scenario's site.
    """

    def __init__(self, scenario: DampersScenario, site: DampersSite):
        self.block = Block(scenario, site)
        self._kpis: dict[str, float] = {}
        self._fatigue: dict[str, float] = {}
        self._drifts: list[np.ndarray] = []

    def prepare(self) -> None:
        """Load the filters of motions; see `World.prepare`."""
        import_module("scipy.signal")

    def reset(self, seed: int, program: Any = None) -> Readings:
        """Start an episode at rest; see `World.reset`.

        Raises:
            CityloopError: if a program is given other than `UNMOUNTED`: there is no local control that could run it.
        """
        if program not in (None, UNMOUNTED):
            raise CityloopError("dampers have no local programs: give a controller that decides by itself")
        self._kpis, self._fatigue, self._drifts = {}, {}, []
        return _one(self.block.begin([seed], mounted=program is None))

    def step(self, commands: Commands | None) -> Readings:
        """Set the drivers' levels, and advance by one decision; see `World.step`."""
        levels = np.zeros(len(self.block.site.agents)) if commands is None else np.asarray(commands, dtype=np.float64)
        readings = self.block.step(levels.reshape(1, -1))
        self._drifts.append(self.block.truth["drift_m"][0])
        if self.block.done:
            mounted, bare = (
                [relative_damage(one) for one in each]
                for each in (np.transpose(self._drifts), self.block.uncontrolled_m[0])
            )
            most = max(*bare, LEAST_FATIGUE_M3)
            self._fatigue = {f"{k + 1}": value / most for k, value in enumerate(mounted)}
            self._fatigue |= {f"{k + 1}{BARE}": value / most for k, value in enumerate(bare)}
            self._kpis = self.block.kpis()[0] | {"fatigue_ratio": max(mounted) / most}
        return _one(readings)

    @property
    def truth(self) -> Mapping[str, Any]:
        """Growth of peak ratios, present shares of the peaks without dampers, and the true motion; see `Block`."""
        return _one(self.block.truth)

    @property
    def time_s(self) -> float:
        """Seconds since the start."""
        return self.block.time_s

    @property
    def done(self) -> bool:
        """Whether the motion is over."""
        return self.block.done

    def trace(self) -> dict[str, float]:
        """The largest drift and acceleration at this moment, and the ground's, for plots over time."""
        truth = self.block.truth
        return {
            "drift_mm": 1e3 * float(np.abs(truth["drift_m"]).max()),
            "accel_m_s2": float(np.abs(truth["accel_m_s2"]).max()),
            "ground_m_s2": abs(float(truth["ground_m_s2"][0, 0])),
        }

    def kpis(self) -> dict[str, float]:
        """The finished episode's indicators; see `kpis.KPIS`."""
        return dict(self._kpis)

    def places(self) -> dict[str, dict[str, float]]:
        """Peak drift and fatigue of every storey and peak acceleration of every floor, with dampers and without."""
        return self.block.places() | {"fatigue": dict(self._fatigue)}

    def close(self) -> None:
        """Nothing runs."""


def _one(columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Columns of the only building."""
    return {name: values[0] for name, values in columns.items()}
