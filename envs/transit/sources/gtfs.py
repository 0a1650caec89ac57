"""Published stops of a GTFS feed, put on the corners of a street graph.

The feed is read with partridge (``pip install "cityloop[gtfs]"``); of its tables only ``stops.txt`` is used.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from envs.core.errors import CityloopError
from envs.transit.sources.day import Town, zones_of

EARTH_M = 6_371_000.0

COLUMNS = ("stop_id", "stop_lat", "stop_lon")
"""Columns that a feed's stops must have."""


class Projection:
    """Degrees → metres around a place (equirectangular: a few parts in a thousand over a town).

    Args:
        lat, lon: the place.
    """

    def __init__(self, lat: float, lon: float):
        self.lat, self.lon = lat, lon

    def metres(self, lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
        """East and north of the place, ``(n, 2)``."""
        east = np.radians(lon - self.lon) * np.cos(np.radians(self.lat))
        return EARTH_M * np.stack([east, np.radians(lat - self.lat)], axis=1)


def read_stops(feed: Path) -> tuple[list[tuple[str, float, float]], list[str]]:
    """Stops of a feed (name, latitude, longitude), and problems of others.

    Raises:
        CityloopError: if the feed cannot be read, or partridge is not installed.
    """
    try:
        import partridge
    except ModuleNotFoundError:
        raise CityloopError('GTFS feeds are read with partridge: pip install "cityloop[gtfs]"') from None
    try:
        table = partridge.load_raw_feed(str(feed)).stops
    except Exception as error:  # pandas, zipfile and partridge raise whatever they like
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CityloopError(f"gtfs feed {feed} cannot be read ({why}): give a folder or zip with stops.txt") from None
    if not len(table.columns):
        raise CityloopError(f"gtfs feed {feed} has no stops.txt, or it is empty: give a folder or zip with one")
    missing = [name for name in COLUMNS if name not in table]
    if missing:
        raise CityloopError(f"gtfs feed {feed}: its stops.txt has no column {', '.join(missing)}: add it")
    columns = {name: table[name].tolist() for name in COLUMNS}
    kinds = table["location_type"].tolist() if "location_type" in table else [""] * len(table)
    found, problems = [], []
    for name, lat, lon, kind in zip(*columns.values(), kinds, strict=True):
        if str(kind).strip() not in ("", "0", "0.0", "nan"):
            continue  # a station, an entrance, a place on a platform
        try:
            place = float(lat), float(lon)
            sound = abs(place[0]) <= 90 and abs(place[1]) <= 180
        except ValueError:
            sound = False
        if sound:
            found.append((name, *place))
        else:
            problems.append(f"stops.txt: stop {name!r} is at {lat!r}, {lon!r}: give degrees")
    return found, problems


def published(town: Town, projection: Projection, feed: Path, snap_m: float) -> tuple[Town, tuple[str, ...]]:
    """The same town with the stops of a feed, and problems of stops that are left out.

    Args:
        town: streets and zones.
        projection: from degrees to its metres.
        feed: the feed.
        snap_m: longest distance of a stop from the next corner.

    Raises:
        CityloopError: if fewer than two stops are on the graph.
    """
    stops, problems = read_stops(feed)
    corners = np.array([(node.x_m, node.y_m) for node in town.nodes])
    at: set[int] = set()
    if stops:
        places = projection.metres(np.array([stop[1] for stop in stops]), np.array([stop[2] for stop in stops]))
        for (name, _, _), place in zip(stops, places, strict=True):
            away = np.hypot(*(corners - place).T)
            k = int(away.argmin())
            if away[k] > snap_m:
                problems.append(f"stop {name!r} is {away[k]:.0f} m from the next corner, more than {snap_m:g}")
            else:
                at.add(k)
    if len(at) < 2:
        raise CityloopError(
            f"gtfs feed {feed}: {len(at)} of its stops are on the street graph, and it takes two"
            + (f" ({problems[0]})" if problems else "")
        )
    nodes = tuple(node.model_copy(update={"stop": k in at}) for k, node in enumerate(town.nodes))
    names = [zone.id for zone in town.zones]
    return Town(nodes, town.roads, zones_of(names, nodes, town.roads)), tuple(problems)
