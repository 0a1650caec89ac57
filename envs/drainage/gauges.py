"""Gauges of a drainage network for dashboards."""

from __future__ import annotations

import numpy as np

from envs.core.gauges import Gauges, largest, total
from envs.core.readings import Readings
from envs.drainage.site import DrainageSite


def gauges(site: DrainageSite, readings: Readings) -> Gauges:
    """Filling of the fullest tank and of all in the mean, tanks at their rim, most rain, flow through gates in all, and
    movements in 24 hours.
    """
    depth_m = readings["depth_m"]
    fill = depth_m / np.array([tank.full_m for tank in site.tanks])
    over_m = np.array([tank.over_m for tank in site.tanks])
    heard = np.isfinite(fill)
    return {
        "fullest": largest(fill),
        "filling": float(fill[heard].mean()) if heard.any() else float("nan"),
        "overflowing_tanks": float((depth_m >= over_m).sum()) if heard.any() else float("nan"),
        "rain_mmh": largest(readings["rain_mmh"]),
        "flow_cms": total(readings["flow_cms"]),
        "moves": total(readings["moves"]),
    }
