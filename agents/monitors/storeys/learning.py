"""Learning a healthy building: each storey's stiffness and scatter, the threshold, and the probability of a loss.

Every second window is learned from; the others set the threshold and calibrate the probability, so that these are
independent of the learned windows.
"""

from __future__ import annotations

from typing import Self

import numpy as np
from pydantic import Field, FiniteFloat, model_validator

from agents.monitors.detection import SIGMA_PER_MAD, calibrate, tolerance_limit, windows_needed
from agents.monitors.storeys.config import StoreyConfig
from agents.monitors.storeys.estimate import Estimate
from agents.monitors.storeys.report import TOO_LITTLE, Deaf
from envs.core.errors import CityloopError
from envs.core.frozen import Frozen

FORMAT = 1
"""Version of the file's layout."""

HEARD = 0.5
"""Share of the storeys that must be judged before anything is said of the building."""

STIFFER, SURELY = 1.2, 3.0
"""No storey stiffens so much by itself: where one is, by so many standard deviations, a sensor's scale is off."""

LARGEST_LOSS, DAMAGES = 0.4, 3
"""Losses that the probability is calibrated on: up to this share of one storey, so many for each healthy window."""


class Learned(Frozen):
    """All that was learned.

    Attributes:
        format: version of the layout.
        config: with which it was learned.
        mean: logarithm of each storey's healthy stiffness in N/m, ``(n,)``.
        inflation: healthy scatter, as a multiple of each window's own standard deviation, ``(n,)``.
        misfit: beyond which a storey's readings contradict each other, ``(n,)``.
        threshold: beyond which a window is unusual.
        offset, slope: of the `Calibration`.
        windows: how many were learned from, and how many set the threshold.
    """

    format: int = Field(default=FORMAT, ge=FORMAT, le=FORMAT)
    config: StoreyConfig
    mean: tuple[FiniteFloat, ...]
    inflation: tuple[FiniteFloat, ...]
    misfit: tuple[FiniteFloat, ...]
    threshold: FiniteFloat
    offset: FiniteFloat
    slope: FiniteFloat = Field(ge=0)
    windows: tuple[int, int]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        storeys = len(self.config.masses_kg)
        for name in ("mean", "inflation", "misfit"):
            if len(getattr(self, name)) != storeys:
                raise ValueError(f"{name} has {len(getattr(self, name))} values for {storeys} storeys: learn anew")
        if min(*self.inflation, *self.misfit) <= 0:
            raise ValueError("inflation or misfit is not above 0: learn anew")
        return self


def deaf_storeys(
    config: StoreyConfig, seen: Estimate, mean: np.ndarray, inflation: np.ndarray, misfit: np.ndarray
) -> list[Deaf]:
    """Why each storey cannot be judged."""
    moved = inflation * seen.sigma <= config.widest
    stiffer = np.log(seen.stiffness_n_m / STIFFER) - mean > SURELY * inflation * seen.sigma
    why: list[Deaf] = []
    for k in range(len(seen.sigma)):
        if seen.missing[k] > config.missing:
            why.append("samples are missing")
        elif seen.misfit[k] > misfit[k] or stiffer[k] or (seen.still[k] and moved.any()):
            why.append("its readings contradict each other")
        else:
            why.append("" if moved[k] else TOO_LITTLE)
    return why


def losses(seen: Estimate, mean: np.ndarray, inflation: np.ndarray) -> np.ndarray:
    """By how many healthy standard deviations each storey is softer."""
    return np.asarray((mean - np.log(seen.stiffness_n_m)) / (inflation * seen.sigma))


def least_windows(config: StoreyConfig) -> int:
    """Number of windows without which no threshold can be set, half of them to learn from."""
    return 2 * windows_needed(config.false_alarms, config.confidence)


def learned_from(config: StoreyConfig, found: list[Estimate]) -> Learned:
    """What a healthy building's windows teach; every second one sets the threshold.

    Raises:
        CityloopError: if there are too few, or too few of them can be heard.
    """
    fit, held = found[::2], found[1::2]
    needed = least_windows(config) // 2
    if len(held) < needed:
        raise CityloopError(
            f"windows: {len(found)} are too few, {2 * needed} are needed for false_alarms {config.false_alarms:g} at "
            f"confidence {config.confidence:g}: give more, or allow more false alarms"
        )
    mean, inflation = _healthy(config, fit)
    misfit = np.array(
        [
            tolerance_limit(column, config.false_alarms, config.confidence)
            for column in np.array([e.misfit for e in held]).T
        ]
    )
    rng = np.random.default_rng(config.seed)
    healthy, damaged = [], []
    for seen in held:
        judged = np.array([not each for each in deaf_storeys(config, seen, mean, inflation, misfit)])
        if judged.mean() < HEARD:
            continue
        lost = np.where(judged, losses(seen, mean, inflation), -np.inf)
        healthy.append(lost.max())
        for _ in range(DAMAGES):
            k = rng.choice(np.flatnonzero(judged))
            softer = lost[k] - np.log1p(-rng.uniform(0.0, LARGEST_LOSS)) / (inflation[k] * seen.sigma[k])
            damaged.append(max(lost.max(), softer))
    if len(healthy) < needed:
        raise CityloopError(
            f"windows: {len(healthy)} of {len(held)} can be heard, {needed} are needed to set the threshold: give more "
            "in which the building moves, or longer ones"
        )
    curve = calibrate(np.array(healthy), np.array(damaged))
    return Learned(
        config=config,
        mean=tuple(mean.tolist()),
        inflation=tuple(inflation.tolist()),
        misfit=tuple(misfit.tolist()),
        threshold=tolerance_limit(np.array(healthy), config.false_alarms, config.confidence),
        offset=curve.offset,
        slope=curve.slope,
        windows=(len(fit), len(healthy)),
    )


def _healthy(config: StoreyConfig, fit: list[Estimate]) -> tuple[np.ndarray, np.ndarray]:
    """Each storey's healthy logarithm of stiffness, and its scatter as a multiple of its own standard deviations."""
    value, sigma = np.log([seen.stiffness_n_m for seen in fit]), np.array([seen.sigma for seen in fit])
    clear = sigma <= config.widest
    if (clear.sum(axis=0) < 2).any():
        raise CityloopError(
            f"windows: storey {int(clear.sum(axis=0).argmin()) + 1} hardly moves in any: give windows in which it does"
        )
    value = np.where(clear, value, np.nan)
    mean = np.nanmedian(value, axis=0)
    return mean, SIGMA_PER_MAD * np.nanmedian(np.abs(value - mean) / sigma, axis=0)
