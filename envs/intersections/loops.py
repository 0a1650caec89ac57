"""The cabinet's own loops, by which vehicle-actuated control decides, where detectors are dead."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.core.readings import Readings
from envs.intersections.junction import Junction
from envs.intersections.signals import stop_lane
from envs.intersections.site import SignalSite

CALL_S = 15.0
"""For how much of a green a failed loop calls; chosen in RESULTS.md, "How actuated control was set"."""

SILENT_S = 1e6
"""Time since the last vehicle that is reported for a loop that does not call."""


class FailedLoops:
    """Treatment of failed loops by an actuated controller.

    A call is kept for them as long as their light is red, and for a set time of its green (NTCIP 1202, vehicle detector
    fail time). So their stage is neither skipped nor held until its maximum. Here that time is rounded up to whole
    decisions.

    Args:
        site: the site.
        sumo: SUMO, which has begun.
        dead: which approaches' detectors are dead, bool ``(approaches,)``.
    """

    def __init__(self, site: SignalSite, sumo: Any, dead: np.ndarray):
        self._loops = sumo.inductionloop
        named = {site.approaches[k].id: k for k in np.flatnonzero(dead).tolist()}
        served = {k: j for j, junction in enumerate(site.junctions) for k in junction.approaches}
        self._failed: list[tuple[str, int, np.ndarray]] = []  # id, junction, whether each stage serves it
        for loop in self._loops.getIDList() if named else ():
            k = named.get(stop_lane(loop, self._loops.getLaneID(loop)))
            if k is not None:
                self._failed.append((loop, served[k], _stages(site.junctions[served[k]], k)))

    def call(self, signals: Readings) -> None:
        """Set each loop to call or be silent until the next decision.

        Args:
            signals: state of the lamps, see `Detection.shown`.
        """
        for loop, j, stages in self._failed:
            green = stages[int(signals["stage"][j])] and not signals["clearing_s"][j]
            silent = green and signals["green_s"][j] >= CALL_S
            self._loops.overrideTimeSinceDetection(loop, SILENT_S if silent else 0.0)


def _stages(junction: Junction, approach: int) -> np.ndarray:
    """Whether each stage shows green to a movement of an approach, bool ``(stages,)``."""
    mine = junction.movements_of(approach)
    return np.array([any(green[k] for k in mine) for green in junction.greens])
