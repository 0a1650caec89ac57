"""The shear frame that stands for one axis of the building: known storey masses, storey stiffnesses to be found.

Arrays in, arrays out. How losses of stiffness are estimated from features is in ``updating.py``.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import eigh
from scipy.optimize import least_squares

from envs.core.errors import CityloopError
from envs.dampers.mechanics.frame import chain

MODEL_ERROR = (0.005, 0.03)
"""How closely a shear frame is expected to meet a building's frequencies (relative) and shape components."""

UNEVEN = 1e3
"""How many times as stiff as another a storey may come out; beyond, the modes do not determine the storeys."""


def shear_modes(masses_kg: np.ndarray, storeys_n_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies and shapes of a shear frame.

    Args:
        masses_kg: of the floors, from the first to the roof.
        storeys_n_m: lateral stiffness of the storeys, from the ground up.

    Returns:
        Frequencies in Hz, ascending, ``(storeys,)``; shapes ``(storeys, floors)`` of unit length, positive at the roof.
    """
    root = 1.0 / np.sqrt(masses_kg)
    values, vectors = eigh(root[:, None] * chain(storeys_n_m) * root)
    shapes = (root[:, None] * vectors).T
    shapes /= np.linalg.norm(shapes, axis=1, keepdims=True) * np.where(shapes[:, -1:] < 0, -1.0, 1.0)
    return np.sqrt(np.maximum(values, 0.0)) / (2 * np.pi), shapes


def fit_shear(
    masses_kg: np.ndarray, numbers: np.ndarray, frequency_hz: np.ndarray, floors: np.ndarray, shape: np.ndarray
) -> np.ndarray:
    """Storey stiffnesses of the shear frame nearest to measured modes: least squares over their logarithms.

    Args:
        masses_kg: storey masses.
        numbers: of the modes, from 1.
        frequency_hz: measured, ``(modes,)``.
        floors: measured floors, from 1.
        shape: measured shapes over those floors ``(modes, floors)``.

    Returns:
        Stiffnesses ``(storeys,)`` in N/m.

    Raises:
        CityloopError: if no shear frame comes near the measured frequencies, or only one that no building is.
    """
    unit = shape / np.linalg.norm(shape, axis=1, keepdims=True)
    unit = unit * np.where(unit[:, -1:] < 0, -1.0, 1.0)

    def misfit(logs: np.ndarray) -> np.ndarray:
        hz, shapes = shear_modes(masses_kg, np.exp(logs))
        seen = shapes[numbers - 1][:, floors - 1]
        with np.errstate(divide="ignore", invalid="ignore"):  # a trial step too far, from which the solver goes back
            seen = seen / np.linalg.norm(seen, axis=1, keepdims=True)
            seen = seen * np.sign((seen * unit).sum(axis=1, keepdims=True))
            parts = np.log(hz[numbers - 1] / frequency_hz) / MODEL_ERROR[0], (seen - unit).ravel() / MODEL_ERROR[1]
        return np.concatenate(parts)

    even = np.ones(len(masses_kg))
    first, _ = shear_modes(masses_kg, even)
    start = 2 * np.log(frequency_hz[0] / first[numbers[0] - 1])
    tapers = (0.0, 0.5, -0.5)  # even, stiffer and softer below: the problem has more than one valley
    fits = [least_squares(misfit, start + np.linspace(t, -t, len(even)), loss="soft_l1") for t in tapers]
    best = min(fits, key=lambda fit: fit.cost)
    found = np.exp(best.x)
    off = np.abs(np.log(shear_modes(masses_kg, found)[0][numbers - 1] / frequency_hz)).max()
    if off > 0.1:
        raise CityloopError(
            f"masses_kg do not fit the measured modes: the nearest shear frame is {off:.0%} off in frequency; correct "
            "the masses, or the sensors' places and signs, or do not watch this building as a shear frame"
        )
    uneven = found.max() / found.min()
    if uneven > UNEVEN:
        raise CityloopError(
            f"the measured modes do not tell what the storeys are: number {found.argmax() + 1} comes out {uneven:.0e} "
            f"times as stiff as {found.argmin() + 1}; measure more floors, the roof among them, or give more "
            "lags or longer windows"
        )
    return found
