"""The controllers that traffic engineers use: fixed time, Webster, vehicle-actuated, greedy and max-pressure.

The first three are programs that the cabinet runs by itself (`intersections_plans.py` makes them); the last two choose
a stage at every decision from what the detectors count.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from agents.baselines.intersections_plans import actuated, fixed, webster
from envs.core.readings import Readings
from envs.core.world import Controller, Observation, Requests
from envs.intersections.junction import GREEN
from envs.intersections.site import SignalSite

PERMISSIVE = 0.5
"""Weight of a permissive green relative to a protected one."""

SILENT_VEH_S = 1 / 20
"""Arrivals that are assumed on an approach with a dead detector while it is red: 180 vehicles an hour and lane."""


class StageRule(Controller):
    """Asks for the allowed stage with the highest score; ties go to the lowest index.

    A stage's score is a weighted sum of detector counts, so a decision is two matrix products.

    Args:
        name: as on the command line.
        column: the reading of approaches that is summed.
        minus_exits: whether vehicles that stand behind the junction count against a stage.
        site: the site.
    """

    def __init__(self, name: str, column: str, minus_exits: bool, site: SignalSite):
        self.name, self._column, self._minus_exits = name, column, minus_exits
        self._shape = (len(site.junctions), site.most_stages)
        self._served, self._sent = _weights(site, self._shape)
        self._of = np.array([movement.approach for j in site.junctions for movement in j.movements])

    def act(self, readings: Readings, observation: Observation) -> Requests:
        """Requested stage of every junction, int64 ``(N,)``."""
        score = self._served @ self._live(readings)
        if self._minus_exits:
            score -= self._sent @ np.nan_to_num(readings["exit_queue_veh"])
        allowed = observation["action_mask"] > 0
        return np.where(allowed, score.reshape(self._shape), -np.inf).argmax(axis=1)

    def _live(self, readings: Readings) -> np.ndarray:
        """The counts; for a silent detector, the usual arrivals since the approach turned red (`SILENT_VEH_S`)."""
        counts = readings[self._column]
        if not np.isnan(counts).any():
            return counts
        red_s = np.zeros(len(counts) + 1)  # one more, for movements without an approach (index -1)
        np.maximum.at(red_s, self._of, readings["red_s"])
        return np.where(np.isnan(counts), SILENT_VEH_S * red_s[:-1], counts)


def _weights(site: SignalSite, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Weights of approaches and exits in the score of a stage: ``(N * S, approaches)`` and ``(N * S, exits)``.

    A stage serves the share of an approach's movements that it shows green, and sends as much to their exits.
    """
    served = np.zeros((*shape, len(site.approaches) + 1))
    sent = np.zeros((*shape, len(site.exits)))
    for j, junction in enumerate(site.junctions):
        lanes = [movement.approach for movement in junction.movements]
        for s, stage in enumerate(junction.stages):
            for movement, signal in zip(junction.movements, stage, strict=True):
                if movement.approach < 0 or signal not in GREEN:
                    continue
                share = (1.0 if signal == "G" else PERMISSIVE) / lanes.count(movement.approach)
                served[j, s, movement.approach] += share
                sent[j, s, list(movement.exits)] += share / len(movement.exits)
    rows = shape[0] * shape[1]
    return served[..., :-1].reshape(rows, -1), sent.reshape(rows, -1)


def greedy(site: SignalSite) -> Controller:
    """Longest queue first: the stage that serves most vehicles, standing or not, within 50 m (RESCO's MAXWAVE)."""
    return StageRule("greedy", "near_veh", False, site)


def max_pressure(site: SignalSite) -> Controller:
    """The stage with the highest pressure: vehicles standing before it less those standing behind it (Varaiya 2013)."""
    return StageRule("max-pressure", "queue_veh", True, site)


CONTROLLERS: dict[str, Callable[[Any], Controller]] = {
    "fixed": fixed,
    "webster": webster,
    "actuated": actuated,
    "max-pressure": max_pressure,
    "greedy": greedy,
}
"""Name → how to build the controller for a site."""

REFERENCES = tuple(CONTROLLERS)
"""Controllers that training is measured against."""

FALLBACK = "max-pressure"
"""The controller that takes over when a policy cannot answer: it only needs counts, and keeps queues stable."""
