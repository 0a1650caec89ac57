"""A SUMO network as a street graph, and the trips of its route files as requests.

A stop is the middle of a street, on the side where traffic runs. Streets are joined where the network allows a turn, so
a vehicle that faces the wrong way has to go round. A way takes its length at its speed limits plus the delay of the
junction between: as measured in SUMO if there is a file of it (`referee.measure`), else the allowance `JUNCTION_S`.
Streets from which not all others can be reached are left out; riders who begin or end there are met at the first
street, or brought to the last one, that is connected. Trips that only pass through (from one dead end at the border to
another) are no requests. Trips are stretched in time, drawn anew for every episode, and tidal: trips from the border
are more frequent at first, trips to it at the end. SUMO itself is not run.
"""

from __future__ import annotations

import itertools
import logging
import xml.etree.ElementTree as ET
from collections import deque
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from envs.core.errors import CityloopError
from envs.core.machine.files import kept
from envs.core.machine.warn_once import warn_once
from envs.core.sumo.reading import read_root, seconds
from envs.transit.site import Node, Road, TransitSite
from envs.transit.sources.day import Day, Town, cell_name, plain_day, zones_of
from envs.transit.sources.measured import Measured
from envs.transit.sources.settings import Trips

LOGGER = logging.getLogger(__name__)

JUNCTION_S = 6.0

STOP_S = 4.0
"""Seconds lost by braking and pulling out at a stop: 50 km/h, 2.6 and 4.5 m/s²."""

LONGEST_S = 60.0
"""Longest measured time lost at a stop; streets above it have none: traffic leaves hardly a gap to pull out into."""

JITTER_S = 120.0
"""Standard deviation of a trip's beginning in an episode around that in the file, in seconds."""

SHORTEST_M = 60.0
"""Least length of a street with a stop."""

LEAST_S = 0.1

WITHIN, INWARD, OUTWARD = range(3)

RIDERS = ("trip", "vehicle", "person", "personFlow")
"""Elements of a route file that stand for people who travel; flows of vehicles are refused."""

PASSING = " (passing)"
"""Suffix of the node of a street's middle, which vehicles pass without stopping."""


@dataclass(frozen=True)
class Net:
    """The streets of a network on which passenger cars may drive, in the order of their names.

    Attributes:
        edges: of sumolib.
        start, end: every turn from one street into another, by index, in order; int64 ``(T,)``.
        across_m: metres across the junction, ``(T,)``.
        connected: whether a street is in the largest strongly connected part; bool ``(E,)``.
    """

    edges: tuple[Any, ...]
    start: np.ndarray
    end: np.ndarray
    across_m: np.ndarray
    connected: np.ndarray

    @property
    def free_s(self) -> np.ndarray:
        """Seconds of every street at its speed limit, ``(E,)``."""
        return np.array([edge.getLength() / edge.getSpeed() for edge in self.edges])

    @property
    def stops(self) -> np.ndarray:
        """Indices of the streets that can have a stop."""
        long = np.array([edge.getLength() >= SHORTEST_M for edge in self.edges])
        return np.flatnonzero(long & self.connected)


@dataclass(frozen=True)
class Streets:
    """A street graph and its trips.

    Attributes:
        town: streets' middles, ways between them and zones.
        origin, destination: nodes of every trip, int64 ``(R,)``.
        depart_s: its departure in the file, ``(R,)``.
        tide: `WITHIN`, `INWARD` or `OUTWARD`, int64 ``(R,)``.
        speed: speed relative to the ways' times, in each slot of the service, ``(S,)``.
        slot_s: length of a slot.
    """

    town: Town
    origin: np.ndarray
    destination: np.ndarray
    depart_s: np.ndarray
    tide: np.ndarray
    speed: np.ndarray
    slot_s: float


@kept(lambda net, routes, zones, times=None: (net, *routes, *((times,) if times else ())), most=4)
def read(net: Path, routes: tuple[Path, ...], zones: tuple[int, int], times: Path | None = None) -> Streets:
    """The street graph of a network, and the trips that a fleet can serve; read again when a file has changed.

    Args:
        net: the network.
        routes: route files with ``<trip>`` or ``<vehicle>`` elements.
        zones: columns and rows of equal cells, which are the zones; empty ones are left out.
        times: measured travel times of the network.

    Raises:
        CityloopError: if a file cannot be read, or nothing in it can be served.
    """
    network = read_net(net)
    measured = Measured.load(times, net) if times is not None else None
    delay_s, stop_s = np.full(len(network.start), JUNCTION_S), np.full(len(network.stops), STOP_S)
    if not len(network.stops):
        raise CityloopError(f"{net} has no street of {SHORTEST_M:g} m or more, where riders could get on or off")
    if measured is not None:
        delay_s, stop_s = np.array(measured.delay_s), np.array(measured.stop_s)
    town, index = _town(network, delay_s, stop_s, zones)
    names = {edge.getID(): k for k, edge in enumerate(network.edges)}
    ahead, back = _turns(network.start, network.end), _turns(network.end, network.start)
    rows = []
    for first, last, depart_s in _within(names, net, routes):
        inward = _dead_end(network.edges[names[first]].getFromNode())
        outward = _dead_end(network.edges[names[last]].getToNode())
        origin, destination = _nearest(names[first], ahead, index), _nearest(names[last], back, index)
        if origin < 0 or destination < 0 or origin == destination or (inward and outward):
            continue
        rows.append((origin, destination, depart_s, INWARD if inward else OUTWARD if outward else WITHIN))
    if not rows:
        raise CityloopError(f"no trip of {', '.join(map(str, routes))} begins or ends within {net}: give its routes")
    table = np.array(rows)
    whole = table[:, [0, 1, 3]].astype(np.int64)
    speed, slot_s = (np.ones(1), 300.0) if measured is None else (np.array(measured.speed), measured.slot_s)
    return Streets(town, whole[:, 0], whole[:, 1], table[:, 2], whole[:, 2], speed, slot_s)


@kept(lambda path: (path,), most=4)
def read_net(path: Path) -> Net:
    """The streets of a network; read again when the file has changed.

    Raises:
        CityloopError: if it cannot be read, or has no street for passenger cars.
    """
    import sumolib

    try:
        network = sumolib.net.readNet(str(path), withInternal=True)
    except Exception as error:  # sumolib raises whatever its parser does
        raise CityloopError(f"file {path} cannot be read ({error}): give a SUMO network") from None
    streets = network.getEdges(withInternal=False)
    edges = sorted((edge for edge in streets if edge.allows("passenger")), key=lambda edge: edge.getID())
    if not edges:
        raise CityloopError(f"file {path} has no street for passenger cars: give a SUMO network that has")
    index = {edge.getID(): k for k, edge in enumerate(edges)}
    turns = sorted(
        (k, index[other.getID()], min(_across_m(network, link) for link in links if _open(link)))
        for k, edge in enumerate(edges)
        for other, links in edge.getOutgoing().items()
        if other.getID() in index and any(_open(link) for link in links)
    )
    if not turns:
        raise CityloopError(f"file {path} has no connection between two streets: build it with netconvert")
    start, end = np.array([turn[:2] for turn in turns]).T
    across = np.array([turn[2] for turn in turns])
    return Net(tuple(edges), start, end, across, _in_the_largest_part(start, end, len(edges)))


def _in_the_largest_part(start: np.ndarray, end: np.ndarray, streets: int) -> np.ndarray:
    """Whether a street is in the largest strongly connected part of the network; bool ``(streets,)``."""
    from scipy.sparse import csr_array  # a quarter of this package's import time
    from scipy.sparse.csgraph import connected_components

    graph = csr_array((np.ones(len(start)), (start, end)), shape=(streets, streets))
    _, part = connected_components(graph, connection="strong")
    return part == np.bincount(part).argmax()


def _open(link: Any) -> bool:
    return bool(link.getFromLane().allows("passenger") and link.getToLane().allows("passenger"))


def _across_m(network: Any, link: Any) -> float:
    via = link.getViaLaneID()
    return float(network.getLane(via).getLength()) if via else 0.0


def _dead_end(corner: Any) -> bool:
    """Whether a junction has only one neighbour: there the network was cut out of the city."""
    others = {edge.getToNode().getID() for edge in corner.getOutgoing()}
    return len(others | {edge.getFromNode().getID() for edge in corner.getIncoming()}) <= 1


def _turns(start: np.ndarray, end: np.ndarray) -> Callable[[int], Iterable[int]]:
    following: dict[int, list[int]] = {}
    for a, b in zip(start.tolist(), end.tolist(), strict=True):
        following.setdefault(a, []).append(b)
    return lambda k: following.get(k, ())


def _nearest(street: int, following: Callable[[int], Iterable[int]], stops: dict[int, int]) -> int:
    """The stop of a street, or of the street with a stop that is the fewest turns away; -1: there is none."""
    seen, waiting = {street}, deque([street])
    while waiting:
        k = waiting.popleft()
        if stops.get(k, -1) >= 0:
            return stops[k]
        for other in following(k):
            if other not in seen:
                seen.add(other)
                waiting.append(other)
    return -1


def _town(net: Net, delay_s: np.ndarray, stop_s: np.ndarray, zones: tuple[int, int]) -> tuple[Town, dict[int, int]]:
    """Nodes, ways and zones; and street → its stop's node.

    The middle of a street is one node, its stop another beside it, so that passing vehicles lose no time and two
    pick-ups at a stop lose it once. Ways from a stop only lead to the next streets: a vehicle that has pulled out is
    past the stop, and comes back round the block.
    """
    kept = np.flatnonzero(net.connected)
    pull_s = {int(k): float(lost) for k, lost in zip(net.stops, stop_s, strict=True) if lost <= LONGEST_S}
    at = np.array([_middle(net.edges[k].getShape()) for k in kept])
    at -= at.min(axis=0)
    cell = np.minimum((at / np.maximum(at.max(axis=0), 1.0) * zones).astype(np.int64), np.array(zones) - 1)
    names, zone = np.unique(cell[:, 1] * zones[0] + cell[:, 0], return_inverse=True)
    node = np.full(len(net.edges), -1)
    node[kept] = np.arange(len(kept))
    stops = {k: len(kept) + i for i, k in enumerate(pull_s)}
    places = [(k, False) for k in kept] + [(k, True) for k in stops]
    nodes = tuple(
        Node(
            id=net.edges[k].getID() if stop else f"{net.edges[k].getID()}{PASSING}",
            x_m=float(at[node[k], 0]),
            y_m=float(at[node[k], 1]),
            zone=int(zone[node[k]]),
            stop=stop,
        )
        for k, stop in places
    )
    half_s, half_m = net.free_s / 2, np.array([edge.getLength() / 2 for edge in net.edges])
    roads = []
    for a, b, across, lost in zip(net.start.tolist(), net.end.tolist(), net.across_m, delay_s, strict=True):
        if min(node[a], node[b]) < 0:
            continue
        seconds = max(float(half_s[a] + half_s[b] + lost), LEAST_S)
        metres = float(half_m[a] + half_m[b] + across)
        roads.append(Road(start=int(node[a]), end=int(node[b]), seconds=seconds, metres=metres))
        if a in stops:
            roads.append(Road(start=stops[a], end=int(node[b]), seconds=seconds + pull_s[a], metres=metres))
    roads += [Road(start=int(node[k]), end=stop, seconds=LEAST_S, metres=0.0) for k, stop in stops.items()]
    labels = [cell_name(int(name) % zones[0], int(name) // zones[0]) for name in names]
    return Town(nodes, tuple(roads), zones_of(labels, nodes, tuple(roads))), stops


def street_of(node: Node) -> str:
    """The street of a node."""
    return node.id.removesuffix(PASSING)


def places_of(site: TransitSite) -> tuple[dict[str, int], dict[str, int]]:
    """Street → node of its stop, and street → node of its middle for passing vehicles."""
    passing = {street_of(node): k for k, node in enumerate(site.nodes) if node.id.endswith(PASSING)}
    return {node.id: k for k, node in enumerate(site.nodes) if not node.id.endswith(PASSING)}, passing


def _middle(shape: list[tuple[float, float]]) -> tuple[float, float]:
    from sumolib.geomhelper import positionAtShapeOffset

    length = sum(float(np.hypot(*np.subtract(a, b))) for a, b in itertools.pairwise(shape))
    x, y = positionAtShapeOffset(shape, length / 2)[:2]
    return float(x), float(y)


def _within(names: Container[str], net: Path, routes: tuple[Path, ...]) -> list[tuple[str, str, float]]:
    """The trips of route files from one street of a network to another; of others it is told."""
    every = trips_of(routes)
    unknown = [end for first, last, _ in every for end in (first, last) if end not in names]
    found = [trip for trip in every if trip[0] in names and trip[1] in names]
    if unknown:
        left = f"{len(every) - len(found)} of {len(every)} trips begin or end at no street for passenger cars"
        warn_once(LOGGER, net, f"left out: {left} of {net.name}, such as {unknown[0]!r}: give this network's routes")
    return found


def trips_of(routes: tuple[Path, ...]) -> list[tuple[str, str, float]]:
    """First street, last street and departure of every trip; of trips and persons without these it is told.

    Raises:
        CityloopError: if a file cannot be read, or holds flows, which do not name single trips.
    """
    found = []
    for path in routes:
        root, nowhere = read_root(path), []
        flow = next(root.iter("flow"), None)  # those of an interval, too
        if flow is not None:
            raise CityloopError(f"{path}: flow {flow.get('id')!r} is no trip: let duarouter make vehicles of it")
        named = {route.get("id"): route for route in root.findall("route")}
        for element in root:
            # A vehicle's alternative routes of duarouter begin and end at the same streets.
            route = element.find(".//route") if element.get("route") is None else named.get(element.get("route"))
            if element.tag == "trip" and element.get("from") and element.get("to"):
                ends = [element.attrib["from"], element.attrib["to"]]
            elif element.tag == "vehicle" and route is not None:
                ends = route.get("edges", "").split()
            else:
                ends = []
            if ends:
                found.append((ends[0], ends[-1], depart_s(path, element)))
            elif element.tag in RIDERS:
                nowhere.append(f"{element.tag} {element.get('id', '')!r}")
        if nowhere:
            left = f"{len(nowhere)} trips or persons name no first and last street, such as {nowhere[0]}"
            warn_once(LOGGER, path, f"left out: of {path.name}, {left}: write them as trips with from and to")
    return found


def depart_s(path: Path, element: ET.Element) -> float:
    """Departure of a trip or vehicle, in seconds.

    Raises:
        CityloopError: if that is no number.
    """
    text = element.get("depart", "")
    time_s = seconds(text)
    if time_s is None:
        who = f"{element.tag} {element.get('id', '')!r}"
        raise CityloopError(f"{path}: depart of {who} is {text!r}: give seconds")
    return time_s


def chance(streets: Streets, trips: Trips, duration_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Each trip's beginning in an episode, and the probability that it is in one, both ``(R,)``."""
    time_s = (streets.depart_s - trips.begin_s) * trips.stretch
    wave = trips.tide * np.cos(np.pi * np.clip(time_s / duration_s, 0.0, 1.0))
    share = trips.share * (1.0 + np.choose(streets.tide, [np.zeros_like(wave), wave, -wave]))
    return time_s, np.where((time_s >= 0) & (time_s < duration_s), np.minimum(share, 1.0), 0.0)


def usual(streets: Streets, trips: Trips, duration_s: float, slot_s: float) -> np.ndarray:
    """Mean requests of every zone in each slot of an episode, ``(slots, zones)``, without the jitter."""
    time_s, share = chance(streets, trips, duration_s)
    zone = np.array([node.zone for node in streets.town.nodes])[streets.origin]
    table = np.zeros((int(np.ceil(duration_s / slot_s)), len(streets.town.zones)))
    within = share > 0
    if not within.any():
        raise CityloopError(
            f"no trip begins from {trips.begin_s:g} s to {trips.begin_s + duration_s / trips.stretch:g} s of the route "
            "files: set trips.begin_s and duration_s to when they have any"
        )
    np.add.at(table, ((time_s[within] // slot_s).astype(np.int64), zone[within]), share[within])
    return table


def day(streets: Streets, trips: Trips, duration_s: float, seed: int) -> Day:
    """The requests of an episode: a random selection of the trips, shifted in time by the jitter."""
    rng = np.random.default_rng([seed, 12])
    time_s, share = chance(streets, trips, duration_s)
    kept = rng.random(len(share)) < share
    moved = np.clip(time_s[kept] + rng.normal(0.0, JITTER_S, int(kept.sum())), 0.0, np.nextafter(duration_s, 0.0))
    found = plain_day(streets.origin[kept], streets.destination[kept], moved)
    return replace(found, speed=streets.speed, slot_s=streets.slot_s).in_order()
