"""The controllers that drainage operators use: none, the static plan, equal filling, and laws on levels."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from agents.baselines.drainage_mpc import ModelPredictive
from agents.shipped import speaks_of
from envs.core.readings import Readings
from envs.core.world import Controller, Observation, Requests
from envs.drainage.site import LEADS_MIN, DrainageSite

TUNED = Path(__file__).with_name("drainage_tuned.json")
"""Numbers of laws that were tuned on a site's training storms: site → law → number (`training.tuning.drainage`)."""


def tuned(site: DrainageSite, law: str) -> Mapping[str, float]:
    """A law's numbers for a site; empty if it was not tuned there.

    Those of a network that ships are not taken for another one of the same name.
    """
    content: dict[str, dict[str, dict[str, float]]] = json.loads(TUNED.read_text()) if TUNED.is_file() else {}
    found = content.get(site.name, {}).get(law, {})
    return found if found and speaks_of(site.name, site) else {}


class Fixed(Controller):
    """Constant settings.

    Args:
        name: as on the command line.
        settings: of all gates.
    """

    def __init__(self, name: str, settings: np.ndarray):
        self.name, self._settings = name, settings

    def act(self, readings: Readings, observation: Observation) -> Requests:
        """Settings ``(N, 1)``."""
        return self._settings[:, None].copy()


class _OnLevels(Controller):
    """Base of the laws on fillings of each gate's tank and of the next below; the static setting where unknown.

    Args:
        site: its gates and tanks.
        numbers: of the law; those that were tuned for the site, else `NUMBERS`, if not given.
    """

    name: str
    NUMBERS: ClassVar[Mapping[str, float]] = {}

    def __init__(self, site: DrainageSite, numbers: Mapping[str, float] | None = None):
        self.numbers = {**self.NUMBERS, **(tuned(site, self.name) if numbers is None else numbers)}
        self.static = np.array([gate.static for gate in site.gates])
        self._reduced = np.array([gate.reduced for gate in site.gates])
        self._tank = np.array([gate.tank for gate in site.gates])
        self._below = np.array([gate.below for gate in site.gates])
        self._full_m = np.array([tank.full_m for tank in site.tanks])

    def act(self, readings: Readings, observation: Observation) -> Requests:
        """Settings ``(N, 1)``."""
        depth = np.append(readings["depth_m"], np.nan)
        full = np.append(self._full_m, np.nan)
        settings = self.settings(readings, (depth / full)[self._tank], (depth / full)[self._below])
        return np.where(np.isnan(settings), self.static, settings)[:, None]

    def settings(self, readings: Readings, own: np.ndarray, below: np.ndarray) -> np.ndarray:
        """Settings from fillings of the gates' tanks and of those below; NaN: the static one."""
        raise NotImplementedError


class EqualFilling(_OnLevels):
    """Equal filling degree (Sun et al. 2020, Water 12:1034): the fullest tank empties freely, the emptiest hardly.

    All others keep their static settings.
    """

    name = "efd"

    def settings(self, readings: Readings, own: np.ndarray, below: np.ndarray) -> np.ndarray:
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
    below, it counts as empty. The numbers are those that were fitted on Astlingen's event of August 2000, unless the
    site has some of its own.
    """

    name = "law"
    NUMBERS: ClassVar[Mapping[str, float]] = {"a": 0.99, "b": 1.51, "c": 2.91, "d": 0.95, "e": 0.77, "f": 0.85}

    def settings(self, readings: Readings, own: np.ndarray, below: np.ndarray) -> np.ndarray:
        """See `_OnLevels.settings`."""
        a, b, c, d, e, f = self.numbers.values()
        mean = np.nanmean(own) if not np.isnan(own).all() else 0.0
        nothing_below = self._below < 0
        room = d - np.where(nothing_below, 0.0, below)
        return np.clip(self.static * (a + b * (own - mean) + c * room + e * (own - f)), 0.0, 1.0)


class Hold(_OnLevels):
    """Ponds hold water back while the network below carries its own rain, and release early what will not fit.

    setting = static (expected - begin) / (full - begin), clipped to 0 to the static one, where a tank lies below; gates
    that lead out of the network keep their static setting. Expected is how full the tank is, and will be by the rain
    that is forecast there for the next two hours, at so much of the tank for 10 mm; without a forecast none is
    expected. Once it neither rains nor will, ponds empty by the static setting while the tank below has room.
    """

    name = "hold"
    NUMBERS: ClassVar[Mapping[str, float]] = {"begin": 0.8, "full": 1.0, "per_10mm": 0.1, "room": 0.5}
    DRY_MM = 1.0
    """Rain in an hour, or forecast for two, that counts as none."""

    def __init__(self, site: DrainageSite, numbers: Mapping[str, float] | None = None):
        super().__init__(site, numbers)
        self._rain = site.rain_shares

    def settings(self, readings: Readings, own: np.ndarray, below: np.ndarray) -> np.ndarray:
        """See `_OnLevels.settings`."""
        begin, full, per_10mm, room = self.numbers.values()
        ahead_mm = np.nan_to_num(readings["forecast_mm"].reshape(-1, len(LEADS_MIN))[:, -1])
        expected = own + per_10mm * (self._rain @ ahead_mm) / 10.0
        share = np.clip((expected - begin) / max(full - begin, 1e-3), 0.0, 1.0)
        dry = max(np.nan_to_num(readings["rain_mmh"]).max(initial=0.0), ahead_mm.max(initial=0.0)) < self.DRY_MM
        share = np.where(dry & (below < room), np.maximum(share, np.sign(own)), share)  # an unknown level stays unknown
        return np.where(self._below >= 0, self.static * share, self.static)


class LevelPI(_OnLevels):
    """A PI controller of every gate on its own tank's level, around the static setting; its integral is bounded.

    setting = static (1 + P (own - setpoint) + I (integral over hours of own - setpoint)), clipped to 0 to 1.
    """

    name = "pi"
    NUMBERS: ClassVar[Mapping[str, float]] = {"setpoint": 0.5, "proportional": 0.8, "integral_per_h": 0.2}
    LIMIT_H = 1.0

    def __init__(self, site: DrainageSite, numbers: Mapping[str, float] | None = None):
        super().__init__(site, numbers)
        self._hours = site.timing.decision_s / 3600
        self.reset()

    def reset(self) -> None:
        """Forget the integral."""
        self._integral = np.zeros(len(self.static))

    def settings(self, readings: Readings, own: np.ndarray, below: np.ndarray) -> np.ndarray:
        """See `_OnLevels.settings`."""
        setpoint, proportional, integral_per_h = self.numbers.values()
        error = own - setpoint
        more = self._integral + np.nan_to_num(error) * self._hours
        self._integral = np.clip(more, -self.LIMIT_H, self.LIMIT_H)
        multiple = 1.0 + proportional * error + integral_per_h * self._integral
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
    "hold": Hold,
    "mpc": ModelPredictive,
}
"""Name → how to build the controller for a site."""

REFERENCES = ("uncontrolled", "static", "efd", "law", "pi", "hold")
"""Controllers that training is compared with: quick ones. ``mpc`` simulates a thousand branches for each storm."""

FALLBACK = "static"
"""Controller that replaces a policy that cannot answer: it needs no sensor."""
