"""Which mode is which: reference modes of one axis, learned from healthy windows, and a window's modes matched to them.

A window becomes a row of features: the logarithm of each reference mode's frequency, and how its shape over the floors
departs from the reference. Judging features and their dependence on temperature are elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.optimize import linear_sum_assignment

from agents.monitors.structural.identification import Mode, mac
from envs.core.errors import CityloopError

SAME_HZ = 0.08
"""How far a mode's frequency may wander over the learning period, as a share, and still be one mode."""

FARTHEST = 0.6
"""How far the logarithm of a damaged building's frequency may be from the reference."""

LIKENESS = 0.7
"""The least modal assurance criterion of a match."""

SPLIT = 0.2
"""What it costs in a match to be stable in no order at all, in units of likeness lost."""

OFTEN = 0.8
"""In how many of the healthy windows a reference mode must be found."""


@dataclass(frozen=True)
class Reference:
    """An axis' modes while the building was healthy.

    Attributes:
        numbers: of the modes, from 1.
        frequency_hz: medians over the learning windows ``(modes,)``.
        damping: likewise.
        floors: the floors that are measured, ascending.
        shape: over the axis' channels ``(modes, channels)``, of unit length.
        floor_of: the floor's index of each channel ``(channels,)``.
    """

    numbers: tuple[int, ...]
    frequency_hz: np.ndarray
    damping: np.ndarray
    floors: tuple[int, ...]
    shape: np.ndarray
    floor_of: np.ndarray

    @cached_property
    def floor_shape(self) -> np.ndarray:
        """Shapes over the floors ``(modes, floors)``, of unit length."""
        shape = over_floors(self.shape, self.floor_of)
        return shape / np.linalg.norm(shape, axis=1, keepdims=True)


@dataclass(frozen=True)
class Matched:
    """A window's modes in the order of the reference; NaN where nothing was found.

    Attributes:
        frequency_hz, damping: ``(modes,)``.
        shape: ``(modes, channels)``, scaled like the reference; NaN at channels that are out of use.
    """

    frequency_hz: np.ndarray
    damping: np.ndarray
    shape: np.ndarray


def over_floors(shape: np.ndarray, floor_of: np.ndarray) -> np.ndarray:
    """Means of each floor's channels: the translation of its middle if they stand at opposite faces.

    A floor with a channel out of use (NaN) is NaN: half a pair would also measure rotation.
    """
    return np.stack([shape[..., floor_of == floor].mean(axis=-1) for floor in range(floor_of.max() + 1)], axis=-1)


def learn_reference(
    windows: Sequence[Sequence[Mode]], floor_of: np.ndarray, floors: tuple[int, ...], storeys: int
) -> Reference:
    """Reference modes of an axis.

    Modes of many windows are gathered by frequency and shape. Of those found often that move the floors rather than
    turn them, each gets its number: where all floors are measured, one more than its shape has changes of sign, as in
    any chain of masses; else by order of frequency, up to the number of storeys: a chain has no more.

    Args:
        windows: modes identified in each healthy window.
        floor_of: index into ``floors`` of each channel.
        floors: measured floors, ascending, from 1.
        storeys: of the building.

    Raises:
        CityloopError: if no mode is found in enough of the windows.
    """
    frequency = np.array([mode.frequency_hz for modes in windows for mode in modes])
    damping = np.array([mode.damping for modes in windows for mode in modes])
    shape = np.array([mode.shape for modes in windows for mode in modes]).reshape(len(frequency), len(floor_of))
    window = np.array([k for k, modes in enumerate(windows) for _ in modes])
    flat = over_floors(shape, floor_of)
    # share of the motion that is translation: channels of a floor that move alike
    moving = np.linalg.norm(flat[:, floor_of], axis=1) > 0.9
    alike = _alike(frequency, shape, window, moving, OFTEN * len(windows))
    by_frequency = []
    for members in alike:
        mean = np.linalg.svd(shape[members], full_matrices=False)[2][0]
        top = over_floors(mean, floor_of)[-1]
        often = len(np.unique(window[members]))
        middle = float(np.median(frequency[members])), float(np.median(damping[members]))
        by_frequency.append((often, *middle, mean * np.sign(top or 1.0)))
    by_frequency.sort(key=lambda mode: mode[1])
    found: dict[int, tuple[int, float, float, np.ndarray]] = {}
    complete = floors == tuple(range(1, storeys + 1))
    for k, mode in enumerate(by_frequency):
        signs = np.sign(over_floors(mode[3], floor_of))
        number = int((signs[1:] != signs[:-1]).sum()) + 1 if complete else k + 1
        if number <= storeys and (number not in found or mode[0] > found[number][0]):
            found[number] = mode
    if not found:
        raise CityloopError(
            f"windows hold no mode that {OFTEN:.0%} of them share: give longer windows, or ones in which the building "
            "vibrates above the sensors' noise"
        )
    numbers = tuple(sorted(found))
    return Reference(
        numbers=numbers,
        frequency_hz=np.array([found[k][1] for k in numbers]),
        damping=np.array([found[k][2] for k in numbers]),
        floors=floors,
        shape=np.array([found[k][3] for k in numbers]),
        floor_of=floor_of,
    )


def _alike(
    frequency_hz: np.ndarray, shape: np.ndarray, window: np.ndarray, free: np.ndarray, least: float
) -> Iterator[np.ndarray]:
    """Modes that are one mode in many windows, the most frequent first, as masks ``(found,)``.

    Args:
        frequency_hz: of all that were found, ``(found,)``.
        shape: likewise, ``(found, channels)``.
        window: in which each was.
        free: which may belong to one.
        least: windows that one must be in.
    """
    free = free.copy()
    while free.any():
        near = np.abs(np.log(frequency_hz[:, None] / frequency_hz[free])) < SAME_HZ
        likely = near & (mac(shape, shape[free]) > 0.9) & free[:, None]
        members = likely[:, likely.sum(axis=0).argmax()]
        if len(np.unique(window[members])) < least:
            return
        free &= ~members
        yield members


def match(reference: Reference, modes: Sequence[Mode], used: np.ndarray) -> Matched:
    """A window's modes in the order of the reference's, each given at most once, by likeness of shape and frequency.

    Args:
        reference: of the axis.
        modes: identified on the channels in use alone.
        used: which of the axis' channels those are, ``(channels,)`` bool.
    """
    count, channels = reference.shape.shape
    frequency, damping = np.full(count, np.nan), np.full(count, np.nan)
    shape = np.full((count, channels), np.nan)
    if modes:
        known = reference.shape[:, used]
        seen = np.array([mode.shape for mode in modes])
        likeness = mac(known, seen)
        hz = np.array([mode.frequency_hz for mode in modes])
        away = np.abs(np.log(hz / reference.frequency_hz[:, None]))
        possible = (likeness > LIKENESS) & (away < FARTHEST)
        # where a mode is split in two, the stray half is stable in few orders, and may be nearer in frequency
        stray = SPLIT * (1.0 - np.array([mode.support for mode in modes]))
        cost = np.where(possible, 1.0 - likeness + away + stray, 1e3)
        for k, m in zip(*linear_sum_assignment(cost), strict=True):
            if possible[k, m]:
                frequency[k], damping[k] = modes[m].frequency_hz, modes[m].damping
                scale = (known[k] @ seen[m]) / (known[k] @ known[k])
                shape[k, used] = seen[m] / scale
    return Matched(frequency, damping, shape)


def features(frequency_hz: np.ndarray, floor_shape: np.ndarray, healthy: np.ndarray) -> np.ndarray:
    """Features of one axis: for each mode the logarithm of its frequency, then its shape's departure from healthy.

    The shape is scaled so that its product with the healthy one over the measured floors is one; what remains is
    perpendicular to it.

    Args:
        frequency_hz: ``(modes,)``, NaN where not found.
        floor_shape: ``(modes, floors)``, any scale, NaN where not measured.
        healthy: reference shapes ``(modes, floors)``.

    Returns:
        ``(modes, 1 + floors)``, NaN where unknown.
    """
    known = ~np.isnan(floor_shape)
    base = np.where(known, healthy, 0.0)
    seen = np.where(known, floor_shape, 0.0)
    scale = (base * seen).sum(axis=1, keepdims=True) / (base * base).sum(axis=1, keepdims=True).clip(1e-12)
    with np.errstate(divide="ignore", invalid="ignore"):
        departure = np.where(known, seen / scale - base, np.nan)
    return np.concatenate([np.log(frequency_hz)[:, None], departure], axis=1)
