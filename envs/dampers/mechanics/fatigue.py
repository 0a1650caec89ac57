"""Fatigue: rainflow cycles of stress histories and how much of a detail's life they used.

Cycles are counted by the ``rainflow`` package as in ASTM E1049-85 §5.4.4 (one small file without dependencies, which
keeps half cycles; fatpack sorts ranges into classes first). Endurance is EN 1993-1-9's curve with slopes 3 and 5 and a
cut-off; damage adds up by Palmgren and Miner. Stresses (from strain gauges and the modulus, or from drifts and the
stress that a drift causes in a member) are the engineer's input.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import rainflow
from pydantic import Field

from envs.core.errors import CityloopError
from envs.core.frozen import Frozen


class SNCurve(Frozen):
    """An endurance curve of EN 1993-1-9 for direct stress, figure 7.1.

    Attributes:
        category_mpa: the detail's category: its strength at two million cycles.
        partial_factor: by which the strength is divided.
    """

    category_mpa: float = Field(gt=0)
    partial_factor: float = Field(default=1.0, ge=1)

    @property
    def knee_mpa(self) -> float:
        """Constant-amplitude limit at five million cycles: (2/5)^(1/3) = 0.737 of the strength."""
        return self.category_mpa / self.partial_factor * (2.0 / 5.0) ** (1.0 / 3.0)

    @property
    def cutoff_mpa(self) -> float:
        """Ranges below do no damage: (5/100)^(1/5) = 0.549 of the knee, at a hundred million cycles."""
        return self.knee_mpa * (5.0 / 100.0) ** (1.0 / 5.0)

    def life(self, ranges_mpa: np.ndarray) -> np.ndarray:
        """Cycles to failure at constant stress ranges; infinite below the cut-off."""
        ranges = np.asarray(ranges_mpa, float)
        with np.errstate(divide="ignore"):
            relative = self.knee_mpa / ranges
        life = 5e6 * np.where(ranges >= self.knee_mpa, relative**3, relative**5)
        return np.where(ranges < self.cutoff_mpa, np.inf, life)

    def damage(self, ranges_mpa: np.ndarray, counts: np.ndarray) -> float:
        """Miner's sum of counts over lives: failure is to be expected at one, and scatters widely around it."""
        return float((np.asarray(counts, float) / self.life(ranges_mpa)).sum())


def cycles(history: Iterable[float]) -> tuple[np.ndarray, np.ndarray]:
    """Rainflow cycles of a history: ranges, in its unit, and counts of one or one half.

    Raises:
        CityloopError: if a value is missing or infinite.
    """
    values = _finite(history)
    if len(values) == 2:  # of two values ``rainflow`` takes only the first; repeating the last adds no cycle
        values = values[[0, 1, 1]]
    found = [(size, count) for size, _, count, _, _ in rainflow.extract_cycles(values.tolist())]
    ranges, counts = np.array(found).reshape(-1, 2).T
    return ranges, counts


SLOPE = 3.0
"""Exponent m of life N = a Δ^-m (Basquin) over ranges of drift."""


def relative_damage(history: Iterable[float]) -> float:
    """Sum of cycles weighted by their range to the power `SLOPE`: Miner's sum up to the constant a, for ratios.

    Stress is taken as proportional to the history.
    """
    ranges, counts = cycles(history)
    return float((counts * ranges**SLOPE).sum())


class FatigueLedger:
    """A detail's damage over many histories, whose open cycles are carried from one to the next.

    Args:
        curve: of the detail.
    """

    def __init__(self, curve: SNCurve):
        self.curve = curve
        self._closed, self._open = 0.0, np.empty(0)

    def add(self, history_mpa: Iterable[float]) -> float:
        """Add a history of stresses in MPa.

        Returns:
            The damage so far: of all cycles that closed, and of what is still open as half cycles.

        Raises:
            CityloopError: if a value is missing or infinite; nothing is added then.
        """
        values = np.concatenate([self._open, _finite(history_mpa)])
        points = np.array(list(rainflow.reversals(values.tolist()))).reshape(-1, 2)
        at, turning = points[:, 0].astype(int), points[:, 1]
        closed = [(size, i, j) for size, _, count, i, j in rainflow.extract_cycles(values.tolist()) if count == 1.0]
        if closed:
            sizes = np.array([size for size, _, _ in closed])
            self._closed += self.curve.damage(sizes, np.ones(len(sizes)))
        done = {index for _, i, j in closed for index in (i, j)}
        self._open = turning[[index not in done for index in at.tolist()]] if len(values) > 2 else values
        return self.damage

    @property
    def damage(self) -> float:
        """Miner's sum so far."""
        return self._closed + self.curve.damage(*cycles(self._open))


def _finite(history: Iterable[float]) -> np.ndarray:
    values = np.asarray(list(history) if not isinstance(history, np.ndarray) else history, float).ravel()
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        raise CityloopError(
            f"history[{bad[0]}] is {values[bad[0]]}: fill gaps or split the history there; a gap has no cycles"
        )
    return values
