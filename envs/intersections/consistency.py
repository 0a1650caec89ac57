"""Rules that readings of detectors and signal controllers cannot break: no vehicle from nowhere, no wait without queue.

Residuals of the rules are computed by compiled code (numba), as a service needs them at every tick.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numba import boolean, from_dtype, void
from numba import float64 as real
from numba import int64 as whole

from envs.core.consistency import Plausible, Rule
from envs.core.readings import Readings
from envs.intersections.jit import compiled
from envs.intersections.junction import street_of
from envs.intersections.site import SignalSite

HEADWAY_S = 1.2
"""Shortest headway of vehicles on a lane."""

CLEARING_S = 6.0
"""Vehicles may still drive this long after their green has ended: the longest yellow."""

COLUMNS = (
    *("count_veh", "queue_veh", "speed_mps", "occupancy", "waiting_s"),
    *("stage", "clearing_s", "green_s", "red_s"),
)
"""The readings that rules are about."""

OCCUPANCY, SPEED, WAITING, CONSERVED = range(4)
"""Rows of the residuals of rules about approaches."""

APPROACH = np.dtype([("limit", np.float64), ("capacity", np.float64), ("arm", np.int64)])
"""What these rules need of an approach: speed limit, vehicles that fit, and its street (``arm``)."""

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
        reported = Plausible(jumps=False, moves=False, imputable=False)
        self.plausible = moving | {
            "speed_mps": Plausible(limit, rest_low=0.0, rest_high=limit),
            "occupancy": Plausible(rest_low=0.0, rest_high=1.0),
            "waiting_s": Plausible(60.0, jumps=False, rest_low=0.0),  # a queue that drives off waits no more
            **dict.fromkeys(("stage", "clearing_s", "green_s", "red_s"), reported),
        }
        self.concerns = self._concerns(site)

    def _padded(self, arms: int) -> np.ndarray:
        """Indices of every street's movements, padded with the number of all: ``(arms, most)``."""
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
        """Residuals of the rules, in vehicles, shares, or seconds relative to the interval; see `Consistency`."""
        values, first = _vector(now), before is None
        found = np.empty((4, len(self._approaches)))
        clock, signals = np.empty(len(now["stage"])), np.empty(len(self._of))
        earlier = values if before is None else _vector(before)
        streets = self._approaches, self._lanes, self._arm_movements
        filled = found, clock, signals
        _fill(values, earlier, first, seconds, self.interval_s, *streets, self._of, self._green, *filled)
        over_time = {} if first else {"conserved": found[CONSERVED], "clock": clock, "signals": signals}
        return {"occupancy": found[OCCUPANCY], "speed": found[SPEED], **over_time, "waiting": found[WAITING]}


def _vector(readings: Readings) -> np.ndarray:
    """The readings `COLUMNS`, one after the other."""
    return np.concatenate([readings[name] for name in COLUMNS], dtype=np.float64)


class _Tick(NamedTuple):
    """The readings `COLUMNS` of one tick."""

    count_veh: np.ndarray
    queue_veh: np.ndarray
    speed_mps: np.ndarray
    occupancy: np.ndarray
    waiting_s: np.ndarray
    stage: np.ndarray
    clearing_s: np.ndarray
    green_s: np.ndarray
    red_s: np.ndarray


@compiled
def _tick(values: np.ndarray, n: int, junctions: int) -> _Tick:
    """The vector's columns: five of all ``n`` approaches, three of all junctions, one of all movements."""
    signals = values[5 * n :]
    return _Tick(
        values[:n],
        values[n : 2 * n],
        values[2 * n : 3 * n],
        values[3 * n : 4 * n],
        values[4 * n : 5 * n],
        signals[:junctions],
        signals[junctions : 2 * junctions],
        signals[2 * junctions : 3 * junctions],
        signals[3 * junctions :],
    )


@compiled
def _occupancy(now: _Tick, approaches: np.ndarray, out: np.ndarray) -> None:
    """Difference between the occupancy and the share of the capacity that the vehicles take."""
    for a in range(len(out)):
        out[a] = np.abs(now.occupancy[a] - np.minimum(now.count_veh[a] / approaches[a].capacity, 1.0))


@compiled
def _speed(now: _Tick, approaches: np.ndarray, out: np.ndarray) -> None:
    """Speed, as a share of the limit, beyond the share of vehicles that move; of an empty approach, apart from 1."""
    for a in range(len(out)):
        empty = now.count_veh[a] <= 0.0
        driving = np.maximum(now.count_veh[a] - now.queue_veh[a], 0.0)
        moving = 1.0 if empty else driving / np.maximum(now.count_veh[a], 1e-9)
        excess = now.speed_mps[a] / approaches[a].limit - moving
        out[a] = np.abs(excess) if empty else excess


@compiled
def _waiting(now: _Tick, then: _Tick, first: bool, seconds: float, interval_s: float, out: np.ndarray) -> None:
    """Waiting times without a queue, or that grew by more than those who stand can have waited, in intervals."""
    for a in range(len(out)):
        waits = now.waiting_s[a] if now.queue_veh[a] <= 0.0 else 0.0
        if not first:
            waits = np.maximum(waits, now.waiting_s[a] - then.waiting_s[a] - seconds * now.queue_veh[a])
        out[a] = waits / interval_s


@compiled
def _conserved(
    now: _Tick,
    then: _Tick,
    seconds: float,
    approaches: np.ndarray,
    lanes: np.ndarray,
    arm_movements: np.ndarray,
    out: np.ndarray,
) -> None:
    """Vehicles that came or went beyond what can drive, of each approach's street."""
    change, beyond = np.zeros(len(lanes)), np.empty(len(lanes))
    for a in range(len(out)):
        change[approaches[a].arm] += now.count_veh[a] - then.count_veh[a]
    for arm in range(len(lanes)):
        since = np.inf  # when the last movement of a street turned red that has some
        for movement in arm_movements[arm]:
            if movement < len(now.red_s):
                since = np.minimum(since, now.red_s[movement])
        driving = np.minimum(np.maximum(seconds + CLEARING_S - since, 0.0), seconds)
        gone = -change[arm] - lanes[arm] * driving / HEADWAY_S
        beyond[arm] = np.maximum(gone, change[arm] - lanes[arm] * seconds / HEADWAY_S)
    for a in range(len(out)):
        out[a] = beyond[approaches[a].arm]


@compiled
def _clock(now: _Tick, then: _Tick, seconds: float, out: np.ndarray) -> None:
    """Seconds by which the age of a green that went on differs from the time that passed."""
    for j in range(len(out)):
        same = now.stage[j] == then.stage[j] and now.clearing_s[j] <= 0.0 and then.clearing_s[j] <= 0.0
        went_on = same and now.green_s[j] > seconds
        out[j] = np.abs(now.green_s[j] - then.green_s[j] - seconds) if went_on else 0.0


@compiled
def _signals(now: _Tick, of: np.ndarray, green: np.ndarray, out: np.ndarray) -> None:
    """1 where a movement's red age does not fit the stage that is green."""
    for m in range(len(out)):
        served = green[whole(now.stage[of[m]]), m]
        out[m] = 1.0 if now.clearing_s[of[m]] <= 0.0 and served == (now.red_s[m] > 0.0) else 0.0


_row, _places = real[::1], whole[::1]


@compiled(
    void(
        *(_row, _row, boolean, real, real),
        *(from_dtype(APPROACH)[::1], _row, whole[:, ::1], _places, boolean[:, ::1]),
        *(real[:, ::1], _row, _row),
    )
)
def _fill(
    values: np.ndarray,
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
    """Fill the residuals of every rule.

    Args:
        values: the readings, see `_vector`. A residual is NaN if a value of it is (not heard): hence numpy's functions.
        before: those of the tick before; of the first tick its own.
        first: whether this is the first tick; then rules over time are left out.
        seconds: between the two.
        interval_s: usual time between two ticks.
        approaches: of the site.
        lanes: number of them on each street.
        arm_movements: indices of each street's movements, padded with the number of all.
        of: junction of each movement.
        green: whether a stage serves a movement, ``(stages, movements)``.
        found: filled, a row a rule of approaches.
        clock: filled, ``(junctions,)``.
        signals: filled, ``(movements,)``.
    """
    now, then = _tick(values, len(approaches), len(clock)), _tick(before, len(approaches), len(clock))
    _occupancy(now, approaches, found[OCCUPANCY])
    _speed(now, approaches, found[SPEED])
    _waiting(now, then, first, seconds, interval_s, found[WAITING])
    if first:  # the state before an episode is unknown
        return
    _conserved(now, then, seconds, approaches, lanes, arm_movements, found[CONSERVED])
    _clock(now, then, seconds, clock)
    _signals(now, of, green, signals)
