"""The stiffness of every storey from one window, by d'Alembert's principle: forces of a storey and its dampers balance
the inertia forces above it.

For storey k of a shear frame with lumped masses, Σ_{j ≥ k} m_j a_j + F_k + k_k d_k + c_k ḋ_k = 0, with absolute floor
accelerations a_j, the dampers' force F_k and the drift d_k. Nothing else of the building enters, so storeys are
estimated one by one (substructure identification, as in Xing and Mita 2012, Struct. Control Health Monit. 19:309), and
dampers, however they are driven, are inputs that are measured. The drift is the dampers' stroke; in storeys without
dampers it is the difference of accelerations over −ω². Both sides are noisy, so stiffness and damping are those that
are most likely with the sensors' noise in all of them (maximum likelihood with errors in variables, in the frequency
domain: Pintelon and Schoukens, System Identification, 2012, chapter 9).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from agents.monitors.gaps import fill_gaps, still
from agents.monitors.storeys.config import StoreyConfig
from agents.monitors.storeys.windows import Window

STEPS = 12
"""Number of Gauss-Newton steps, from the design stiffness."""

FARTHEST = 20.0
"""Largest ratio of a stiffness to its design value, or of that to it."""


@dataclass(frozen=True)
class Estimate:
    """Estimates of the storeys from a window, ``(n,)`` each.

    Attributes:
        stiffness_n_m: most likely.
        sigma: standard deviation of its logarithm.
        misfit: residual, as a multiple of that expected from the sensors' noise: about 1 where the model holds.
        missing: largest share of lost samples in any channel that the storey needs.
        still: whether one of those channels is constant.
    """

    stiffness_n_m: np.ndarray
    sigma: np.ndarray
    misfit: np.ndarray
    missing: np.ndarray
    still: np.ndarray


@dataclass(frozen=True)
class _Balance:
    """Every storey's balance at every frequency, e = pull + p · drift with p = k + iωc, ``(n, bins)``.

    The noise of e has the variance even + slope |p|² − 2 shared Re p.
    """

    omega: np.ndarray
    pull: np.ndarray
    drift: np.ndarray
    even: np.ndarray
    slope: np.ndarray
    shared: np.ndarray


def estimate(config: StoreyConfig, window: Window) -> Estimate:
    """Stiffness of all storeys from one window; see `check_window` for its requirements."""
    balance = _balance(config, window)
    designed = np.array(config.stiffness_n_m)
    stiffness, damping = designed.copy(), np.zeros_like(designed)
    for _ in range(STEPS):
        residual, jacobian = _linear(balance, stiffness, damping)
        normal = np.einsum("kbi,kbj->kij", jacobian.conj(), jacobian).real
        towards = np.einsum("kbi,kb->ki", jacobian.conj(), residual).real
        step = _solve(normal, towards)
        stiffness = np.clip(stiffness - step[:, 0], designed / FARTHEST, designed * FARTHEST)
        damping = damping - step[:, 1]
    residual, jacobian = _linear(balance, stiffness, damping)
    normal = np.einsum("kbi,kbj->kij", jacobian.conj(), jacobian).real
    misfit = (np.abs(residual) ** 2).sum(axis=1) / (residual.shape[1] - 1)
    spread = np.sqrt(np.maximum(_variance(balance, normal, stiffness, damping) * np.maximum(misfit, 1.0), 1e-30))
    missing, dead = (_worst(config, window, how) for how in (_missing, still))
    return Estimate(stiffness, spread / stiffness, misfit, missing, dead)


def _balance(config: StoreyConfig, window: Window) -> _Balance:
    samples = window.accel_m_s2.shape[1]
    taper = np.hanning(samples + 2)[1:-1]
    frequency = np.fft.rfftfreq(samples, 1.0 / config.rate_hz)
    heard = (frequency >= config.band_hz[0]) & (frequency <= config.band_hz[1])
    omega = 2 * np.pi * frequency[heard]

    def spectrum(rows: np.ndarray) -> np.ndarray:
        filled = np.nan_to_num(fill_gaps(rows), posinf=0.0, neginf=0.0)  # a channel without a sample is not judged
        centred = filled - filled.mean(axis=1, keepdims=True)
        return np.asarray(np.fft.rfft(centred * taper, axis=1)[:, heard])

    masses = np.array(config.masses_kg)
    accel, stroke, force = spectrum(window.accel_m_s2), spectrum(window.stroke_m), spectrum(window.force_n)
    above = np.cumsum((masses[:, None] * accel[1:])[::-1], axis=0)[::-1]
    noise = config.accel_m_s2**2
    even = noise * np.cumsum(masses[::-1] ** 2)[::-1][:, None] * np.ones_like(omega)
    drift = -np.diff(accel, axis=0) / omega**2
    slope = np.tile(2 * noise / omega**4, (len(masses), 1))
    shared = noise * masses[:, None] / omega**2
    for row, storey in enumerate(config.dampers):
        k = storey - 1
        above[k] += force[row]
        even[k] += config.force_n[row] ** 2
        drift[k], slope[k], shared[k] = stroke[row], (1e-3 * config.stroke_mm) ** 2, 0.0
    power = (taper**2).sum()
    return _Balance(omega, above, drift, power * even, power * slope, power * shared)


def _linear(balance: _Balance, stiffness: np.ndarray, damping: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is left over in standard deviations, ``(n, bins)``, and its derivatives by k and c, ``(n, bins, 2)``."""
    omega = balance.omega
    p = stiffness[:, None] + 1j * omega * damping[:, None]
    left = balance.pull + p * balance.drift
    variance = balance.even + balance.slope * np.abs(p) ** 2 - 2 * balance.shared * p.real
    by_k = 2 * balance.slope * p.real - 2 * balance.shared
    by_c = 2 * balance.slope * omega * p.imag
    change = np.stack([balance.drift, 1j * omega * balance.drift], axis=-1)
    bend = np.stack([by_k, by_c], axis=-1) * (left / (2 * variance))[..., None]
    scale = np.sqrt(variance)
    return left / scale, (change - bend) / scale[..., None]


def _variance(balance: _Balance, normal: np.ndarray, stiffness: np.ndarray, damping: np.ndarray) -> np.ndarray:
    """Variance of the stiffness, ``(n,)``; infinite where there is nothing but noise.

    The normal matrix counts the noise of drifts as movement, which carries no information on stiffness. Without it the
    variance is that of an estimating equation, A⁻¹ B A⁻ᵀ (Godambe 1960), with B the normal matrix and A its part from
    movement.
    """
    p = stiffness[:, None] + 1j * balance.omega * damping[:, None]
    left = balance.even + balance.slope * np.abs(p) ** 2 - 2 * balance.shared * p.real
    alone = (balance.slope - np.abs(balance.slope * p.conj() - balance.shared) ** 2 / left) / left
    noise = np.stack([alone.sum(axis=1), (balance.omega**2 * alone).sum(axis=1)], axis=-1)
    scale = np.sqrt(np.maximum(np.einsum("kii->ki", normal), 1e-300))
    both = scale[:, :, None] * scale[:, None, :]
    unit = normal / both
    moved = unit - np.eye(2) * (noise / scale**2)[:, None, :]
    seen = np.linalg.eigvalsh(moved)[:, 0] > 1e-6
    back = np.linalg.inv(np.where(seen[:, None, None], moved, np.eye(2)))
    return np.where(seen, (back @ unit @ back)[:, 0, 0] / scale[:, 0] ** 2 / 2, np.inf)


def _solve(normal: np.ndarray, towards: np.ndarray) -> np.ndarray:
    """Small systems, ``(n, 2, 2)`` and ``(n, 2)``; unobserved parameters keep their values."""
    scale = np.sqrt(np.maximum(np.einsum("kii->ki", normal), 1e-300))
    unit = normal / (scale[:, :, None] * scale[:, None, :])
    return np.asarray(np.einsum("kij,kj->ki", np.linalg.pinv(unit), towards / scale) / scale)


def _worst(config: StoreyConfig, window: Window, how: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Largest of values, one for each of some channels, among the channels that a storey needs, ``(n,)``."""
    accel, stroke, force = (how(rows) for rows in (window.accel_m_s2, window.stroke_m, window.force_n))
    floors = np.maximum.accumulate(accel[1:][::-1])[::-1]
    worst = np.maximum(floors, accel[:-1])
    for row, storey in enumerate(config.dampers):
        worst[storey - 1] = max(floors[storey - 1], stroke[row], force[row])
    return np.asarray(worst)


def _missing(rows: np.ndarray) -> np.ndarray:
    return np.asarray(1.0 - np.isfinite(rows).mean(axis=1))
