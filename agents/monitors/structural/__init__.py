"""Structural health monitoring: modes, temperature, damage, sensor faults, fatigue and vibration of a building."""

from agents.monitors.structural.config import Channel, MonitorConfig
from agents.monitors.structural.monitor import StructuralMonitor
from agents.monitors.structural.report import Report
from agents.monitors.structural.tracks import Track, tracks
from envs.dampers.mechanics.fatigue import FatigueLedger, SNCurve

__all__ = [
    "Channel",
    "FatigueLedger",
    "MonitorConfig",
    "Report",
    "SNCurve",
    "StructuralMonitor",
    "Track",
    "tracks",
]
