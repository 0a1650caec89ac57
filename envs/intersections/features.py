"""Readings → what a policy sees of a junction: its approaches, its stages, and which stage serves which approach.

Nothing here depends on the number or the order of lanes and stages: a junction is a set of approaches and a set of
stages joined by an incidence matrix, padded to the site's largest junction. All scales are fixed, so a policy sees the
same numbers in service as in training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from envs.core.readings import Readings
from envs.core.world import Observation
from envs.intersections.neighbours import Neighbours
from envs.intersections.site import Junction, SignalSite

APPROACH_FEATURES = (
    "known",
    "count",
    "queue",
    "near",
    "arrivals",
    "speed",
    "occupancy",
    "waiting",
    "length",
    "exit_fill",
    "exit_queue",
    "inflow_green",
    "inflow_red",
    "ahead_queue",
    "ahead_green",
    "inside",
)
"""Columns of the part ``approaches``. ``inflow_…`` and ``ahead_…`` are the neighbours' state, see `neighbours.py`."""

STAGE_FEATURES = ("exists", "current", "green", "clearing", "red", "intergreen", "allowed", "crossed")
"""Columns of the part ``stages``. ``crossed``: vehicles that stand in the middle and that the stage keeps there while
others cross their path; if those stand in turn, the junction may be locked for good."""

JUNCTION_FEATURES = ("decision", "min_green", "max_red")
"""Columns of the part ``junction``."""

_NONE = np.zeros(1)
"""The age of the red of no movement."""

INSIDE = APPROACH_FEATURES.index("inside")

VEHICLES, WAIT_S, LENGTH_M, GREEN_S, CLEARING_S, RED_S, DECISION_S = 10.0, 120.0, 150.0, 60.0, 6.0, 120.0, 10.0
"""What is divided by, to bring vehicles, waiting, lengths and ages to the order of one."""


class SignalFeatures:
    """Encodes the readings of a site.

    Parts of the observation, ``S`` stages and ``L`` approaches at the site's largest junction:
        approaches ``(N, L, 16)``: columns `APPROACH_FEATURES`, zero where there is no approach.
        stages ``(N, S, 8)``: columns `STAGE_FEATURES`.
        serves ``(N, S, 2, L)``: share of an approach's movements that a stage serves, protected and permissive.
        junction ``(N, 3)``: columns `JUNCTION_FEATURES`.
        action_mask ``(N, S)``: 1 where a stage may be asked for.
    """

    def __init__(self, site: SignalSite):
        junctions = site.junctions
        self.site = site
        lanes = [junction.approaches for junction in junctions]
        n, width, stages = len(junctions), max(map(len, lanes)), max(len(j.stages) for j in junctions)
        self.shapes: Mapping[str, tuple[int, ...]] = {
            "approaches": (width, len(APPROACH_FEATURES)),
            "stages": (stages, len(STAGE_FEATURES)),
            "serves": (stages, 2, width),
            "junction": (len(JUNCTION_FEATURES),),
            "action_mask": (stages,),
        }
        self.state_shape = (n, 6)
        total = len(site.approaches)
        self._lanes = np.full((n, width), total)
        self._serves = np.zeros((n, stages, 2, width), dtype=np.float32)
        self._crosses = np.zeros((n, stages, width))
        for j, (junction, mine) in enumerate(zip(junctions, lanes, strict=True)):
            self._lanes[j, : len(mine)] = mine
            self._serves[j, : len(junction.stages), :, : len(mine)] = _serves(junction, mine)
            self._crosses[j, : len(junction.stages), : len(mine)] = _crosses(junction, mine)
        self._to_exit = _exit_shares(site)
        self._neighbours = Neighbours(site)
        timing = site.timing
        red = 0.0 if timing.max_red_s is None else RED_S / timing.max_red_s
        timings = np.array([timing.decision_s / DECISION_S, timing.min_green_s / DECISION_S, red], np.float32)
        self._junction = np.tile(timings, (n, 1))
        self._capacity = np.array([exit_.capacity_veh for exit_ in site.exits])
        self._limit = np.array([approach.speed_mps for approach in site.approaches])
        self._length = np.array([approach.length_m for approach in site.approaches]) / LENGTH_M
        self._intergreen = np.zeros((n, stages, stages))
        self._exists = np.zeros((n, stages))
        for j, junction in enumerate(junctions):
            count = len(junction.stages)
            self._exists[j, :count] = 1.0
            self._intergreen[j, :count, :count] = [
                [site.intergreen_s(junction, a, b) if a != b else 0 for b in range(count)] for a in range(count)
            ]
        self._movement_stage = _movement_stage(junctions, stages)
        self._rows = np.arange(n)

    def encode(self, readings: Readings, mask: np.ndarray) -> Observation:
        """The observation of all junctions; see the class for its parts."""
        approaches = self._approach_columns(readings)[self._lanes]
        return {
            "approaches": approaches,
            "stages": self._stage_columns(readings, mask, approaches[..., INSIDE]),
            "serves": self._serves,
            "junction": self._junction,
            "action_mask": mask.astype(np.float32),
        }

    def _approach_columns(self, readings: Readings) -> np.ndarray:
        """Features of every approach, and a last row of zeros for places where there is none."""
        exits = (np.array([readings["exit_count_veh"], readings["exit_queue_veh"]]) / self._capacity).T
        exits[np.isnan(exits)] = 0.0
        counts = readings["count_veh"]
        padded = np.zeros((len(counts) + 1, len(APPROACH_FEATURES)), dtype=np.float32)
        columns = padded[:-1]
        columns[:, 0] = np.isfinite(counts)
        columns[:, 1] = counts / VEHICLES
        columns[:, 2] = readings["queue_veh"] / VEHICLES
        columns[:, 3] = readings["near_veh"] / VEHICLES
        columns[:, 4] = readings["arrivals_veh"] / VEHICLES
        columns[:, 5] = readings["speed_mps"] / self._limit
        columns[:, 6] = readings["occupancy"]
        columns[:, 7] = np.log1p(readings["waiting_s"] / WAIT_S)
        columns[:, 8] = self._length
        columns[:, 9:11] = self._to_exit @ exits
        columns[:, 15] = readings["inside_veh"] / VEHICLES
        columns[np.isnan(columns)] = 0.0
        green = self._neighbours.green(readings)
        columns[:, 11:13] = self._neighbours.inflow(columns[:, 1], green)
        columns[:, 13:15] = self._neighbours.ahead(columns[:, 2], green)
        return padded

    def _stage_columns(self, readings: Readings, mask: np.ndarray, inside: np.ndarray) -> np.ndarray:
        columns = np.zeros((*self._exists.shape, len(STAGE_FEATURES)), dtype=np.float32)
        stage = readings["stage"].astype(np.int64)
        red = np.concatenate((readings["red_s"], _NONE))[self._movement_stage].max(axis=2)
        columns[..., 0] = self._exists
        columns[self._rows, stage, 1] = 1.0
        columns[self._rows, stage, 2] = np.minimum(readings["green_s"] / GREEN_S, 2.0)
        columns[self._rows, stage, 3] = readings["clearing_s"] / CLEARING_S
        columns[..., 4] = np.minimum(red / RED_S, 2.0)
        columns[..., 5] = self._intergreen[self._rows, stage] / CLEARING_S
        columns[..., 6] = mask
        columns[..., 7] = (self._crosses @ inside[..., None])[..., 0]
        return columns

    def state(self, readings: Readings) -> np.ndarray:
        """What a central critic sees, float32 ``(N, 6)``.

        Columns: vehicles, standing, due, waiting, how full it is behind, age of the green.
        """
        sums = self._approach_columns(readings)[self._lanes].sum(axis=1)
        age = np.minimum(readings["green_s"] / GREEN_S, 2.0)[:, None]
        return np.concatenate([sums[:, [1, 2, 4, 7, 9]], age], axis=1, dtype=np.float32)


def _serves(junction: Junction, approaches: Sequence[int]) -> np.ndarray:
    """Share of each approach's movements that a stage serves: ``(stages, 2, approaches)``, protected and permissive."""
    shares = np.zeros((len(junction.stages), 2, len(approaches)), dtype=np.float32)
    for a, approach in enumerate(approaches):
        movements = [k for k, m in enumerate(junction.movements) if m.approach == approach]
        for s, stage in enumerate(junction.stages):
            for kind, signal in enumerate("Gg"):
                shares[s, kind, a] = sum(stage[k] == signal for k in movements) / len(movements)
    return shares


def _crosses(junction: Junction, approaches: Sequence[int]) -> np.ndarray:
    """1 where a stage lets others cross the path of an approach's movements that it stops: ``(stages, approaches)``."""
    crosses = np.zeros((len(junction.stages), len(approaches)))
    for s, stage in enumerate(junction.stages):
        for one, other in junction.foes:
            for stopped, moving in ((one, other), (other, one)):
                approach = junction.movements[stopped].approach
                if stage[stopped] not in "Gg" and stage[moving] in "Gg" and approach >= 0:
                    crosses[s, approaches.index(approach)] = 1.0
    return crosses


def _exit_shares(site: SignalSite) -> np.ndarray:
    """For each approach, its exits in equal shares: ``(approaches, exits)``."""
    shares = np.zeros((len(site.approaches), len(site.exits)))
    for junction in site.junctions:
        for movement in junction.movements:
            if movement.approach >= 0:
                shares[movement.approach, list(movement.exits)] = 1.0
    return shares / np.maximum(shares.sum(axis=1, keepdims=True), 1.0)


def _movement_stage(junctions: tuple[Junction, ...], stages: int) -> np.ndarray:
    """Indices of the movements that each stage serves, padded with the number of all: ``(N, stages, movements)``."""
    total = sum(len(junction.movements) for junction in junctions)
    widest = max(len(junction.movements) for junction in junctions)
    index = np.full((len(junctions), stages, widest), total)
    start = 0
    for j, junction in enumerate(junctions):
        for s, stage in enumerate(junction.stages):
            served = [start + k for k, signal in enumerate(stage) if signal in "Gg"]
            index[j, s, : len(served)] = served
        start += len(junction.movements)
    return index
