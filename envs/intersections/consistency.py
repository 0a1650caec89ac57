"""What detectors and signal controllers cannot report: vehicles that come from nowhere, waits without a queue."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from envs.core.consistency import Plausible, Rule
from envs.core.readings import Readings
from envs.intersections.site import VEHICLE_SPACE_M, SignalSite

HEADWAY_S = 1.2
"""Vehicles do not follow each other on a lane more closely than this."""

CLEARING_S = 6.0
"""For so long after its green a movement may still be driven: the longest yellow."""

_NEVER = np.array([np.inf])
"""Since when a street's movements are red that it does not have."""

COUNTS = ("count_veh", "queue_veh", "near_veh", "arrivals_veh", "inside_veh", "exit_count_veh", "exit_queue_veh")


class SignalConsistency:
    """See `envs.core.consistency.Consistency`.

    Args:
        site: the network.
    """

    def __init__(self, site: SignalSite):
        self.interval_s = float(site.timing.decision_s)
        junctions, approaches = site.junctions, site.approaches
        self._limit = np.array([approach.speed_mps for approach in approaches])
        self._capacity = np.maximum(np.array([a.length_m for a in approaches]) / VEHICLE_SPACE_M, 1.0)
        # Vehicles change lanes, so they are conserved by street, not by lane.
        _, self._arm = np.unique([approach.id.rpartition("_")[0] for approach in approaches], return_inverse=True)
        self._lanes = np.bincount(self._arm).astype(np.float64)
        self._of = np.repeat(np.arange(len(junctions)), [len(junction.movements) for junction in junctions])
        self._approach = np.array([m.approach for junction in junctions for m in junction.movements])
        self._arm_movements = self._padded(len(self._lanes))
        self._green = self._greens(site)
        self._all = np.arange(len(self._of))
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
            "signals": Rule("movement", "red ages do not fit the stage", {"red_s": self._all, "stage": self._of}, 0.5),
            "clock": Rule("junction", "the age of the green does not fit the clock", {"green_s": each}, 1.5),
        }
        moving = {name: Plausible(rest_low=0.0) for name in COUNTS}
        told = Plausible(jumps=False, moves=False, imputable=False)
        self.plausible = moving | {
            "speed_mps": Plausible(self._limit, rest_low=0.0, rest_high=self._limit),
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

    @staticmethod
    def _greens(site: SignalSite) -> np.ndarray:
        """Whether a stage serves a movement, bool ``(stages, movements)``."""
        most = max(len(junction.stages) for junction in site.junctions)
        blocks = []
        for junction in site.junctions:
            block = np.zeros((most, len(junction.movements)), dtype=bool)
            block[: len(junction.stages)] = [[s in "Gg" for s in stage] for stage in junction.stages]
            blocks.append(block)
        return np.concatenate(blocks, axis=1)

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
        count, queue, waiting = now["count_veh"], now["queue_veh"], now["waiting_s"]
        empty = count <= 0
        moving = np.maximum(count - queue, 0.0) / np.maximum(count, 1e-9)
        excess = now["speed_mps"] / self._limit - np.where(empty, 1.0, moving)
        found = {
            "occupancy": np.abs(now["occupancy"] - np.minimum(count / self._capacity, 1.0)),
            "speed": np.where(empty, np.abs(excess), excess),
        }
        waits = np.where(queue <= 0, waiting, 0.0)
        if before is not None:
            found["conserved"] = self._conserved(before, now, seconds)
            found["clock"] = self._clock(before, now, seconds)
            found["signals"] = self._signals(now)  # not at first: no movement has been red before an episode
            waits = np.maximum(waits, waiting - before["waiting_s"] - seconds * queue)
        found["waiting"] = waits / self.interval_s
        return found

    def _conserved(self, before: Readings, now: Readings, seconds: float) -> np.ndarray:
        """Vehicles that came or went beyond what can drive, by street, spread over its lanes."""
        change = np.bincount(self._arm, now["count_veh"] - before["count_veh"], len(self._lanes))
        since = np.concatenate((now["red_s"], _NEVER))[self._arm_movements].min(axis=1)
        driving = np.clip(seconds + CLEARING_S - since, 0.0, seconds)
        gone = -change - self._lanes * driving / HEADWAY_S
        come = change - self._lanes * seconds / HEADWAY_S
        return np.maximum(gone, come)[self._arm]

    def _signals(self, now: Readings) -> np.ndarray:
        """1 where a movement's red age does not fit the stage that is green."""
        served = self._green[now["stage"].astype(np.int64)[self._of], self._all]
        clear = now["clearing_s"] <= 0
        return (clear[self._of] & (served == (now["red_s"] > 0))).astype(np.float64)

    @staticmethod
    def _clock(before: Readings, now: Readings, seconds: float) -> np.ndarray:
        """Seconds by which the age of a green that went on differs from the time that passed."""
        green = now["green_s"]
        same = (now["stage"] == before["stage"]) & (now["clearing_s"] <= 0) & (before["clearing_s"] <= 0)
        return np.where(same & (green > seconds), np.abs(green - before["green_s"] - seconds), 0.0)
