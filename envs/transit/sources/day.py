"""A town and one day of requests in it, as plain arrays: what every source of demand gives, whatever it reads."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

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
    """Requests of an episode, ``R`` of them, and how fast streets are driven. Times are seconds from its start.

    Attributes:
        origin, destination: indices of nodes, int64 ``(R,)``.
        known_s: when each comes in.
        earliest_s: when the rider wants to go; no earlier than ``known_s``.
        party: seats that it needs.
        wheelchair: wheelchair places that it needs.
        cancel_s: when it is withdrawn; inf: never.
        absent: whether nobody comes.
        speed: relative speed in each slot, ``(T,)``.
        slot_s: length of a slot.
        walk_m: metres on foot to the stop and from it, both together; None: nobody walks.
        problems: what cannot be served, a sentence each, with the row of the file.
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
"""What of a day has a row a request."""


def plain_day(origin: np.ndarray, destination: np.ndarray, time_s: np.ndarray) -> Day:
    """Single riders who want to go as soon as they ask."""
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
    """What a cell of a grid is called, both counted from 0: A1, A2 …, rows A to Z, then AA, AB …"""
    return f"{'' if row < 26 else chr(64 + row // 26)}{chr(65 + row % 26)}{column + 1}"


def stand_of(nodes: tuple[Node, ...], zone: int) -> int:
    """Where idle vehicles of a zone wait: the stop nearest to the middle of its stops; -1: it has none."""
    stops = [k for k, node in enumerate(nodes) if node.zone == zone and node.stop]
    if not stops:
        return -1
    places = np.array([(nodes[k].x_m, nodes[k].y_m) for k in stops])
    return stops[int(np.hypot(*(places - places.mean(axis=0)).T).argmin())]


def zones_of(names: list[str], nodes: tuple[Node, ...], roads: tuple[Road, ...]) -> tuple[Zone, ...]:
    """Zones whose neighbours are those that a road leads to, or comes from."""
    near: list[set[int]] = [set() for _ in names]
    for road in roads:
        a, b = nodes[road.start].zone, nodes[road.end].zone
        if a != b:
            near[a].add(b)
            near[b].add(a)
    return tuple(
        Zone(id=name, stand=stand_of(nodes, k), neighbours=tuple(sorted(near[k]))) for k, name in enumerate(names)
    )
