"""A road graph → matrices of travel times, lengths and next nodes, by shortest paths.

Files, zones and stops are handled in `network`; speeds by time of day in `kernel.travel_times`.
"""

from __future__ import annotations

import numpy as np


def joined(count: int, start: np.ndarray, end: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Whether a path leads from one node to another, for some of them, bool ``(n, n)``.

    Args:
        count: number of all nodes.
        start: node at which each road begins, ``(E,)``.
        end: node at which it ends, ``(E,)``.
        among: those of interest, ``(n,)``.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import breadth_first_order

    roads = csr_array((np.ones(len(start)), (start, end)), shape=(count, count))
    found = np.zeros((len(among), count), bool)
    for row, node in zip(found, among, strict=True):
        row[breadth_first_order(roads, node, return_predecessors=False)] = True
    return found[:, among]


def leads_on(joined: np.ndarray) -> np.ndarray:
    """Rows of nodes that are no dead ends: roads lead from them to half as many nodes as from the best, or more.

    Args:
        joined: whether a path leads from the row's node to the column's, bool ``(n, m)``.

    Returns:
        bool ``(n,)``.
    """
    share: np.ndarray = joined.mean(axis=1)
    return share >= 0.5 * share.max()


def there_and_back(joined: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """Nodes from which a vehicle can drive to a stop elsewhere and return: no dead ends, in either direction.

    Args:
        joined: whether a path leads from the row's node to the column's, bool ``(n, n)``.
        stops: mask of the stops, bool ``(n,)``.

    Returns:
        bool ``(n,)``.
    """
    both = joined & joined.T & stops
    np.fill_diagonal(both, False)
    found: np.ndarray = both.any(axis=1)
    return found


class Matrices:
    """All pairs of ``N`` nodes.

    Args:
        count: number of nodes.
        start, end: nodes that each road joins, one way, ``(E,)``.
        seconds: at free flow, above 0, ``(E,)``.
        metres: length, ``(E,)``.

    Attributes:
        free_s: seconds of the quickest path, inf where there is none, ``(N, N)``.
        metres: its length, 0 where there is none, ``(N, N)``.
        hop: the next node on it; the node itself where there is none, int32 ``(N, N)``.
    """

    def __init__(self, count: int, start: np.ndarray, end: np.ndarray, seconds: np.ndarray, metres: np.ndarray):
        from scipy.sparse import csr_array  # a quarter of this package's import time
        from scipy.sparse.csgraph import dijkstra

        order = np.lexsort((seconds, end, start))  # of parallel roads the quickest
        order = order[start[order] != end[order]]  # loops are on no path
        start, end, seconds, metres = start[order], end[order], seconds[order], metres[order]
        first = np.ones(len(start), bool)
        first[1:] = (start[1:] != start[:-1]) | (end[1:] != end[:-1])
        start, end, seconds, metres = start[first], end[first], seconds[first], metres[first]
        backward = csr_array((seconds, (end, start)), shape=(count, count))
        to_s, before = dijkstra(backward, return_predecessors=True)  # [target, from]
        self.free_s = np.ascontiguousarray(to_s.T)
        own = np.broadcast_to(np.arange(count)[:, None], (count, count))
        self.hop = np.where(before.T < 0, own, before.T).astype(np.int32)
        length = np.zeros((count, count))
        length[start, end] = metres
        self.metres = self._along(length)

    def _along(self, length: np.ndarray) -> np.ndarray:
        """Length of every path, by doubling: of its first road, of its first two, four, …, plus the rest."""
        target, reached = np.broadcast_to(np.arange(len(length)), length.shape), self.hop
        total = np.take_along_axis(length, reached, axis=1)
        while True:
            further = reached[reached, target]
            if np.array_equal(further, reached):
                return total
            total, reached = total + total[reached, target], further
