"""What detectors and signal controllers cannot report: vehicles that come from nowhere, waits without a queue.

How far readings are from that is reckoned by compiled code (numba), as it is asked at every tick of a service.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numba import boolean, from_dtype, njit, void
from numba import float64 as real
from numba import int64 as whole

from envs.core.compiled import forget_stale
from envs.core.consistency import Plausible, Rule
from envs.core.readings import Readings
from envs.intersections.site import SignalSite, street_of

forget_stale(Path(__file__).parent)

HEADWAY_S = 1.2
"""Vehicles do not follow each other on a lane more closely than this."""

CLEARING_S = 6.0
"""For so long after its green a movement may still be driven: the longest yellow."""

TOLD = (
    *("count_veh", "queue_veh", "speed_mps", "occupancy", "waiting_s"),
    *("stage", "clearing_s", "green_s", "red_s"),
)
"""The readings that rules are about."""

OCCUPANCY, SPEED, WAITING, CONSERVED = range(4)
"""Rows of what the rules of approaches give."""

APPROACH = np.dtype([("limit", np.float64), ("capacity", np.float64), ("arm", np.int64)])
"""What they need of an approach; ``arm``: its street."""

COUNTS = ("count_veh", "queue_veh", "near_veh", "arrivals_veh", "inside_veh", "exit_count_veh", "exit_queue_veh")


class SignalConsistency:
    """See `envs.core.consistency.Consistency`.

    Args:
        site: the network.
    """

    def __init__(self, site: SignalSite):
        self.interval_s = float(site.timing.decision_s)
        junctions, approaches = site.junctions, site.approaches
        limit = np.array([approach.speed_mps for approach in approaches])
        # Vehicles change lanes, so they are conserved by street, not by lane.
        _, self._arm = np.unique([street_of(approach.id) for approach in approaches], return_inverse=True)
        self._lanes = np.bincount(self._arm).astype(np.float64)
        self._approaches = np.empty(len(approaches), dtype=APPROACH)
        self._approaches["limit"], self._approaches["arm"] = limit, self._arm
        self._approaches["capacity"] = [approach.capacity_veh for approach in approaches]
        self._of = np.repeat(np.arange(len(junctions)), [len(junction.movements) for junction in junctions])
        self._approach = np.array([m.approach for junction in junctions for m in junction.movements])
        self._arm_movements = self._padded(len(self._lanes))
        self._green = site.green_table()
        every, each = np.arange(len(approaches)), np.arange(len(junctions))
        self.rules = {
            "conserved": Rule("approach", "a street's vehicles change by more than can drive", {"count_veh": every}),
            "waiting": Rule(
                "approach",
                "waiting times do not fit those who stand",
                {"waiting_s": every, "queue_veh": every},
            ),
            "occupancy": Rule("approach", "occupancy does not fit the count", {"occupancy": every, "count_veh": every}),
            "speed": Rule("approach", "speed does not fit those who move", {"speed_mps": every, "queue_veh": every}),
            "signals": Rule(
                "movement", "red ages do not fit the stage", {"red_s": np.arange(len(self._of)), "stage": self._of}, 0.5
            ),
            "clock": Rule("junction", "the age of the green does not fit the clock", {"green_s": each}, 1.5),
        }
        moving = {name: Plausible(rest_low=0.0) for name in COUNTS}
        told = Plausible(jumps=False, moves=False, imputable=False)
        self.plausible = moving | {
            "speed_mps": Plausible(limit, rest_low=0.0, rest_high=limit),
            "occupancy": Plausible(rest_low=0.0, rest_high=1.0),
            "waiting_s": Plausible(60.0, jumps=False, rest_low=0.0),  # a queue that drives off waits no more
            **dict.fromkeys(("stage", "clearing_s", "green_s", "red_s"), told),
        }
        self.concerns = self._concerns(site)

    def _padded(self, arms: int) -> np.ndarray:
        """Indices of every street's movements, padded with their number: ``(arms, most)``."""
        mine = [np.flatnonzero((self._approach >= 0) & (self._arm[self._approach] == arm)) for arm in range(arms)]
        index = np.full((arms, max(1, *map(len, mine))), len(self._approach))
        for row, movements in zip(index, mine, strict=True):
            row[: len(movements)] = movements
        return index

    def _concerns(self, site: SignalSite) -> Mapping[str, np.ndarray]:
        n = len(site.junctions)
        approach = np.zeros((n, len(site.approaches)), dtype=bool)
        exits = np.zeros((n, len(site.exits)), dtype=bool)
        for j, junction in enumerate(site.junctions):
            for movement in junction.movements:
                if movement.approach >= 0:
                    approach[j, movement.approach] = True
                exits[j, list(movement.exits)] = True
        movement = np.arange(n)[:, None] == self._of[None, :]
        return {"approach": approach, "exit": exits, "junction": np.eye(n, dtype=bool), "movement": movement}

    def residuals(self, before: Readings | None, now: Readings, seconds: float) -> Mapping[str, np.ndarray]:
        """How far readings are from each rule; vehicles, shares, or seconds over the interval."""
        told, first = _told(now), before is None
        found = np.empty((4, len(self._approaches)))
        clock, signals = np.empty(len(now["stage"])), np.empty(len(self._of))
        then = told if before is None else _told(before)
        streets = self._approaches, self._lanes, self._arm_movements
        _residuals(told, then, first, seconds, self.interval_s, *streets, self._of, self._green, found, clock, signals)
        over_time = {} if first else {"conserved": found[CONSERVED], "clock": clock, "signals": signals}
        return {"occupancy": found[OCCUPANCY], "speed": found[SPEED], **over_time, "waiting": found[WAITING]}


def _told(readings: Readings) -> np.ndarray:
    """What `TOLD` names, one after the other."""
    return np.concatenate([readings[name] for name in TOLD], dtype=np.float64)


_row, _places = real[::1], whole[::1]


@njit(
    void(
        *(_row, _row, boolean, real, real),
        *(from_dtype(APPROACH)[::1], _row, whole[:, ::1], _places, boolean[:, ::1]),
        *(real[:, ::1], _row, _row),
    ),
    cache=True,
    boundscheck=True,
)
def _residuals(
    told: np.ndarray,
    before: np.ndarray,
    first: bool,
    seconds: float,
    interval_s: float,
    approaches: np.ndarray,
    lanes: np.ndarray,
    arm_movements: np.ndarray,
    of: np.ndarray,
    green: np.ndarray,
    found: np.ndarray,
    clock: np.ndarray,
    signals: np.ndarray,
) -> None:
    """Fill the last three; ``told``, ``before``: the readings and those of the tick before, if there is one.

    NaN, not heard, makes all of which it is a part unknown: hence numpy's functions.
    """
    n, junctions, movements = len(approaches), len(clock), len(of)
    ends = 5 * n + 3 * junctions
    count, queue, waiting = told[:n], told[n : 2 * n], told[4 * n : 5 * n]
    stage, clearing_s = told[5 * n : 5 * n + junctions], told[5 * n + junctions : 5 * n + 2 * junctions]
    green_s, red_s = told[ends - junctions : ends], told[ends:]
    for a in range(n):
        here, speed, occupancy = approaches[a], told[2 * n + a], told[3 * n + a]
        empty = count[a] <= 0.0
        moving = 1.0 if empty else np.maximum(count[a] - queue[a], 0.0) / np.maximum(count[a], 1e-9)
        excess = speed / here.limit - moving
        found[OCCUPANCY, a] = np.abs(occupancy - np.minimum(count[a] / here.capacity, 1.0))
        found[SPEED, a] = np.abs(excess) if empty else excess
        waits = waiting[a] if queue[a] <= 0.0 else 0.0
        if not first:
            waits = np.maximum(waits, waiting[a] - before[4 * n + a] - seconds * queue[a])
        found[WAITING, a] = waits / interval_s
    if first:  # of no movement it is known whether it was red before an episode
        return

    # Vehicles that came or went beyond what can drive, by street, spread over its lanes.
    change, beyond = np.zeros(len(lanes)), np.empty(len(lanes))
    for a in range(n):
        change[approaches[a].arm] += count[a] - before[a]
    for arm in range(len(lanes)):
        since = np.inf  # when the last movement of a street turned red that has some
        for movement in arm_movements[arm]:
            if movement < movements:
                since = np.minimum(since, red_s[movement])
        driving = np.minimum(np.maximum(seconds + CLEARING_S - since, 0.0), seconds)
        gone = -change[arm] - lanes[arm] * driving / HEADWAY_S
        beyond[arm] = np.maximum(gone, change[arm] - lanes[arm] * seconds / HEADWAY_S)
    for a in range(n):
        found[CONSERVED, a] = beyond[approaches[a].arm]

    # Seconds by which the age of a green that went on differs from the time that passed.
    for j in range(junctions):
        same = stage[j] == before[5 * n + j] and clearing_s[j] <= 0.0 and before[5 * n + junctions + j] <= 0.0
        went_on = same and green_s[j] > seconds
        clock[j] = np.abs(green_s[j] - before[ends - junctions + j] - seconds) if went_on else 0.0

    # 1 where a movement's red age does not fit the stage that is green.
    for m in range(movements):
        served = green[whole(stage[of[m]]), m]
        signals[m] = 1.0 if clearing_s[of[m]] <= 0.0 and served == (red_s[m] > 0.0) else 0.0
