"""Samples that are missing."""

from __future__ import annotations

import numpy as np


def fill_gaps(window: np.ndarray) -> np.ndarray:
    """Missing samples (NaN, infinite) put on straight lines between their neighbours; a channel without any stays.

    Args:
        window: ``(channels, samples)``; it is not changed.
    """
    out = np.array(window, float)
    moments = np.arange(out.shape[1])
    for row in out:
        ok = np.isfinite(row)
        if ok.any() and not ok.all():
            row[~ok] = np.interp(moments[~ok], moments[ok], row[ok])
    return out


def still(rows: np.ndarray) -> np.ndarray:
    """Channels whose samples are all alike, missing ones aside, ``(channels,)``; one without any is not still.

    Args:
        rows: ``(channels, samples)``.
    """
    known = np.isfinite(rows)
    first = np.take_along_axis(rows, known.argmax(axis=1, keepdims=True), axis=1)
    return np.asarray(known.any(axis=1) & ((rows == first) | ~known).all(axis=1))
