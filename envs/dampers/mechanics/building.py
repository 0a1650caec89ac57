"""Data of a building: masses, stiffnesses, damping, dampers by storey, sensors; from a YAML file or a shipped name.

Plain data, checked here; its dynamics are in `frame.py` and `structure.py`. Units are SI, in every name.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from envs.core.frozen import Frozen
from envs.core.scenario import read_yaml
from envs.dampers.mechanics.device import Device, Hysteresis
from envs.dampers.mechanics.frame import Frame, chain, modal_damping

FOLDER = Path(__file__).parents[1] / "buildings"
BUILDINGS = tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))
"""The buildings that ship, one file each; each file says which of its values are recalled and which confirmed."""

GRAVITY_M_S2 = 9.81
"""Gravity for weights. Rounded, unlike `spectrum.G` for records: all results were computed with it."""

SPARE = 3.0
"""A building is refused if even so many times its stiffness would not bear its weight. Shipped ones have 7 to 54 times
what they need, those on soft bearings less than once, and one in kN/m has a hundredth."""

LEAST_SOLVABLE, MOST_SOLVABLE = 1e-3, 1e15
"""Range of masses in kg and stiffnesses in N/m in which the equations can be solved, far beyond real buildings."""

Row = tuple[float, ...]
Matrix = tuple[tuple[float, ...], ...]


class SensorSpec(Frozen):
    """Standard deviations of the noise of sound sensors at rest.

    Attributes:
        accel_m_s2: of accelerometers on every floor and on the ground.
        stroke_mm: of the dampers' displacement sensors.
        force_n: of their load cells, a device.
    """

    accel_m_s2: float = Field(default=0.005, gt=0)
    stroke_mm: float = Field(default=0.02, gt=0)
    force_n: float = Field(default=1.0, gt=0)


class Building(Frozen):
    """A building with dampers.

    Attributes:
        mass_kg: of every floor, from the first up.
        stiffness_n_m: of every storey; or else
        stiffness_matrix_n_m: of the floors.
        damping_ratio: share of critical damping, of every mode or of each; or else
        damping_n_s_m: of every storey; or else
        damping_matrix_n_s_m: of the floors.
        storey_m: height of a storey, for drift ratios.
        yield_mm: drift at which storeys yield (Bouc-Wen); None: they stay elastic. Needs ``stiffness_n_m``.
        after_yield: post-yield stiffness, as a share of the elastic.
        capacity_share: drift that a storey is to stay below, as a share of its height.
        dampers: storey, from 1 → devices in parallel on one driver; each storey named is one agent.
        device: model of a device.
        sensors: noise of the sensors.
        typical_m_s2: typical peak ground acceleration, to scale features.
    """

    mass_kg: Row = Field(min_length=1)
    stiffness_n_m: Row | None = None
    stiffness_matrix_n_m: Matrix | None = None
    damping_ratio: float | Row | None = None
    damping_n_s_m: Row | None = None
    damping_matrix_n_s_m: Matrix | None = None
    storey_m: float = Field(default=3.5, gt=0)
    yield_mm: float | None = Field(default=None, gt=0)
    after_yield: float = Field(default=0.1, gt=0, lt=1)
    capacity_share: float = Field(default=0.01, gt=0)
    dampers: dict[int, int] = Field(min_length=1)
    device: Device
    sensors: SensorSpec = SensorSpec()
    typical_m_s2: float = Field(default=2.0, gt=0)

    def __hash__(self) -> int:
        return hash(self.model_dump_json())  # `dampers` is a mapping

    @model_validator(mode="after")
    def _fits_together(self) -> Building:
        n = len(self.mass_kg)
        _one_of(self, "stiffness_n_m", "stiffness_matrix_n_m")
        _one_of(self, "damping_ratio", "damping_n_s_m", "damping_matrix_n_s_m")
        _sized(self, n)
        if self.yield_mm is not None and self.stiffness_n_m is None:
            raise ValueError("yield_mm needs stiffness_n_m, one a storey: a full matrix has no storeys that yield")
        for storey, count in self.dampers.items():
            if not 1 <= storey <= n:
                raise ValueError(f"dampers name storey {storey}: there are storeys 1 to {n}")
            if count < 1:
                raise ValueError(f"dampers.{storey} is {count}: give one device at least, or leave the storey out")
        if list(self.dampers) != sorted(self.dampers):
            raise ValueError(f"dampers name storeys {list(self.dampers)}: name them from the lowest up")
        if np.linalg.eigvalsh(self._stiffness).min() <= 0:
            raise ValueError("its stiffness lets it fall over: give a positive definite matrix, or positive storeys")
        if np.linalg.eigvalsh(SPARE * self._stiffness - self._sway).min() <= 0:
            field = "stiffness_n_m" if self.stiffness_n_m else "stiffness_matrix_n_m"
            raise ValueError(f"it falls over under its own weight: give {field} in N/m, mass_kg in kg, storey_m in m")
        if np.linalg.eigvalsh(self.frame.damping).min() < -1e-9 * np.abs(self.frame.damping).max():
            raise ValueError("its damping feeds energy: give a positive semidefinite matrix")
        return self

    @property
    def _stiffness(self) -> np.ndarray:
        if self.stiffness_n_m is not None:
            return chain(self.stiffness_n_m)
        return np.array(self.stiffness_matrix_n_m)

    @property
    def _sway(self) -> np.ndarray:
        """Geometric stiffness of the linear P-delta effect: the weight above each storey over that storey's height."""
        above_n = GRAVITY_M_S2 * np.cumsum(self.mass_kg[::-1])[::-1]
        return chain((above_n / self.storey_m).tolist())

    @cached_property
    def frame(self) -> Frame:
        """The bare frame while it is elastic."""
        mass, stiffness = np.array(self.mass_kg), self._stiffness
        if self.damping_ratio is not None:
            damping = modal_damping(mass, stiffness, self.damping_ratio)
        elif self.damping_n_s_m is not None:
            damping = chain(self.damping_n_s_m)
        else:
            damping = np.array(self.damping_matrix_n_s_m)
        return Frame(mass, damping, stiffness)

    @cached_property
    def storeys(self) -> np.ndarray:
        """Indices of the storeys with dampers, from 0, ``(d,)``."""
        return np.array(list(self.dampers)) - 1

    @cached_property
    def counts(self) -> np.ndarray:
        """Number of devices in each of these storeys, ``(d,)``."""
        return np.array(list(self.dampers.values()), dtype=float)

    @cached_property
    def hysteresis(self) -> Hysteresis | None:
        """Hysteresis of yielding storeys: z follows the drift up to ``yield_mm``; None: elastic."""
        if self.yield_mm is None:
            return None
        bend = 0.5 / (self.yield_mm / 1e3) ** 2
        return Hysteresis(a=1.0, gamma=bend, beta=bend, n=2)

    @property
    def capacity_m(self) -> float:
        """Drift that a storey is to stay below, in m."""
        return self.capacity_share * self.storey_m

    @cached_property
    def full_force_n(self) -> np.ndarray:
        """Force of each storey's dampers together at full voltage and its typical rate, in N, ``(d,)``."""
        return self.device.steady_force_n(self.typical["rate_m_s"][self.storeys], 1.0) * self.counts

    @property
    def weight_n(self) -> float:
        """Weight of all floors."""
        return GRAVITY_M_S2 * sum(self.mass_kg)

    @cached_property
    def typical(self) -> dict[str, np.ndarray]:
        """Scales: ``accel_m_s2`` and each storey's ``drift_m`` and ``rate_m_s`` under a typical motion.

        The first mode under two and a half times the ground's peak, as a plateau of a design spectrum has it, and no
        storey less than a fifth of the largest.
        """
        omega, shapes = self.frame.modes
        first = shapes[:, 0] * (shapes[:, 0] @ self.frame.mass_kg)
        accel = 2.5 * self.typical_m_s2
        drift = np.abs(np.diff(first, prepend=0.0)) * accel / omega[0] ** 2
        drift = np.maximum(drift, 0.2 * drift.max())
        return {"accel_m_s2": np.array(accel), "drift_m": drift, "rate_m_s": omega[0] * drift}


def _one_of(building: Building, *names: str) -> None:
    given = [name for name in names if getattr(building, name) is not None]
    if len(given) != 1:
        raise ValueError(f"{' or '.join(names)}: give exactly one of them, not {' and '.join(given) or 'none'}")


def _sized(building: Building, n: int) -> None:
    for name in ("mass_kg", "stiffness_n_m"):
        for value in getattr(building, name) or ():
            if not LEAST_SOLVABLE <= value <= MOST_SOLVABLE:
                spread = f"{LEAST_SOLVABLE:g} to {MOST_SOLVABLE:g}"
                raise ValueError(f"{name} holds {value:g}: give numbers above 0, from {spread}")
    for ratio in np.atleast_1d(building.damping_ratio or 0.0).tolist():
        if ratio >= 1:
            raise ValueError(f"damping_ratio is {ratio:g}: give a share of critical damping, 0.03 for 3 %")
    for name in ("stiffness_n_m", "damping_n_s_m", "damping_ratio"):
        values = getattr(building, name)
        if isinstance(values, tuple) and len(values) != n:
            raise ValueError(f"{name} has {len(values)} values: mass_kg says there are {n} floors")
    for name in ("stiffness_matrix_n_m", "damping_matrix_n_s_m"):
        rows = getattr(building, name)
        if rows is not None and (len(rows) != n or any(len(row) != n for row in rows)):
            raise ValueError(f"{name} is not {n} by {n}: mass_kg says there are {n} floors")
        if rows is not None and not np.allclose(rows, np.transpose(rows)):
            raise ValueError(f"{name} is not symmetric: correct it")


def read_building(name: str) -> dict[str, Any]:
    """A shipped building's file as plain data (`BUILDINGS`)."""
    return read_yaml(FOLDER / f"{name}.yaml")
