"""Faults of accelerometers, as distinct from damage of the building.

Two kinds of evidence. A channel alone: missing, held, clipped, offset, spiky or silent samples. All channels together:
a change of sensitivity scales one channel's part of every mode shape alike and moves no frequency, which no loss of
stiffness does. Channels that fail are left out of everything that follows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from agents.monitors.detection import SIGMA_PER_MAD
from agents.monitors.structural.config import SensorLimits
from agents.monitors.structural.modes import Matched, Reference

CONSISTENT = 0.35
"""How far the modes may disagree on a change of sensitivity, relative to it; more is a change of shape."""


SURROUNDINGS = 50
"""Samples on either side of one that a spike must stand out from."""


def channel_faults(window: np.ndarray, offset: np.ndarray, limits: SensorLimits) -> dict[int, str]:
    """Faults that a channel shows by itself.

    Args:
        window: accelerations ``(channels, samples)``, NaN or infinite where a sample is missing.
        offset: the channels' means while they were healthy.
        limits: see `SensorLimits`.

    Returns:
        Row → ``dropout``, ``stuck``, ``clipping``, ``spikes``, ``bias`` or ``silent``.
    """
    finite = np.isfinite(window)
    missing = 1.0 - finite.mean(axis=1)
    spread = np.array([row[ok].std() if ok.any() else 0.0 for row, ok in zip(window, finite, strict=True)])
    typical = np.median(spread)
    odd = _spikes(window, limits.spike)
    # a motion of several channels at the same time is the building's: a door, a truck, an earthquake
    moments = np.lib.stride_tricks.sliding_window_view(np.pad(odd.sum(axis=0), 5), 11).max(axis=1)
    alone = odd & (moments <= 1)
    found = {}
    for k, row in enumerate(window):
        values = row[finite[k]]
        if missing[k] > limits.missing:
            found[k] = "dropout"
        elif longest_run(values) > limits.held * row.size:
            found[k] = "stuck"
        elif spread[k] < limits.quiet * typical:
            found[k] = "silent"
        elif _at_extremes(values) > limits.clipped:
            found[k] = "clipping"
        elif alone[k].sum() >= 3:
            found[k] = "spikes"
        elif abs(values.mean() - offset[k]) > limits.offset * spread[k]:
            found[k] = "bias"
    return found


def longest_run(values: np.ndarray) -> int:
    """How many samples in a row are equal, at most."""
    if values.size == 0:
        return 0
    changes = np.flatnonzero(np.diff(values) != 0)
    edges = np.concatenate([[-1], changes, [values.size - 1]])
    return int(np.diff(edges).max())


def _at_extremes(values: np.ndarray) -> float:
    """Share of samples at the largest or smallest value: a few where nothing clips."""
    width = 1e-6 * max(float(np.ptp(values)), 1e-300)
    return float(max((values >= values.max() - width).mean(), (values <= values.min() + width).mean()))


def _spikes(window: np.ndarray, limit: float) -> np.ndarray:
    """Samples far from their channel's median ``(channels, samples)``; its spread is the median absolute deviation.

    They must be far by the spread of the whole window and by that of the samples around them: in a gust, or while a
    truck passes, all samples of a channel are far from the usual ones.
    """
    odd = np.zeros(window.shape, bool)
    for k, row in enumerate(window):
        ok = np.isfinite(row)
        if ok.any():
            away = np.abs(np.where(ok, row, np.nan) - np.median(row[ok]))
            spread = SIGMA_PER_MAD * np.median(away[ok])
            at = np.flatnonzero(np.nan_to_num(away) > limit * (spread if spread > 0 else np.inf))
            padded = np.pad(away, SURROUNDINGS, constant_values=np.nan)
            around = np.lib.stride_tricks.sliding_window_view(padded, 2 * SURROUNDINGS + 1)[at]
            odd[k, at] = away[at] > limit * SIGMA_PER_MAD * np.nanmedian(around, axis=1)
    return odd


def gains(reference: Reference, matched: Matched) -> tuple[np.ndarray, np.ndarray]:
    """How much each channel's sensitivity seems to have changed, and how much the modes disagree on it.

    For each mode, a channel's part of the shape is compared with its prediction from the reference and the other
    channels; modes count by the square of the channel's part.

    Returns:
        Relative change and weighted standard deviation over modes, ``(channels,)``; NaN where unknown.
    """
    shape, seen = reference.shape, ~np.isnan(matched.shape)
    base = np.where(seen, shape, 0.0)
    now = np.where(seen, matched.shape, 0.0)
    product, power = base * now, base * base
    others = (power.sum(axis=1, keepdims=True) - power) / (product.sum(axis=1, keepdims=True) - product + 1e-300)
    with np.errstate(divide="ignore", invalid="ignore"):
        change = np.where(seen, now * others / base - 1.0, 0.0)
        weight = np.where(seen & (np.abs(base) > 0.02), power, 0.0)
        mean = (weight * np.nan_to_num(change)).sum(axis=0) / weight.sum(axis=0)
        scatter = np.sqrt((weight * np.nan_to_num(change - mean) ** 2).sum(axis=0) / weight.sum(axis=0))
    return mean, scatter


def gain_faults(
    reference: Reference, matched: Matched, mean: np.ndarray, sigma: np.ndarray, limits: SensorLimits
) -> dict[int, float]:
    """Channels of an axis whose sensitivity changed.

    The most unlikely channel is judged, left out, and the rest judged anew: one wrong channel pulls at all others.

    Args:
        reference: healthy modes.
        matched: the window's.
        mean: of `gains` while healthy ``(channels,)``.
        sigma: likewise, its standard deviation.
        limits: see `SensorLimits`.

    Returns:
        Channel of the axis → relative change.
    """
    found: dict[int, float] = {}

    def without(channels: Iterable[int]) -> tuple[np.ndarray, np.ndarray]:
        shape = matched.shape.copy()
        shape[:, list(channels)] = np.nan
        return gains(reference, Matched(matched.frequency_hz, matched.damping, shape))

    for _ in range(matched.shape.shape[1] // 2):
        change, scatter = without(found)
        standing = np.nan_to_num(np.abs(change - mean) / sigma)
        worst = int(standing.argmax())
        by = change[worst] - mean[worst]
        large = standing[worst] > limits.sigma and abs(by) > limits.gain
        if not large or scatter[worst] > CONSISTENT * abs(by):
            break
        found[worst] = float(by)
    # the first were judged while later ones still pulled at them
    return {own: float(without(set(found) - {own})[0][own] - mean[own]) for own in found}


def plausible(rows: Sequence[int], faults: dict[int, str]) -> np.ndarray:
    """Which of an axis' channels are in use ``(len(rows),)``."""
    return np.array([row not in faults for row in rows])
