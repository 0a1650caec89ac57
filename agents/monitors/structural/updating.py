"""Model updating: which storeys lost how much stiffness, from features that departed from healthy.

A shear frame for each axis of the plan, with known masses and the stiffnesses found while the building was healthy, is
softened storey by storey until it departs like the building did: weighted, bounded least squares (Friswell and
Mottershead 1995, ch. 8). Departures are compared, not values, so that errors of the frame cancel. The probability of
damage is computed in ``detection.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import solve_triangular
from scipy.optimize import least_squares

from agents.monitors.structural.modes import Reference, features
from agents.monitors.structural.shear import shear_modes

WEAKEST = 0.05
"""The smallest share of its stiffness that a storey may keep: below, a frame is a mechanism."""

SMALL_LOSS = 0.05
"""The loss whose signature stands for all small ones."""

STEP = 1e-5
"""Of a logarithm of stiffness, for differences in place of derivatives."""

FLOOR_VARIANCE = 1e-8
"""Added to every variance, so that a feature that never moved while learning cannot dominate."""


@dataclass(frozen=True)
class Frame:
    """One axis of a healthy building.

    Attributes:
        reference: its modes.
        masses_kg: storey masses.
        storeys_n_m: healthy storey stiffnesses.
    """

    reference: Reference
    masses_kg: np.ndarray
    storeys_n_m: np.ndarray

    @cached_property
    def healthy(self) -> tuple[np.ndarray, np.ndarray]:
        """Frequencies and unit shapes over the measured floors, of the modes that are watched."""
        return self._at(np.ones_like(self.storeys_n_m))

    def departures(self, factors: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Features of the softened frame, less those of the healthy one: ``(modes, 1 + floors)``.

        Args:
            factors: remaining share of each storey's stiffness.
            known: which floors count in which mode ``(modes, floors)``.
        """
        hz, shape = self._at(factors)
        hz0, shape0 = self.healthy
        shape = shape / (shape * shape0).sum(axis=1, keepdims=True)
        base = self.reference.floor_shape
        moved = np.where(known, base + shape - shape0, np.nan)
        out = features(hz / hz0, moved, base)
        return np.nan_to_num(out)

    def _at(self, factors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        hz, shapes = shear_modes(self.masses_kg, self.storeys_n_m * factors)
        which = np.array(self.reference.numbers) - 1
        shape = shapes[which][:, np.array(self.reference.floors) - 1]
        shape = shape * np.where((shape * self.reference.floor_shape).sum(axis=1, keepdims=True) < 0, -1.0, 1.0)
        return hz[which], shape / np.linalg.norm(shape, axis=1, keepdims=True)


@dataclass(frozen=True)
class Evidence:
    """What one window says, whitened: unit variance if the building is healthy.

    Attributes:
        residual: ``(rows,)``.
        whitener: from features of all axes to rows ``(rows, features)``.
        known: for each axis which floors count in which mode ``(modes, floors)``.
    """

    residual: np.ndarray
    whitener: np.ndarray
    known: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Estimate:
    """Losses of storey stiffness that explain a window best.

    Attributes:
        loss: for each axis ``(storeys,)``, from 0 to 1.
        sigma: their standard deviations.
        misfit: the part of the squared residual that they leave unexplained, per row; about one or less while healthy.
    """

    loss: tuple[np.ndarray, ...]
    sigma: tuple[np.ndarray, ...]
    misfit: float


def weigh(
    frames: Sequence[Frame],
    residual: np.ndarray,
    covariance: np.ndarray,
    doubt: float,
    gain_prior: float,
) -> Evidence:
    """Whiten a window's departures from healthy.

    Args:
        frames: the axes.
        residual: features less those expected at the temperature, all axes flat; NaN where unknown.
        covariance: of healthy residuals ``(features, features)``.
        doubt: factor on it, see `Compensation.doubt`.
        gain_prior: standard deviation of the floors' sensitivities: effects of drifting sensors on shapes weigh less.
    """
    selections, gains, knowns, start = [], [], [], 0
    for frame in frames:
        base = frame.reference.floor_shape
        count, floors = base.shape
        block = residual[start : start + count * (1 + floors)].reshape(count, 1 + floors)
        known = ~np.isnan(block[:, 1:]) & ~np.isnan(block[:, :1])
        knowns.append(known)
        gain = np.zeros((count * (1 + floors), floors))
        for k in range(count):
            at = start + k * (1 + floors)
            if not np.isnan(block[k, 0]):
                selections.append(_row(len(residual), at, np.ones((1, 1))))
            own = np.flatnonzero(known[k])
            if len(own) > 1:
                selections.append(_row(len(residual), at + 1 + own, _complement(base[k, own])))
            gain[k * (1 + floors) + 1 + np.arange(floors), np.arange(floors)] = base[k]
        padded = np.zeros((len(residual), floors))
        padded[start : start + len(gain)] = gain
        gains.append(padded)
        start += count * (1 + floors)
    if not selections:
        return Evidence(np.empty(0), np.empty((0, len(residual))), tuple(knowns))
    select = np.vstack(selections)
    sensitive = select @ np.hstack(gains)
    variance = doubt * select @ covariance @ select.T + gain_prior**2 * sensitive @ sensitive.T
    root = np.linalg.cholesky(variance + FLOOR_VARIANCE * np.eye(len(variance)))
    whitener = solve_triangular(root, select, lower=True)
    return Evidence(whitener @ np.nan_to_num(residual), whitener, tuple(knowns))


def standing(frames: Sequence[Frame], evidence: Evidence) -> tuple[np.ndarray, ...]:
    """How far a window stands out in the direction of a small loss of each storey's stiffness alone.

    The matched filter sᵀr / |s| for each storey's signature s: standard normal while healthy, positive for a loss. A
    change that all storeys share, as of temperature or load, is scatter that the whitener knows, and counts little.

    Args:
        frames: the axes.
        evidence: of one window.

    Returns:
        For each axis ``(storeys,)``; zero where a loss would not show.
    """
    found = []
    for k, frame in enumerate(frames):
        values = np.zeros(len(frame.storeys_n_m))
        for storey in range(len(values)):
            factors = np.ones(len(values))
            factors[storey] -= SMALL_LOSS
            parts = [np.zeros((len(each), 1 + each.shape[1])) for each in evidence.known]
            parts[k] = frame.departures(factors, evidence.known[k])
            signature = evidence.whitener @ np.concatenate([part.ravel() for part in parts])
            length = float(np.linalg.norm(signature))
            if length > 1e-9:
                values[storey] = signature @ evidence.residual / length
        found.append(values)
    return tuple(found)


def estimate_losses(frames: Sequence[Frame], evidence: Evidence) -> Estimate:
    """The storeys' losses of stiffness by bounded least squares over the logarithms of the remaining stiffness.

    Args:
        frames: the axes.
        evidence: of one window.

    Returns:
        Losses that are not negative, with standard deviations from the curvature at the solution, widened where the
        frame explains the window badly.
    """
    sizes = [len(frame.storeys_n_m) for frame in frames]
    ends = np.cumsum(sizes)[:-1]
    rows = len(evidence.residual)
    if not rows:
        unknown = tuple(np.full(size, np.inf) for size in sizes)
        return Estimate(tuple(np.zeros(size) for size in sizes), unknown, 0.0)
    blocks = np.split(evidence.whitener, np.cumsum([known.size + len(known) for known in evidence.known])[:-1], axis=1)

    def seen(k: int, logs: np.ndarray) -> np.ndarray:
        return blocks[k] @ frames[k].departures(np.exp(logs), evidence.known[k]).ravel()

    def misfit(logs: np.ndarray) -> np.ndarray:
        return evidence.residual - sum(seen(k, part) for k, part in enumerate(np.split(logs, ends)))

    def slopes(logs: np.ndarray) -> np.ndarray:
        columns = []
        for k, part in enumerate(np.split(logs, ends)):  # a storey moves its own axis alone
            here = seen(k, part)
            columns += [(here - seen(k, part - STEP * unit)) / STEP for unit in np.eye(len(part))]
        return -np.stack(columns, axis=1)

    start = np.full(sum(sizes), -0.02)
    bounds = (np.log(WEAKEST), 1e-9)
    fit = least_squares(misfit, start, slopes, bounds, x_scale=0.05, xtol=1e-5, ftol=1e-6, max_nfev=30)
    left = np.exp(np.minimum(fit.x, 0.0))
    after = 2.0 * float(fit.cost)
    spare = max(rows - sum(sizes), 1)
    scatter = np.sqrt(np.maximum(np.diag(np.linalg.pinv(fit.jac.T @ fit.jac)), 0.0) * max(after / spare, 1.0))
    shows = np.linalg.norm(fit.jac, axis=0) > 1e-9
    sigma = np.where(shows, left * scatter, np.inf)
    loss = np.where(shows, 1.0 - left, 0.0)
    return Estimate(tuple(np.split(loss, ends)), tuple(np.split(sigma, ends)), after / rows)


def _row(width: int, at: int | np.ndarray, values: np.ndarray) -> np.ndarray:
    out = np.zeros((len(values), width))
    out[:, at] = values
    return out


def _complement(vector: np.ndarray) -> np.ndarray:
    """Unit rows perpendicular to a vector and to each other ``(n - 1, n)``."""
    return np.linalg.svd(vector[None])[2][1:]
