"""Response spectra: of motions, of a design code's two-point shape, and motions scaled or matched to one."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from envs.dampers.mechanics.frame import first_order_hold

G = 9.80665
"""Standard gravity in m/s²."""

DAMPING = 0.05
"""Share of critical damping of a spectrum's oscillators."""

LONG_S = 8.0
"""Long-period transition T_L of the design spectrum."""

ROUNDS = 20
"""Largest number of rounds of matching."""

CLOSE = 0.05
"""Mean deviation from the target at which a motion counts as matched."""

MATCHED, JUDGED = 40, 300
"""Number of periods at which a motion is matched, and at which the result is checked: it may fall lower in between."""

EDGE_S = 0.5
"""Longest taper of a matched motion at either end."""


def spectrum(ground: np.ndarray, dt_s: float, periods_s: np.ndarray) -> np.ndarray:
    """Pseudo-acceleration response spectrum: ω² times the largest displacement of an oscillator, m/s², ``(periods,)``.

    Args:
        ground: acceleration in m/s², ``(T,)``.
        dt_s: between samples; it is linear between them.
        periods_s: of the oscillators; their damping is `DAMPING`.
    """
    from scipy.signal import lfilter  # takes as long to import as all of ours together

    found = []
    for period in periods_s:
        fine = max(1, int(np.ceil(10 * dt_s / period)))  # ten samples a period at least
        samples = ground
        if fine > 1:
            times = np.arange(0, (len(ground) - 1) * dt_s + 1e-12, dt_s / fine)
            samples = np.interp(times, np.arange(len(ground)) * dt_s, ground)
        driven, own, begin = _oscillator(float(period), dt_s / fine)
        x, _ = lfilter(driven, own, samples, zi=samples[0] * begin)
        found.append((2 * np.pi / period) ** 2 * np.abs(x).max())
    return np.array(found)


@lru_cache(maxsize=1024)
def _oscillator(period_s: float, dt_s: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An oscillator's displacement under ground acceleration linear between samples, as an exact filter.

    x_{k+1} = M x_k + p u_k + r u_{k+1}, and M² = tr(M) M − det(M), so that displacements follow one recursion.

    Returns:
        Numerator and denominator, ``(3,)``, and the filter's state per unit of the first sample, ``(2,)``: from rest.
    """
    omega = 2 * np.pi / period_s
    moved, now, then = first_order_hold(
        np.array([[0.0, 1.0], [-(omega**2), -2 * DAMPING * omega]]), np.array([[0.0], [-1.0]]), dt_s
    )
    trace, det = np.trace(moved), np.linalg.det(moved)
    p, r, mp, mr = (float(column[0, 0]) for column in (now, then, moved @ now, moved @ then))
    driven = np.array([r, p - trace * r + mr, mp - trace * p])
    return driven, np.array([1.0, -trace, det]), np.array([-r, p - driven[1]])


def design_spectrum(periods_s: np.ndarray, sds_g: float, sd1_g: float) -> np.ndarray:
    """The two-point design spectrum of ASCE 7 (11.4.5) from SDS and SD1, both inputs of the site, in m/s²."""
    corner = sd1_g / sds_g
    start = 0.2 * corner
    plateau = np.full_like(periods_s, sds_g)
    rising = sds_g * (0.4 + 0.6 * periods_s / start)
    later = np.maximum(periods_s, corner)
    falling = np.where(later > LONG_S, sd1_g * LONG_S / later**2, sd1_g / later)
    shape = np.where(periods_s < start, rising, np.where(periods_s <= corner, plateau, falling))
    return np.asarray(G * shape)


def match(ground: np.ndarray, dt_s: float, sds_g: float, sd1_g: float, low_s: float, high_s: float) -> np.ndarray:
    """A motion whose spectrum follows a design spectrum from ``low_s`` to ``high_s``.

    Fourier amplitudes are multiplied repeatedly by the ratio of target to present spectrum (5 % damping). Phases, and
    so the course in time, stay about the same; the motion begins and ends at zero. The best of `ROUNDS` is kept. If
    need be it is scaled up in the end so that at none of `JUDGED` periods of the range it falls below 90 % of the
    target, which codes require everywhere.
    """
    count = len(ground)
    periods, every = (np.geomspace(low_s, high_s, periods) for periods in (MATCHED, JUDGED))
    target = design_spectrum(periods, sds_g, sd1_g)
    padded = 2 ** (2 * count - 1).bit_length()  # zero padding: no wrap-around
    frequencies = np.fft.rfftfreq(padded, dt_s)
    ends = _ends(count, dt_s)
    motion = best = ground * ends
    error = np.inf
    for _ in range(ROUNDS):
        ratio = target / np.maximum(spectrum(motion, dt_s, periods), 1e-9)
        if np.abs(1 / ratio - 1).mean() < error:
            best, error = motion, float(np.abs(1 / ratio - 1).mean())
        if error < CLOSE / 2:
            break
        gain = np.interp(frequencies, 1 / periods[::-1], ratio[::-1], left=ratio[-1], right=ratio[0])
        motion = np.fft.irfft(np.fft.rfft(motion, padded) * gain, padded)[:count] * ends
    low = float((spectrum(best, dt_s, every) / design_spectrum(every, sds_g, sd1_g)).min())
    return np.asarray(best * max(1.0, 0.9 / low))


def _ends(count: int, dt_s: float) -> np.ndarray:
    """Taper: one, with a smooth rise at the beginning and the same fall at the end, ``(count,)``."""
    edge = max(1, round(min(EDGE_S, 0.05 * count * dt_s) / dt_s))
    rise = 0.5 - 0.5 * np.cos(np.pi * np.arange(edge) / edge)
    return np.concatenate([rise, np.ones(count - 2 * edge), rise[::-1]])
