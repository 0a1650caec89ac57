"""What dashboards and the console show of a plant: a few numbers that its readings add up to, alike at all sites."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

Gauges = Mapping[str, float]
"""Indicator, its unit in its name, → its value now; NaN where no sensor tells."""


def total(values: np.ndarray) -> float:
    """Sum of what is heard; NaN if nothing is."""
    return float(np.nansum(values)) if np.isfinite(values).any() else float("nan")


def largest(values: np.ndarray) -> float:
    """Largest of what is heard; NaN if nothing is."""
    return float(np.nanmax(values)) if np.isfinite(values).any() else float("nan")
