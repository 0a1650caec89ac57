"""Operational modal analysis of one window: covariance-driven stochastic subspace identification (SSI-cov).

Peeters and De Roeck 1999, Mech. Syst. Signal Process. 13:855, with references; poles that are stable over model orders
are gathered into modes by a fixed rule, without a diagram to click on. Which of the modes is which, and how they move,
is in ``modes.py``.

pyOMA2 1.4.3 was tried first. It identifies the same modes (a test keeps its numbers), but its core brings pandas,
scikit-learn and openpyxl, switches numpy's floating-point warnings off for the whole process on import, and prints
progress bars in every call; a monitor that sits in a service and looks at thousands of windows wants none of that.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from agents.monitors.structural.config import Identification


@dataclass(frozen=True)
class Mode:
    """A mode that was identified.

    Attributes:
        frequency_hz: undamped natural frequency.
        damping: share of critical.
        shape: ``(channels,)``, real, of unit length; its sign is arbitrary.
        purity: modal phase collinearity: 1 for a real shape, 0 for a complex one.
        support: share of the model orders in which it was stable.
    """

    frequency_hz: float
    damping: float
    shape: np.ndarray
    purity: float
    support: float


def identify(
    records: np.ndarray, rate_hz: float, settings: Identification, references: np.ndarray | None = None
) -> list[Mode]:
    """The modes in a window, by frequency.

    Args:
        records: accelerations ``(channels, samples)``, finite; means are removed here.
        rate_hz: samples a second.
        settings: see `Identification`.
        references: ``(references, samples)`` against which covariances are taken; None: the channels themselves.

    Returns:
        Modes; none if the window is too short, or nothing is stable.
    """
    centred = records - records.mean(axis=1, keepdims=True)
    against = centred if references is None else references - references.mean(axis=1, keepdims=True)
    if centred.shape[1] < 8 * settings.lags or not centred.any():
        return []
    scale = centred.std(axis=1, keepdims=True)
    scale[scale == 0] = 1.0
    poles = _poles(
        hankel(covariances(centred / scale, against, 2 * settings.lags), settings.lags), len(centred), rate_hz, settings
    )
    return _gather(_stable(poles, settings), scale[:, 0], len(poles), settings)


def covariances(records: np.ndarray, references: np.ndarray, lags: int) -> np.ndarray:
    """Unbiased covariances R(k) = E[y(t+k) r(t)ᵀ] for k = 1 … lags - 1: ``(lags - 1, channels, references)``."""
    count = records.shape[1]
    return np.stack([records[:, k:] @ references[:, : count - k].T / (count - k) for k in range(1, lags)])


def hankel(covariance: np.ndarray, rows: int) -> np.ndarray:
    """The block Hankel matrix of covariances: block (i, j) is R(i + j + 1), ``rows`` by as many block columns."""
    columns = len(covariance) - rows + 1
    return np.block([[covariance[i + j] for j in range(columns)] for i in range(rows)])


@dataclass(frozen=True)
class _Poles:
    """Oscillating poles: arrays over poles, shapes ``(poles, channels)`` complex, and the model order of each."""

    frequency_hz: np.ndarray
    damping: np.ndarray
    shape: np.ndarray
    order: np.ndarray


def _poles(blocks: np.ndarray, channels: int, rate_hz: float, settings: Identification) -> list[_Poles]:
    left, values, _ = np.linalg.svd(blocks, full_matrices=False)
    order = min(settings.order, int((values > 1e-12 * values[0]).sum()), len(blocks) - channels)
    observability = left[:, :order] * np.sqrt(values[:order])
    # one QR serves all orders: the leading columns of an observability matrix belong to the smaller model
    q, r = np.linalg.qr(observability[:-channels])
    projected = q.T @ observability[channels:]
    found = []
    for size in range(2, order + 1, 2):
        state = np.linalg.solve(r[:size, :size], projected[:size, :size])
        discrete, vectors = np.linalg.eig(state)
        with np.errstate(divide="ignore"):
            continuous = np.log(discrete.astype(complex)) * rate_hz
        natural = np.abs(continuous)
        damping = -continuous.real / np.where(natural > 0, natural, 1.0)
        keep = (discrete.imag > 1e-9) & (damping > 0) & (damping < settings.highest_damping)
        shapes = (observability[:channels, :size] @ vectors[:, keep]).T
        found.append(_Poles(natural[keep] / (2 * np.pi), damping[keep], shapes, np.full(keep.sum(), size)))
    return found


def _stable(poles: list[_Poles], settings: Identification) -> _Poles:
    """Poles that have a like in the next smaller order."""
    kept = []
    for before, now in pairwise(poles):
        if not len(before.frequency_hz) or not len(now.frequency_hz):
            continue
        alike = (
            (np.abs(np.log(now.frequency_hz[:, None] / before.frequency_hz)) < settings.frequency)
            & (np.abs(now.damping[:, None] - before.damping) < settings.damping)
            & (mac(now.shape, before.shape) > settings.mac)
        ).any(axis=1)
        kept.append(_Poles(now.frequency_hz[alike], now.damping[alike], now.shape[alike], now.order[alike]))
    if not kept:
        return _Poles(np.empty(0), np.empty(0), np.empty((0, 1), complex), np.empty(0, int))
    return _Poles(*(np.concatenate([getattr(part, name) for part in kept]) for name in _Poles.__dataclass_fields__))


def _gather(stable: _Poles, scale: np.ndarray, orders: int, settings: Identification) -> list[Mode]:
    """Stable poles of like frequency and shape become modes: medians of frequency and damping, the mean shape."""
    free = np.ones(len(stable.frequency_hz), bool)
    modes = []
    while free.any():
        # the densest place first, so that a stray pole between two modes joins the nearer crowd
        near = np.abs(np.log(stable.frequency_hz[:, None] / stable.frequency_hz)) < settings.frequency
        near &= (mac(stable.shape, stable.shape) > settings.mac) & free & free[:, None]
        centre = int(near.sum(axis=1).argmax())
        members = near[centre]
        free &= ~members
        free[centre] = False
        support = len(np.unique(stable.order[members])) / orders
        if support < settings.share:
            continue
        shape = _mean_shape(stable.shape[members]) * scale
        real, purity = _realise(shape)
        modes.append(
            Mode(
                frequency_hz=float(np.median(stable.frequency_hz[members])),
                damping=float(np.median(stable.damping[members])),
                shape=real,
                purity=purity,
                support=support,
            )
        )
    return sorted(modes, key=lambda mode: mode.frequency_hz)


def mac(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Modal assurance criterion |aᴴb|² / (aᴴa bᴴb) of all pairs of rows: ``(len(left), len(right))``."""
    cross = np.abs(left.conj() @ right.T) ** 2
    own = (np.abs(left) ** 2).sum(axis=1)[:, None] * (np.abs(right) ** 2).sum(axis=1)
    return np.divide(cross, own, out=np.zeros_like(cross), where=own > 0)


def _mean_shape(shapes: np.ndarray) -> np.ndarray:
    """The shapes' common direction: the first right singular vector once each has unit length."""
    unit = shapes / np.linalg.norm(shapes, axis=1, keepdims=True)
    return np.linalg.svd(unit, full_matrices=False)[2][0]


def _realise(shape: np.ndarray) -> tuple[np.ndarray, float]:
    """A complex shape turned onto the real axis, of unit length, and its modal phase collinearity."""
    parts = np.stack([shape.real, shape.imag])
    spread = parts @ parts.T
    (small, large), vectors = np.linalg.eigh(spread)
    real = vectors[:, 1] @ parts
    norm = np.linalg.norm(real)
    purity = ((large - small) / (large + small)) ** 2 if large > 0 else 0.0
    return (real / norm if norm > 0 else real), float(purity)
