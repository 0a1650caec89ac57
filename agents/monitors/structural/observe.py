"""From a raw window to its modes: check it, leave faulty channels out, identify each axis. Judgement comes later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.signal import decimate

from agents.monitors.gaps import fill_gaps
from agents.monitors.structural.config import MonitorConfig
from agents.monitors.structural.identification import Mode, identify
from agents.monitors.structural.sensors import channel_faults, plausible
from envs.core.errors import CityloopError


@dataclass(frozen=True)
class Observed:
    """What a window shows before anything is known of the healthy building.

    Attributes:
        filled: the window without small gaps ``(channels, samples)``.
        faults: rows whose channel is at fault by itself → kind.
        modes: axis → modes identified on the channels in use.
        used: axis → which of its channels those are.
    """

    filled: np.ndarray
    faults: dict[int, str]
    modes: Mapping[str, list[Mode]]
    used: Mapping[str, np.ndarray]


def check_window(config: MonitorConfig, window: np.ndarray, temperature_c: float, name: str = "window") -> np.ndarray:
    """A window as floats.

    Raises:
        CityloopError: if its shape is wrong, it is too short, or the temperature is no number.
    """
    try:
        values = np.asarray(window, dtype=float)
    except (TypeError, ValueError):
        raise CityloopError(
            f"{name} is {type(window).__name__}: give accelerations (channels, samples) in m/s²"
        ) from None
    channels = len(config.channels)
    if values.ndim != 2 or values.shape[0] != channels:
        raise CityloopError(f"{name} has shape {values.shape}: give ({channels}, samples), a row for each channel")
    shortest = 20 * config.identification.lags * config.decimation
    if values.shape[1] < shortest:
        raise CityloopError(f"{name} has {values.shape[1]} samples: give {shortest} at least, better some minutes")
    number = isinstance(temperature_c, int | float | np.number) and not isinstance(temperature_c, bool)
    if not number or not -90.0 <= temperature_c <= 90.0:
        told = temperature_c.item() if isinstance(temperature_c, np.generic) else temperature_c
        raise CityloopError(f"temperature_c is {told!r}: give degrees Celsius, between -90 and 90")
    return values


def observe(config: MonitorConfig, window: np.ndarray, offset: np.ndarray) -> Observed:
    """Identify a window's modes.

    Args:
        config: of the monitor.
        window: checked, ``(channels, samples)``.
        offset: the channels' means while healthy.
    """
    faults = channel_faults(window, offset, config.sensors)
    filled = fill_gaps(window)
    slower = _decimate(filled, config.decimation)
    rate_hz = config.rate_hz / config.decimation
    modes: dict[str, list[Mode]] = {}
    used: dict[str, np.ndarray] = {}
    for axis in config.axes:
        rows = config.rows(axis)
        used[axis] = plausible(rows, faults)
        kept = [row for row in rows if row not in faults]
        floors: dict[int, list[int]] = {}
        for row in kept:
            floors.setdefault(config.channels[row].floor, []).append(row)
        if len(floors) < min(2, len(config.masses_kg)):
            modes[axis] = []
            continue
        # against the floors' means rotation cancels: torsional modes hardly show
        references = np.stack([slower[own].mean(axis=0) for own in floors.values()])
        modes[axis] = identify(slower[kept], rate_hz, config.identification, references)
    return Observed(filled, faults, modes, used)


def _decimate(window: np.ndarray, factor: int) -> np.ndarray:
    """Every so many-th sample after a zero-phase low-pass, in stages as `scipy.signal.decimate` advises."""
    usable = np.nan_to_num(window, posinf=0.0, neginf=0.0)  # channels without a single sample are out of use anyway
    while factor > 1:
        stage = next((size for size in range(min(factor, 12), 1, -1) if factor % size == 0), factor)
        usable = decimate(usable, stage, axis=1)
        factor //= stage
    return usable
