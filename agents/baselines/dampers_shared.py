"""Common parts of the dampers' control laws: their base class, and the voltage for a wanted force."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from envs.core.readings import Readings
from envs.core.world import Observation, Requests
from envs.dampers.regulator import level_for_force
from envs.dampers.site import DampersSite

Numbers = Mapping[str, float]
"""Tuned numbers of a law: name → value."""


class Law:
    """Base of the laws: levels from readings, with a few tuned numbers that become attributes.

    Args:
        site: the building.
        tuned: values of some of its numbers, instead of the `defaults`; names that it lacks are ignored.

    Attributes:
        DEFAULTS: number → its value where it is not tuned; ``full``: the highest level.
    """

    program: Any = None
    timed: bool = False
    name: str
    DEFAULTS: ClassVar[dict[str, float]]
    full: float
    gain: float
    leak_s: float

    def __init__(self, site: DampersSite, tuned: Numbers):
        self.site, self.storeys = site, site.building.storeys
        self.decision_s = site.timing.decision_ms / 1e3
        defaults = self.defaults(site)
        vars(self).update({**defaults, **{key: tuned[key] for key in tuned if key in defaults}})
        self.reset()

    @classmethod
    def defaults(cls, site: DampersSite) -> Numbers:
        """Its numbers at a site where they are not tuned."""
        return cls.DEFAULTS

    def reset(self) -> None:
        """Forget the episode."""

    def act(self, readings: Readings, observation: Observation) -> Requests:
        """Levels ``(N, 1)``, or ``(E, N, 1)`` for many buildings' readings."""
        return np.asarray(self.levels(readings), dtype=np.float64)[..., None]

    def levels(self, readings: Readings) -> np.ndarray:
        """Levels ``(…, N)`` from one building's readings, or many buildings'."""
        raise NotImplementedError


def invert(site: DampersSite, force_n: np.ndarray, rate_m_s: np.ndarray) -> np.ndarray:
    """The level at which the steady-state force of each storey's dampers is the given one (simple model), ``(…, d)``.

    It is not bounded to 0 to 1.

    Args:
        site: the building and its devices.
        force_n: total of a storey's devices, not negative.
        rate_m_s: rate of their stroke.
    """
    return np.asarray(level_for_force(site.building.device, force_n / site.building.counts, rate_m_s))


def states(readings: Readings) -> np.ndarray:
    """Estimated displacements in m and velocities in m/s of all floors relative to the ground, ``(…, 2n)``."""
    moved = [np.cumsum(readings[name], axis=-1) for name in ("drift_est_mm", "rate_est_mm_s")]
    return np.asarray(1e-3 * np.concatenate(moved, axis=-1))
