"""Closely spaced signals: a queue between them reaches back into the junction behind.

On a few cars' length between two junctions nobody may wait for long: followers stop in the middle of the junction
behind, and where that happens both ways each tail blocks whom the other waits for, so that no signal frees them.
Practice runs such a pair from one cabinet. Here each signal is an agent of its own, so the stages of close signals are
made to fit: of all pairs of stages they ask for the one that the policy likes best, less what it costs to let vehicles
onto a short lane that does not empty. So junctions are a coordination graph with a payoff a pair (Guestrin, Lagoudakis
and Parr 2002), and pair after pair is improved.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np

from envs.core.readings import Readings
from envs.intersections.site import GREEN, VEHICLE_SPACE_M, SignalSite

SHORT_M = 25.0
"""Signals are close if less road than this lies from one junction to the other's stop line: room for three vehicles."""

RED_NATS, BOTH_BLOCK_NATS = 2.0, 20.0
"""What it costs to let vehicles onto a short lane whose own signal is red, for each such lane; and to let them on, in
both directions, to where somebody is in their way whom the signal ahead stops or lets go only where opposing traffic
allows. In nats, as a policy's preferences are logarithms of probabilities. Chosen on validation seeds of ingolstadt21,
town3 and town7."""

SWEEPS = 8
"""How often a chain of close signals is gone through at most; a pair by itself is settled after the first."""


class _Lane(NamedTuple):
    """A short lane from one signal to a close one.

    Attributes:
        behind, ahead: indices of the junctions.
        approach: index of the approach that it is.
        length_m: from the junction behind to the stop line.
        fed: stages of the junction behind that let vehicles onto it.
    """

    behind: int
    ahead: int
    approach: int
    length_m: float
    fed: frozenset[int]


@dataclass(frozen=True)
class _Pair:
    """Two close signals and the short lanes between them.

    Attributes:
        one, other: indices of the junctions, in the site's order.
        red: what a stage of one costs beside a stage of the other, whoever is on the lanes, ``(stages, stages)``.
        lanes: approaches that the lanes are, ``(lanes,)``.
        onward: which of them lead from one to the other.
        held: stages that let vehicles on to where somebody on a lane is in their way, beside stages that do not let him
            go unopposed: ``(lanes, stages, stages)``.
    """

    one: int
    other: int
    red: np.ndarray
    lanes: np.ndarray
    onward: np.ndarray
    held: np.ndarray

    def cost(self, taken: np.ndarray) -> np.ndarray:
        """What a stage of one costs beside a stage of the other, ``(stages, stages)``.

        Args:
            taken: whether somebody is on each approach of the site.
        """
        there = taken[self.lanes]
        block = self.held[there & self.onward].any(axis=0) & self.held[there & ~self.onward].any(axis=0)
        return np.asarray(self.red + BOTH_BLOCK_NATS * block)


class CloseSignals:
    """Makes the stages of closely spaced signals fit: a `Coordination`.

    Args:
        pairs: of signals.
    """

    def __init__(self, pairs: list[_Pair]):
        self._pairs = pairs
        ends = [{pair.one, pair.other} for pair in pairs]
        self._chained = [[q for q, other in enumerate(ends) if q != k and mine & other] for k, mine in enumerate(ends)]

    @classmethod
    def of(cls, site: SignalSite) -> Self | None:
        """Those of a site; None if it has none."""
        between: dict[tuple[int, int], list[_Lane]] = {}
        for lane in _short_lanes(site):
            between.setdefault((min(lane.behind, lane.ahead), max(lane.behind, lane.ahead)), []).append(lane)
        pairs = [_pair(site, *pair, lanes) for pair, lanes in sorted(between.items())]
        return cls(pairs) if pairs else None

    def settle(self, preferences: np.ndarray, readings: Readings) -> np.ndarray:
        """The stages to ask for: everybody's favourite, but where those of close signals do not fit.

        Args:
            preferences: a policy's masked logits, ``(junctions, stages)``.
            readings: of this moment. Where a detector is silent, nobody is taken to stand.

        Returns:
            int64 ``(junctions,)``.
        """
        stages = preferences.argmax(axis=1)
        taken = np.nan_to_num(readings["count_veh"]) + np.nan_to_num(readings["inside_veh"]) >= 1.0
        costs = [pair.cost(taken) for pair in self._pairs]
        if any(cost[stages[pair.one], stages[pair.other]] for pair, cost in zip(self._pairs, costs, strict=True)):
            likes = _log_probabilities(preferences)
            for _ in range(SWEEPS):
                if not self._sweep(stages, likes, costs):
                    break
        return stages

    def _sweep(self, stages: np.ndarray, likes: np.ndarray, costs: list[np.ndarray]) -> bool:
        """Let every pair take the stages that suit it best, as all others stand; says whether any changed."""
        changed = False
        for k, pair in enumerate(self._pairs):
            worth = likes[pair.one][:, None] + likes[pair.other] - costs[k]
            for near in self._chained[k]:
                worth -= _beside(pair, self._pairs[near], costs[near], stages)
            best = divmod(int(worth.argmax()), worth.shape[1])
            if worth[best] > worth[stages[pair.one], stages[pair.other]]:
                stages[pair.one], stages[pair.other] = best
                changed = True
        return changed


def _beside(pair: _Pair, near: _Pair, cost: np.ndarray, stages: np.ndarray) -> np.ndarray:
    """What the stages of a pair cost beside the third signal that one of the two is close to, too."""
    shared = near.one if near.one in (pair.one, pair.other) else near.other
    costs = cost[:, stages[near.other]] if shared == near.one else cost[stages[near.one]]
    return costs[:, None] if shared == pair.one else costs


def _log_probabilities(logits: np.ndarray) -> np.ndarray:
    """Logarithms of a policy's probabilities, the log-softmax of each row; by hand, as scipy is slow to import."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    normal: np.ndarray = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return normal


def _pair(site: SignalSite, one: int, other: int, lanes: list[_Lane]) -> _Pair:
    onward = np.array([lane.behind == one for lane in lanes])
    red = np.stack([_not_emptied(site, lane, lane.fed, GREEN) for lane in lanes])
    held = np.stack([_not_emptied(site, lane, _reached(lane, lanes), "G") for lane in lanes])
    for tables in (red, held):
        tables[~onward] = tables[~onward].transpose(0, 2, 1)
    return _Pair(one, other, RED_NATS * red.sum(axis=0), np.array([lane.approach for lane in lanes]), onward, held)


def _reached(lane: _Lane, lanes: list[_Lane]) -> frozenset[int]:
    """Stages of the junction behind that let vehicles on to where somebody on a lane is in their way.

    With room for two vehicles that is the lane itself; with less, one that waits and one that follows reach back into
    the junction, and all lanes beside it.
    """
    if lane.length_m >= 2 * VEHICLE_SPACE_M:
        return lane.fed
    return frozenset[int]().union(*(beside.fed for beside in lanes if beside.behind == lane.behind))


def _not_emptied(site: SignalSite, lane: _Lane, fed: Set[int], shown: str) -> np.ndarray:
    """Stages behind of those given, with stages ahead that do not show all who are on a lane one of these signals.

    Bool ``(stages, stages)``, as many as the largest junction has.
    """
    size, junction = site.most_stages, site.junctions[lane.ahead]
    movements = junction.movements_of(lane.approach)
    held = [s for s, stage in enumerate(junction.stages) if any(stage[k] not in shown for k in movements)]
    table = np.zeros((size, size), dtype=bool)
    table[np.ix_(sorted(fed), held)] = True
    return table


def _short_lanes(site: SignalSite) -> Iterator[_Lane]:
    """Where one signal lets vehicles onto a lane that ends at another's stop line within `SHORT_M`."""
    close: dict[str, list[tuple[int, int, float]]] = {}
    for ahead, junction in enumerate(site.junctions):
        for approach in junction.approaches:
            for piece in site.approaches[approach].segments:
                length_m = piece.offset_m + piece.length_m
                if length_m < SHORT_M:
                    close.setdefault(piece.lane, []).append((ahead, approach, length_m))
    fed: dict[tuple[int, int, int], set[int]] = {}
    lengths_m: dict[tuple[int, int, int], float] = {}
    for behind, junction in enumerate(site.junctions):
        for k, movement in enumerate(junction.movements):
            serving = [s for s, green in enumerate(junction.greens) if green[k]]
            for lane in {site.exits[index].id for index in movement.exits}:
                for ahead, approach, length_m in close.get(lane, ()):
                    if ahead != behind:
                        way = (behind, ahead, approach)
                        fed.setdefault(way, set()).update(serving)
                        lengths_m[way] = max(length_m, lengths_m.get(way, 0.0))
    for way, stages in sorted(fed.items()):
        yield _Lane(*way, lengths_m[way], frozenset(stages))
