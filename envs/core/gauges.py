"""Gauges of a plant for dashboards and the console: a few totals of its readings, the same at all sites of a system."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

Gauges = Mapping[str, float]
"""Indicator, with its unit in its name → its present value; NaN if no sensor reports."""


def total(values: np.ndarray) -> float:
    """Sum of the finite values; NaN if there are none."""
    return float(np.nansum(values)) if np.isfinite(values).any() else float("nan")


def largest(values: np.ndarray) -> float:
    """Largest of the finite values; NaN if there are none."""
    return float(np.nanmax(values)) if np.isfinite(values).any() else float("nan")
