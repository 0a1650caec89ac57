"""Gauges of a site, computed from its readings for the metrics, the stream and the page."""

from __future__ import annotations

import math

import orjson

from envs.core.errors import CityloopError
from envs.core.registry import get_system
from envs.core.site import Site


def gauges_of(site: Site, body: bytes | str) -> dict[str, float | None]:
    """The gauges of a tick (`System.gauges`): name → value, None where no sensor tells.

    Args:
        site: of the tick.
        body: of the tick; if it does not fit the site there are no gauges, and no error.
    """
    system = get_system(site.system)
    try:
        readings = system.readings.validate(orjson.loads(body)["readings"], site.axes)
        told = system.gauges(site, readings)
    except (CityloopError, ValueError, KeyError, TypeError):
        return {}
    return {name: value if math.isfinite(value) else None for name, value in told.items()}
