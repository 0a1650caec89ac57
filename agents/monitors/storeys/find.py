"""Which monitor listens to a building: one that ships, or a file of its engineer's."""

from __future__ import annotations

from pathlib import Path

from agents import CHECKPOINTS
from agents.monitors.storeys.config import StoreyConfig
from agents.monitors.storeys.monitor import StoreyMonitor
from envs.core.errors import CityloopError
from envs.dampers.site import DampersSite

SHIPPED, FILE = "shipped", "storeys.json"
"""Name that stands for the monitor that ships, and name of its file beside the building's policy."""

SAME = ("rate_hz", "masses_kg", "stiffness_n_m", "dampers", "accel_m_s2", "stroke_mm", "force_n")
"""What a monitor's building and a site's must share."""


def find_monitor(ref: str, site: DampersSite) -> StoreyMonitor | None:
    """The monitor of a building.

    Args:
        ref: a file, or `SHIPPED`: the one that ships for this building, if one does.
        site: the building.

    Raises:
        CityloopError: if the file cannot be read, or is of another building.
    """
    path = CHECKPOINTS / "dampers" / site.name / FILE if ref == SHIPPED else Path(ref)
    if ref == SHIPPED and (not path.is_file() or site.building.stiffness_n_m is None):
        return None
    monitor = StoreyMonitor.load(path)
    here = StoreyConfig.of_site(site)
    other = next((name for name in SAME if getattr(here, name) != getattr(monitor.config, name)), None)
    if other is None:
        return monitor
    if ref == SHIPPED:
        return None
    learned = getattr(monitor.config, other)
    raise CityloopError(
        f"monitor {ref} learned a building whose {other} is {learned}, not {getattr(here, other)}: learn anew"
    )
