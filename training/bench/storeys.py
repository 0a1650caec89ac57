"""``cityloop bench storeys``: what the storeys' monitor hears of a simulated building while its dampers are driven.

Test motions, which nobody learned from; every damage is a share of one storey's stiffness.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from agents import POLICY, make_controller
from agents.monitors.storeys import SHIPPED, StoreyMonitor, StoreyReport, find_monitor
from agents.monitors.storeys.teach import play_windows
from envs.core.errors import CityloopError
from envs.core.registry import load_scenario
from envs.dampers.assembly import load_site
from envs.dampers.scenarios import Conditions, DampersScenario

LOSSES = (0.05, 0.1, 0.2)
DRIVERS = (POLICY, "clipped-optimal", "skyhook", "passive-off", "passive-on")
WRONG = {
    "2 % of samples lost": Conditions(dropout=0.02),
    "10 % of samples lost": Conditions(dropout=0.1),
    "five times the noise": Conditions(noise=5.0),
    "a dead damper": Conditions(dead=1),
}


class _Run:
    """The building, its monitor, and reports on test motions."""

    def __init__(self, ref: str):
        scenario = load_scenario(ref)
        assert isinstance(scenario, DampersScenario)
        self.scenario, self.site = scenario, load_site(scenario)
        monitor = find_monitor(SHIPPED, self.site)
        if monitor is None:
            raise CityloopError(f"no monitor ships for {ref}: run `cityloop teach {ref}`")
        self.monitor: StoreyMonitor = monitor

    def reports(
        self, driver: str, motions: int, conditions: Conditions | None = None, **more: Any
    ) -> list[StoreyReport]:
        """One motion after another, from a clean slate."""
        self.monitor.reset()
        first = self.scenario.seeds.test.first
        seeds = list(range(first, first + motions))
        controller = make_controller(driver, self.site)
        windows = play_windows(self.scenario, self.monitor.config, controller, seeds, conditions, **more)
        return [self.monitor.watch(window) for window in windows]


def bench_storeys(ref: str = "dampers/jansen", healthy: int = 100, damaged: int = 32) -> dict[str, Any]:
    """Measure false alarms, detection, location and estimates.

    Args:
        ref: of a building for which a monitor ships.
        healthy: motions of the undamaged building, under each driver.
        damaged: motions of each damage, and of each thing that is wrong.

    Returns:
        ``{"bench", "ratios", "figures"}``: what the bars are about, and everything else.

    Raises:
        CityloopError: if no monitor ships.
    """
    run = _Run(ref)
    ratios: dict[str, float] = {}
    figures: dict[str, float] = {}
    for driver in DRIVERS:
        figures |= _healthy(driver, run.reports(driver, healthy))
    ratios["false alarms a window, healthy, under the policy"] = figures[f"{POLICY}: unusual"]
    for what, conditions in WRONG.items():
        figures |= _healthy(what, run.reports(POLICY, damaged, conditions))
    storeys = len(run.monitor.config.masses_kg)
    for loss in LOSSES:
        heard = []
        for storey in range(1, storeys + 1):
            factor = [1.0 - loss * (k == storey) for k in range(1, storeys + 1)]
            found = _damaged(run.reports(POLICY, damaged, factor=factor), storey, loss)
            label = f"{loss:.0%} of storey {storey}".replace("%", " %")
            figures |= {f"{label}: {name}": value for name, value in found.items()}
            heard.append(found["heard in the right storey"])
        ratios[f"{loss:.0%} of a storey: heard in the right one".replace("%", " %")] = float(np.mean(heard))
    return {"bench": "storeys", "ratios": ratios, "figures": figures}


def _healthy(label: str, reports: Sequence[StoreyReport]) -> dict[str, float]:
    return {
        f"{label}: windows heard": float(np.mean([report.heard for report in reports])),
        f"{label}: unusual": float(np.mean([report.unusual for report in reports])),
        f"{label}: alarms": float(np.mean([report.alarm == "alarm" for report in reports])),
    }


def _damaged(reports: Sequence[StoreyReport], storey: int, loss: float) -> dict[str, float]:
    mine = [report.storeys[storey - 1] for report in reports if report.storeys[storey - 1].share is not None]
    shares = np.array([one.share for one in mine])
    within = [(one.low or 0.0) <= 1.0 - loss <= (one.high or 0.0) for one in mine]
    return {
        "heard": float(np.mean([report.unusual for report in reports])),
        "heard in the right storey": float(np.mean([report.location == storey for report in reports])),
        "loss is off by, points, median": 100 * float(np.median(1.0 - shares) - loss),
        "loss is off by, points, 90th percentile": 100 * float(np.quantile(np.abs(1.0 - shares - loss), 0.9)),
        "interval covers": float(np.mean(within)),
    }
