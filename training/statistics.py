"""What is said of a set of episodes: quantiles of one controller, paired differences between two. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000
CONFIDENCE = 0.95
BOOTSTRAP_SEED = 20_240_229
"""Fixed, so that the same rows give the same interval."""


@dataclass(frozen=True)
class Summary:
    """A headline indicator over episodes, in its own unit; lower is better.

    Attributes:
        median, mean: of all episodes, failed ones included.
        p90: 90th percentile, linearly interpolated.
        worst: the largest.
    """

    median: float
    mean: float
    p90: float
    worst: float


@dataclass(frozen=True)
class Paired:
    """How two controllers differ on the same seeds.

    Attributes:
        difference: median over seeds of (first - baseline), in the indicator's unit; negative: the first is better.
        low, high: 95 % percentile bootstrap interval of that median.
        wins: number of seeds on which the first is better.
    """

    difference: float
    low: float
    high: float
    wins: int


def summarise(values: Sequence[float]) -> Summary:
    """Quantiles of one controller's episodes."""
    x = np.asarray(values, dtype=np.float64)
    return Summary(float(np.median(x)), float(x.mean()), float(np.percentile(x, 90)), float(x.max()))


def compare(first: Sequence[float], baseline: Sequence[float]) -> Paired:
    """Median paired difference with its bootstrap interval.

    Args:
        first: values of the one controller, a seed each.
        baseline: values of the other on the same seeds, in the same order.
    """
    differences = np.asarray(first, dtype=np.float64) - np.asarray(baseline, dtype=np.float64)
    low, high = bootstrap_median(differences)
    return Paired(float(np.median(differences)), low, high, int((differences < 0).sum()))


def bootstrap_median(values: np.ndarray) -> tuple[float, float]:
    """The percentile bootstrap interval of a median (Efron & Tibshirani 1993, ch. 13), `RESAMPLES` resamples.

    Args:
        values: float64 ``(n,)``, n >= 1.

    Returns:
        Lower and upper bound at `CONFIDENCE`.
    """
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    picks = rng.integers(len(values), size=(RESAMPLES, len(values)))
    medians = np.median(values[picks], axis=1)
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(medians, [tail, 100 - tail])
    return float(low), float(high)
