"""A plant without traffic: guard, cabinet and monitors, driven second by second."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from envs import load_scenario
from envs.intersections.guard import SignalGuard
from envs.intersections.network.read import load_site
from envs.intersections.signals import SignalController
from envs.intersections.site import SignalSite
from tests.safety.conflict_monitor import ConflictMonitor

MAPS = ("cologne8", "ingolstadt7", "grid4x4", "grid2x2", "crossings3x3", "cologne1", "junction4", "junction8")


@cache
def site_of(name: str, regime: str) -> SignalSite:
    return load_site(load_scenario(f"intersections/{name}", regime=regime))


class Cabinet:
    """All junctions of a site under a guard, each watched by a monitor."""

    def __init__(self, site: SignalSite):
        self.site, self.time_s = site, 0.0
        self.guard = SignalGuard(site)
        self.controller = SignalController(site)
        self.monitors = [ConflictMonitor(site, junction) for junction in site.junctions]

    def decide(self, requests: Any) -> list[str]:
        """Guard the requests, carry them out until the next decision, and report what the monitors saw."""
        commands, changes = self.guard.check(self.controller.status(self.time_s), requests)
        assert commands.dtype == np.int64
        assert commands.shape == (len(self.site.junctions),)
        assert all(change.reason in ("clearing", "min_green", "max_red", "invalid") for change in changes)
        self.controller.command(self.time_s, commands)
        faults = []
        for _ in range(self.site.timing.decision_s):
            for monitor, state in zip(self.monitors, self.controller.shown(self.time_s), strict=True):
                faults += monitor.watch(self.time_s, state)
            self.time_s += 1.0
        return faults
