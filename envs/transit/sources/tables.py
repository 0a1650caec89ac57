"""A user's own service as three CSV files: street corners, roads, and requests.

A street graph must be valid as a whole, so the first invalid row is an error. Requests are independent: a row that
cannot be served is left out and reported with its number in the file, and all others are served.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from envs.core.errors import CityloopError
from envs.core.machine.warn_once import warn_once
from envs.transit.site import Node, Road
from envs.transit.sources.csv_rows import Row, flag, number_in, read_rows
from envs.transit.sources.day import Day, Town, zones_of
from envs.transit.sources.gtfs import Projection
from envs.transit.sources.walking import End, Stops

LOGGER = logging.getLogger(__name__)

NODES = ("node",)
"""Columns of the street corners; also `METRES` or `DEGREES`, ``zone`` (a name; else all are one zone) and ``stop`` (1
or 0; else 1)."""

METRES, DEGREES = ("x_m", "y_m"), ("lat", "lon")
"""Position of a corner, in one of two pairs of columns. Degrees become metres around the middle of all corners."""

ROADS = ("from", "to", "seconds", "metres")
"""Columns of the roads; also ``both`` (1: two-way; else one-way)."""

REQUESTS = ("time_s", "from", "to")
"""Columns of the requests: the wanted time, and two corners; also, with their defaults, ``known_s`` (the time at which
the request comes in; ``time_s``), ``party`` (1), ``wheelchair`` (0), ``cancel_s`` (never) and ``absent`` (0). Riders
who walk may begin or end at a place that is no corner: leave it empty, and fill ``from_x_m`` and ``from_y_m``, or
``to_x_m`` and ``to_y_m``."""

MORE = {
    NODES: (*METRES, *DEGREES, "zone", "stop"),
    ROADS: ("both",),
    REQUESTS: ("known_s", "party", "wheelchair", "cancel_s", "absent", "from_x_m", "from_y_m", "to_x_m", "to_y_m"),
}
"""Required columns of a file → the further ones that it may have."""


def _rows(path: Path, columns: tuple[str, ...]) -> list[tuple[int, Row]]:
    """Rows of a file, see `read_rows`. Of columns that are not read it is told, as their name may be misspelt."""
    rows = read_rows(path, columns)
    known = (*columns, *MORE[columns])
    other = [name for name in (rows[0][1] if rows else ()) if name and name not in known]
    if other:
        what = ", ".join(map(repr, other))
        warn_once(LOGGER, path, f"not read: {path.name}, column {what}; columns that are: {', '.join(known)}")
    return rows


def read_town(nodes: Path, roads: Path, with_stops: bool = True) -> Town:
    """Streets and zones from their files.

    Args:
        nodes: the corners.
        roads: between them.
        with_stops: whether the stops are those of the corners, not of a feed.

    Raises:
        CityloopError: naming the file, the row, the problem and the remedy.
    """
    corners, index, zones = [], {}, {}  # type: tuple[list[Node], dict[str, int], dict[str, int]]
    for (k, row), (x, y) in zip(_rows(nodes, NODES), _places(nodes), strict=True):
        name = row["node"].strip()
        if not name or name in index:
            raise CityloopError(f"{nodes}, row {k}: node is {name!r}: give each corner a name of its own")
        index[name] = len(corners)
        zone = zones.setdefault((row.get("zone") or "all").strip(), len(zones))
        stop = flag(row.get("stop") or "1", nodes, k, "stop")
        corners.append(Node(id=name, x_m=x, y_m=y, zone=zone, stop=stop))
    found = []
    for k, row in _rows(roads, ROADS):
        ends = [row[name].strip() for name in ("from", "to")]
        for name, end in zip(("from", "to"), ends, strict=True):
            if end not in index:
                raise CityloopError(f"{roads}, row {k}: {name} is {end!r}, which is no node of {nodes.name}: name one")
        seconds, metres = (number_in(row[name], roads, k, name) for name in ("seconds", "metres"))
        if not (seconds > 0 and metres >= 0):
            raise CityloopError(
                f"{roads}, row {k}: seconds are {seconds:g}, metres {metres:g}: give more than 0, and 0 or more"
            )
        a, b = (index[end] for end in ends)
        found.append(Road(start=a, end=b, seconds=seconds, metres=metres))
        if flag(row.get("both") or "0", roads, k, "both"):
            found.append(Road(start=b, end=a, seconds=seconds, metres=metres))
    if len(corners) < 2 or not found:
        raise CityloopError(
            f"{nodes} has {len(corners)} corners, {roads} {len(found)} roads: give two corners and a road"
        )
    if with_stops and sum(corner.stop for corner in corners) < 2:
        raise CityloopError(
            f"{nodes}: fewer than two corners are stops: give 1 in column stop where riders get on or off"
        )
    return Town(tuple(corners), tuple(found), zones_of(list(zones), tuple(corners), tuple(found)))


def projection_of(nodes: Path) -> Projection:
    """The projection from degrees to metres of a town whose corners are in degrees.

    Raises:
        CityloopError: if they are in metres.
    """
    degrees = _degrees(nodes)
    if degrees is None:
        raise CityloopError(f"{nodes}: GTFS stops are in degrees: give lat and lon of corners, not x_m and y_m")
    return Projection(*(degrees.min(axis=0) + degrees.max(axis=0)) / 2)


def _places(nodes: Path) -> list[tuple[float, float]]:
    """Positions of the corners, in metres."""
    found = _columns(nodes, METRES)
    if found is None:
        degrees = _degrees(nodes)
        if degrees is None:
            raise CityloopError(f"{nodes}: column 'x_m' is missing: the first row names node, x_m, y_m (or lat, lon)")
        found = projection_of(nodes).metres(degrees[:, 0], degrees[:, 1])
    return [(float(x), float(y)) for x, y in found]


def _degrees(nodes: Path) -> np.ndarray | None:
    """Latitudes and longitudes of the corners, ``(n, 2)``; None if the file does not have both."""
    degrees = _columns(nodes, DEGREES)
    if degrees is not None and (np.abs(degrees) > (90, 180)).any():
        lat, lon = degrees[(np.abs(degrees) > (90, 180)).any(axis=1)][0]
        raise CityloopError(f"{nodes}: there is no place at lat {lat:g}, lon {lon:g}: correct it, or swap them")
    return degrees


def _columns(path: Path, names: tuple[str, str]) -> np.ndarray | None:
    """Two columns of numbers, ``(n, 2)``; None if the file does not have both."""
    rows = read_rows(path, NODES)
    if not rows or any(name not in rows[0][1] for name in names):
        return None
    return np.array([[number_in(row[name], path, k, name) for name in names] for k, row in rows])


def read_requests(path: Path, town: Town, stops: Stops, room: list[tuple[int, int]], duration_s: float) -> Day:
    """The requests of a file that can be served, and problems of the others.

    Args:
        path: the file.
        town: where.
        stops: its stops, for those who walk.
        room: seats and wheelchair places of each kind of vehicle.
        duration_s: length of an episode.

    Raises:
        CityloopError: if the file cannot be read, a column is missing, or not one request can be served.
    """
    index = {node.id: k for k, node in enumerate(town.nodes)}
    served, problems = [], []
    for k, row in _rows(path, REQUESTS):
        try:
            served.append(_request(row, index, stops, room, duration_s))
        except ValueError as problem:
            problems.append(f"{path.name}, row {k}: {problem}")
    if not served:
        why = f"no request can be served; {problems[0]}" if problems else "it holds no request: give a row for each"
        raise CityloopError(f"{path}: {why}")
    table = np.array(served, dtype=np.float64)
    return Day(
        origin=table[:, 0].astype(np.int64),
        destination=table[:, 1].astype(np.int64),
        known_s=table[:, 2],
        earliest_s=table[:, 3],
        party=table[:, 4].astype(np.int64),
        wheelchair=table[:, 5].astype(np.int64),
        cancel_s=table[:, 6],
        absent=table[:, 7] > 0,
        walk_m=table[:, 8],
        problems=tuple(problems),
    ).in_order()


def _request(
    row: Row,
    index: Mapping[str, int],
    stops: Stops,
    room: list[tuple[int, int]],
    duration_s: float,
) -> tuple[float, ...]:
    """One request as numbers, or a `ValueError` with the problem and its remedy."""

    def number(name: str, default: float, fits: Callable[[float], bool], mend: str) -> float:
        text = (row.get(name) or "").strip()
        try:
            value = float(text) if text else default
        except ValueError:
            value = math.nan
        if math.isnan(value) or not fits(value):
            raise ValueError(f"{name} is {text!r}: give {mend}")
        return value

    origin, destination = (_end(row, name, index, stops, number) for name in ("from", "to"))
    if origin == destination:
        raise ValueError(f"it leads from {row['from']!r} to the same place: name two stops")
    if not (stops.walk.metres or stops.lead(origin, destination)):
        raise ValueError(f"no road leads from {row['from']!r} to {row['to']!r}: add one, or leave the request out")
    start, end, to_m, from_m = stops.pair(origin, destination)
    wanted = number("time_s", math.nan, lambda t: 0 <= t < duration_s, f"seconds from 0 to below {duration_s:g}")
    known = number("known_s", wanted, lambda t: t <= wanted, f"seconds up to time_s, {wanted:g}")
    party = number("party", 1.0, lambda n: n.is_integer() and n >= 1, "a whole number from 1 on")
    wheelchair = number("wheelchair", 0.0, lambda n: n.is_integer() and n >= 0, "a whole number from 0 on")
    if not any(party <= kind[0] and wheelchair <= kind[1] for kind in room):
        have = " or ".join(f"{seats} seats and {places} places" for seats, places in sorted(set(room), reverse=True))
        raise ValueError(f"party is {party:g}, wheelchair {wheelchair:g}, and vehicles have {have}: split it")
    cancel = number("cancel_s", math.inf, lambda t: t >= known, f"seconds from known_s, {known:g}, on")
    absent = number("absent", 0.0, lambda n: n in (0.0, 1.0), "1 or 0")
    # Requests and withdrawals from before the service are known at its beginning.
    there = wanted + to_m / stops.walk.mps
    return (start, end, max(known, 0.0), there, party, wheelchair, max(cancel, 0.0), absent, to_m + from_m)


def _end(row: Row, name: str, index: Mapping[str, int], stops: Stops, number: Callable[..., float]) -> End:
    """One end of a trip, or a `ValueError` with its problem."""
    node, walks = (row.get(name) or "").strip(), stops.walk.metres > 0
    if not node and walks and (row.get(f"{name}_x_m") or "").strip():
        x, y = (number(f"{name}_{axis}", math.nan, math.isfinite, "metres") for axis in METRES)
        return x, y
    if node not in index:
        raise ValueError(f"{name} is {node!r}, on no corner of the street graph: name a stop")
    if not walks and not stops.has(index[node]):
        raise ValueError(f"{name} is {node!r}, a corner without a stop: name a stop, or let riders walk (walk.metres)")
    return index[node]
