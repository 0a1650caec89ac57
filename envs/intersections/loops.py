"""The cabinet's own loops, by which vehicle-actuated control decides, where detectors are dead."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.core.readings import Readings
from envs.intersections.signals import stop_lane
from envs.intersections.site import Junction, SignalSite

CALL_S = 15.0
"""For how much of a green a failed loop calls; chosen in RESULTS.md, "How actuated control was set"."""

SILENT_S = 1e6
"""How long ago its last vehicle was, as a loop says that does not call."""


class FailedLoops:
    """Loops that report nothing, as an actuated controller treats them.

    It keeps a call for them as long as their light is red, and for a time that an engineer sets when it is green
    (NTCIP 1202, vehicle detector fail time): so their stage is neither skipped nor held until its maximum. Here that
    time is rounded up to whole decisions.

    Args:
        site: the site.
        sumo: SUMO, which has begun.
        dead: which approaches' detectors are dead, bool ``(approaches,)``.
    """

    def __init__(self, site: SignalSite, sumo: Any, dead: np.ndarray):
        self._loops = sumo.inductionloop
        named = {site.approaches[k].id: k for k in np.flatnonzero(dead).tolist()}
        served = {k: j for j, junction in enumerate(site.junctions) for k in junction.approaches}
        self._failed: list[tuple[str, int, np.ndarray]] = []  # its id, its junction, which stages show it green
        for loop in self._loops.getIDList() if named else ():
            k = named.get(stop_lane(loop, self._loops.getLaneID(loop)))
            if k is not None:
                self._failed.append((loop, served[k], _stages(site.junctions[served[k]], k)))

    def call(self, signals: Readings) -> None:
        """Let each call or be silent until the next decision.

        Args:
            signals: what the lamps show, as of `Detection.shown`.
        """
        for loop, j, stages in self._failed:
            green = stages[int(signals["stage"][j])] and not signals["clearing_s"][j]
            silent = green and signals["green_s"][j] >= CALL_S
            self._loops.overrideTimeSinceDetection(loop, SILENT_S if silent else 0.0)


def _stages(junction: Junction, approach: int) -> np.ndarray:
    """Which stages show green to any movement of an approach, bool ``(stages,)``."""
    mine = junction.movements_of(approach)
    return np.array([any(green[k] for k in mine) for green in junction.greens])
