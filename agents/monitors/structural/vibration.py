"""Abnormal vibration: windows that shake more than the healthy building was seen to, or beyond stated limits.

It says nothing about damage: a party, a crane and an earthquake all show here. Velocities and drifts come from
integrated accelerations, so that their static parts are missing; the drift of the ground storey is missing too, as the
ground's own movement is not known.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.signal.windows import tukey

from agents.monitors.structural.config import Channel, VibrationLimits
from envs.core.frozen import Frozen


class Vibration(Frozen):
    """How strongly a window shook.

    Attributes:
        rms_m_s2, peak_m_s2: largest root mean square and peak acceleration of any channel in use.
        velocity_mm_s: largest peak velocity of any; None if all are beyond their range.
        drift_mm: largest peak dynamic drift between measured floors that are neighbours; None if there are none.
        standing: how many healthy standard deviations the most unusual channel stands out by.
        exceeded: stated limits that were exceeded, each as a sentence.
        unusual: whether anything of this is beyond its limit.
    """

    rms_m_s2: float
    peak_m_s2: float
    velocity_mm_s: float | None
    drift_mm: float | None
    standing: float
    exceeded: tuple[str, ...]
    unusual: bool


def levels(window: np.ndarray) -> np.ndarray:
    """Logarithms of root mean square and peak of each channel, means removed: ``(2, channels)``."""
    centred = window - window.mean(axis=1, keepdims=True)
    return np.log(np.stack([centred.std(axis=1), np.abs(centred).max(axis=1)]).clip(1e-12))


def integrate(window: np.ndarray, rate_hz: float, times: int, lowest_hz: float) -> np.ndarray:
    """Integrate accelerations in the frequency domain.

    Divides by (iω) once for each integration and leaves out frequencies below the lowest, with a smooth edge of
    half an octave. The transform takes the end of a window to be followed by its beginning: a jump there, integrated,
    would be larger than the building's movement. So both ends fade over a period of the lowest frequency, a tenth of
    the window at most.

    Args:
        window: ``(…, samples)`` in m/s².
        rate_hz: samples a second.
        times: 1 for velocities in m/s, 2 for displacements in m.
        lowest_hz: see above.
    """
    count = window.shape[-1]
    fade = tukey(count, min(2.0 * rate_hz / lowest_hz / count, 0.2))  # the share that both ends take together
    hz = np.fft.rfftfreq(count, 1.0 / rate_hz)
    edge = np.clip(np.log2(np.maximum(hz, 1e-9) / lowest_hz) / 0.5, 0.0, 1.0)
    omega = np.where(hz > 0, 2j * np.pi * hz, 1.0)
    transfer = (0.5 - 0.5 * np.cos(np.pi * edge)) / omega**times
    centred = window - window.mean(axis=-1, keepdims=True)
    return np.fft.irfft(np.fft.rfft(centred * fade) * transfer, count)


def judge(
    window: np.ndarray,
    channels: Sequence[Channel],
    rate_hz: float,
    mean: np.ndarray,
    sigma: np.ndarray,
    limits: VibrationLimits,
    clipped: np.ndarray | None = None,
) -> Vibration:
    """Vibration levels of a window, relative to healthy ones and to limits.

    Args:
        window: channels in use, gaps filled, ``(channels, samples)`` in m/s².
        channels: their descriptions.
        rate_hz: samples a second.
        mean: of `levels` while healthy ``(2, channels)``.
        sigma: likewise, its standard deviation.
        limits: see `VibrationLimits`.
        clipped: which channels are beyond their range, ``(channels,)`` bool: their accelerations are the least that
            they can be, their integrals mean nothing. None: none.
    """
    beyond = np.zeros(len(channels), bool) if clipped is None else clipped
    level = levels(window)
    # as measured: a mean may be the clipping's
    level[1, beyond] = np.log(np.abs(window[beyond]).max(axis=1).clip(1e-12))
    rms, peak = np.exp(level).max(axis=1)
    velocity, drift = None, None
    sound, watched = window[~beyond], [channel for channel, lost in zip(channels, beyond, strict=True) if not lost]
    if watched:
        velocity = 1e3 * float(np.abs(integrate(sound, rate_hz, 1, limits.lowest_hz)).max())
        drift = _drift_mm(integrate(sound, rate_hz, 2, limits.lowest_hz), watched)
    standing = float(((level - mean) / sigma).max())
    measured = {
        "rms_m_s2": (float(rms), "root mean square acceleration", "m/s²"),
        "peak_m_s2": (float(peak), "peak acceleration", "m/s²"),
        "velocity_mm_s": (velocity, "peak velocity", "mm/s"),
        "drift_mm": (drift, "peak storey drift", "mm"),
    }
    exceeded = []
    for name, (value, words, unit) in measured.items():
        limit = getattr(limits, name)
        least = "at least " if beyond.any() and name.endswith("m_s2") else ""
        if limit is not None and value is not None and value > limit:
            exceeded.append(f"{words} {least}{value:.3g} {unit} exceeds {limit:g} {unit}")
    return Vibration(
        rms_m_s2=float(rms),
        peak_m_s2=float(peak),
        velocity_mm_s=velocity,
        drift_mm=drift,
        standing=standing,
        exceeded=tuple(exceeded),
        unusual=bool(exceeded) or standing > limits.sigma,
    )


def _drift_mm(displacement_m: np.ndarray, channels: Sequence[Channel]) -> float | None:
    largest = None
    for axis in dict.fromkeys(channel.axis for channel in channels):
        floors: dict[int, list[int]] = {}
        for row, channel in enumerate(channels):
            if channel.axis == axis:
                floors.setdefault(channel.floor, []).append(row)
        for floor, rows in floors.items():
            if floor + 1 in floors:
                apart = displacement_m[floors[floor + 1]].mean(axis=0) - displacement_m[rows].mean(axis=0)
                largest = max(largest or 0.0, 1e3 * float(np.abs(apart).max()))
    return largest
