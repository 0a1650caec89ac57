"""Traffic counts for fixed-time plans: vehicles/h that the route files send over every movement.

Vehicles and flows with routes are counted along them, in whichever file the routes are defined. Trips are routed first,
over the quickest path of the empty network for cars, between edges, junctions or zones (``taz``); in SUMO some take
other paths, by the traffic at their departure. The demand is the scenario's own, never that of a seed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from envs.core.sumo.reading import seconds
from envs.intersections.routes import period_value, read_routes

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

ROUTES = ("route", "routeDistribution")
"""Elements that define routes."""

Ends = tuple[str, ...]
"""Edges on any of which a trip, or a leg of it, may begin or end."""

Choices = list[tuple[list[str], float]]
"""Routes, as edges, and the share of vehicles that takes each."""

Turns = dict[tuple[str, str], float]
"""(lane at the stop line, edge that it leads into) → vehicles an hour."""


def turn_flows(net: Any, files: Iterable[Path], begin_s: float, duration_s: float) -> Turns:
    """Vehicles an hour that take each turn, lane by lane.

    Args:
        net: a network as sumolib reads it.
        files: SUMO route files and additional files; vehicles may take routes from any of them.
        begin_s: start of the window that is counted.
        duration_s: its length.

    Raises:
        CityloopError: if a file cannot be used.
    """
    children = [child for path in files for child in read_routes(path)]
    ways = {child.get("id", ""): child.get("edges", "").split() for child in children if child.tag == "route"}
    named = {name: _choices(child, ways) for child in children if child.tag in ROUTES and (name := child.get("id"))}
    zones = {child.get("id", ""): child for child in children if child.tag == "taz"}
    edges: dict[tuple[str, str], float] = defaultdict(float)
    trips: dict[tuple[Ends, Ends], float] = defaultdict(float)
    for child in children:
        weight = _vehicles(child, begin_s, duration_s)
        if weight == 0:
            continue
        routes = _routes(child, named, ways)
        for route, share in routes:
            for pair in pairwise(route):
                edges[pair] += weight * share
        if not routes:
            via = [(edge,) for edge in child.get("via", "").split()]
            stops = [_ends(child, "from", net, zones), *via, _ends(child, "to", net, zones)]
            for leg in pairwise(stops):
                trips[leg] += weight
    for quickest, weight in _quickest(net, trips):
        for pair in pairwise(quickest):
            edges[pair] += weight
    hourly = {pair: weight * 3600 / duration_s for pair, weight in edges.items()}
    return _over_lanes(net, hourly)


def _vehicles(child: Element, begin_s: float, duration_s: float) -> float:
    """Number of vehicles that an element of a route file sends within a window."""
    if child.tag in ("vehicle", "trip"):
        depart = seconds(child.get("depart"))
        return float(depart is not None and begin_s <= depart < begin_s + duration_s)
    if child.tag != "flow":
        return 0.0
    begin, end = seconds(child.get("begin")), seconds(child.get("end"))
    begin = begin_s if begin is None else begin  # as SUMO has it
    end = begin_s + duration_s if end is None else end
    rate = _rate_per_s(child)
    if "number" in child.attrib:
        number = float(child.attrib["number"])
        if rate > 0:  # then number and rate give its end
            end = begin + number / rate
        else:
            rate = number / max(end - begin, 1.0)
    shared = max(0.0, min(end, begin_s + duration_s) - max(begin, begin_s))
    return shared * rate


def _rate_per_s(flow: Element) -> float:
    """Vehicles a second of a ``<flow>``, from the attribute that gives a rate; 0 if none does."""
    for name, per_s in (("vehsPerHour", 1 / 3600), ("perHour", 1 / 3600), ("probability", 1.0)):
        if name in flow.attrib:
            return float(flow.attrib[name]) * per_s
    period = flow.get("period", "")
    if not period:
        return 0.0
    return period_value(period) if period.startswith("exp(") else 1 / period_value(period)


def _routes(child: Element, named: Mapping[str, Choices], ways: Mapping[str, list[str]]) -> Choices:
    """The routes of an element's vehicles; empty for a trip, which has only ends."""
    inner = next((part for part in child if part.tag in ROUTES), None)
    return _choices(inner, ways) if inner is not None else named.get(child.get("route", ""), [])


def _choices(element: Element, ways: Mapping[str, list[str]]) -> Choices:
    """A route, or those of a distribution with their shares; equal shares if it gives none.

    Args:
        element: ``<route>`` or ``<routeDistribution>``.
        ways: routes, as edges, that a distribution may name.
    """
    if element.tag == "route":
        return [(element.get("edges", "").split(), 1.0)]
    parts = [
        (ways.get(part.get("refId", ""), part.get("edges", "").split()), part.get("probability", "1"))
        for part in element
    ]
    names, shares = element.get("routes", "").split(), element.get("probabilities", "").split()
    parts += [(ways.get(name, []), share) for name, share in zip_longest(names, shares, fillvalue="1")]
    routes = [(route, seconds(share) or 0.0) for route, share in parts]
    total = sum(share for _, share in routes) or 1.0
    return [(route, share / total) for route, share in routes]


def _ends(trip: Element, way: str, net: Any, zones: Mapping[str, Element]) -> Ends:
    """Edges on which a trip begins (``way`` is ``from``) or ends (``to``): its edge, or those of a junction or zone."""
    outward = way == "from"
    if (junction := trip.get(f"{way}Junction")) is not None and net.hasNode(junction):
        node = net.getNode(junction)
        return tuple(edge.getID() for edge in (node.getOutgoing() if outward else node.getIncoming()))
    if (zone := zones.get(trip.get(f"{way}Taz", ""))) is not None:
        named = [part.get("id", "") for part in zone if part.tag == ("tazSource" if outward else "tazSink")]
        return tuple(zone.get("edges", "").split() or named)
    return (trip.get(way, ""),)


def _quickest(net: Any, trips: Mapping[tuple[Ends, Ends], float]) -> Iterator[tuple[list[str], float]]:
    """Quickest paths of trips on the empty network, as edges, with their weights; trips without one are skipped."""
    from scipy.sparse.csgraph import dijkstra

    roads = [edge for edge in net.getEdges(withInternal=False) if edge.allows("passenger")]
    index = {road.getID(): k for k, road in enumerate(roads)}
    legs = [
        ([index[name] for name in starts if name in index], [index[name] for name in ends if name in index], weight)
        for (starts, ends), weight in trips.items()
    ]
    known = [leg for leg in legs if leg[0] and leg[1]]
    if not known:
        return
    time_s = np.array([road.getLength() / max(road.getSpeed(), 0.1) for road in roads])
    origins = sorted({start for starts, _, _ in known for start in starts})
    row = {start: k for k, start in enumerate(origins)}
    away_s, before = dijkstra(_graph(roads, index, time_s), indices=origins, return_predecessors=True)
    for starts, ends, weight in known:
        total_s = time_s[starts][:, None] + away_s[np.ix_([row[start] for start in starts], ends)]
        first, last = np.unravel_index(total_s.argmin(), total_s.shape)
        if np.isfinite(total_s[first, last]):
            path = _path(starts[first], ends[last], before[row[starts[first]]])
            yield [roads[k].getID() for k in path], weight


def _graph(roads: list[Any], index: Mapping[str, int], time_s: np.ndarray) -> Any:
    """Seconds from the end of each road to the end of each that may follow it, as a sparse matrix.

    Args:
        roads: sumolib's edges.
        index: road → its index.
        time_s: to drive along each road.
    """
    from scipy.sparse import csr_array

    arcs = [(k, index[n.getID()]) for k, road in enumerate(roads) for n in road.getAllowedOutgoing("passenger")]
    tails, heads = np.array(arcs).reshape(-1, 2).T
    return csr_array((time_s[heads], (tails, heads)), shape=(len(roads), len(roads)))


def _path(start: int, end: int, before: np.ndarray) -> list[int]:
    """Indices of the roads from one to another, given the road before each on the way from the first."""
    path = [end]
    while path[-1] != start:
        path.append(int(before[path[-1]]))
    return path[::-1]


def _over_lanes(net: Any, hourly: dict[tuple[str, str], float]) -> Turns:
    """Spread each turn over the lanes that allow it; drivers even out the lanes, those with the least choice first."""
    choices: dict[str, list[tuple[list[str], str, float]]] = defaultdict(list)
    for (start, end), flow in hourly.items():
        if not (net.hasEdge(start) and net.hasEdge(end)):
            continue
        connections = net.getEdge(start).getOutgoing().get(net.getEdge(end), [])
        lanes = sorted({connection.getFromLane().getID() for connection in connections})
        if lanes:
            choices[start].append((lanes, end, flow))
    turns: Turns = {}
    for turns_of_edge in choices.values():
        loads: dict[str, float] = defaultdict(float)
        for lanes, end, flow in sorted(turns_of_edge, key=lambda turn: (len(turn[0]), turn[1])):
            for lane, share in zip(lanes, _poured([loads[lane] for lane in lanes], flow), strict=True):
                loads[lane] += share
                turns[lane, end] = share
    return turns


def _poured(loads: list[float], flow: float) -> list[float]:
    """Shares of a flow that raise the lowest loads to one common level (water filling)."""
    ordered = sorted(loads)
    for k in range(1, len(ordered) + 1):
        level = (flow + sum(ordered[:k])) / k
        if k == len(ordered) or level <= ordered[k]:
            break
    return [max(0.0, level - load) for load in loads]
