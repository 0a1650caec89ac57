"""A user's own service as three CSV files: street corners, roads, and requests.

A street graph must be right as a whole, so the first row that is not is an error. Requests are taken one by one: a row
that cannot be served is left out and said why, with its number in the file, and all others are served.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from envs.core.errors import CityloopError
from envs.transit.day import Day, Town, zones_of
from envs.transit.matrices import Matrices
from envs.transit.site import Node, Road

Row = Mapping[str, str]

NODES = ("node", "x_m", "y_m")
"""Columns of the street corners; also ``zone`` (a name; else all are one zone) and ``stop`` (1 or 0; else 1)."""

ROADS = ("from", "to", "seconds", "metres")
"""Columns of the roads; also ``both`` (1: it leads both ways; else one way)."""

REQUESTS = ("time_s", "from", "to")
"""Columns of the requests: when the rider wants to go, and between which corners; also ``known_s`` (when it comes in;
else then), ``party`` (1), ``wheelchair`` (0), ``cancel_s`` (never) and ``absent`` (0)."""


def read_town(nodes: Path, roads: Path) -> Town:
    """Streets and zones from their files.

    Raises:
        CityloopError: naming the file, the row, what is wrong and the mend.
    """
    corners, index, zones = [], {}, {}  # type: tuple[list[Node], dict[str, int], dict[str, int]]
    for k, row in _rows(nodes, NODES):
        name = row["node"].strip()
        if not name or name in index:
            raise CityloopError(f"{nodes}, row {k}: node is {name!r}: give each corner a name of its own")
        index[name] = len(corners)
        zone = zones.setdefault((row.get("zone") or "all").strip(), len(zones))
        x, y = (_number(row[column], nodes, k, column) for column in ("x_m", "y_m"))
        stop = _flag(row.get("stop") or "1", nodes, k, "stop")
        corners.append(Node(id=name, x_m=x, y_m=y, zone=zone, stop=stop))
    found = []
    for k, row in _rows(roads, ROADS):
        ends = [row[name].strip() for name in ("from", "to")]
        for name, end in zip(("from", "to"), ends, strict=True):
            if end not in index:
                raise CityloopError(f"{roads}, row {k}: {name} is {end!r}, which is no node of {nodes.name}: name one")
        seconds, metres = (_number(row[name], roads, k, name) for name in ("seconds", "metres"))
        if not (seconds > 0 and metres >= 0):
            raise CityloopError(
                f"{roads}, row {k}: seconds are {seconds:g}, metres {metres:g}: give more than 0, and 0 or more"
            )
        a, b = (index[end] for end in ends)
        found.append(Road(start=a, end=b, seconds=seconds, metres=metres))
        if _flag(row.get("both") or "0", roads, k, "both"):
            found.append(Road(start=b, end=a, seconds=seconds, metres=metres))
    if len(corners) < 2 or not found:
        raise CityloopError(
            f"{nodes} has {len(corners)} corners, {roads} {len(found)} roads: give two corners and a road"
        )
    if sum(corner.stop for corner in corners) < 2:
        raise CityloopError(
            f"{nodes}: fewer than two corners are stops: give 1 in column stop where riders get on or off"
        )
    return Town(tuple(corners), tuple(found), zones_of(list(zones), tuple(corners), tuple(found)))


def read_requests(path: Path, town: Town, matrices: Matrices, room: list[tuple[int, int]], duration_s: float) -> Day:
    """The requests of a file that can be served, and what is wrong with the others.

    Args:
        path: the file.
        town: where.
        matrices: its shortest paths.
        room: seats and wheelchair places of each kind of vehicle.
        duration_s: length of an episode.

    Raises:
        CityloopError: if the file cannot be read, a column is missing, or not one request can be served.
    """
    index = {node.id: k for k, node in enumerate(town.nodes)}
    served, problems = [], []
    for k, row in _rows(path, REQUESTS):
        try:
            served.append(_request(row, index, town, matrices, room, duration_s))
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
        problems=tuple(problems),
    ).in_order()


def _request(
    row: Row,
    index: Mapping[str, int],
    town: Town,
    matrices: Matrices,
    room: list[tuple[int, int]],
    duration_s: float,
) -> tuple[float, ...]:
    """One request as numbers, or a `ValueError` that says what is wrong and what would be right."""

    def number(name: str, default: float, fits: Callable[[float], bool], mend: str) -> float:
        text = (row.get(name) or "").strip()
        try:
            value = float(text) if text else default
        except ValueError:
            value = math.nan
        if math.isnan(value) or not fits(value):
            raise ValueError(f"{name} is {text!r}: give {mend}")
        return value

    ends = []
    for name in ("from", "to"):
        node = (row.get(name) or "").strip()
        if node not in index or not town.nodes[index[node]].stop:
            what = "a corner without a stop" if node in index else "on no corner of the street graph"
            raise ValueError(f"{name} is {node!r}, {what}: name a stop")
        ends.append(index[node])
    if ends[0] == ends[1]:
        raise ValueError(f"it leads from {row['from']!r} to the same place: name two stops")
    if not math.isfinite(matrices.free_s[ends[0], ends[1]]):
        raise ValueError(f"no road leads from {row['from']!r} to {row['to']!r}: add one, or leave the request out")
    wanted = number("time_s", math.nan, lambda t: 0 <= t < duration_s, f"seconds from 0 to below {duration_s:g}")
    known = number("known_s", wanted, lambda t: t <= wanted, f"seconds up to time_s, {wanted:g}")
    seats, places = max(kind[0] for kind in room), max(kind[1] for kind in room)
    party = number("party", 1.0, lambda n: n.is_integer() and n >= 1, "a whole number from 1 on")
    wheelchair = number("wheelchair", 0.0, lambda n: n.is_integer() and n >= 0, "a whole number from 0 on")
    if not any(party <= kind[0] and wheelchair <= kind[1] for kind in room):
        needs = f"party is {party:g}, wheelchair {wheelchair:g}"
        raise ValueError(f"{needs}, and no vehicle has more than {seats} seats and {places} places: split it")
    cancel = number("cancel_s", math.inf, lambda t: t >= known, f"seconds from known_s, {known:g}, on")
    absent = number("absent", 0.0, lambda n: n in (0.0, 1.0), "1 or 0")
    # What came in, or was withdrawn, before the service begins is known when it does.
    return (*ends, max(known, 0.0), wanted, party, wheelchair, max(cancel, 0.0), absent)


def _rows(path: Path, columns: tuple[str, ...]) -> list[tuple[int, Row]]:
    """Rows of a CSV file with their numbers, the heading being row 1."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            if missing:
                raise CityloopError(
                    f"{path}: column {missing[0]!r} is missing: the first row names {', '.join(columns)}"
                )
            rows: list[tuple[int, Row]] = []
            for row in reader:
                rows.append((reader.line_num, {key: value or "" for key, value in row.items() if key is not None}))
            return rows
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CityloopError(f"file {path} cannot be read ({error}): give a CSV file in UTF-8") from None


def _number(text: str, path: Path, row: int, column: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise CityloopError(f"{path}, row {row}: {column} is {text!r}: give a number")
    return value


def _flag(text: str, path: Path, row: int, column: str) -> bool:
    if text.strip() not in ("0", "1"):
        raise CityloopError(f"{path}, row {row}: {column} is {text!r}: give 1 or 0")
    return text.strip() == "1"
