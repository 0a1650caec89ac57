"""Routes of a static problem, compiled: feasible times of a route, and the best place of a request in it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from envs.transit.kernel.jit import compiled
from envs.transit.static.problem import Problem

EPS = 1e-6
"""Tolerance of time limits, in minutes: rounding of sums."""


class Data(NamedTuple):
    """A problem for compiled functions, made by `data_of`. Attributes as in `Problem`."""

    between: np.ndarray
    service: np.ndarray
    load: np.ndarray
    window: np.ndarray
    capacity: int
    ride: float
    duration: float


def data_of(problem: Problem) -> Data:
    """A problem for compiled functions."""
    rest = problem.capacity, problem.ride, problem.duration
    # One memory layout for all: else every function would be compiled for each layout.
    between, service, load, tight = map(
        np.ascontiguousarray, (problem.between, problem.service, problem.load, problem.tight)
    )
    return Data(between, service, load, tight, *rest)


@compiled
def times(route: np.ndarray, count: int, data: Data, begin: np.ndarray, place: np.ndarray) -> bool:
    """Whether a route is feasible; writes its earliest times.

    Windows, driving, longest rides and the longest route bound differences of times. Starting from the earliest times,
    each time that is too early for a later one is put off, with all that follow, until nothing changes. If that takes
    more rounds than there are stops, it never ends (Bellman and Ford).

    Args:
        route: nodes without the depot; every drop-off after its pick-up.
        count: their number.
        data: the problem.
        begin: ``(count + 2,)``, to be overwritten: beginnings of service, with the depot at both ends.
        place: ``(2n + 1,)``, to be overwritten: positions of nodes in the route.
    """
    half = (len(data.load) - 1) // 2
    aboard = 0
    for k in range(count):
        node = route[k]
        aboard += data.load[node]
        if aboard > data.capacity:
            return False
        place[node], begin[k + 1] = k + 1, data.window[node, 0]
    begin[0] = begin[count + 1] = data.window[0, 0]
    for _ in range(count + 3):
        before = 0
        for k in range(1, count + 2):
            node = route[k - 1] if k <= count else 0
            stood = data.service[before] if k > 1 else 0.0
            begin[k] = max(begin[k], begin[k - 1] + stood + data.between[before, node])
            if begin[k] > data.window[node, 1] + EPS:
                return False
            before = node
        settled = True
        for k in range(count, 0, -1):
            node = route[k - 1]
            if node > half:
                pick = place[node - half]
                needed = begin[k] - data.ride - data.service[node - half]
                if begin[pick] < needed - EPS:
                    begin[pick], settled = needed, False
        if begin[0] < begin[count + 1] - data.duration - EPS:
            begin[0], settled = begin[count + 1] - data.duration, False
        if settled:
            return True
    return False


@compiled
def length(route: np.ndarray, count: int, data: Data) -> float:
    """Length of a route, from the depot and back."""
    total, before = 0.0, 0
    for k in range(count):
        total += data.between[before, route[k]]
        before = route[k]
    return total + data.between[before, 0]


@compiled
def best_place(
    r: int, route: np.ndarray, count: int, data: Data, trial: np.ndarray, begin: np.ndarray, place: np.ndarray
) -> tuple[float, int, int]:
    """Least growth of a route by request ``r``, and the stops before which to insert it; infinite: it does not fit.

    Args:
        r: the request, from 1.
        route: nodes.
        count: their number.
        data: the problem.
        trial: ``(2n + 1,)``, to be overwritten.
        begin: ``(2n + 3,)``, to be overwritten.
        place: ``(2n + 1,)``, to be overwritten.
    """
    pick, drop = r, r + (len(data.load) - 1) // 2
    between = data.between
    best, first, second = np.inf, -1, -1
    soonest, before = data.window[0, 0], 0  # earliest departure from the stop before
    for i in range(count + 1):
        if soonest + between[before, pick] > data.window[pick, 1] + EPS:
            break
        after = route[i] if i < count else 0
        way = between[before, pick] + between[pick, after] - between[before, after]
        for j in range(i, count + 1):
            if j == i:
                grown = between[before, pick] + between[pick, drop] + between[drop, after] - between[before, after]
            else:
                last, then = route[j - 1], route[j] if j < count else 0
                grown = way + between[last, drop] + between[drop, then] - between[last, then]
            if grown >= best:
                continue
            for k in range(i):
                trial[k] = route[k]
            trial[i] = pick
            for k in range(i, j):
                trial[k + 1] = route[k]
            trial[j + 1] = drop
            for k in range(j, count):
                trial[k + 2] = route[k]
            if times(trial, count + 2, data, begin, place):
                best, first, second = grown, i, j
        if i < count:
            soonest = max(soonest + between[before, after], data.window[after, 0]) + data.service[after]
            before = after
    return best, first, second
