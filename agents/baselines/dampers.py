"""Control laws of practice for semi-active dampers: fixed voltages, and laws for each damper, or all together, from
measured forces and the observer's estimates.

Their inputs are the readings that a policy sees. Numbers of every law are tuned on training motions
(`training.tuning.dampers`) and kept in ``dampers_tuned.json``, by site; a site without some uses each law's defaults.
Laws read one building's columns ``(k,)`` or many buildings' ``(E, k)``. Optimal control is in `dampers_optimal.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from agents.baselines.dampers_optimal import ClippedOptimal, ContinuousLqg, Lyapunov
from agents.baselines.dampers_shared import Law, Numbers, invert
from agents.shipped import speaks_of
from envs.core.errors import CityloopError
from envs.core.readings import Readings
from envs.core.world import Controller, Observation, Requests
from envs.dampers.site import DampersSite
from envs.dampers.world import UNMOUNTED

TUNED = Path(__file__).with_name("dampers_tuned.json")


class Fixed(Law):
    """One constant level of all dampers."""

    name = "fixed"
    DEFAULTS: ClassVar[dict[str, float]] = {"level": 0.3}
    level: float

    def levels(self, readings: Readings) -> np.ndarray:
        """See `Law.levels`."""
        return np.full(readings["level"].shape, self.level)


class PassiveOff(Fixed):
    """No voltage."""

    name = "passive-off"
    DEFAULTS: ClassVar[dict[str, float]] = {"level": 0.0}


class PassiveOn(Fixed):
    """Full voltage."""

    name = "passive-on"
    DEFAULTS: ClassVar[dict[str, float]] = {"level": 1.0}


class Profile(Law):
    """Constant levels, one for every storey with dampers; that of ``fixed`` where none is tuned."""

    name = "profile"

    @classmethod
    def defaults(cls, site: DampersSite) -> Numbers:
        """See `Law.defaults`."""
        usual = tuned(site, "fixed") or Fixed.DEFAULTS
        return {f"storey_{storey + 1}": usual["level"] for storey in site.building.storeys}

    def levels(self, readings: Readings) -> np.ndarray:
        """See `Law.levels`."""
        levels = [vars(self)[f"storey_{storey + 1}"] for storey in self.storeys]
        return np.broadcast_to(levels, readings["level"].shape).copy()


class Dissipation(Law):
    """Maximum energy dissipation (Jansen & Dyke 2000): full while the damper's force works against its own motion.

    The smaller the force, the more often it is on: nothing but rate and force of the damper itself is needed.
    """

    name = "med"
    DEFAULTS: ClassVar[dict[str, float]] = {"full": 0.5}

    def levels(self, readings: Readings) -> np.ndarray:
        """See `Law.levels`."""
        rate = readings["rate_est_mm_s"][..., self.storeys]
        return self.full * (rate * readings["force_est_n"] > 0)


class Skyhook(Law):
    """Skyhook: full while the floor above moves, relative to the ground, the way in which the damper is stretched."""

    name = "skyhook"
    DEFAULTS: ClassVar[dict[str, float]] = {"full": 0.5}

    def levels(self, readings: Readings) -> np.ndarray:
        """See `Law.levels`."""
        rates = readings["rate_est_mm_s"]
        return self.full * (np.cumsum(rates, axis=-1) * rates > 0)[..., self.storeys]


class BangBang(Law):
    """Decentralised bang-bang (McClamroch & Gavin 1995): full while the force works against absolute velocities.

    The first storey's damper works against the absolute velocity of the first floor, the ground's included: that is
    the measured acceleration of the ground, integrated with a leak.
    """

    name = "bang-bang"
    DEFAULTS: ClassVar[dict[str, float]] = {"full": 0.5, "leak_s": 2.0}

    def reset(self) -> None:
        """Forget the ground's velocity."""
        self._ground: Any = 0.0

    def levels(self, readings: Readings) -> np.ndarray:
        """See `Law.levels`."""
        heard = np.nan_to_num(readings["ground_m_s2"])
        self._ground = self._ground * np.exp(-self.decision_s / self.leak_s) + 1e3 * heard * self.decision_s
        rate = readings["rate_est_mm_s"][..., self.storeys] + np.where(self.storeys == 0, self._ground, 0.0)
        return self.full * (rate * readings["force_est_n"] > 0)


class Friction(Law):
    """Modulated homogeneous friction (Inaudi 1997): force in proportion to the last peak of the drift.

    Bang-bang: full while the force is below g |P[q]|, P[q] the drift at which it last turned.
    """

    name = "mhf"
    DEFAULTS: ClassVar[dict[str, float]] = {"full": 0.5, "gain": 0.5}

    def __init__(self, site: DampersSite, tuned: Numbers):
        super().__init__(site, tuned)
        # A gain of one brings full force at a typical drift, at every site.
        typical = site.building.typical
        self.unit_n_mm = site.building.full_force_n / (1e3 * typical["drift_m"][self.storeys])
        self.reset()

    def reset(self) -> None:
        """Forget the last peak."""
        self._peak: Any = 0.0
        self._way: Any = 0.0

    def wanted(self, readings: Readings) -> np.ndarray:
        """The force that friction should have now, ``(…, d)``."""
        drift = readings["drift_est_mm"][..., self.storeys]
        way = np.sign(readings["rate_est_mm_s"][..., self.storeys])
        turned = way * self._way < 0
        # Before the first turn, and where the drift runs beyond its last peak, the drift itself is the peak.
        self._peak = np.where(turned, abs(drift), np.maximum(self._peak, abs(drift)))
        self._way = np.where(way != 0, way, self._way)
        return np.asarray(self.gain * self.unit_n_mm * self._peak)

    def levels(self, readings: Readings) -> np.ndarray:
        """See `Law.levels`."""
        return self.full * (self.wanted(readings) > abs(readings["force_est_n"]))


class ContinuousFriction(Friction):
    """Modulated homogeneous friction with a continuous voltage, whose steady-state force is the wanted one."""

    name = "mhf-continuous"

    def levels(self, readings: Readings) -> np.ndarray:
        """See `Law.levels`."""
        rate = 1e-3 * readings["rate_est_mm_s"][..., self.storeys]
        return invert(self.site, self.wanted(readings), rate).clip(0.0, self.full)


class Unmounted(Controller):
    """The building without its dampers: no decision, the reference of every ratio.

    Args:
        site: any.
    """

    name = "uncontrolled"
    program: Any = UNMOUNTED

    def __init__(self, site: DampersSite):
        self._n = len(site.agents)

    def act(self, readings: Readings, observation: Observation) -> Requests:
        """No request: zeros ``(N, 1)``."""
        return np.zeros((self._n, 1))


LAWS: tuple[type[Law], ...] = (
    Fixed,
    Profile,
    Dissipation,
    Skyhook,
    BangBang,
    Lyapunov,
    Friction,
    ContinuousFriction,
    ClippedOptimal,
    ContinuousLqg,
)
"""Laws with numbers to tune."""

TUNABLE = tuple(kind.name for kind in LAWS)

CONDITIONS: dict[str, dict[str, float]] = {
    "delay": {"delay_ms": 10.0},
    "dropout": {"dropout": 0.1},
    "noise": {"noise": 5.0},
    "dead": {"dead": 1},
    "stiffness": {"stiffness": 0.15},
}
"""Condition that laws are tuned for as well → its settings."""


def tuned(site: DampersSite, law: str, condition: str = "") -> Numbers | None:
    """The numbers of a law at a site, from ``dampers_tuned.json``: for good conditions, or one of `CONDITIONS`.

    Those of a building that ships are not taken for another one of the same name.
    """
    content: dict[str, dict[str, Numbers]] = json.loads(TUNED.read_text())
    found = content.get(f"{site.name}@{condition}" if condition else site.name, {}).get(law)
    return found if found and speaks_of(site.name, site) else None


def _law(kind: type[Law], site: DampersSite, condition: str = "") -> Controller:
    found = tuned(site, kind.name, condition)
    if condition and found is None:
        raise CityloopError(
            f"controller '{kind.name}@{condition}' has not been tuned for {site.name}: give {kind.name}, or run "
            f"`cityloop tune dampers SCENARIO --law {kind.name} --condition {condition}`"
        )
    return kind(site, found or {})


class Controllers(dict[str, Callable[..., Controller]]):
    """Name → how to build the controller for a site. ``LAW@CONDITION`` has the numbers that were tuned for a condition
    (`CONDITIONS`); such names are understood, not listed.
    """

    def __contains__(self, name: object) -> bool:
        law, _, condition = str(name).partition("@")
        return super().__contains__(law) and (law == name or (law in TUNABLE and condition in CONDITIONS))

    def __missing__(self, name: str) -> Callable[[Any], Controller]:
        law, _, condition = name.partition("@")
        if name not in self:
            raise KeyError(name)
        return partial(self[law], condition=condition)


PASSIVE: tuple[type[Law], ...] = (PassiveOff, PassiveOn)
"""Laws without numbers to tune."""

CONTROLLERS = Controllers({"uncontrolled": Unmounted, **{kind.name: partial(_law, kind) for kind in (*PASSIVE, *LAWS)}})
"""Every controller of practice."""

REFERENCES = ("passive-off", "passive-on", "fixed", "profile", "mhf-continuous", "lqg")
"""Controllers that training is compared with."""

FALLBACK = "fixed"
"""Controller that replaces a policy that cannot answer: it needs no sensor."""
