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
