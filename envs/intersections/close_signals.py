"""Closely spaced signals: a queue between them reaches back into the junction behind.

If only a few cars fit between two junctions, a queue there must not last: further vehicles stop in the middle of the
junction behind. If that happens in both directions, the end of each queue blocks the vehicles that the other queue
waits for, and no signal can clear them. Practice runs such a pair from one cabinet. Here each signal is an agent of its
own, so the stages of close signals are made to fit: of all pairs of stages they ask for the one with the highest
probability under the policy, less a cost of letting vehicles onto a short lane that does not empty. Junctions are a
coordination graph with a payoff for each pair (Guestrin, Lagoudakis and Parr 2002), and pair after pair is improved.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np

from envs.core.readings import Readings
from envs.intersections.junction import GREEN, VEHICLE_SPACE_M
from envs.intersections.site import SignalSite

SHORT_M = 25.0
"""Signals are close if the road from one junction to the other's stop line is shorter: room for three vehicles."""

RED_NATS, BOTH_BLOCK_NATS = 2.0, 20.0
"""Cost of letting vehicles onto a short lane whose own signal is red, for each such lane; and cost of letting vehicles
on, in both directions, behind vehicles that the signal ahead stops or gives a permissive green only. In nats, as a
policy's preferences are logarithms of probabilities. Chosen on validation seeds of ingolstadt21, town3 and town7."""

SWEEPS = 8
"""Largest number of passes over a chain of close signals; a pair by itself is settled after the first."""


class _Lane(NamedTuple):
    """A short lane from one signal to a close one.

    Attributes:
        behind, ahead: indices of the junctions.
        approach: index of the lane among the site's approaches.
        length_m: distance from the junction behind to the stop line.
        fed: stages of the junction behind that let vehicles onto the lane.
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
        red: cost of a stage of one with a stage of the other, independent of vehicles, ``(stages, stages)``.
        lanes: indices of the lanes among the site's approaches, ``(lanes,)``.
        onward: whether each lane leads from one to the other, ``(lanes,)``.
        held: whether a stage lets vehicles on behind those of a lane while the stage of the signal ahead does not give
            that lane a protected green, ``(lanes, stages, stages)``.
    """

    one: int
    other: int
    red: np.ndarray
    lanes: np.ndarray
    onward: np.ndarray
    held: np.ndarray

    def cost(self, taken: np.ndarray) -> np.ndarray:
        """Cost of a stage of one with a stage of the other, ``(stages, stages)``.

        Args:
            taken: whether there is a vehicle on each approach of the site.
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
        """The pairs of a site; None if it has none."""
        between: dict[tuple[int, int], list[_Lane]] = {}
        for lane in _short_lanes(site):
            between.setdefault((min(lane.behind, lane.ahead), max(lane.behind, lane.ahead)), []).append(lane)
        pairs = [_pair(site, *pair, lanes) for pair, lanes in sorted(between.items())]
        return cls(pairs) if pairs else None

    def settle(self, preferences: np.ndarray, readings: Readings) -> np.ndarray:
        """The stages to ask for: each junction's most probable one, unless those of close signals do not fit.

        Args:
            preferences: a policy's masked logits, ``(junctions, stages)``.
            readings: of this moment. An approach with a silent detector counts as empty.

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
        """Give every pair its best stages, with those of all others as they are; returns whether any changed."""
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
    """Costs of a pair's stages with the stage of a third signal that is close to one of the two."""
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
    """Stages of the junction behind that let vehicles on to where those on a lane are in their way.

    A lane with room for two vehicles blocks itself only. On a shorter one, a waiting vehicle and its follower reach
    back into the junction, and block all lanes beside it.
    """
    if lane.length_m >= 2 * VEHICLE_SPACE_M:
        return lane.fed
    return frozenset[int]().union(*(beside.fed for beside in lanes if beside.behind == lane.behind))


def _not_emptied(site: SignalSite, lane: _Lane, fed: Set[int], shown: str) -> np.ndarray:
    """Whether a stage behind feeds a lane while a stage ahead does not show all its movements one of some signals.

    Args:
        site: the site.
        lane: the lane.
        fed: stages of the junction behind that count.
        shown: letters of the signals.

    Returns:
        bool ``(stages, stages)``, as many as the largest junction has.
    """
    size, junction = site.most_stages, site.junctions[lane.ahead]
    movements = junction.movements_of(lane.approach)
    held = [s for s, stage in enumerate(junction.stages) if any(stage[k] not in shown for k in movements)]
    table = np.zeros((size, size), dtype=bool)
    table[np.ix_(sorted(fed), held)] = True
    return table


def _short_lanes(site: SignalSite) -> Iterator[_Lane]:
    """Lanes onto which one signal lets vehicles, and which end at another's stop line within `SHORT_M`."""
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
