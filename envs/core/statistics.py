"""Statistics over episodes: quantiles of one controller, paired differences between two. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000
"""Resamples of a bootstrap."""

CONFIDENCE = 0.95
"""Confidence level of a bootstrap interval."""

BOOTSTRAP_SEED = 20_240_229
"""Seed of the bootstrap, fixed so that the same rows give the same interval."""


@dataclass(frozen=True)
class Summary:
    """Statistics of a headline indicator over episodes, in its own unit; lower is better.

    Attributes:
        median, mean: median and mean over all episodes, including failed ones unless these are void.
        p90: 90th percentile, linearly interpolated.
        worst: largest value.
    """

    median: float
    mean: float
    p90: float
    worst: float


@dataclass(frozen=True)
class Paired:
    """Paired difference of two controllers on the same seeds.

    Attributes:
        difference: median over seeds of (first - baseline), in the indicator's unit; negative: the first is better.
        low, high: 95 % percentile bootstrap interval of that median.
        wins: number of seeds on which the first is better.
        ratio: median over seeds of (first / baseline); see `seed_ratios`.
    """

    difference: float
    low: float
    high: float
    wins: int
    ratio: float


@dataclass(frozen=True)
class Standing:
    """Comparison of one controller with the best of the others on one scenario.

    Attributes:
        rival, mean_rival: the other controller with the least median, and the one with the least mean.
        median_ratio, mean_ratio: the first's median and mean divided by theirs; below one: the first is better.
        failures, rival_failures: failed episodes of the first controller and of `rival`.
        seed_mean, seed_worst: mean and largest of `seed_ratios`.
    """

    rival: str
    median_ratio: float
    mean_rival: str
    mean_ratio: float
    failures: int
    rival_failures: int
    seed_mean: float
    seed_worst: float


def stand(summaries: Mapping[str, tuple[Summary, int]], ratios: Sequence[float]) -> Standing:
    """Compare the first of several controllers with the best of the others.

    Args:
        summaries: controller → its summary and number of failures; at least two controllers.
        ratios: result of `seed_ratios`.
    """
    (first, failures), *_ = summaries.values()
    others = dict(list(summaries.items())[1:])
    rival = min(others, key=lambda name: others[name][0].median)
    mean_rival = min(others, key=lambda name: others[name][0].mean)
    return Standing(
        rival=rival,
        median_ratio=_ratio(first.median, others[rival][0].median),
        mean_rival=mean_rival,
        mean_ratio=_ratio(first.mean, others[mean_rival][0].mean),
        failures=failures,
        rival_failures=others[rival][1],
        seed_mean=float(np.mean(ratios)),
        seed_worst=float(np.max(ratios)),
    )


def seed_ratios(first: Sequence[float], others: Sequence[Sequence[float]], negligible: float = 0.0) -> list[float]:
    """For every seed, the first controller's value divided by the least value of the others on that seed.

    Args:
        first: values of the first controller, one per seed.
        others: values of each other controller on the same seeds.
        negligible: lower bound of all values, so that a litre beside zero does not count as a failure.
    """
    least = np.maximum(np.min(np.asarray(others, dtype=np.float64), axis=0), negligible)
    mine = np.maximum(np.asarray(first, dtype=np.float64), negligible)
    return [_ratio(float(a), float(b)) for a, b in zip(mine, least, strict=True)]


def _ratio(a: float, b: float) -> float:
    """The quotient ``a / b``; 1 if they are equal, also if both are zero."""
    return 1.0 if a == b else a / max(b, 1e-9)


def geometric_mean(ratios: Sequence[float]) -> float:
    """Geometric mean of non-negative ratios, each at least 1e-9."""
    return float(np.exp(np.mean(np.log(np.maximum(ratios, 1e-9)))))


def summarise(values: Sequence[float]) -> Summary:
    """Statistics of one controller's episodes."""
    x = np.asarray(values, dtype=np.float64)
    return Summary(float(np.median(x)), float(x.mean()), float(np.percentile(x, 90)), float(x.max()))


def compare(first: Sequence[float], baseline: Sequence[float], negligible: float = 0.0) -> Paired:
    """Median paired difference with its bootstrap interval, and median paired ratio.

    Args:
        first: values of the first controller, one per seed.
        baseline: values of the other controller on the same seeds, in the same order.
        negligible: lower bound for the ratio, see `seed_ratios`.
    """
    differences = np.asarray(first, dtype=np.float64) - np.asarray(baseline, dtype=np.float64)
    low, high = bootstrap_median(differences)
    ratio = float(np.median(seed_ratios(first, [baseline], negligible)))
    return Paired(float(np.median(differences)), low, high, int((differences < 0).sum()), ratio)


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
