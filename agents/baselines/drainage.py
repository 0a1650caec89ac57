"""The controllers that drainage operators use: none, the static plan, equal filling, and laws on levels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from agents.baselines.drainage_mpc import ModelPredictive
from envs.core.readings import Readings
from envs.core.world import Controller, Observation, Requests
from envs.drainage.site import DrainageSite

TUNED = (0.99, 1.51, 2.91, 0.95, 0.77, 0.85)
"""Six numbers of the tuned law, fitted on Astlingen's event of August 2000; see `LevelLaw`."""


class Fixed:
    """Asks for the same settings always.

    Args:
        name: as on the command line.
        settings: of all gates.
    """

    program: Any = None

    def __init__(self, name: str, settings: np.ndarray):
        self.name, self._settings = name, settings

    def reset(self) -> None:
        """Nothing is remembered."""

    def act(self, readings: Readings, observation: Observation) -> Requests:
        """Settings ``(N, 1)``."""
        return self._settings[:, None].copy()


class _OnLevels:
    """Base of the laws that know how full each gate's tank, and the next below, is; the static setting where they do
    not.
    """

    program: Any = None
    name: str

    def __init__(self, site: DrainageSite):
        self.static = np.array([gate.static for gate in site.gates])
        self._reduced = np.array([gate.reduced for gate in site.gates])
        self._tank = np.array([gate.tank for gate in site.gates])
        self._below = np.array([gate.below for gate in site.gates])
        self._full_m = np.array([tank.full_m for tank in site.tanks])

    def reset(self) -> None:
        """Nothing is remembered."""

    def act(self, readings: Readings, observation: Observation) -> Requests:
        """Settings ``(N, 1)``."""
        depth = np.append(readings["depth_m"], np.nan)
        full = np.append(self._full_m, np.nan)
        settings = self.settings(depth[self._tank], (depth / full)[self._tank], (depth / full)[self._below])
        return np.where(np.isnan(settings), self.static, settings)[:, None]

    def settings(self, depth_m: np.ndarray, own: np.ndarray, below: np.ndarray) -> np.ndarray:
        """Settings from depths and fillings of the gates' tanks and of those below; NaN: the static one."""
        raise NotImplementedError


class EqualFilling(_OnLevels):
    """Equal filling degree (Sun et al. 2020, Water 12:1034): the fullest tank empties freely, the emptiest hardly.

    All others keep their static settings.
    """

    name = "efd"

    def settings(self, depth_m: np.ndarray, own: np.ndarray, below: np.ndarray) -> np.ndarray:
        """See `_OnLevels.settings`."""
        settings = self.static.copy()
        tanks = np.unique(self._tank[~np.isnan(own)])  # several gates may empty one
        if len(tanks) < 2:
            return settings
        fill = np.array([own[self._tank == tank][0] for tank in tanks])
        order = np.argsort(fill, kind="stable")
        if fill[order[-1]] > fill[order[-2]]:
            settings[self._tank == tanks[order[-1]]] = 1.0
        if fill[order[0]] < fill[order[1]]:
            emptiest = self._tank == tanks[order[0]]
            settings[emptiest] = self._reduced[emptiest]
        return settings


class LevelLaw(_OnLevels):
    """A tuned law: a multiple of the static setting that rises with the own level and falls with the one below.

    multiple = a + b (own - mean) + c (d - below) + e (own - f), clipped to settings from 0 to 1; where no tank lies
    below, it counts as empty.
    """

    name = "law"

    def settings(self, depth_m: np.ndarray, own: np.ndarray, below: np.ndarray) -> np.ndarray:
        """See `_OnLevels.settings`."""
        a, b, c, d, e, f = TUNED
        mean = np.nanmean(own) if not np.isnan(own).all() else 0.0
        nothing_below = self._below < 0
        room = d - np.where(nothing_below, 0.0, below)
        return np.clip(self.static * (a + b * (own - mean) + c * room + e * (own - f)), 0.0, 1.0)


class LevelPI(_OnLevels):
    """A PI controller of every gate on its own tank's level, around the static setting; its integral is bounded.

    setting = static (1 + P (own - setpoint) + I (integral over hours of own - setpoint)), clipped to 0 to 1.
    """

    name = "pi"
    SETPOINT, PROPORTIONAL, INTEGRAL_PER_H, LIMIT_H = 0.5, 0.8, 0.2, 1.0

    def __init__(self, site: DrainageSite):
        super().__init__(site)
        self._hours = site.timing.decision_s / 3600
        self.reset()

    def reset(self) -> None:
        """Forget the integral."""
        self._integral = np.zeros(len(self.static))

    def settings(self, depth_m: np.ndarray, own: np.ndarray, below: np.ndarray) -> np.ndarray:
        """See `_OnLevels.settings`."""
        error = own - self.SETPOINT
        more = self._integral + np.nan_to_num(error) * self._hours
        self._integral = np.clip(more, -self.LIMIT_H, self.LIMIT_H)
        multiple = 1.0 + self.PROPORTIONAL * error + self.INTEGRAL_PER_H * self._integral
        return np.clip(self.static * multiple, 0.0, 1.0)


def uncontrolled(site: DrainageSite) -> Controller:
    """All gates open."""
    return Fixed("uncontrolled", np.ones(len(site.gates)))


def static(site: DrainageSite) -> Controller:
    """The network's static settings (Astlingen's base case)."""
    return Fixed("static", np.array([gate.static for gate in site.gates]))


CONTROLLERS: dict[str, Callable[[Any], Controller]] = {
    "uncontrolled": uncontrolled,
    "static": static,
    "pi": LevelPI,
    "efd": EqualFilling,
    "law": LevelLaw,
    "mpc": ModelPredictive,
}
"""Name → how to build the controller for a site."""

REFERENCES = ("uncontrolled", "static", "efd", "law")
"""Those that training is measured against: quick ones. ``mpc`` simulates a thousand branches for each storm."""

FALLBACK = "static"
"""Who takes over when a policy cannot answer: it needs no sensor."""
