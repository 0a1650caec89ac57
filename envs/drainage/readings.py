"""What a drainage network's sensors and actuators report, in SI units."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envs.core.errors import ReadingError
from envs.core.readings import Column, Readings, Schema

if TYPE_CHECKING:
    from envs.drainage.site import DrainageSite

READINGS = Schema(
    Column("depth_m", "tank", 0, 100, "depth of the water", nullable=True),
    Column("setting", "gate", 0, 1, "where the gate stands: 0 shut, 1 open"),
    Column("flow_cms", "gate", -1000, 1000, "flow through the gate, m³/s", nullable=True),
    Column("still_s", "gate", 0, 1e7, "seconds since the gate last moved"),
    Column("moves", "gate", 0, 1e5, "movements in the past 24 hours"),
    Column("rain_mmh", "gauge", 0, 1000, "rain since the last decision", nullable=True),
    Column("forecast_mm", "forecast", 0, 5000, "rain expected from now until the lead time", nullable=True),
    Column("tide_m", "tide", -100, 10_000, "level of the receiving water over the datum", nullable=True),
)
"""The schema, and the body of a request to the service."""


def cross_check(site: DrainageSite, readings: Readings) -> None:
    """Refuse readings that contradict the site: water that stands far above a tank's rim.

    Raises:
        ReadingError: naming the tank.
    """
    for k, tank in enumerate(site.tanks):
        depth = readings["depth_m"][k]
        if depth > 10.0 * (tank.full_m + 1.0) + tank.surcharge_m:  # nodes may be surcharged
            where = f"readings.depth_m[{k}] (tank {tank.id})"
            raise ReadingError(where, float(depth), f"the tank is {tank.full_m:g} m deep; check the sensor's scale")
