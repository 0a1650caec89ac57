"""A static problem solved by insertion, ruin and recreate.

Requests are inserted by regret (Potvin and Rousseau 1993): first the one that loses most if it does not get its best
route. Then, repeatedly, some requests, similar or random ones, are taken out and inserted again (Schrimpf et al. 2000;
Ropke and Pisinger 2006, whose measure of similarity is used); simulated annealing decides which results are kept. Every
route is checked exactly, so no solution breaks a window, a ride, a seat or a shift.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from envs.transit.kernel.jit import compiled
from envs.transit.static.problem import Problem
from envs.transit.static.routes import Data, best_place, data_of, length, times

UNSERVED = 1000.0
"""Cost of an unserved request, in minutes."""

HOT, COLD = 0.03, 1e-4
"""Temperatures at the beginning and the end, relative to the first solution's cost."""

ROUNDS = 500
"""Rounds between two checks of the time."""


@dataclass(frozen=True)
class Solution:
    """Feasible routes.

    Attributes:
        cost: total length of the routes.
        routes: nodes of each without the depot; empty routes are left out.
        begins: beginnings of service at the nodes, with the departure from the depot before and the return after.
        unserved: requests, from 1, that fit into no route.
        first: cost of regret insertion alone, before the search.
        first_unserved: number of requests that regret insertion leaves out, each at `UNSERVED` of that cost.
        found_s: seconds of search after which it was found.
    """

    cost: float
    routes: tuple[tuple[int, ...], ...]
    begins: tuple[tuple[float, ...], ...]
    unserved: tuple[int, ...]
    first: float
    first_unserved: int
    found_s: float


@compiled
def _set_seed(seed: int) -> None:
    np.random.seed(seed)


@compiled
def total(routes: np.ndarray, counts: np.ndarray, data: Data) -> float:
    """Cost of all routes and of unserved requests."""
    half, served, cost = (len(data.load) - 1) // 2, 0, 0.0
    for v in range(len(counts)):
        if counts[v] > 0:
            cost += length(routes[v], counts[v], data)
        served += counts[v] // 2
    return cost + UNSERVED * (half - served)


@compiled
def _next(out: np.ndarray, cost: np.ndarray, regret: bool) -> tuple[int, int]:
    """The next request to insert, and its route; -1: no request fits into any route."""
    chosen, vehicle, most = -1, -1, -np.inf
    for r in range(1, len(out)):
        v = int(np.argmin(cost[r]))
        if not out[r] or not np.isfinite(cost[r, v]):
            continue
        worth = -cost[r, v]
        if regret:
            following = UNSERVED
            for w in range(cost.shape[1]):
                if w != v:
                    following = min(following, cost[r, w])
            worth += following
        if worth > most:
            chosen, vehicle, most = r, v, worth
    return chosen, vehicle


@compiled
def recreate(routes: np.ndarray, counts: np.ndarray, out: np.ndarray, data: Data, regret: bool, noise: float) -> None:
    """Insert all requests that are out, one by one, where they fit best; requests that fit nowhere stay out.

    Args:
        routes: ``(V, 2n)``.
        counts: number of stops of each.
        out: whether a request is in no route, bool ``(n + 1,)``.
        data: the problem.
        regret: whether the request that would lose most goes first, else the cheapest.
        noise: largest relative perturbation of costs, so that results vary.
    """
    nodes, fleet = len(data.load), len(counts)
    trial, begin, place = np.zeros(nodes, np.int64), np.zeros(nodes + 2), np.zeros(nodes, np.int64)
    cost = np.full((len(out), fleet), np.inf)
    first, second = np.zeros((len(out), fleet), np.int64), np.zeros((len(out), fleet), np.int64)
    for r in range(1, len(out)):
        if out[r]:
            for v in range(fleet):
                found, first[r, v], second[r, v] = best_place(r, routes[v], counts[v], data, trial, begin, place)
                cost[r, v] = found * (1.0 + noise * np.random.random())
    while True:
        chosen, vehicle = _next(out, cost, regret)
        if chosen < 0:
            return
        route, count, i, j = routes[vehicle], counts[vehicle], first[chosen, vehicle], second[chosen, vehicle]
        for k in range(count - 1, j - 1, -1):
            route[k + 2] = route[k]
        for k in range(j - 1, i - 1, -1):
            route[k + 1] = route[k]
        route[i], route[j + 1] = chosen, chosen + len(out) - 1
        counts[vehicle] = count + 2
        out[chosen] = False
        for r in range(1, len(out)):
            if out[r]:
                found, i, j = best_place(r, route, counts[vehicle], data, trial, begin, place)
                cost[r, vehicle], first[r, vehicle], second[r, vehicle] = found, i, j
                cost[r, vehicle] *= 1.0 + noise * np.random.random()


@compiled
def ruin(routes: np.ndarray, counts: np.ndarray, out: np.ndarray, data: Data, most: int) -> None:
    """Take out a random request and others, random ones or those most similar to it in place and time."""
    half = len(out) - 1
    wanted = np.random.randint(1, most + 1)
    seed = np.random.randint(1, half + 1)
    alike = np.random.random() < 0.7
    score = np.random.random(half + 1)
    if alike:
        for r in range(1, half + 1):
            near = data.between[seed, r] + data.between[seed + half, r + half]
            near += abs(data.window[seed, 0] - data.window[r, 0]) + abs(data.window[seed, 1] - data.window[r, 1])
            score[r] = near * (0.5 + np.random.random())
    score[seed] = -1.0
    score[0] = np.inf
    for r in np.argsort(score)[:wanted]:
        out[r] = True
    for v in range(len(counts)):
        kept = 0
        for k in range(counts[v]):
            node = routes[v, k]
            if not out[node if node <= half else node - half]:
                routes[v, kept] = node
                kept += 1
        counts[v] = kept


@compiled
def improve(
    routes: np.ndarray,
    counts: np.ndarray,
    out: np.ndarray,
    best: np.ndarray,
    best_counts: np.ndarray,
    data: Data,
    rounds: int,
    heat: float,
) -> None:
    """Rounds of ruin and recreate at one temperature, in minutes; the best solution is written into ``best``."""
    half = len(out) - 1
    now, least = total(routes, counts, data), total(best, best_counts, data)
    most = max(1, min(half, int(0.4 * half) + 1))
    for _ in range(rounds):
        old, old_counts, old_out = routes.copy(), counts.copy(), out.copy()
        ruin(routes, counts, out, data, most)
        recreate(routes, counts, out, data, np.random.random() < 0.6, 0.3 if np.random.random() < 0.5 else 0.0)
        cost = total(routes, counts, data)
        if cost < least - 1e-9:
            least = cost
            best[:], best_counts[:] = routes, counts
        if cost > now - heat * np.log(max(np.random.random(), 1e-12)):
            routes[:], counts[:], out[:] = old, old_counts, old_out
        else:
            now = cost


def solve(problem: Problem, seconds: float = 10.0, rounds: int | None = None, seed: int = 0) -> Solution:
    """The best solution found.

    Args:
        problem: the problem.
        seconds: time of search.
        rounds: number of rounds in place of a time, for results that do not depend on the machine.
        seed: of all random numbers.
    """
    data, half = data_of(problem), problem.requests
    _set_seed(seed)
    routes, counts = np.zeros((problem.vehicles, 2 * half), np.int64), np.zeros(problem.vehicles, np.int64)
    out = np.ones(half + 1, np.bool_)
    out[0] = False
    recreate(routes, counts, out, data, True, 0.0)
    first_unserved = int(out.sum())
    best, best_counts = routes.copy(), counts.copy()
    first = least = total(routes, counts, data)
    improve(routes, counts, out, best, best_counts, data, 0, 1.0)  # compiles before the time starts
    start, done, found_s = time.perf_counter(), 0, 0.0
    while True:
        passed_s = time.perf_counter() - start
        share = done / rounds if rounds is not None else passed_s / seconds
        if share >= 1.0:
            break
        heat = least * HOT * (COLD / HOT) ** share
        step = ROUNDS if rounds is None else min(ROUNDS, rounds - done)
        improve(routes, counts, out, best, best_counts, data, step, heat)
        done += step
        cost = total(best, best_counts, data)
        if cost < least - 1e-9:
            least, found_s = cost, time.perf_counter() - start
    return _solution(data, best, best_counts, (first, first_unserved), found_s)


def _solution(data: Data, routes: np.ndarray, counts: np.ndarray, first: tuple[float, int], found_s: float) -> Solution:
    half = (len(data.load) - 1) // 2
    place, kept, begins, cost = np.zeros(len(data.load), np.int64), [], [], 0.0
    for route, count in zip(routes, counts.tolist(), strict=True):
        if count:
            begin = np.zeros(count + 2)
            times(route, count, data, begin, place)
            kept.append(tuple(route[:count].tolist()))
            begins.append(tuple(begin.tolist()))
            cost += length(route, count, data)
    served = {node for route in kept for node in route}
    unserved = tuple(r for r in range(1, half + 1) if r not in served)
    return Solution(cost, tuple(kept), tuple(begins), unserved, *first, found_s)
