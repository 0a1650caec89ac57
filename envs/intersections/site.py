"""What is fixed about a signalised network: its junctions, and how they may change from one stage to another.

Plain data, derived from a SUMO network by `network/` and readable without SUMO. Safety numbers (yellow, all-red,
longest reds) live here because guard, signal cabinet and service all use them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from itertools import permutations
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from envs.core.readings import Axes
from envs.core.scene import Point
from envs.core.site import Site
from envs.intersections.junction import (
    Approach,
    Exit,
    Junction,
    Movement,
    ite_red_clearance_s,
    ite_yellow_s,
    walking_s,
)
from envs.intersections.timing import Regime, Timing


class SignalSite(Site):
    """A signalised road network.

    Attributes:
        regime: rules for changes of stage; see `ending`.
        timing: decisions, greens, yellows and reds.
        range_m: detection range.
        junctions: the agents.
        approaches: all lanes at stop lines, grouped by junction.
        exits: all lanes that movements lead into.
        streets: the middle lines of the other streets around, for maps.
    """

    system: Literal["intersections"] = "intersections"
    regime: Regime = "engineer"
    timing: Timing
    range_m: float
    junctions: tuple[Junction, ...] = Field(min_length=1)
    approaches: tuple[Approach, ...]
    exits: tuple[Exit, ...]
    streets: tuple[tuple[Point, ...], ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _regime_from_timing(cls, content: Any) -> Any:
        """Regime of sites that were written before sites had one: RESCO's protocol is the one without all-red."""
        if not isinstance(content, dict) or "regime" in content:
            return content
        timing = content.get("timing")
        all_red = timing.get("all_red_s") if isinstance(timing, dict) else getattr(timing, "all_red_s", None)
        return content | {"regime": "resco" if all_red == 0 else "engineer"}

    @property
    def plant(self) -> Any:
        """The junctions' movements; stages are a regime's."""
        return [(one.id, [(m.approach, m.exits) for m in one.movements]) for one in self.junctions]

    @cached_property
    def agents(self) -> tuple[str, ...]:
        """Traffic-light ids."""
        return tuple(junction.id for junction in self.junctions)

    @property
    def most_stages(self) -> int:
        """Stages of the junction that has most."""
        return max(len(junction.stages) for junction in self.junctions)

    def green_table(self) -> np.ndarray:
        """Whether each stage shows green to each movement of its junction, bool ``(stages, movements)``.

        All movements of the site, and as many stages as the junction with most has; False for those that others lack.
        """
        most = self.most_stages
        blocks = [np.pad(junction.greens, ((0, most - len(junction.greens)), (0, 0))) for junction in self.junctions]
        return np.concatenate(blocks, axis=1)

    @property
    def unhashed(self) -> Any:
        """Historic counts, which only fixed-time plans use, shapes, which only maps use, and a regime that follows from
        the timing (RESCO's protocol is the one without all-red).
        """
        kept: dict[str, Any] = {
            "junctions": {"__all__": {"movements": {"__all__": {"flow_veh_h"}}, "place": True}},
            "approaches": {"__all__": {"shape"}},
            "exits": {"__all__": {"shape"}},
            "streets": True,
        }
        return kept | ({"regime": True} if (self.regime == "resco") == (self.timing.all_red_s == 0) else {})

    @cached_property
    def axes(self) -> Axes:
        """Junctions, approaches, exits, and movements as ``junction:index``."""
        return {
            "junction": self.agents,
            "approach": tuple(approach.id for approach in self.approaches),
            "exit": tuple(exit.id for exit in self.exits),
            "movement": tuple(f"{j.id}:{k}" for j in self.junctions for k in range(len(j.movements))),
        }

    @property
    def limits(self) -> dict[str, Any]:
        """The timing, and for every junction its stages and the longest red of its movements (None: no limit)."""
        reds = {junction.id: self.max_red_s(junction) for junction in self.junctions}
        return {
            "timing": self.timing.model_dump(),
            "stages": {junction.id: list(junction.stages) for junction in self.junctions},
            "max_red_s": {name: red if math.isfinite(red) else None for name, red in reds.items()},
        }

    def ending(self, junction: Junction, old: int, new: int) -> list[int]:
        """Signal indices whose green ends in a change of stage, so that they are shown yellow and then red.

        These are the movements that are red in the new stage. In regime ``engineer`` they are also those whose
        protected green becomes permissive while a conflicting movement starts: a green arrow does not turn into a green
        that must give way without a yellow.
        """
        return sorted([*junction.lost(old, new), *([] if self.regime == "resco" else junction.demoted(old, new))])

    def starting(self, junction: Junction, old: int, new: int) -> list[int]:
        """Signal indices for which the junction must be cleared before a stage begins.

        These are the movements that were red. In regime ``engineer`` they are also those that had to give way to a
        movement whose green ends, and are protected from now on.
        """
        promoted = [] if self.regime == "resco" else junction.promoted(old, new, self.ending(junction, old, new))
        return sorted([*junction.gained(old, new), *promoted])

    def yellow_s(self, junction: Junction, old: int, new: int) -> int:
        """Yellow of a change of stage: the longest that a movement whose green ends needs; 0 if none does."""
        ending = [junction.movements[k] for k in self.ending(junction, old, new)]
        if not ending:
            return 0
        fixed = self.timing.yellow_s
        if fixed is not None:
            return fixed
        return max((ite_yellow_s(m.speed_mps) for m in ending if not m.crossing), default=3)

    def held_green_s(self, junction: Junction, old: int, new: int) -> int:
        """Time for which vehicles whose green ends keep it, after pedestrians whose green ends have lost theirs.

        It is what pedestrians need to cross beyond the vehicles' yellow and all-red, so that both are done when the
        next stage begins; 0 if no pedestrians or no vehicles lose their green.
        """
        ending = [junction.movements[k] for k in self.ending(junction, old, new)]
        if all(m.crossing for m in ending):
            return 0
        return max(0, _walking_s(ending) - self.yellow_s(junction, old, new) - self.all_red_s(junction, old, new))

    def all_red_s(self, junction: Junction, old: int, new: int) -> int:
        """All-red of a change of stage: the time to clear the junction before other movements start.

        If only pedestrians lose their green, it is at least as long as they need. They lose it at the start of the
        change and may walk on until the next stage begins; movements across their path may start in the stage after
        that. So may movements across the path of vehicles, where none starts in this change: then it is what the time
        to clear exceeds the minimum green by.
        """
        ending = [junction.movements[k] for k in self.ending(junction, old, new)]
        if not ending:
            return 0
        alone = all(m.crossing for m in ending)
        walking = max(0, _walking_s(ending) - self.yellow_s(junction, old, new)) if alone else 0
        clearance = self.timing.all_red_s
        if clearance is None:
            clearance = max((ite_red_clearance_s(m.width_m, m.speed_mps) for m in ending if not m.crossing), default=1)
        if not self.starting(junction, old, new):
            clearance -= self.timing.min_green_s
        return max(clearance, walking)

    def intergreen_s(self, junction: Junction, old: int, new: int) -> int:
        """Seconds from the end of a stage to the start of the next: held green, yellow and all-red."""
        return self.held_green_s(junction, old, new) + self.without_green_s(junction, old, new)

    def without_green_s(self, junction: Junction, old: int, new: int) -> int:
        """Seconds of a change without the green that vehicles are held: yellow and all-red.

        Vehicles lose that much, unless the stages differ in their walks only: their all-red is as long as people walk.
        """
        return self.yellow_s(junction, old, new) + self.all_red_s(junction, old, new)

    def longest_intergreen_s(self, junction: Junction) -> int:
        """The longest change of stage at a junction."""
        return max(self.intergreen_s(junction, i, j) for i, j in permutations(range(len(junction.stages)), 2))

    def max_red_s(self, junction: Junction) -> float:
        """The longest red that the guard allows any movement: the timing's, or more where the stages need it."""
        return self._max_red_s(_homes(junction), self.longest_intergreen_s(junction))

    def force_red_s(self, junction: Junction) -> tuple[float, ...]:
        """The red age of each rank from which the guard admits no stage out of turn, so that `max_red_s` holds.

        Home stages are ranked by their wait, rank 0 has waited longest, and forced ones are served in that order.
        Before the one at rank i is green, the running stage and i stages ahead of it are served, and its own intergreen
        runs; two decisions are added, as an age is only seen at the next decision. So a controller may choose freely as
        long as

            red + (i + 1) · service + intergreen + 2 · decision < max_red

        holds for every rank i, where a service is the longest intergreen and the minimum green, in whole decisions:
        then there is time for one stage of any choice. For each rank, the red age with equality is returned.
        """
        homes, longest_s = _homes(junction), self.longest_intergreen_s(junction)
        latest, service = self._max_red_s(homes, longest_s) - self._reserve_s(0, longest_s), self._service_s(longest_s)
        return tuple(latest - rank * service for rank in range(1, homes + 1))

    def leave_red_s(self, junction: Junction) -> tuple[float, ...]:
        """The red age of each rank from which the guard ends the running stage as well.

        To keep it takes one of the two decisions in `force_red_s`, and not a service. So the site's only signal may
        keep it for a service longer. Several signals may not, as it cost a network a tenth more delay (RESULTS.md).
        """
        more = self._service_s(self.longest_intergreen_s(junction)) if len(self.junctions) == 1 else 0
        return tuple(age + more for age in self.force_red_s(junction))

    def _max_red_s(self, homes: int, longest_s: int) -> float:
        """`max_red_s` of a junction, given its number of home stages and its longest intergreen."""
        if self.timing.max_red_s is None:
            return math.inf
        return max(float(self.timing.max_red_s), self._reserve_s(homes, longest_s) + self._service_s(longest_s))

    def _service_s(self, longest_s: int) -> int:
        """The longest time from a decision that changes the stage to the next: intergreen and minimum green."""
        step = self.timing.decision_s
        return step * math.ceil((longest_s + self.timing.min_green_s) / step)

    def _reserve_s(self, rank: int, longest_s: int) -> float:
        """The longest wait until a home stage is green after ``rank`` services, with a margin of two decisions."""
        return rank * self._service_s(longest_s) + longest_s + 2 * self.timing.decision_s


def _walking_s(movements: Sequence[Movement]) -> int:
    """Time that pedestrians need on the longest of the crossings among movements; 0 if there is none."""
    return max((walking_s(m.width_m) for m in movements if m.crossing), default=0)


def _homes(junction: Junction) -> int:
    """Number of home stages of a junction."""
    return len(set(junction.home_stages) - {-1})
