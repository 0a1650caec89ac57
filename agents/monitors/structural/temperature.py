"""Temperature compensation: expected features of a healthy building at a temperature, and their uncertainty.

Ordinary polynomial regression (Peeters and De Roeck 2001, Earthquake Eng. Struct. Dyn. 30:149, took the like for the
Z24 bridge), fitted twice so that windows in which identification went wrong do not count.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agents.monitors.detection import SIGMA_PER_MAD

OUTLIER = 5.0
"""Scaled median absolute deviations beyond which a healthy value is left out."""


@dataclass(frozen=True)
class Compensation:
    """A regression of features on temperature.

    Attributes:
        centre_c, half_c: middle and half width of the learned range, for scaling.
        coefficients: ``(degree + 1, features)``.
        leverage: inverse normal matrix of the regression ``(degree + 1, degree + 1)``.
    """

    centre_c: float
    half_c: float
    coefficients: np.ndarray
    leverage: np.ndarray

    def expected(self, temperature_c: float | np.ndarray) -> np.ndarray:
        """Healthy features at a temperature ``(…, features)``."""
        return self._basis(temperature_c) @ self.coefficients

    def doubt(self, temperature_c: float) -> float:
        """Factor on the variance of a residual from the uncertainty of the regression there.

        One plus the leverage xᵀ(XᵀX)⁻¹x: hardly more than one within the learned range, steeply more outside.
        """
        basis = self._basis(temperature_c)
        return float(1.0 + basis @ self.leverage @ basis)

    def knows(self, temperature_c: float) -> bool:
        """Whether the temperature lies in the learned range, with a tenth of its half width to spare."""
        return abs(temperature_c - self.centre_c) <= 1.1 * self.half_c

    def _basis(self, temperature_c: float | np.ndarray) -> np.ndarray:
        scaled = (np.asarray(temperature_c, float) - self.centre_c) / self.half_c
        table = np.polynomial.chebyshev.chebvander(scaled, len(self.coefficients) - 1)
        return table.reshape(*scaled.shape, -1)


def learn_compensation(temperature_c: np.ndarray, features: np.ndarray, degree: int) -> Compensation:
    """Regress each feature on temperature.

    Args:
        temperature_c: of the windows ``(windows,)``.
        features: ``(windows, features)``, NaN where unknown.
        degree: of the polynomial; lower if there are too few distinct temperatures.

    Returns:
        The regression.
    """
    low, high = float(temperature_c.min()), float(temperature_c.max())
    degree = min(degree, len(np.unique(np.round(temperature_c, 1))) - 1)
    half = max((high - low) / 2, 1.0)
    start = Compensation((low + high) / 2, half, np.zeros((degree + 1, 1)), np.eye(degree + 1))
    basis = start._basis(temperature_c)
    columns = []
    for values in features.T:
        keep = ~np.isnan(values)
        for _ in range(3):
            solution = np.linalg.lstsq(basis[keep], values[keep], rcond=None)[0]
            residual = values - basis @ solution
            spread = SIGMA_PER_MAD * np.median(np.abs(residual[keep])) + 1e-12
            keep = np.abs(np.nan_to_num(residual, nan=np.inf)) < OUTLIER * spread
        columns.append(solution)
    leverage = np.linalg.pinv(basis.T @ basis)
    return Compensation(start.centre_c, half, np.stack(columns, axis=1), leverage)
