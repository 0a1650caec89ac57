"""Detection for all monitors of buildings: unusual windows, probability of damage, and alarms.

The threshold is a distribution-free tolerance limit on healthy windows that were not learned from; the probability is
calibrated on the same windows and on damages simulated upon them; an alarm needs persistence.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator
from scipy.optimize import minimize
from scipy.special import expit, logit
from scipy.stats import binom

from envs.core.errors import CityloopError
from envs.core.frozen import Frozen

SIGMA_PER_MAD = 1.4826
"""Standard deviation of a normal scatter over its median absolute deviation: 1 / Φ⁻¹(3/4)."""


def windows_needed(share: float, confidence: float) -> int:
    """The fewest healthy windows that can bound a share of false alarms: ln(1 - confidence) / ln(1 - share)."""
    return int(np.ceil(np.log(1.0 - confidence) / np.log(1.0 - share)))


def tolerance_limit(values: np.ndarray, share: float, confidence: float) -> float:
    """The smallest observed value that at most a share of all further ones will exceed (Wilks 1941).

    Args:
        values: the statistic on healthy windows, independent of how it was learned.
        share: of healthy windows that may exceed it.
        confidence: that they will not be more.

    Raises:
        CityloopError: if there are too few values to say so.
    """
    needed = windows_needed(share, confidence)
    if len(values) < needed:
        raise CityloopError(
            f"windows: {len(values)} healthy ones are left to set the threshold with, {needed} are needed for "
            f"false_alarms {share:g} at confidence {confidence:g}: give more windows, or allow more false alarms"
        )
    exceeding = np.arange(len(values))
    # with r values above the limit, confidence is that of at least r + 1 among all falling beyond the true quantile
    enough = binom.sf(exceeding, len(values), share) >= confidence
    return float(np.sort(values)[::-1][exceeding[enough].max()])


@dataclass(frozen=True)
class Calibration:
    """A logistic curve from the logarithm of the statistic to the probability of damage.

    Attributes:
        offset, slope: P = 1 / (1 + exp(-(offset + slope · ln(1 + statistic)))) where both are as frequent.
    """

    offset: float
    slope: float

    def probability(self, statistic: float, prior: float) -> float:
        """Probability of damage.

        Args:
            statistic: of a window.
            prior: probability of damage before it was seen.
        """
        return float(expit(self.offset + self.slope * np.log1p(max(statistic, 0.0)) + logit(prior)))


def calibrate(healthy: np.ndarray, damaged: np.ndarray) -> Calibration:
    """Fit the logistic curve by maximum likelihood (Platt 1999), both kinds weighing alike.

    Args:
        healthy: the statistic of healthy windows.
        damaged: of windows with simulated damage.
    """
    x = np.log1p(np.maximum(np.concatenate([healthy, damaged]), 0.0))
    y = np.concatenate([np.zeros(len(healthy)), np.ones(len(damaged))])
    # Platt's targets keep the slope finite where both kinds are apart
    target = np.where(y > 0, (len(damaged) + 1) / (len(damaged) + 2), 1 / (len(healthy) + 2))
    weight = np.where(y > 0, 1 / len(damaged), 1 / len(healthy))

    def loss(parameters: np.ndarray) -> float:
        score = parameters[0] + parameters[1] * x
        return float((weight * (np.logaddexp(0.0, score) - target * score)).sum())

    offset, slope = minimize(loss, [0.0, 1.0], method="L-BFGS-B", bounds=[(None, None), (0.0, None)]).x
    return Calibration(float(offset), float(slope))


class Persistence(Frozen):
    """How often something must be seen before it is an alarm.

    Attributes:
        needed, of: so many windows of the last so many.
    """

    needed: int = Field(default=3, ge=1)
    of: int = Field(default=5, ge=1)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.needed > self.of:
            raise ValueError(f"needed is {self.needed} of {self.of}: give at most as many as are looked at")
        return self


@dataclass
class Memory:
    """Counts how many of the last windows showed something.

    Attributes:
        rule: how many of how many are an alarm.
    """

    rule: Persistence
    _seen: deque[bool] = field(default_factory=deque)

    def add(self, seen: bool) -> bool:
        """Take note of a window; whether it is an alarm now."""
        self._seen.append(seen)
        while len(self._seen) > self.rule.of:
            self._seen.popleft()
        return self.alarm

    @property
    def alarm(self) -> bool:
        """Whether enough of the last windows showed it."""
        return sum(self._seen) >= self.rule.needed

    def clear(self) -> None:
        """Forget, as after an inspection."""
        self._seen.clear()


Alarm = Literal["none", "watch", "alarm"]
"""What is to be said: nothing, that a window was unusual, that it persists."""


def alarm_of(now: bool, persists: bool) -> Alarm:
    """An alarm where something persists, a watch where it is so in this window alone."""
    if persists:
        return "alarm"
    return "watch" if now else "none"
