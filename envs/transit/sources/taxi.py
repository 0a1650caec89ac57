"""Taxi days in the layout of nyc2015 (github.com/tumBAIS/HybridMADRL-AMoD, MIT): zones as nodes, one CSV a day.

``graph.csv``: for every pair of zones ``distance`` in m, ``travel_time`` in minutes and the ``route``; pairs whose
route has no zone between are the roads. ``zones.csv``: longitude and latitude. ``trips/DATE.csv``: ``pickup_time`` in
seconds from the start, ``pickup_ID``, ``dropoff_ID``. ``training_dates.csv`` and ``validation_dates.csv`` list the
days of two splits. Test days are those of ``test_dates.csv``; where that file is absent (the publishers' test days may
be kept elsewhere), every eighth training day is a test day instead and is not trained on.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

from envs.core.errors import CityloopError
from envs.core.machine.files import kept
from envs.core.scenario import Seeds
from envs.transit.site import Node, Road
from envs.transit.sources.csv_rows import Row, number_in, read_rows
from envs.transit.sources.day import Day, Town, plain_day, zones_of
from envs.transit.sources.gtfs import EARTH_M

HELD_OUT = 8
"""One in so many training days is a test day, if no test days are given."""

STEP_S = 60.0
"""Seconds in a unit of ``travel_time``."""


def town(folder: Path) -> Town:
    """Zones as nodes, and the roads between neighbours."""
    path = folder / "zones.csv"
    places = _read(path, ("longitude", "latitude"))
    if places[-1][0] != len(places) + 1:
        raise CityloopError(f"{path}: it has empty rows, and zones are numbered by their rows: remove those")
    degrees = {name: [number_in(row[name], path, k, name) for k, row in places] for name in ("longitude", "latitude")}
    # Not `gtfs.Projection`, whose rounding differs: a site's hash holds these places.
    lon, lat = (np.radians(values) for values in degrees.values())
    x = EARTH_M * (lon - lon.min()) * math.cos(float(lat.mean()))
    y = EARTH_M * (lat - lat.min())
    nodes = tuple(Node(id=str(k), x_m=float(x[k]), y_m=float(y[k]), zone=k) for k in range(len(places)))
    path, names = folder / "graph.csv", ("origin_ID", "destination_ID", "distance", "travel_time")
    roads = []
    for k, row in _read(path, (*names, "route")):
        try:
            neighbours = len(json.loads(row["route"])) == 2
        except (TypeError, ValueError):
            raise CityloopError(f"{path}, row {k}: route is {row['route']!r}: give a list of zones") from None
        if neighbours:
            start, end = (_zone(path, k, row, name, len(nodes)) for name in names[:2])
            metres, steps = (number_in(row[name], path, k, name) for name in names[2:])
            if metres < 0 or steps <= 0:
                raise CityloopError(f"{path}, row {k}: distance is {metres:g}, travel_time {steps:g}: give more than 0")
            roads.append(Road(start=start, end=end, seconds=STEP_S * steps, metres=metres))
    if not roads:
        raise CityloopError(f"{path}: no route has two zones alone: give the roads between neighbours")
    return Town(nodes, tuple(roads), zones_of([f"zone{k}" for k in range(len(nodes))], nodes, tuple(roads)))


@kept(lambda folder: (folder / f"{name}_dates.csv" for name in ("training", "validation", "test")))
def splits(folder: Path) -> dict[str, tuple[str, ...]]:
    """Split → its days."""
    train, validation = (_dates(folder / f"{name}_dates.csv") for name in ("training", "validation"))
    given = folder / "test_dates.csv"
    test = _dates(given) if given.is_file() else train[HELD_OUT - 1 :: HELD_OUT]
    found = {
        "train": tuple(day for day in train if day not in (*test, *validation)),
        "validation": tuple(day for day in validation if day not in test),
        "test": test,
    }
    empty = next((name for name, days in found.items() if not days), None)
    if empty:
        raise CityloopError(
            f"{folder} leaves no day for {empty}: give more dates (without test_dates.csv, {HELD_OUT} for training)"
        )
    return found


def _dates(path: Path) -> tuple[str, ...]:
    if not path.is_file():
        raise CityloopError(f"file {path} is missing: give a CSV with one date a line under a heading")
    return tuple(line.strip() for line in path.read_text().splitlines()[1:] if line.strip())


def date_of(folder: Path, seeds: Seeds, seed: int) -> str:
    """The day of a seed: the seeds of a split cycle through its days in order."""
    split = seeds.split(seed) or "test"
    days = splits(folder)[split]
    return days[(seed - getattr(seeds, split).first) % len(days)]


def day(folder: Path, date: str) -> Day:
    """The requests of a date."""
    return plain_day(*_trips(folder, date)).in_order()


@kept(lambda folder, date: (folder / "trips" / f"{date}.csv", folder / "zones.csv"), most=512)
def _trips(folder: Path, date: str) -> tuple[np.ndarray, ...]:
    """Zones of origin and destination, and seconds of the pick-up, each ``(requests,)``."""
    path = folder / "trips" / f"{date}.csv"
    rows = _read(path, ("pickup_time", "pickup_ID", "dropoff_ID"))
    zones = len(_read(folder / "zones.csv", ("longitude", "latitude")))
    table = np.array([_trip(path, k, row, zones) for k, row in rows])
    return table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), table[:, 2]


def _trip(path: Path, number: int, row: Row, zones: int) -> tuple[float, float, float]:
    ends = [_zone(path, number, row, name, zones) for name in ("pickup_ID", "dropoff_ID")]
    time_s = number_in(row["pickup_time"], path, number, "pickup_time")
    if time_s < 0:
        raise CityloopError(f"{path}, row {number}: pickup_time is {row['pickup_time']!r}: give seconds from 0 on")
    return ends[0], ends[1], time_s


def _zone(path: Path, number: int, row: Row, name: str, zones: int) -> int:
    value = number_in(row[name], path, number, name)
    if value not in range(zones):
        raise CityloopError(f"{path}, row {number}: {name} is {row[name]!r}: give a zone from 0 to {zones - 1}")
    return int(value)


def usual(folder: Path, zones: int, slots: int, slot_s: float) -> np.ndarray:
    """Mean requests of every zone in each slot over the training days, ``(slots, zones)``."""
    days = splits(folder)["train"]
    table = np.zeros((slots, zones))
    for date in days:
        origin, _, time_s = _trips(folder, date)
        slot = (time_s // slot_s).astype(np.int64)
        within = slot < slots
        np.add.at(table, (slot[within], origin[within]), 1.0)
    return table / len(days)


def _read(path: Path, columns: tuple[str, ...]) -> list[tuple[int, Row]]:
    rows = read_rows(path, columns)
    if not rows:
        raise CityloopError(f"{path}: there is no row under the heading: give the files of a data set")
    return rows
