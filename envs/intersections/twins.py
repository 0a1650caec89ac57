"""Twin signals: so close that a queue between them reaches back into the junction behind.

Between two stop lines a few cars apart nobody may wait for long: followers stop in the middle of the junction behind,
and where that happens both ways each tail blocks whom the other waits for, so that no signal frees them. Practice runs
such a pair from one cabinet. Here each signal is an agent of its own, so the stages of twins are made to fit: of all
pairs of stages they ask for the one that the policy likes best, less what it costs to let vehicles onto a short lane
that does not empty.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np

from envs.core.readings import Readings
from envs.intersections.site import SignalSite

SHORT_M = 25.0
"""Signals are twins if less than this lies between their stop lines: room for three vehicles."""

RED, BOTH_JAM = 2.0, 20.0
"""What it costs to let vehicles onto a short lane whose own signal is red; and if both twins let vehicles on to each
other while both hold somebody from there, whom they stop or let go only where opposing traffic allows. In nats, as a
policy's preferences are logarithms of probabilities. Chosen on validation seeds of ingolstadt21 and town7."""

SWEEPS = 8
"""How often a chain of twins is gone through at most; a pair by itself is settled after the first."""


class _Lane(NamedTuple):
    """A short lane from one signal to its twin.

    Attributes:
        behind, ahead: indices of the junctions.
        approach: index of the approach that it is.
        fed: stages of the junction behind that let vehicles onto it.
    """

    behind: int
    ahead: int
    approach: int
    fed: frozenset[int]


@dataclass(frozen=True)
class _End:
    """A twin, as it faces the other.

    Attributes:
        junction: its index.
        sends: stages that let vehicles on to the other, bool ``(stages,)``.
        red: on how many lanes its stage stops whom the other's lets onto them, ``(stages, stages of the other)``.
        lanes: approaches that come from the other, ``(lanes,)``.
        holds: stages that do not let all on a lane go unopposed, bool ``(lanes, stages)``.
    """

    junction: int
    sends: np.ndarray
    red: np.ndarray
    lanes: np.ndarray
    holds: np.ndarray

    def jams(self, taken: np.ndarray) -> np.ndarray:
        """Stages that let vehicles on to the other and hold somebody who came from there, bool ``(stages,)``.

        Args:
            taken: whether somebody is on each approach of the site.
        """
        return np.asarray(self.sends & self.holds[taken[self.lanes]].any(axis=0))


class _Pair:
    """Two twins, in the site's order.

    Args:
        one, other: they.

    Attributes:
        junctions: their indices.
    """

    def __init__(self, one: _End, other: _End):
        self.junctions = (one.junction, other.junction)
        self._ends = (one, other)
        self._red = RED * (one.red + other.red.T)

    def cost(self, taken: np.ndarray) -> np.ndarray:
        """What a stage of one costs beside a stage of the other, ``(stages, stages)``; ``taken`` as for `_End.jams`."""
        one, other = (end.jams(taken) for end in self._ends)
        both: np.ndarray = self._red + BOTH_JAM * (one[:, None] & other)
        return both


class Twins:
    """Makes the stages of twin signals fit: a `Coordination`.

    Args:
        pairs: the twins.
    """

    def __init__(self, pairs: list[_Pair]):
        self._pairs = pairs
        ends = [set(pair.junctions) for pair in pairs]
        self._chained = [[q for q, other in enumerate(ends) if q != k and mine & other] for k, mine in enumerate(ends)]

    @classmethod
    def of(cls, site: SignalSite) -> Self | None:
        """Those of a site; None if it has none."""
        between: dict[tuple[int, int], list[_Lane]] = {}
        for lane in _short_lanes(site):
            between.setdefault((min(lane.behind, lane.ahead), max(lane.behind, lane.ahead)), []).append(lane)
        size = max(len(junction.stages) for junction in site.junctions)
        pairs = [_Pair(*(_end(site, j, lanes, size) for j in pair)) for pair, lanes in sorted(between.items())]
        return cls(pairs) if pairs else None

    def settle(self, preferences: np.ndarray, readings: Readings) -> np.ndarray:
        """The stages to ask for: everybody's favourite, but where those of twins do not fit.

        Args:
            preferences: a policy's masked logits, ``(junctions, stages)``.
            readings: of this moment. Where a detector is silent, nobody is taken to stand.

        Returns:
            int64 ``(junctions,)``.
        """
        stages = preferences.argmax(axis=1)
        taken = np.nan_to_num(readings["count_veh"]) + np.nan_to_num(readings["inside_veh"]) >= 1.0
        costs = [pair.cost(taken) for pair in self._pairs]
        if any(cost[tuple(stages[[*pair.junctions]])] for pair, cost in zip(self._pairs, costs, strict=True)):
            likes = _log_probabilities(preferences)
            for _ in range(SWEEPS):
                if not self._sweep(stages, likes, costs):
                    break
        return stages

    def _sweep(self, stages: np.ndarray, likes: np.ndarray, costs: list[np.ndarray]) -> bool:
        """Let every pair take the stages that suit it best, as all others stand; says whether any changed."""
        changed = False
        for k, pair in enumerate(self._pairs):
            one, other = pair.junctions
            worth = likes[one][:, None] + likes[other] - costs[k]
            for near in self._chained[k]:
                worth -= _beside(pair, self._pairs[near], costs[near], stages)
            best = divmod(int(worth.argmax()), worth.shape[1])
            if worth[best] > worth[stages[one], stages[other]]:
                stages[one], stages[other] = best
                changed = True
        return changed


def _beside(pair: _Pair, near: _Pair, cost: np.ndarray, stages: np.ndarray) -> np.ndarray:
    """What the stages of a pair cost beside the third signal that one of the two is a twin of, too."""
    (one, other), mine = near.junctions, pair.junctions
    costs = cost[:, stages[other]] if one in mine else cost[stages[one]]
    shared = one if one in mine else other
    return costs[:, None] if shared == mine[0] else costs


def _log_probabilities(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    normal: np.ndarray = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return normal


def _end(site: SignalSite, junction: int, lanes: list[_Lane], size: int) -> _End:
    """A twin, from all lanes between it and the other."""
    sends = frozenset[int]().union(*(lane.fed for lane in lanes if lane.behind == junction))
    coming = [lane for lane in lanes if lane.ahead == junction]
    red, holds = np.zeros((size, size)), np.zeros((len(coming), size), dtype=bool)
    for held, lane in zip(holds, coming, strict=True):
        held[:] = _held(site, lane, "G", size)
        red += np.outer(_held(site, lane, "Gg", size), _among(lane.fed, size))
    approaches = np.array([lane.approach for lane in coming], dtype=int)
    return _End(junction, _among(sends, size), red, approaches, holds)


def _held(site: SignalSite, lane: _Lane, shown: str, size: int) -> np.ndarray:
    """Stages ahead that do not show all on a lane one of these signals, bool ``(size,)``."""
    junction = site.junctions[lane.ahead]
    movements = [k for k, movement in enumerate(junction.movements) if movement.approach == lane.approach]
    return _among({s for s, stage in enumerate(junction.stages) if any(stage[k] not in shown for k in movements)}, size)


def _among(stages: Set[int], size: int) -> np.ndarray:
    return np.isin(np.arange(size), list(stages))


def _short_lanes(site: SignalSite) -> Iterator[_Lane]:
    """Where one signal lets vehicles onto less than `SHORT_M` before another's stop line."""
    close: dict[str, list[tuple[int, int]]] = {}
    for ahead, junction in enumerate(site.junctions):
        for approach in junction.approaches:
            for piece in site.approaches[approach].segments:
                if piece.offset_m + piece.length_m < SHORT_M:
                    close.setdefault(piece.lane, []).append((ahead, approach))
    fed: dict[tuple[int, int, int], set[int]] = {}
    for behind, junction in enumerate(site.junctions):
        for k, movement in enumerate(junction.movements):
            stages = {s for s, stage in enumerate(junction.stages) if stage[k] in "Gg"}
            for lane in {site.exits[index].id for index in movement.exits}:
                for ahead, approach in close.get(lane, ()):
                    if ahead != behind:
                        fed.setdefault((behind, ahead, approach), set()).update(stages)
    for (behind, ahead, approach), stages in sorted(fed.items()):
        yield _Lane(behind, ahead, approach, frozenset(stages))
