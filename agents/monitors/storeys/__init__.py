"""Storeys of a building with dampers, heard while it moves: their stiffness, window by window, and what was lost."""

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
