"""The IASC–ASCE structural health monitoring benchmark, phase I: the building on which this monitor is validated.

Four storeys, two by two bays, rebuilt member by member from the published sections (Johnson, Lam, Katafygiotis and Beck
2004, J. Eng. Mech. 130:3; sections, spans and slabs as in the authors' ``datagen.m``): rigid floors with three degrees
of freedom each, columns clamped at both ends, braces as axial bars. Its loads and sensors are in
``ambient.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from envs.core.errors import CityloopError

STOREYS = 4
BAY_M, HEIGHT_M = 1.25, 0.9
E_PA = 2.0e11
COLUMN_IY_M4, COLUMN_IZ_M4 = 1.97e-6, 0.664e-6
BRACE_M2 = 0.141e-3
MASSES_KG = (3452.4, 2652.4, 2652.4, 1809.9)
"""Floors from the first to the roof: slabs, and the members that hang at them."""

HEAVIER_SLAB_KG = 150.0
"""By how much one roof slab is heavier in the unsymmetric cases."""

COLUMN_X_N_M = 12 * E_PA * COLUMN_IY_M4 / HEIGHT_M**3
COLUMN_Y_N_M = 12 * E_PA * COLUMN_IZ_M4 / HEIGHT_M**3
BRACE_N_M = E_PA * BRACE_M2 * BAY_M**2 / (BAY_M**2 + HEIGHT_M**2) ** 1.5
"""Lateral stiffness of one column in each axis, and of one brace in its own plane."""

AXES = ("x", "y")
FACES = (-1, 1)

Brace = tuple[int, str, int]
"""Storey (from 1), axis and face of a plane that holds two braces: ``(1, "y", 1)``."""

PATTERNS: dict[str, dict[Brace, float]] = {
    "pattern 1": {(1, axis, face): 2.0 for axis in AXES for face in FACES},
    "pattern 2": {(storey, axis, face): 2.0 for storey in (1, 3) for axis in AXES for face in FACES},
    "pattern 3": {(1, "y", 1): 1.0},
    "pattern 4": {(1, "y", 1): 1.0, (3, "x", 1): 1.0},
    "pattern 6": {(1, "y", 1): 1.0 / 3.0},
}
"""The published damage patterns as braces that are gone (pattern 5 unscrews a beam: a rigid floor cannot show it)."""


@dataclass(frozen=True)
class Damage:
    """Damage of the building.

    Attributes:
        braces: plane → how many of its two braces are gone.
        losses: (storey from 1, axis) → share of the storey's lateral stiffness that is gone, evenly over the plan.
    """

    braces: Mapping[Brace, float] = field(default_factory=dict)
    losses: Mapping[tuple[int, str], float] = field(default_factory=dict)


HEALTHY = Damage()


def storey_loss(damage: Damage) -> dict[tuple[int, str], float]:
    """Share of lateral stiffness that each storey lost: (storey from 1, axis) → 0 to 1, those that lost any."""
    found: dict[tuple[int, str], float] = {}
    for axis in AXES:
        healthy = storey_stiffness(HEALTHY)[:, AXES.index(axis), AXES.index(axis)]
        now = storey_stiffness(damage)[:, AXES.index(axis), AXES.index(axis)]
        found |= {(s + 1, axis): 1 - now[s] / healthy[s] for s in range(STOREYS) if now[s] < healthy[s] * (1 - 1e-9)}
    return found


def storey_stiffness(damage: Damage = HEALTHY, factors: np.ndarray | None = None) -> np.ndarray:
    """Stiffness of each storey against the relative movement (x, y, rotation) of the floors that it joins.

    Args:
        damage: of the building.
        factors: effect of temperature: multiples of the stiffness ``(storeys, 2)`` in x and y; None: one.

    Returns:
        ``(storeys, 3, 3)`` in N/m, N and N·m.

    Raises:
        CityloopError: for braces or storeys that the building does not have.
    """
    _check(damage)
    scale = np.ones((STOREYS, 2)) if factors is None else factors
    grid = (-BAY_M, 0.0, BAY_M)
    k = np.zeros((STOREYS, 3, 3))
    for s in range(STOREYS):
        columns = {"x": COLUMN_X_N_M, "y": COLUMN_Y_N_M}
        bars: list[tuple[str, float, float]] = [(axis, at, columns[axis]) for axis in AXES for at in grid for _ in grid]
        for axis in AXES:
            for face in FACES:
                left = 2.0 - damage.braces.get((s + 1, axis, face), 0.0)
                bars.append((axis, face * BAY_M, left * BRACE_N_M))
        for axis, at, stiffness in bars:
            which = AXES.index(axis)
            arm = np.array([1.0, 0.0, -at]) if axis == "x" else np.array([0.0, 1.0, at])
            left = (1.0 - damage.losses.get((s + 1, axis), 0.0)) * scale[s, which]
            k[s] += stiffness * left * np.outer(arm, arm)
    return k


def matrices(
    damage: Damage = HEALTHY,
    factors: np.ndarray | None = None,
    masses_kg: np.ndarray | None = None,
    symmetric: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Mass and stiffness over floors' (x, y, rotation), floor after floor.

    Args:
        damage: of the building.
        factors: see `storey_stiffness`.
        masses_kg: of the floors; None: the published ones.
        symmetric: False: one slab of the roof is heavier (cases 4 and 5). A floor's rotary inertia is that of an even
            plate, which the published numbers leave open.

    Returns:
        Mass and stiffness, ``(12, 12)``, SI.
    """
    masses = np.array(MASSES_KG) if masses_kg is None else masses_kg
    storeys = storey_stiffness(damage, factors)
    m, k = np.zeros((12, 12)), np.zeros((12, 12))
    for floor in range(STOREYS):
        here = slice(3 * floor, 3 * floor + 3)
        m[here, here] = np.diag([masses[floor], masses[floor], masses[floor] * (2 * BAY_M) ** 2 / 6])
        k[here, here] += storeys[floor]
        if floor:
            below = slice(3 * floor - 3, 3 * floor)
            k[below, below] += storeys[floor]
            k[here, below] -= storeys[floor]
            k[below, here] -= storeys[floor]
    if not symmetric:
        at = np.array([BAY_M / 2, BAY_M / 2])
        arms = np.array([[1.0, 0.0, -at[1]], [0.0, 1.0, at[0]]])
        own = np.zeros((3, 3))
        own[2, 2] = BAY_M**2 / 6
        m[9:, 9:] += HEAVIER_SLAB_KG * (arms.T @ arms + own)
    return m, k


def _check(damage: Damage) -> None:
    for (storey, axis, face), gone in damage.braces.items():
        if storey not in range(1, STOREYS + 1) or axis not in AXES or face not in FACES or not 0 <= gone <= 2:
            raise CityloopError(
                f"braces[{storey}, {axis!r}, {face}] is {gone!r}: give storeys 1 to 4, axes x or y, faces -1 or 1, "
                "and from 0 to 2 braces"
            )
    for (storey, axis), loss in damage.losses.items():
        if storey not in range(1, STOREYS + 1) or axis not in AXES or not 0 <= loss < 1:
            raise CityloopError(
                f"losses[{storey}, {axis!r}] is {loss!r}: give storeys 1 to 4, axes x or y, and a share below 1"
            )
