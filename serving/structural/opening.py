"""Opening the structural monitors that a configuration names; nothing is loaded where no building is served."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from envs.core.errors import CityloopError
from envs.core.site import Site

if TYPE_CHECKING:
    from agents.monitors.storeys import StoreyMonitor

LISTENED, SHIPPED = "dampers", "shipped"
"""The system that a monitor can listen to, and the default of its setting."""


def open_monitors(places: Sequence[tuple[str | None, Site]]) -> dict[tuple[str, str], StoreyMonitor]:
    """Structural monitors by (system, site).

    Args:
        places: setting of each site, see `SiteConfig.monitor`, and the site.

    Raises:
        CityloopError: if a monitor does not fit or cannot be loaded.
    """
    found: dict[tuple[str, str], StoreyMonitor] = {}
    for ref, site in places:
        if site.system != LISTENED:
            if ref not in (None, SHIPPED):
                raise CityloopError(f"monitor of {site.system}/{site.name} is {ref}: only buildings are listened to")
        elif ref is not None:
            from agents.monitors.storeys import find_monitor
            from envs.dampers.site import DampersSite

            assert isinstance(site, DampersSite)
            if (monitor := find_monitor(ref, site)) is not None:
                found[site.system, site.name] = monitor
    return found
