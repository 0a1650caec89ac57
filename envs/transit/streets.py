"""A SUMO network as a street graph, and the trips of its route files as requests.

Junctions are corners, and every one that leads everywhere is a stop. A road takes its length at its speed limit, plus
`JUNCTION_S` for the junction at its end: an allowance, not a measurement. Who only passes through (from a dead end at
the border to another) is no customer and is left out. Trips are stretched in time, drawn anew for every episode, and
tidal: those that come from the border are more at first, those that lead there at the end. SUMO itself is not run.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from envs.core.errors import CityloopError
from envs.transit.day import Day, Town, plain_day, zones_of
from envs.transit.scenarios import Trips
from envs.transit.site import Node, Road

JUNCTION_S = 6.0
JITTER_S = 120.0
"""Standard deviation of when an episode's trip begins, around when it did in the file."""

WITHIN, INWARD, OUTWARD = range(3)


@dataclass(frozen=True)
class Streets:
    """What the files say.

    Attributes:
        town: corners, roads and zones.
        origin, destination: corners of every trip, int64 ``(R,)``.
        depart_s: when it begins in the file, ``(R,)``.
        tide: `WITHIN`, `INWARD` or `OUTWARD`, int64 ``(R,)``.
    """

    town: Town
    origin: np.ndarray
    destination: np.ndarray
    depart_s: np.ndarray
    tide: np.ndarray


@lru_cache(maxsize=4)
def read(net: Path, routes: tuple[Path, ...], zones: tuple[int, int]) -> Streets:
    """The street graph of a network, and what of its trips a fleet may serve.

    Args:
        net: the network.
        routes: route files with ``<trip>`` or ``<vehicle>`` elements.
        zones: columns and rows of equal cells that are the zones; empty ones are left out.

    Raises:
        CityloopError: if a file cannot be read, or nothing in it can be served.
    """
    import sumolib

    try:
        network = sumolib.net.readNet(str(net))
    except Exception as error:  # sumolib lets whatever its parser raises through
        raise CityloopError(f"file {net} cannot be read ({error}): give a SUMO network") from None
    edges = [edge for edge in network.getEdges() if edge.allows("passenger")]
    if not edges:
        raise CityloopError(f"file {net} has no street for passenger cars: give a SUMO network that has")
    corners = _connected(edges)
    index = {corner.getID(): k for k, corner in enumerate(corners)}
    border = np.array([_dead_end(corner) for corner in corners])
    town = _town(corners, edges, index, zones)
    ends = {edge.getID(): (edge.getFromNode().getID(), edge.getToNode().getID()) for edge in edges}
    rows = []
    for first, last, depart_s in _trips(routes):
        origin = index.get(ends[first][0], -1) if first in ends else -1
        destination = index.get(ends[last][1], -1) if last in ends else -1
        if origin < 0 or destination < 0 or origin == destination or (border[origin] and border[destination]):
            continue
        tide = INWARD if border[origin] else OUTWARD if border[destination] else WITHIN
        rows.append((origin, destination, depart_s, tide))
    if not rows:
        raise CityloopError(f"no trip of {', '.join(map(str, routes))} begins or ends within {net}: give its routes")
    table = np.array(rows)
    whole = table[:, [0, 1, 3]].astype(np.int64)
    return Streets(town, whole[:, 0], whole[:, 1], table[:, 2], whole[:, 2])


def _connected(edges: list[Any]) -> list[Any]:
    """The junctions from which all others can be reached, and that can be reached from all."""
    names = sorted({node.getID() for edge in edges for node in (edge.getFromNode(), edge.getToNode())})
    index = {name: k for k, name in enumerate(names)}
    nodes = {node.getID(): node for edge in edges for node in (edge.getFromNode(), edge.getToNode())}
    ends = np.array([(index[edge.getFromNode().getID()], index[edge.getToNode().getID()]) for edge in edges])
    graph = csr_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(len(names), len(names)))
    _, part = connected_components(graph, connection="strong")
    largest = np.bincount(part).argmax()
    return [nodes[name] for k, name in enumerate(names) if part[k] == largest]


def _dead_end(corner: Any) -> bool:
    """Whether a junction has but one neighbour: where the network was cut out of the city."""
    others = {edge.getToNode().getID() for edge in corner.getOutgoing()}
    return len(others | {edge.getFromNode().getID() for edge in corner.getIncoming()}) <= 1


def _town(corners: list[Any], edges: list[Any], index: dict[str, int], zones: tuple[int, int]) -> Town:
    at = np.array([corner.getCoord()[:2] for corner in corners], dtype=np.float64)
    at -= at.min(axis=0)
    cell = np.minimum((at / np.maximum(at.max(axis=0), 1.0) * zones).astype(np.int64), np.array(zones) - 1)
    names, zone = np.unique(cell[:, 1] * zones[0] + cell[:, 0], return_inverse=True)
    nodes = tuple(
        Node(id=corner.getID(), x_m=float(at[k, 0]), y_m=float(at[k, 1]), zone=int(zone[k]))
        for k, corner in enumerate(corners)
    )
    roads = []
    for edge in edges:
        ends = [index.get(node.getID(), -1) for node in (edge.getFromNode(), edge.getToNode())]
        if min(ends) >= 0 and ends[0] != ends[1]:
            metres = float(edge.getLength())
            seconds = metres / float(edge.getSpeed()) + JUNCTION_S
            roads.append(Road(start=ends[0], end=ends[1], seconds=seconds, metres=metres))
    labels = [f"{chr(65 + int(name) // zones[0])}{int(name) % zones[0] + 1}" for name in names]
    return Town(nodes, tuple(roads), zones_of(labels, nodes, tuple(roads)))


def _trips(routes: tuple[Path, ...]) -> list[tuple[str, str, float]]:
    """First edge, last edge and departure of every trip."""
    found = []
    for path in routes:
        try:
            root = ET.parse(path).getroot()
        except (OSError, ET.ParseError) as error:
            raise CityloopError(f"file {path} cannot be read ({error}): give a SUMO route file") from None
        for element in root:
            route = element.find("route")
            if element.tag == "trip" and element.get("from") and element.get("to"):
                ends = [element.attrib["from"], element.attrib["to"]]
            elif element.tag == "vehicle" and route is not None:
                ends = route.get("edges", "").split()
            else:
                continue
            if ends:
                found.append((ends[0], ends[-1], _depart_s(path, element)))
    return found


def _depart_s(path: Path, element: ET.Element) -> float:
    text = element.get("depart", "")
    try:
        return float(text)
    except ValueError:
        who = f"{element.tag} {element.get('id', '')!r}"
        raise CityloopError(f"{path}: depart of {who} is {text!r}: give seconds") from None


def chance(streets: Streets, trips: Trips, duration_s: float) -> tuple[np.ndarray, np.ndarray]:
    """When each trip begins in an episode, and how likely it is to be in one, both ``(R,)``."""
    time_s = (streets.depart_s - trips.begin_s) * trips.stretch
    wave = trips.tide * np.cos(np.pi * np.clip(time_s / duration_s, 0.0, 1.0))
    share = trips.share * (1.0 + np.choose(streets.tide, [np.zeros_like(wave), wave, -wave]))
    return time_s, np.where((time_s >= 0) & (time_s < duration_s), np.minimum(share, 1.0), 0.0)


def usual(streets: Streets, trips: Trips, duration_s: float, slot_s: float) -> np.ndarray:
    """Mean requests of every zone in each slot of an episode, ``(slots, zones)``; the jitter left aside."""
    time_s, share = chance(streets, trips, duration_s)
    zone = np.array([node.zone for node in streets.town.nodes])[streets.origin]
    table = np.zeros((int(np.ceil(duration_s / slot_s)), len(streets.town.zones)))
    within = share > 0
    np.add.at(table, ((time_s[within] // slot_s).astype(np.int64), zone[within]), share[within])
    return table


def day(streets: Streets, trips: Trips, duration_s: float, seed: int) -> Day:
    """The requests of an episode: some of the trips, each a little sooner or later."""
    rng = np.random.default_rng([seed, 12])
    time_s, share = chance(streets, trips, duration_s)
    kept = rng.random(len(share)) < share
    moved = np.clip(time_s[kept] + rng.normal(0.0, JITTER_S, int(kept.sum())), 0.0, np.nextafter(duration_s, 0.0))
    return plain_day(streets.origin[kept], streets.destination[kept], moved).in_order()
