"""Whether routes are a solution, in plain Python, by the file's own windows: shares nothing with the search."""

import itertools
import math

EPS = 1e-4


def broken(problem, routes, begins):
    """Everything that a solution breaks, a sentence each; times are those at which service begins."""
    found, n = [], problem.requests
    visited = sorted(node for route in routes for node in route)
    if visited != list(range(1, 2 * n + 1)):
        found.append("not every node is visited just once")
    if len(routes) > problem.vehicles:
        found.append("too many vehicles")
    for route, times in zip(routes, begins, strict=True):
        if len(times) != len(route) + 2:
            found.append("a time is missing")
            continue
        aboard, at = 0, (0, *route, 0)
        when = dict(zip(route, times[1:-1], strict=True))
        for k in range(len(at) - 1):
            stood = problem.service[at[k]] if k else 0.0
            if times[k + 1] < times[k] + stood + math.dist(problem.at[at[k]], problem.at[at[k + 1]]) - EPS:
                found.append(f"too fast to {at[k + 1]}")
        for node, time in zip(at, times, strict=True):
            if not problem.window[node][0] - EPS <= time <= problem.window[node][1] + EPS:
                found.append(f"outside the window of {node}")
        for node in route:
            aboard += problem.load[node]
            if aboard > problem.capacity:
                found.append(f"too many aboard after {node}")
            if node > n:
                if node - n not in when or when[node - n] >= when[node]:
                    found.append(f"{node} before its pick-up, or in another vehicle")
                elif when[node] - when[node - n] - problem.service[node - n] > problem.ride + EPS:
                    found.append(f"too long a ride to {node}")
        if times[-1] - times[0] > problem.duration + EPS:
            found.append("too long a route")
    return found


def cost(problem, routes):
    """Length of all routes."""
    total = 0.0
    for route in routes:
        at = (0, *route, 0)
        total += sum(math.dist(problem.at[a], problem.at[b]) for a, b in itertools.pairwise(at))
    return total
