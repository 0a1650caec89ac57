"""The storeys' monitor: learn a healthy building once, then judge window after window.

`estimate.py` estimates each storey's stiffness in a window; `agents.monitors.detection` decides whether it is unusual
and how probable a loss is, with the same functions as for ambient vibration.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

import numpy as np
from pydantic import Field, FiniteFloat, model_validator
from scipy.special import ndtri

from agents.monitors.detection import (
    SIGMA_PER_MAD,
    Calibration,
    Memory,
    alarm_of,
    calibrate,
    tolerance_limit,
    windows_needed,
)
from agents.monitors.storeys.config import StoreyConfig
from agents.monitors.storeys.estimate import Estimate, estimate
from agents.monitors.storeys.report import Deaf, StoreyHeard, StoreyReport, recommend
from agents.monitors.storeys.windows import Window, check_window
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


class StoreyMonitor:
    """Judges a building's windows.

    Args:
        learned: of the building while it was healthy, see `learn` and `load`.
    """

    def __init__(self, learned: Learned):
        self.learned, self.config = learned, learned.config
        self._mean, self._inflation = np.array(learned.mean), np.array(learned.inflation)
        self._misfit = np.array(learned.misfit)
        self._calibration = Calibration(learned.offset, learned.slope)
        self.reset()

    def reset(self) -> None:
        """Forget the last windows, as after an inspection."""
        self._structure, self._deaf = (Memory(self.config.persistence) for _ in range(2))
        self._silent = [Memory(self.config.persistence) for _ in self.config.masses_kg]

    def remember(self, report: StoreyReport) -> None:
        """Take an earlier report into account, as if its window had just been judged."""
        self._deaf.add(not report.heard)
        if report.heard:
            self._structure.add(report.unusual)
        self._silence([each.deaf for each in report.storeys])

    def _silence(self, why: Sequence[Deaf]) -> tuple[int, ...]:
        """Storeys that go unheard for their sensors' sake; rest says nothing of those."""
        for memory, reason in zip(self._silent, why, strict=False):  # a kept report may be of another building
            if reason != "moved too little":
                memory.add(bool(reason))
        return tuple(k + 1 for k, memory in enumerate(self._silent) if memory.alarm)

    @classmethod
    def learn(cls, config: StoreyConfig, windows: Iterable[Window]) -> Self:
        """Learn from windows of a building that is known to be healthy; every second one sets the threshold.

        Raises:
            CityloopError: if a window does not fit, or too few of them can be heard.
        """
        found = []
        for window in windows:
            found.append(estimate(config, check_window(config, window)))
        return cls(_learn(config, found))

    def watch(self, window: Window) -> StoreyReport:
        """Judge the next window.

        Raises:
            CityloopError: if it does not fit.
        """
        window = check_window(self.config, window)
        seen = estimate(self.config, window)
        why = _deaf(self.config, seen, self._mean, self._inflation, self._misfit)
        judged = np.array([not each for each in why])
        heard = bool(judged.mean() >= HEARD)
        lost = np.where(judged, _lost(seen, self._mean, self._inflation), -np.inf)
        statistic = float(lost.max()) if heard else None
        unusual = statistic is not None and statistic > self.learned.threshold
        deaf = self._deaf.add(not heard)
        # A window that cannot be judged neither confirms nor clears the judgement of earlier ones.
        persists = self._structure.add(unusual) if heard else self._structure.alarm
        report = StoreyReport(
            time_s=window.time_s,
            seconds=window.accel_m_s2.shape[1] / self.config.rate_hz,
            heard=heard,
            probability=None if statistic is None else self._calibration.probability(statistic, self.config.prior),
            statistic=statistic,
            threshold=self.learned.threshold,
            unusual=unusual,
            alarm=alarm_of(unusual, persists),
            deaf=alarm_of(not heard, deaf),
            location=int(lost.argmax()) + 1 if unusual else None,
            storeys=self._storeys(seen, why),
            unheard=self._silence(why),
        )
        return report.model_copy(update={"recommendation": recommend(report)})

    def _storeys(self, seen: Estimate, why: list[Deaf]) -> tuple[StoreyHeard, ...]:
        change = np.log(seen.stiffness_n_m) - self._mean
        width = ndtri(0.5 + self.config.interval / 2) * self._inflation * seen.sigma
        return tuple(
            StoreyHeard(
                storey=k + 1,
                deaf=why[k],
                share=None if why[k] else float(np.exp(change[k])),
                low=None if why[k] else float(np.exp(change[k] - width[k])),
                high=None if why[k] else float(np.exp(change[k] + width[k])),
                misfit=float(seen.misfit[k]),
            )
            for k in range(len(why))
        )

    def save(self, path: Path) -> None:
        """Write the learned monitor as JSON; the last windows are not part of it."""
        self.learned.to_file(path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """A monitor from its JSON.

        Raises:
            CityloopError: if the file is missing or is no such thing.
        """
        return cls(Learned.from_file(path, "monitor file"))


def _deaf(
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
            why.append("" if moved[k] else "moved too little")
    return why


def _lost(seen: Estimate, mean: np.ndarray, inflation: np.ndarray) -> np.ndarray:
    """By how many healthy standard deviations each storey is softer."""
    return np.asarray((mean - np.log(seen.stiffness_n_m)) / (inflation * seen.sigma))


def _learn(config: StoreyConfig, found: list[Estimate]) -> Learned:
    fit, held = found[::2], found[1::2]
    needed = windows_needed(config.false_alarms, config.confidence)
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
        judged = np.array([not each for each in _deaf(config, seen, mean, inflation, misfit)])
        if judged.mean() < HEARD:
            continue
        lost = np.where(judged, _lost(seen, mean, inflation), -np.inf)
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
