"""What is fixed about one signalised junction: its movements, their green stages, and the lanes before and behind it.

Plain data, derived from a SUMO network by `network/` and readable without SUMO, with the formulas of practice for
yellow, red clearance and walking times.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from functools import cached_property

from pydantic import Field

from envs.core.frozen import Frozen
from envs.core.scene import Point

VEHICLE_SPACE_M = 7.5
"""Road that a standing car takes, gap included (SUMO's default car: 5 m and 2.5 m)."""

REACTION_S = 1.0
DECELERATION_MPS2 = 3.05
VEHICLE_LENGTH_M = 6.1
WALKING_MPS = 1.07

GREEN = "Gg"
"""SUMO's letters for green: protected, and permissive, which gives way."""


def ite_yellow_s(speed_mps: float) -> int:
    """Yellow for an approach speed on level ground, in whole seconds from 3 to 6.

    Y = t + v / (2 a) with t = 1.0 s and a = 3.05 m/s² (MUTCD by FDOT TEM 3.6; ITE). Rounded up.
    """
    return min(6, max(3, math.ceil(REACTION_S + speed_mps / (2 * DECELERATION_MPS2) - 1e-9)))


def ite_red_clearance_s(width_m: float, speed_mps: float) -> int:
    """Red clearance for a conflict area, in whole seconds from 1 to 6: R = (w + L) / v, L = 6.1 m (ITE).

    Rounded to the nearest second, so up to half a second shorter than R.
    """
    return min(6, max(1, round((width_m + VEHICLE_LENGTH_M) / max(speed_mps, 1.0))))


def walking_s(width_m: float) -> int:
    """Time that a pedestrian needs to cross, in whole seconds: width / 1.07 m/s, rounded up."""
    return math.ceil(width_m / WALKING_MPS)


def street_of(lane: str) -> str:
    """The street (SUMO: edge) of a lane: its name without the number at its end, if there is one."""
    return lane.rpartition("_")[0] or lane


class Segment(Frozen):
    """A piece of lane on which an approach is watched.

    Attributes:
        lane: SUMO lane.
        offset_m: distance from its end to the stop line.
        length_m: its length.
    """

    lane: str
    offset_m: float
    length_m: float


class Approach(Frozen):
    """A lane that ends at a stop line, with the lanes upstream that feed it within detection range.

    Attributes:
        id: the SUMO lane at the stop line.
        speed_mps: its speed limit.
        length_m: watched length.
        segments: watched pieces of lane, the stop-line lane first.
        shape: the lane on the map, in the direction of travel; empty: unknown.
    """

    id: str
    speed_mps: float
    length_m: float
    segments: tuple[Segment, ...]
    shape: tuple[Point, ...] = ()

    @property
    def capacity_veh(self) -> float:
        """Standing vehicles that fit on the watched length."""
        return max(self.length_m / VEHICLE_SPACE_M, 1.0)


class Exit(Frozen):
    """A lane that a movement leads into.

    Attributes:
        id: the SUMO lane behind the junction.
        lanes: SUMO lanes that are watched for room.
        capacity_veh: standing vehicles that fit there.
        shape: the lane on the map, in the direction of travel; empty: unknown.
    """

    id: str
    lanes: tuple[str, ...]
    capacity_veh: float
    shape: tuple[Point, ...] = ()


class Movement(Frozen):
    """One signal index of a junction.

    Attributes:
        approach: index into the site's approaches, -1 for a pedestrian crossing or an unused index.
        exits: indices into the site's exits.
        speed_mps: approach speed.
        width_m: path across the junction.
        crossing: whether pedestrians cross here.
        flow_veh_h: historic count that fixed-time plans are made from; None: nobody counted.
    """

    approach: int
    exits: tuple[int, ...]
    speed_mps: float
    width_m: float
    crossing: bool = False
    flow_veh_h: float | None = Field(default=None, ge=0)


class Phase(Frozen):
    """One phase of a program: a SUMO state string and how long it lasts."""

    state: str
    duration_s: float


class Junction(Frozen):
    """A signalised junction: one agent.

    Attributes:
        id: SUMO's traffic-light id.
        movements: one a signal index.
        stages: green stages as SUMO state strings.
        foes: pairs of signal indices whose paths cross or merge.
        yields: pairs (i, j): by right of way, i gives way to j.
        program: the network's own program.
        offset_s: its offset.
        place: coordinates of its middle on the map; None: unknown.
    """

    id: str
    movements: tuple[Movement, ...]
    stages: tuple[str, ...] = Field(min_length=2)
    foes: tuple[tuple[int, int], ...]
    yields: tuple[tuple[int, int], ...]
    program: tuple[Phase, ...]
    offset_s: float = 0.0
    place: Point | None = None

    @cached_property
    def approaches(self) -> tuple[int, ...]:
        """Indices of its approaches among the site's, ascending."""
        return tuple(sorted({movement.approach for movement in self.movements if movement.approach >= 0}))

    def movements_of(self, approach: int) -> list[int]:
        """Signal indices of the movements from an approach; -1: of crossings and unused indices."""
        return [k for k, movement in enumerate(self.movements) if movement.approach == approach]

    @cached_property
    def greens(self) -> tuple[tuple[bool, ...], ...]:
        """Whether each stage shows green to each signal index, ``(stages, movements)``."""
        return tuple(tuple(signal in GREEN for signal in stage) for stage in self.stages)

    @cached_property
    def home_stages(self) -> tuple[int, ...]:
        """For every signal index, the stage that serves it when it is overdue (-1: no stage does).

        A greedy cover: few stages, together serving every movement.
        """
        home = [-1] * len(self.movements)
        while True:
            gains = [sum(green and home[k] < 0 for k, green in enumerate(served)) for served in self.greens]
            best = max(range(len(gains)), key=lambda i: gains[i])
            if gains[best] == 0:
                return tuple(home)
            for k, green in enumerate(self.greens[best]):
                if green and home[k] < 0:
                    home[k] = best

    def lost(self, old: int, new: int) -> list[int]:
        """Signal indices that are green in one stage and red in another."""
        pairs = zip(self.greens[old], self.greens[new], strict=True)
        return [k for k, (before, after) in enumerate(pairs) if before and not after]

    def gained(self, old: int, new: int) -> list[int]:
        """Signal indices that are red in one stage and green in another."""
        return self.lost(new, old)

    @cached_property
    def across(self) -> tuple[frozenset[int], ...]:
        """For every signal index, those whose paths cross or merge with its own."""
        found: list[set[int]] = [set() for _ in self.movements]
        for a, b in self.foes:
            found[a].add(b)
            found[b].add(a)
        return tuple(map(frozenset, found))

    def demoted(self, old: int, new: int) -> list[int]:
        """Signal indices whose protected green becomes permissive while a movement that they must yield to starts."""
        was, will = self.stages[old], self.stages[new]

        def starts(other: int, k: int) -> bool:
            first = will[other] == "G" and was[other] != "G"
            return first or (will[other] == "g" and was[other] not in GREEN and (k, other) in self._gives_way)

        turned = [k for k, signal in enumerate(will) if was[k] == "G" and signal == "g"]
        return [k for k in turned if any(starts(other, k) for other in self.across[k])]

    @cached_property
    def _gives_way(self) -> frozenset[tuple[int, int]]:
        return frozenset(self.yields)

    def promoted(self, old: int, new: int, ending: Collection[int]) -> list[int]:
        """Signal indices whose permissive green becomes protected because the green of a conflicting movement ends.

        Args:
            old: the stage before.
            new: the stage after.
            ending: signal indices whose green ends.
        """
        pairs = enumerate(zip(self.stages[old], self.stages[new], strict=True))
        return [k for k, (a, b) in pairs if (a, b) == ("g", "G") and not self.across[k].isdisjoint(ending)]
