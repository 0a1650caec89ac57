"""A static problem solved to the proven optimum, as a mixed integer program by HiGHS.

The two-index formulation of Furtado, Munari and Morabito (2017) for pick-ups and deliveries: arcs, times and loads at
nodes, and the number of a route, which is that of its first node, so that both ends of a request are in one. Longest
rides and routes are added. The search of `solve` shares nothing with it but the problem: neither routes nor timing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import LinearConstraint, milp
from scipy.sparse import coo_array

from envs.transit.static.problem import Problem

SMALL = 1e-6

INFEASIBLE = 2
"""HiGHS's status of a program without a solution."""


@dataclass(frozen=True)
class Bounds:
    """Bounds of the optimum.

    Attributes:
        cost: of the best solution found; inf: none.
        bound: lower bound of the cost of any solution; inf: there is none.
        routes: of the best solution.
    """

    cost: float
    bound: float
    routes: tuple[tuple[int, ...], ...]

    @property
    def proven(self) -> bool:
        """Whether the solution found is optimal, or it is proven that there is none."""
        none = bool(np.isinf(self.bound))
        return none or (bool(np.isfinite(self.cost)) and self.cost - self.bound <= 1e-4 * max(self.cost, 1.0))


class _Rows:
    """Linear constraints, row by row."""

    def __init__(self) -> None:
        self.row: list[int] = []
        self.column: list[int] = []
        self.value: list[float] = []
        self.low: list[float] = []
        self.high: list[float] = []

    def add(self, terms: dict[int, float], low: float = -np.inf, high: float = np.inf) -> None:
        for column, value in terms.items():
            self.row.append(len(self.low))
            self.column.append(column)
            self.value.append(value)
        self.low.append(low)
        self.high.append(high)

    def constraint(self, columns: int) -> LinearConstraint:
        table = coo_array((self.value, (self.row, self.column)), shape=(len(self.low), columns))
        return LinearConstraint(table.tocsr(), self.low, self.high)


@dataclass(frozen=True)
class _Index:
    """Columns of the variables.

    Attributes:
        x: whether an arc is used.
        begin, load, route: of every node, the depot excepted: start of service, load after it, and number of the route.
        left: of every node: when its vehicle left the depot, at the latest.
        columns: number of all columns.
    """

    x: dict[tuple[int, int], int]
    begin: dict[int, int]
    load: dict[int, int]
    route: dict[int, int]
    left: dict[int, int]
    columns: int


def optimum(problem: Problem, seconds: float = 60.0, cutoff: float = np.inf) -> Bounds:
    """The least cost of serving all requests.

    Args:
        problem: the problem.
        seconds: time limit of HiGHS; then the bounds proven so far are returned.
        cutoff: the cost of a known solution; solutions that cost more are excluded.
    """
    arcs = _arcs(problem)
    index = _index(problem, arcs)
    low, high = _bounds(problem, index)
    rows = _constraints(problem, index, low, high)
    cost = np.zeros(index.columns)
    for (i, j), k in index.x.items():
        cost[k] = problem.between[i, j]
    if np.isfinite(cutoff):
        rows.add({k: float(cost[k]) for k in index.x.values()}, high=cutoff + SMALL)
    whole = np.zeros(index.columns)
    whole[: len(arcs)] = 1
    found = milp(
        cost,
        integrality=whole,
        bounds=(low, high),
        constraints=rows.constraint(index.columns),
        options={"time_limit": seconds, "mip_rel_gap": 1e-6},
    )
    bound = float(found.mip_dual_bound) if found.get("mip_dual_bound") is not None else 0.0
    if found.x is None:
        return Bounds(np.inf, np.inf if found.status == INFEASIBLE else bound, ())
    return Bounds(float(found.fun), bound, _routes(arcs, found.x))


def _index(problem: Problem, arcs: list[tuple[int, int]]) -> _Index:
    """Numbers of all variables."""
    count = 2 * problem.requests
    begin, load, route, left = ({i: len(arcs) + part * count + i - 1 for i in range(1, count + 1)} for part in range(4))
    return _Index({arc: k for k, arc in enumerate(arcs)}, begin, load, route, left, len(arcs) + 4 * count)


def _constraints(problem: Problem, index: _Index, low: np.ndarray, high: np.ndarray) -> _Rows:
    """All constraints but the bounds ``low`` and ``high`` of the variables, ``(columns,)``."""
    n, window, between = problem.requests, problem.tight, problem.between
    x, begin, load, route, left = index.x, index.begin, index.load, index.route, index.left
    rows = _Rows()
    for i in range(1, 2 * n + 1):
        rows.add({k: 1.0 for (a, _), k in x.items() if a == i}, 1.0, 1.0)
        rows.add({k: 1.0 for (_, b), k in x.items() if b == i}, 1.0, 1.0)
    rows.add({k: 1.0 for (a, _), k in x.items() if a == 0}, 1.0, float(problem.vehicles))
    for (i, j), k in x.items():
        if i and j and i < j and (j, i) in x:
            rows.add({k: 1.0, x[j, i]: 1.0}, high=1.0)
    for (i, j), k in x.items():
        if i == 0:
            rows.add({route[j]: 1.0, k: -float(j)}, low=0.0)  # a route has the number of its first node
            rows.add({route[j]: 1.0, k: float(n - j)}, high=float(n))
            rows.add({left[j]: 1.0, begin[j]: -1.0, k: _room(high[left[j]] - low[begin[j]] + between[0, j])},
                     high=_room(high[left[j]] - low[begin[j]] + between[0, j]) - between[0, j])  # fmt: skip
            continue
        took = problem.service[i] + between[i, j]
        if j == 0:
            late = _room(high[begin[i]] + took - low[left[i]] - problem.duration)
            rows.add({begin[i]: 1.0, left[i]: -1.0, k: late}, high=problem.duration - took + late)
            continue
        room = _room(window[i, 1] + took - window[j, 0])
        rows.add({begin[j]: 1.0, begin[i]: -1.0, k: -room}, low=took - room)
        for name, grows in ((load, float(problem.load[j])), (route, 0.0)):
            room = _room(high[name[i]] - low[name[j]] + grows)
            rows.add({name[j]: 1.0, name[i]: -1.0, k: -room}, low=grows - room)
        room = _room(high[route[j]] - low[route[i]])
        rows.add({route[j]: 1.0, route[i]: -1.0, k: room}, high=room)
        room = _room(high[left[j]] - low[left[i]])
        rows.add({left[j]: 1.0, left[i]: -1.0, k: room}, high=room)
    for i in range(1, n + 1):
        rows.add({route[n + i]: 1.0, route[i]: -1.0}, 0.0, 0.0)
        least = problem.service[i] + between[i, n + i]
        rows.add({begin[n + i]: 1.0, begin[i]: -1.0}, least, problem.service[i] + problem.ride)
    return rows


def _room(value: float) -> float:
    """Big-M: slack of a constraint whose arc is not used."""
    return max(value, 0.0)


def _arcs(problem: Problem) -> list[tuple[int, int]]:
    """Arcs that a solution can use."""
    n, window, between = problem.requests, problem.tight, problem.between
    kept = [(0, i) for i in range(1, n + 1)] + [(n + i, 0) for i in range(1, n + 1)]
    for i in range(1, 2 * n + 1):
        for j in range(1, 2 * n + 1):
            if i == j or i == n + j:
                continue
            if window[i, 0] + problem.service[i] + between[i, j] > window[j, 1] + SMALL:
                continue
            if i <= n and j <= n and problem.load[i] + problem.load[j] > problem.capacity:
                continue
            if i > n and j > n and -problem.load[i] - problem.load[j] > problem.capacity:
                continue
            if i <= n < j != n + i and problem.load[i] + problem.load[j - n] > problem.capacity:
                continue
            kept.append((i, j))
    return kept


def _bounds(problem: Problem, index: _Index) -> tuple[np.ndarray, np.ndarray]:
    """Least and largest values of the variables, ``(columns,)`` each."""
    n, window = problem.requests, problem.tight
    low, high = np.zeros(index.columns), np.ones(index.columns)
    for i in range(1, 2 * n + 1):
        low[index.begin[i]], high[index.begin[i]] = window[i]
        taken = problem.load[i]
        low[index.load[i]], high[index.load[i]] = max(0, taken), min(problem.capacity, problem.capacity + taken)
        low[index.route[i]], high[index.route[i]] = 1, n
        low[index.left[i]], high[index.left[i]] = problem.window[0]
    return low, high


def _routes(arcs: list[tuple[int, int]], x: np.ndarray) -> tuple[tuple[int, ...], ...]:
    used = [arc for k, arc in enumerate(arcs) if x[k] > 0.5]
    following = {i: j for i, j in used if i}
    found = []
    for start in (j for i, j in used if i == 0):
        route, node = [], start
        while node:
            route.append(node)
            node = following[node]
        found.append(tuple(route))
    return tuple(found)
