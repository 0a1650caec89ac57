"""Readings of a building: samples of its sensors, and estimates of its acquisition unit (`acquisition/observer.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from envs.core.errors import ReadingError
from envs.core.readings import Column, Readings, Schema

if TYPE_CHECKING:
    from envs.dampers.site import DampersSite

READINGS = Schema(
    Column("accel_m_s2", "floor", -1e3, 1e3, "measured absolute acceleration of the floor", nullable=True),
    Column("ground_m_s2", "ground", -1e3, 1e3, "measured acceleration of the ground", nullable=True),
    Column("stroke_mm", "damper", -1e4, 1e4, "measured stroke, the drift of its storey", nullable=True),
    Column("force_n", "damper", -1e9, 1e9, "measured force of its devices, positive while stretched", nullable=True),
    Column("level", "damper", 0, 1, "last command, as a share of the driver's full voltage"),
    Column("silent_s", "damper", 0, 1e6, "time since both stroke and force were last heard"),
    Column("drift_est_mm", "storey", -1e5, 1e5, "estimated drift"),
    Column("rate_est_mm_s", "storey", -1e6, 1e6, "estimated rate of the drift: nothing measures it"),
    Column("accel_est_m_s2", "floor", -1e4, 1e4, "estimated absolute acceleration"),
    Column("force_est_n", "damper", -1e9, 1e9, "force, as measured or last heard"),
    Column("drift_peak_mm", "storey", 0, 1e5, "largest estimated drift of late"),
    Column("accel_peak_m_s2", "floor", 0, 1e4, "largest estimated acceleration of late"),
)
"""The schema, and the body of a request to the service."""


def cross_check(site: DampersSite, readings: Readings) -> None:
    """Refuse readings that contradict the site or themselves.

    These are strokes and forces far beyond the sensors' ranges, and a damper with ``silent_s`` 0 whose stroke or force
    is null, which the guard would never doubt.

    Raises:
        ReadingError: naming the damper.
    """
    for name in ("stroke_mm", "force_n"):
        most = np.broadcast_to(site.ranges[name], len(site.agents))
        for k, value in enumerate(readings[name]):
            if abs(value) > 10.0 * most[k]:
                where = f"readings.{name}[{k}] (damper {site.agents[k]})"
                raise ReadingError(where, float(value), f"its sensor ends at {most[k]:g}; check the scale")
    silent = np.isnan(readings["stroke_mm"]) | np.isnan(readings["force_n"])
    for k in np.flatnonzero(silent & (readings["silent_s"] == 0)).tolist():
        where = f"readings.silent_s[{k}] (damper {site.agents[k]})"
        raise ReadingError(where, 0.0, "its stroke or force is null; give the time since both were last heard")
