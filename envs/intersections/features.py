"""Readings → what a policy sees of a junction: its approaches, its stages, and which stage serves which approach.

Nothing here depends on the number or the order of lanes and stages: a junction is a set of approaches and a set of
stages joined by an incidence matrix, padded to the site's largest junction. All scales are fixed, so a policy sees the
same numbers in service as in training. Columns are computed by compiled code (numba), as they are needed at every
decision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numba import boolean, float32, from_dtype, void
from numba import float64 as real
from numba import int64 as whole

from envs.core.readings import Readings
from envs.core.world import Observation
from envs.intersections.jit import compiled
from envs.intersections.junction import GREEN, Junction
from envs.intersections.neighbours import Neighbours
from envs.intersections.site import SignalSite

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

KNOWN, COUNT, QUEUE, NEAR, ARRIVALS, SPEED, OCCUPANCY, WAITING, LENGTH, EXIT_FILL = range(10)
EXIT_QUEUE, INFLOW_GREEN, INFLOW_RED, AHEAD_QUEUE, AHEAD_GREEN, INSIDE = range(10, len(APPROACH_FEATURES))
"""Their indices."""

EXITS, INFLOW, AHEAD = (slice(first, first + 2) for first in (EXIT_FILL, INFLOW_GREEN, AHEAD_QUEUE))
"""Those that are reckoned in pairs."""

STAGE_FEATURES = ("exists", "current", "green", "clearing", "red", "intergreen", "allowed", "crossed")
"""Columns of the part ``stages``. ``green``, ``red``: for how long the stage has been green, and the longest red of a
movement that it serves. ``intergreen``: how long vehicles would lose their green by the change to it; while pedestrians
clear they keep it. ``crossed``: vehicles that stand in the middle and that the stage keeps there while others cross
their path; if those stand in turn, the junction may be locked for good."""

EXISTS, CURRENT, GREEN_AGE, CLEARING, RED_AGE, INTERGREEN, ALLOWED, CROSSED = range(len(STAGE_FEATURES))
"""Their indices."""

JUNCTION_FEATURES = ("decision", "min_green", "max_red")
"""Columns of the part ``junction``."""

OF_APPROACHES = (
    *("count_veh", "queue_veh", "near_veh", "arrivals_veh", "speed_mps", "occupancy", "inside_veh"),
    *("exit_count_veh", "exit_queue_veh"),
)
OF_STAGES = ("stage", "clearing_s", "green_s", "red_s")
"""The readings that the parts ``approaches`` and ``stages`` are reckoned from; waiting times are passed separately."""

APPROACH = np.dtype([("limit", np.float64), ("length", np.float64)])
"""Facts of an approach for the columns: its speed limit, and its length on their scale."""

VEHICLES, WAIT_S, LENGTH_M, GREEN_S, CLEARING_S, RED_S, DECISION_S = 10.0, 120.0, 150.0, 60.0, 6.0, 120.0, 10.0
"""Divisors that bring vehicles, waiting, lengths and ages to the order of one."""


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
        n, width, stages = len(junctions), max(map(len, lanes)), site.most_stages
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
        about = [(approach.speed_mps, approach.length_m / LENGTH_M) for approach in site.approaches]
        self._approaches = np.array(about, dtype=APPROACH)
        self._intergreen = np.zeros((n, stages, stages))
        self._exists = np.zeros((n, stages))
        for j, junction in enumerate(junctions):
            count = len(junction.stages)
            self._exists[j, :count] = 1.0
            self._intergreen[j, :count, :count] = [
                [site.without_green_s(junction, a, b) if a != b else 0 for b in range(count)] for a in range(count)
            ]
        self._movement_stage = _movement_stage(junctions, stages)

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
        """Features of every approach, and a last row of zeros for padding."""
        values = np.concatenate([readings[name] for name in OF_APPROACHES], dtype=np.float64)
        waiting = np.log1p(readings["waiting_s"] / WAIT_S)
        padded = np.zeros((len(waiting) + 1, len(APPROACH_FEATURES)), dtype=np.float32)
        exits, columns = np.empty((len(self._capacity), 2)), padded[:-1]
        _fill_approaches(values, waiting, self._approaches, self._capacity, exits, columns)
        columns[:, EXITS] = self._to_exit @ exits
        green = self._neighbours.green(readings)
        columns[:, INFLOW] = self._neighbours.inflow(columns[:, COUNT], green)
        columns[:, AHEAD] = self._neighbours.ahead(columns[:, QUEUE], green)
        return padded

    def _stage_columns(self, readings: Readings, mask: np.ndarray, inside: np.ndarray) -> np.ndarray:
        values = np.concatenate([readings[name] for name in OF_STAGES], dtype=np.float64)
        columns = np.zeros((*self._exists.shape, len(STAGE_FEATURES)), dtype=np.float32)
        _fill_stages(values, mask, inside, self._exists, self._movement_stage, self._intergreen, self._crosses, columns)
        return columns

    def state(self, readings: Readings) -> np.ndarray:
        """State for a central critic, float32 ``(N, 6)``.

        Columns: vehicles, standing, due, waiting, fill of the exits, age of the green.
        """
        sums = self._approach_columns(readings)[self._lanes].sum(axis=1)
        age = np.minimum(readings["green_s"] / GREEN_S, 2.0)[:, None]
        return np.concatenate([sums[:, [COUNT, QUEUE, ARRIVALS, WAITING, EXIT_FILL]], age], axis=1, dtype=np.float32)


_row, _table = real[::1], float32[:, ::1]


@compiled(void(_row, _row, from_dtype(APPROACH)[::1], _row, real[:, ::1], _table))
def _fill_approaches(
    values: np.ndarray,
    waiting: np.ndarray,
    approaches: np.ndarray,
    capacity: np.ndarray,
    exits: np.ndarray,
    columns: np.ndarray,
) -> None:
    """Fill the columns that depend on an approach's own readings, and the fill of exits.

    Args:
        values: the readings `OF_APPROACHES`, one after the other.
        waiting: sums of standstill times, on the columns' scale.
        approaches: of the site.
        capacity: of its exits.
        exits: filled, a row an exit: vehicles, and standing ones, as shares of its capacity.
        columns: filled.
    """
    n, behind = len(approaches), len(capacity)
    count, queue, near, arrivals = values[:n], values[n : 2 * n], values[2 * n : 3 * n], values[3 * n : 4 * n]
    speed, occupancy, inside = values[4 * n : 5 * n], values[5 * n : 6 * n], values[6 * n : 7 * n]
    of_exits = values[7 * n :].reshape(2, behind)
    for a in range(n):
        here, seen = approaches[a], columns[a]
        seen[KNOWN] = 1.0 if np.isfinite(count[a]) else 0.0
        seen[COUNT], seen[QUEUE] = count[a] / VEHICLES, queue[a] / VEHICLES
        seen[NEAR], seen[ARRIVALS] = near[a] / VEHICLES, arrivals[a] / VEHICLES
        seen[SPEED], seen[OCCUPANCY] = speed[a] / here.limit, occupancy[a]
        seen[WAITING], seen[LENGTH], seen[INSIDE] = waiting[a], here.length, inside[a] / VEHICLES
        for column in range(len(seen)):
            if np.isnan(seen[column]):
                seen[column] = 0.0
    for e in range(behind):
        for k in range(2):
            share = of_exits[k, e] / capacity[e]
            exits[e, k] = 0.0 if np.isnan(share) else share


@compiled(
    void(
        *(_row, boolean[:, ::1], float32[:, :], real[:, ::1]),
        *(whole[:, :, ::1], real[:, :, ::1], real[:, :, ::1], float32[:, :, ::1]),
    )
)
def _fill_stages(
    values: np.ndarray,
    mask: np.ndarray,
    inside: np.ndarray,
    exists: np.ndarray,
    served: np.ndarray,
    intergreen_s: np.ndarray,
    crosses: np.ndarray,
    columns: np.ndarray,
) -> None:
    """Fill the columns of stages.

    Args:
        values: the readings `OF_STAGES`, one after the other.
        mask: whether each stage may be asked for.
        inside: vehicles that stand in the middle, by junction and approach, on the columns' scale.
        exists: whether each stage exists.
        served: movements that each stage serves, padded with the number of all.
        intergreen_s: between any two stages.
        crosses: whether a stage lets others cross the path of an approach that it stops.
        columns: filled.
    """
    n, stages = exists.shape
    stage, clearing_s, green_s, red_s = values[:n], values[n : 2 * n], values[2 * n : 3 * n], values[3 * n :]
    for j in range(n):
        current = whole(stage[j])
        for s in range(stages):
            seen, red, crossed = columns[j, s], 0.0, 0.0
            for movement in served[j, s]:
                if movement < len(red_s):
                    red = max(red, red_s[movement])
            for a in range(inside.shape[1]):
                crossed += crosses[j, s, a] * inside[j, a]
            seen[EXISTS], seen[RED_AGE] = exists[j, s], min(red / RED_S, 2.0)
            seen[INTERGREEN], seen[ALLOWED] = intergreen_s[j, current, s] / CLEARING_S, mask[j, s]
            seen[CROSSED] = crossed
        shown = columns[j, current]
        shown[CURRENT], shown[CLEARING] = 1.0, clearing_s[j] / CLEARING_S
        shown[GREEN_AGE] = min(green_s[j] / GREEN_S, 2.0)


def _serves(junction: Junction, approaches: Sequence[int]) -> np.ndarray:
    """Share of each approach's movements that a stage serves: ``(stages, 2, approaches)``, protected and permissive."""
    shares = np.zeros((len(junction.stages), 2, len(approaches)), dtype=np.float32)
    for a, approach in enumerate(approaches):
        movements = junction.movements_of(approach)
        for s, stage in enumerate(junction.stages):
            for kind, signal in enumerate(GREEN):
                shares[s, kind, a] = sum(stage[k] == signal for k in movements) / len(movements)
    return shares


def _crosses(junction: Junction, approaches: Sequence[int]) -> np.ndarray:
    """1 where a stage lets others cross the path of an approach's movements that it stops: ``(stages, approaches)``."""
    crosses = np.zeros((len(junction.stages), len(approaches)))
    for s, green in enumerate(junction.greens):
        for one, other in junction.foes:
            for stopped, moving in ((one, other), (other, one)):
                approach = junction.movements[stopped].approach
                if green[moving] and not green[stopped] and approach >= 0:
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
        for s, green in enumerate(junction.greens):
            served = start + np.flatnonzero(green)
            index[j, s, : len(served)] = served
        start += len(junction.movements)
    return index
