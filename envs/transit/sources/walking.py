"""Walks to and from stops: the best pair of stops for a trip that does not begin and end at stops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from envs.transit.matrices import Matrices
from envs.transit.settings import Walk
from envs.transit.site import Node
from envs.transit.sources.day import Day

WEARY = 2.0
"""Weight of a second on foot, relative to one in the vehicle, in the choice of stops (Wardman 2004: about two)."""

End = int | tuple[float, float]
"""One end of a trip: a node, or a place in metres."""


class Stops:
    """The stops of a town, for riders who walk.

    Args:
        nodes: the corners.
        matrices: shortest paths between them.
        walk: longest walk, and speed.

    Attributes:
        free_s: seconds from node to node.
    """

    def __init__(self, nodes: tuple[Node, ...], matrices: Matrices, walk: Walk):
        self._nodes, self.free_s, self.walk = nodes, matrices.free_s, walk
        self._stops = np.flatnonzero([node.stop for node in nodes])
        self._at = np.array([(node.x_m, node.y_m) for node in nodes])
        self._found: dict[tuple[End, End], tuple[int, int, float, float]] = {}

    def has(self, node: int) -> bool:
        """Whether a corner is a stop."""
        return self._nodes[node].stop

    def lead(self, origin: End, destination: End) -> bool:
        """Whether roads lead from one corner to another."""
        return (
            isinstance(origin, int) and isinstance(destination, int) and np.isfinite(self.free_s[origin, destination])
        )

    def pair(self, origin: End, destination: End) -> tuple[int, int, float, float]:
        """The two stops with the least total time, walks weighted by `WEARY`, and the metres to and from them.

        An end at a stop stays there.

        Raises:
            ValueError: if there is no stop near enough, or no road leads from one to another.
        """
        key = origin, destination
        if key not in self._found:
            self._found[key] = self._pair(origin, destination)
        return self._found[key]

    def _pair(self, origin: End, destination: End) -> tuple[int, int, float, float]:
        (starts, to_m), (ends, from_m) = self._near(origin, "from"), self._near(destination, "to")
        foot_s = (to_m[:, None] + from_m[None, :]) / self.walk.mps
        total_s = WEARY * foot_s + self.free_s[np.ix_(starts, ends)]
        total_s[starts[:, None] == ends[None, :]] = np.inf
        i, j = np.unravel_index(int(total_s.argmin()), total_s.shape)
        if not np.isfinite(total_s[i, j]):
            if starts.tolist() == ends.tolist() == [starts[0]]:
                stop = self._nodes[starts[0]].id
                raise ValueError(f"stop {stop!r} alone is near its begin and its end: leave it out")
            raise ValueError("no road leads from a stop near its begin to another near its end: add one")
        return int(starts[i]), int(ends[j]), float(to_m[i]), float(from_m[j])

    def _near(self, end: End, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Stops within walking distance, and their distances in a straight line, in metres."""
        if isinstance(end, int) and self._nodes[end].stop:
            return np.array([end]), np.zeros(1)
        place = self._at[end] if isinstance(end, int) else np.array(end)
        away = np.hypot(*(self._at[self._stops] - place).T)
        near = away <= self.walk.metres
        if not near.any():
            most = self.walk.metres
            raise ValueError(f"{name} is {away.min():.0f} m from the nearest stop, more than {most:g}: move it nearer")
        return self._stops[near], away[near]


def to_stops(day: Day, stops: Stops) -> Day:
    """The same day with walks to and from stops, without requests that have no stop within walking distance."""
    found, kept, problems = [], [], list(day.problems)
    for k, ends in enumerate(zip(day.origin.tolist(), day.destination.tolist(), strict=True)):
        try:
            found.append(stops.pair(*ends))
            kept.append(k)
        except ValueError as problem:
            problems.append(f"request {k}: {problem}")
    day = replace(day.rows(np.array(kept, np.int64)), problems=tuple(problems))
    table = np.array(found, np.float64).reshape(-1, 4)
    return replace(
        day,
        origin=table[:, 0].astype(np.int64),
        destination=table[:, 1].astype(np.int64),
        earliest_s=day.earliest_s + table[:, 2] / stops.walk.mps,
        walk_m=table[:, 2] + table[:, 3],
    )
