"""Fixed lines with the same vehicles: what the fleet replaces. Not a controller, as lines promise nothing to anybody.

Lines are designed on training days, with all vehicles on them; the result is what test days' riders would need from
door to door, beside insertion with reactive rebalancing (``cityloop lines``). The reckoning favours the lines: vehicles
are never full, connections are never missed, streets are at the day's mean speed, and whoever walks faster than the
line walks. Riders of the fleet do not walk: their stops are where they ask from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agents.baselines.transit import Reactive
from envs.core.env import make_loop
from envs.transit.network import day_of, load_site
from envs.transit.scenarios import TransitScenario
from envs.transit.site import TransitSite

WALK_MS = 1.2
"""Walking speed along the path, in m/s."""

WALK_DETOUR = 1.3
"""Length of a walk relative to the straight line."""

STOP_S = 20.0
"""Duration of a stop, in seconds."""

ENDS = 16
"""Number of stops, spread over the town, between which candidate lines are shortest paths."""

MOST_LINES = 6
"""Largest number of lines."""


@dataclass(frozen=True)
class Lines:
    """A line network.

    Attributes:
        routes: nodes of every line.
        headway_s: time between two vehicles, the same on all lines.
        door_s: travel time from door to door at free flow, with half a headway per boarding, ``(nodes, nodes)``.
        walk_s: travel time of walking all the way, ``(nodes, nodes)``.
    """

    routes: tuple[tuple[int, ...], ...]
    headway_s: float
    door_s: np.ndarray
    walk_s: np.ndarray


def demand(scenario: TransitScenario, site: TransitSite, seeds: Sequence[int]) -> tuple[np.ndarray, float]:
    """Requests between all pairs of nodes over several days, ``(nodes, nodes)``, and their mean relative speed."""
    table = np.zeros((len(site.nodes), len(site.nodes)))
    speeds = []
    for seed in seeds:
        day = day_of(scenario, site, seed)
        steady = ~np.isfinite(day.cancel_s) & ~day.absent
        np.add.at(table, (day.origin[steady], day.destination[steady]), 1.0)
        slots = np.minimum((day.earliest_s[steady] // day.slot_s).astype(np.int64), len(day.speed) - 1)
        speeds.append(day.speed[slots].mean())
    return table, float(np.mean(speeds))


def design(site: TransitSite, trips: np.ndarray, vehicles: int, speed: float) -> Lines:
    """Greedy design of lines that minimise the total travel time of all trips from door to door.

    Args:
        site: the town.
        trips: number of trips between all pairs of nodes, ``(nodes, nodes)``.
        vehicles: number of vehicles.
        speed: driving speed, relative to free flow.
    """
    at = np.array([(node.x_m, node.y_m) for node in site.nodes])
    walk = WALK_DETOUR / WALK_MS * np.hypot(*(at[:, None, :] - at[None, :, :]).transpose(2, 0, 1))
    routes = _candidates(site, at)
    rides = [_ride(site, route, walk, speed) for route in routes]
    cycles = [2 * (site.matrices.free_s[route[0], route[-1]] / speed + STOP_S * len(route)) for route in routes]
    chosen: list[int] = []
    best, door = float((walk * trips).sum()), walk
    for _ in range(MOST_LINES):
        found = []
        for k in range(len(routes)):
            if k not in chosen:
                headway = sum(cycles[j] for j in (*chosen, k)) / vehicles
                single = np.min([rides[j] for j in (*chosen, k)], axis=0) + headway / 2
                found.append((float((np.minimum(walk, single) * trips).sum()), k))
        if not found:  # a small town has few
            break
        cost, k = min(found)
        headway = sum(cycles[j] for j in (*chosen, k)) / vehicles
        tried = _connected(np.min([rides[j] for j in (*chosen, k)], axis=0) + headway / 2, walk)
        cost = float((tried * trips).sum())
        if cost >= best:
            break
        chosen.append(k)
        best, door = cost, tried
    headway = sum(cycles[j] for j in chosen) / vehicles if chosen else np.inf
    return Lines(tuple(routes[k] for k in chosen), headway, door, walk)


def _candidates(site: TransitSite, at: np.ndarray) -> list[tuple[int, ...]]:
    """Shortest paths between distant stops; each next stop is the farthest from those before."""
    stops = np.flatnonzero([node.stop for node in site.nodes])
    ends = [int(stops[np.hypot(*(at[stops] - at[stops].mean(axis=0)).T).argmax()])]
    while len(ends) < min(ENDS, len(stops)):
        away = np.min([np.hypot(*(at[stops] - at[end]).T) for end in ends], axis=0)
        ends.append(int(stops[away.argmax()]))
    routes = []
    for a in ends:
        for b in ends:
            if a < b and np.isfinite(site.matrices.free_s[a, b]):
                route = [a]
                while route[-1] != b:
                    route.append(int(site.matrices.hop[route[-1], b]))
                routes.append(tuple(route))
    return routes


def _ride(site: TransitSite, route: tuple[int, ...], walk: np.ndarray, speed: float) -> np.ndarray:
    """Seconds between all nodes by one line, ``(nodes, nodes)``: walk, ride and walk, without the wait."""
    along = site.matrices.free_s[route[0], list(route)] / speed + STOP_S * np.arange(len(route))
    ride = np.abs(along[:, None] - along[None, :])
    reached = (walk[:, list(route)][:, :, None] + ride[None]).min(axis=1)
    return np.min([reached[:, [k]] + walk[[node]] for k, node in enumerate(route)], axis=0)


def _connected(single: np.ndarray, walk: np.ndarray) -> np.ndarray:
    """Travel times from door to door with at most one change, or on foot, ``(nodes, nodes)``."""
    two = np.array([(row[:, None] + single).min(axis=0) for row in single])
    return np.minimum(np.minimum(walk, single), two)


def compare(scenario: TransitScenario, seeds: int) -> dict[str, float]:
    """Compare fixed lines designed on training days with insertion and reactive rebalancing, on the same test days.

    Args:
        scenario: the scenario, with its number of vehicles.
        seeds: number of test seeds, and of training seeds for the design.

    Returns:
        ``lines``, ``headway_min``; minutes from door to door by line, ``line_min``, and of riders served by the fleet,
        ``fleet_min``; ``walked_pct``: share of riders who walk all the way; ``served_pct`` of the fleet.
    """
    site = load_site(scenario)
    trips, speed = demand(scenario, site, scenario.seeds.train.take(seeds))
    lines = design(site, trips, site.vehicles, speed)
    tests = scenario.seeds.test.take(seeds)
    asked, _ = demand(scenario, site, tests)
    loop = make_loop(scenario)
    try:
        found = [loop.episode(Reactive(site), seed).kpis for seed in tests]
    finally:
        loop.close()
    served = np.array([kpis["served_pct"] * kpis["asked"] for kpis in found])
    fleet = np.array([kpis["wait_mean_min"] + kpis["ride_min"] for kpis in found])
    return {
        "lines": float(len(lines.routes)),
        "headway_min": lines.headway_s / 60,
        "line_min": float((lines.door_s * asked).sum() / asked.sum()) / 60,
        "walked_pct": 100.0 * float(asked[lines.door_s >= lines.walk_s].sum() / asked.sum()),
        "fleet_min": float((fleet * served).sum() / served.sum()),
        "served_pct": float(served.sum() / sum(kpis["asked"] for kpis in found)),
    }
