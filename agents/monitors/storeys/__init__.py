"""Monitor of a building with dampers while it moves: stiffness of every storey by window, and its loss."""

from agents.monitors.storeys.config import StoreyConfig
from agents.monitors.storeys.find import SHIPPED, find_monitor
from agents.monitors.storeys.monitor import StoreyMonitor
from agents.monitors.storeys.report import StoreyHeard, StoreyReport
from agents.monitors.storeys.windows import Window, Windows

__all__ = [
    "SHIPPED",
    "StoreyConfig",
    "StoreyHeard",
    "StoreyMonitor",
    "StoreyReport",
    "Window",
    "Windows",
    "find_monitor",
]
