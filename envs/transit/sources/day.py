"""A town and a day of requests as plain arrays: the common result of all sources."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from envs.transit.matrices import joined, leads_on
from envs.transit.site import Node, Road, Zone


@dataclass(frozen=True)
class Town:
    """Streets and zones.

    Attributes:
        nodes, roads, zones: as in a site.
    """

    nodes: tuple[Node, ...]
    roads: tuple[Road, ...]
    zones: tuple[Zone, ...]


@dataclass(frozen=True)
class Day:
    """``R`` requests of an episode, and speeds of streets. Times are seconds from its start.

    Attributes:
        origin, destination: indices of nodes, int64 ``(R,)``.
        known_s: time at which each comes in.
        earliest_s: wanted time of the pick-up; no earlier than ``known_s``.
        party: seats needed.
        wheelchair: wheelchair places needed.
        cancel_s: time of its withdrawal; inf: never.
        absent: whether the party does not appear.
        speed: relative speed in each slot, ``(T,)``.
        slot_s: length of a slot.
        walk_m: metres on foot to and from stops, in sum; None: nobody walks.
        problems: requests that cannot be served, one sentence each, with the row of the file.
    """

    origin: np.ndarray
    destination: np.ndarray
    known_s: np.ndarray
    earliest_s: np.ndarray
    party: np.ndarray
    wheelchair: np.ndarray
    cancel_s: np.ndarray
    absent: np.ndarray
    speed: np.ndarray = field(default_factory=lambda: np.ones(1))
    slot_s: float = 300.0
    walk_m: np.ndarray | None = None
    problems: tuple[str, ...] = ()

    def rows(self, which: np.ndarray) -> Day:
        """The same with some of the requests, by index or mask."""
        walk_m = None if self.walk_m is None else self.walk_m[which]
        return replace(self, walk_m=walk_m, **{name: getattr(self, name)[which] for name in COLUMNS})

    def in_order(self) -> Day:
        """The same with the requests in the order in which they become known."""
        return self.rows(np.argsort(self.known_s, kind="stable"))


COLUMNS = ("origin", "destination", "known_s", "earliest_s", "party", "wheelchair", "cancel_s", "absent")
"""Columns of a day with one row for each request."""


def plain_day(origin: np.ndarray, destination: np.ndarray, time_s: np.ndarray) -> Day:
    """Requests of single riders for the time at which they ask."""
    count = len(origin)
    return Day(
        origin=np.asarray(origin, np.int64),
        destination=np.asarray(destination, np.int64),
        known_s=np.asarray(time_s, np.float64),
        earliest_s=np.asarray(time_s, np.float64),
        party=np.ones(count, np.int64),
        wheelchair=np.zeros(count, np.int64),
        cancel_s=np.full(count, np.inf),
        absent=np.zeros(count, bool),
    )


def cell_name(column: int, row: int) -> str:
    """Name of a cell of a grid, column and row counted from 0: A1, A2 …, rows A to Z, then AA, AB …"""
    return f"{'' if row < 26 else chr(64 + row // 26)}{chr(65 + row % 26)}{column + 1}"


def stand_of(nodes: tuple[Node, ...], stops: list[int], zone: int) -> int:
    """The stand of a zone's idle vehicles: of some stops, the one nearest to the middle of those in the zone.

    Returns:
        Index of the node; -1: there is none.
    """
    mine = [k for k in stops if nodes[k].zone == zone]
    if not mine:
        return -1
    places = np.array([(nodes[k].x_m, nodes[k].y_m) for k in mine])
    return mine[int(np.hypot(*(places - places.mean(axis=0)).T).argmin())]


def _open_stops(nodes: tuple[Node, ...], roads: tuple[Road, ...]) -> list[int]:
    """Stops that vehicles can reach and leave again: no dead ends, in either direction."""
    stops = np.flatnonzero([node.stop for node in nodes])
    if not len(stops):
        return []
    start, end = np.array([(road.start, road.end) for road in roads], np.int64).reshape(-1, 2).T
    paths = joined(len(nodes), start, end, stops)
    return [int(k) for k in stops[leads_on(paths) & leads_on(paths.T)]]


def zones_of(names: list[str], nodes: tuple[Node, ...], roads: tuple[Road, ...]) -> tuple[Zone, ...]:
    """Zones, with those joined by a road as neighbours, and stands from which vehicles can leave again."""
    stops = _open_stops(nodes, roads)
    near: list[set[int]] = [set() for _ in names]
    for road in roads:
        a, b = nodes[road.start].zone, nodes[road.end].zone
        if a != b:
            near[a].add(b)
            near[b].add(a)
    return tuple(
        Zone(id=name, stand=stand_of(nodes, stops, k), neighbours=tuple(sorted(near[k])))
        for k, name in enumerate(names)
    )
