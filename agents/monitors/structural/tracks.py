"""Tracks: how each mode went over many windows, for plots and for eyes. Alarms do not depend on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import theilslopes

from agents.monitors.structural.report import Report


@dataclass(frozen=True)
class Track:
    """One mode over windows; NaN where it was not found.

    Attributes:
        axis, number: which mode.
        temperature_c: of the windows ``(windows,)``.
        frequency_hz, damping: as identified, likewise.
        change: of the frequency against healthy at the window's temperature, relative, likewise.
        trend: of that change for each window that passes, the median of all pairs' slopes (Theil and Sen); NaN with
            fewer than three.
    """

    axis: str
    number: int
    temperature_c: np.ndarray
    frequency_hz: np.ndarray
    damping: np.ndarray
    change: np.ndarray
    trend: float


def tracks(reports: Sequence[Report]) -> list[Track]:
    """The modes that any of the reports holds, in the order of first appearance."""
    places = dict.fromkeys((mode.axis, mode.number) for report in reports for mode in report.modes)
    temperature = np.array([report.temperature_c for report in reports])
    found = []
    for axis, number in places:
        columns = np.full((3, len(reports)), np.nan)
        for k, report in enumerate(reports):
            for mode in report.modes:
                if (mode.axis, mode.number) == (axis, number):
                    columns[:, k] = mode.frequency_hz, mode.damping, mode.change
        at = np.flatnonzero(~np.isnan(columns[2]))
        trend = float(theilslopes(columns[2, at], at).slope) if len(at) > 2 else float("nan")
        found.append(Track(axis, number, temperature, columns[0], columns[1], columns[2], trend))
    return found
