"""A generated district in the manner of Ho Chi Minh City's minibus pilot: streets, places, and a day's demand.

It is no survey of any place; it is made for training, and documented in the README. A grid of narrow streets
with avenues every fourth one and a ring road; a canal that only avenues cross; a metro line with three stations, four
schools, an office quarter and two markets; homes everywhere. The map is the same in every episode (`District.seed`);
riders, the day's strength and rain are the episode's (its seed).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from envs.transit.matrices import Matrices
from envs.transit.site import Node, Road
from envs.transit.sources.day import Day, Town, cell_name, zones_of
from envs.transit.sources.settings import District

STREET_MS, AVENUE_MS, RING_MS = 4.5, 7.0, 8.5
"""Free speeds, stops at junctions included."""

AVENUE = 4
"""Spacing of avenues, in streets."""

GAPS = 0.08
"""Share of narrow streets that are missing."""

DAY_H = (6.0, 20.0)
TRAIN_S = 480.0
"""Seconds between two metro trains; riders who arrive with one ask within the following minute."""

SPEED_H = (0, 6, 6.75, 7.25, 8.5, 9.5, 11, 11.5, 13, 16, 17, 18.5, 19.5, 24)
SPEED = (1, 1, 0.75, 0.65, 0.7, 0.85, 0.85, 0.8, 0.9, 0.8, 0.6, 0.65, 0.85, 1)
"""Hours of the day, and speeds relative to free flow at these; linear between."""

SLOT_S = 300.0

FLOWS: dict[str, tuple[str, str, float, tuple[tuple[float, float, float], ...]]] = {
    "to the metro": ("home", "metro", 0.20, ((7.0, 0.7, 1.0), (12.0, 3.0, 0.3))),
    "from the metro": ("metro", "home", 0.20, ((17.6, 0.9, 1.0), (12.0, 3.0, 0.3))),
    "to school": ("home", "school", 0.08, ((6.6, 0.2, 1.0), (12.8, 0.2, 0.4))),
    "from school": ("school", "home", 0.08, ((11.25, 0.12, 0.5), (16.75, 0.15, 1.0))),
    "to work": ("home", "office", 0.11, ((7.6, 0.5, 1.0),)),
    "from work": ("office", "home", 0.11, ((17.2, 0.6, 1.0),)),
    "to market": ("home", "market", 0.07, ((8.5, 1.2, 1.0), (16.0, 1.5, 0.6))),
    "from market": ("market", "home", 0.07, ((9.5, 1.2, 1.0), (17.0, 1.5, 0.6))),
    "about": ("home", "home", 0.08, ((9.0, 2.5, 1.0), (14.5, 3.0, 1.0))),
}
"""Flow → from, to, share of a day's requests, and its peaks: hour, standard deviation in hours, height."""


@dataclass(frozen=True)
class Places:
    """The map: kind of place → weight of every node, ``(nodes,)``, summing to one; zero where there is no stop."""

    town: Town
    weight: dict[str, np.ndarray]


@lru_cache(maxsize=8)
def build(district: District) -> Places:
    """The district's map. The same settings give the same map."""
    rng = np.random.default_rng([district.seed, 77])
    columns, rows = district.columns, district.rows
    count = columns * rows
    column, row = np.arange(count) % columns, np.arange(count) // columns
    x = district.spacing_m * (column + rng.uniform(-0.2, 0.2, count))
    y = district.spacing_m * (row + rng.uniform(-0.2, 0.2, count))
    places = _places(rng, column, row, columns, rows)
    wanted = np.any([places[kind] > 0 for kind in ("metro", "school", "market")], axis=0)
    stop = wanted | ((column + row) % 2 == 0)
    across, down = district.zones
    zone = column * across // columns + across * (row * down // rows)
    nodes = tuple(
        Node(id=cell_name(int(column[k]), int(row[k])), x_m=x[k], y_m=y[k], zone=zone[k], stop=stop[k])
        for k in range(count)
    )
    roads = _roads(rng, column, row, x, y, columns, rows)
    there = stop | district.anywhere
    weight = {kind: values * there / (values * there).sum() for kind, values in places.items()}
    names = [cell_name(k % across, k // across) for k in range(across * down)]
    return Places(Town(nodes, roads, zones_of(names, nodes, roads)), weight)


def _places(
    rng: np.random.Generator, column: np.ndarray, row: np.ndarray, columns: int, rows: int
) -> dict[str, np.ndarray]:
    """Weights of the nodes, by kind of place."""
    count = columns * rows
    home = rng.gamma(1.5, 1.0, count)
    line = AVENUE * (rows // (2 * AVENUE))
    stations = [line * columns + int(c) for c in np.linspace(1, columns - 2, 3)]
    metro = np.bincount(stations, minlength=count).astype(float)
    school = np.bincount(rng.choice(count, 4, replace=False), minlength=count).astype(float)
    market = np.bincount(rng.choice(count, 2, replace=False), minlength=count).astype(float)
    away = np.hypot(column - 0.75 * columns, row - 0.3 * rows)
    office = np.exp(-((away / 2.0) ** 2))
    return {"home": home, "metro": metro, "school": school, "market": market, "office": office}


def _roads(
    rng: np.random.Generator,
    column: np.ndarray,
    row: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    columns: int,
    rows: int,
) -> tuple[Road, ...]:
    """Two-way streets; a narrow one may be missing if all corners stay connected."""
    canal = columns // 3
    pairs, narrow = [], []
    for k in range(columns * rows):
        for other, sideways in ((k + 1, True), (k + columns, False)):
            if (sideways and column[k] == columns - 1) or other >= columns * rows:
                continue
            lane = int(row[k] if sideways else column[k])
            ring = lane in (0, (rows if sideways else columns) - 1)
            avenue = lane % AVENUE == 0
            if sideways and column[k] == canal and not (ring or avenue):
                continue  # the canal has no bridge here
            speed = RING_MS if ring else AVENUE_MS if avenue else STREET_MS
            metres = float(np.hypot(x[k] - x[other], y[k] - y[other]))
            pairs.append((k, other, metres / speed, metres))
            narrow.append(speed == STREET_MS)
    table = np.array(pairs)
    kept = np.ones(len(table), bool)
    for gap in np.flatnonzero(narrow):
        if rng.random() < GAPS:
            kept[gap] = False
            kept[gap] = not _connected(table[kept], columns * rows)
    return tuple(
        Road(start=int(a), end=int(b), seconds=float(seconds), metres=float(metres))
        for start, end, seconds, metres in table[kept].tolist()
        for a, b in ((start, end), (end, start))
    )


def _connected(table: np.ndarray, count: int) -> bool:
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    ends = table[:, 0].astype(np.int64), table[:, 1].astype(np.int64)
    graph = csr_array((np.ones(len(table)), ends), shape=(count, count))
    return bool(connected_components(graph, directed=False)[0] == 1)


def usual(district: District, duration_s: float) -> np.ndarray:
    """Mean requests of every zone in each slot of an episode over all days, ``(slots, zones)``."""
    places = build(district)
    zone = np.array([node.zone for node in places.town.nodes])
    table = np.zeros((int(np.ceil(duration_s / SLOT_S)), len(places.town.zones)))
    for origin, _, share, peaks in FLOWS.values():
        by_zone = np.bincount(zone, weights=places.weight[origin], minlength=table.shape[1])
        table += np.outer(_slots(district, share, peaks, len(table)), by_zone)
    return table * _mean_rain(district)


def _slots(district: District, share: float, peaks: tuple[tuple[float, float, float], ...], slots: int) -> np.ndarray:
    """Mean requests of a flow in each slot."""
    hours = np.arange(24 * 3600 / SLOT_S) * SLOT_S / 3600 + SLOT_S / 7200
    shape = np.sum([height * np.exp(-((hours - at) ** 2) / (2 * width**2)) for at, width, height in peaks], axis=0)
    shape[(hours < DAY_H[0]) | (hours >= DAY_H[1])] = 0.0
    total = district.requests_h * (DAY_H[1] - DAY_H[0])
    first = int(district.begin_h * 3600 / SLOT_S)
    return np.resize(total * share * shape / shape.sum(), first + slots)[first:]


def _mean_rain(district: District) -> float:
    """Factor of rain on the mean number of requests, approximately: by the share of the day with rain."""
    share = min(1.0, district.rain.bursts * district.rain.minutes / 60 / (DAY_H[1] - DAY_H[0]))
    return 1.0 + share * (district.rain.demand - 1.0)


def day(district: District, duration_s: float, matrices: Matrices, seed: int) -> Day:
    """A day's requests and speeds."""
    rng = np.random.default_rng([seed, 11])
    slots = int(np.ceil(duration_s / SLOT_S))
    wet = _rain(rng, district, slots)
    strength = float(np.exp(rng.normal(0.0, 0.1) - 0.005)) * np.where(wet, district.rain.demand, 1.0)
    columns = [
        _flow(rng, district, name, _slots(district, share, peaks, slots) * strength)
        for name, (_, _, share, peaks) in FLOWS.items()
    ]
    time_s, origin, destination = (np.concatenate(parts) for parts in zip(*columns, strict=True))
    kept = (origin != destination) & (time_s < duration_s)
    kept &= np.isfinite(matrices.free_s[origin, destination])
    time_s, origin, destination = time_s[kept], origin[kept], destination[kept]
    count = len(time_s)
    booked = rng.random(count) < district.booked
    known_s = np.maximum(0.0, time_s - np.where(booked, rng.uniform(900, 7200, count), 0.0))
    leaves = rng.random(count) < district.cancelled
    patience = rng.uniform(30.0, 300.0, count)
    hours = district.begin_h + (np.arange(slots) + 0.5) * SLOT_S / 3600
    return Day(
        origin=origin,
        destination=destination,
        known_s=known_s,
        earliest_s=time_s,
        party=rng.choice([1, 2, 3, 4], size=count, p=[0.78, 0.15, 0.05, 0.02]),
        wheelchair=(rng.random(count) < district.wheelchair).astype(np.int64),
        cancel_s=np.where(leaves, known_s + patience, np.inf),
        absent=rng.random(count) < district.absent,
        speed=np.interp(hours % 24, SPEED_H, SPEED) * np.where(wet, district.rain.speed, 1.0),
        slot_s=SLOT_S,
    ).in_order()


def _rain(rng: np.random.Generator, district: District, slots: int) -> np.ndarray:
    """Slots with rain: bursts, most of them in the afternoon."""
    wet = np.zeros(slots, bool)
    hours = district.begin_h + np.arange(slots) * SLOT_S / 3600
    for midnight in range(0, int(hours[-1]) + 1, 24):
        for _ in range(rng.poisson(district.rain.bursts)):
            begin = midnight + rng.normal(15.5, 2.5)
            length = district.rain.minutes / 60 * float(np.exp(rng.normal(0.0, 0.5)))
            wet |= (hours >= begin) & (hours < begin + length)
    return wet


def _flow(
    rng: np.random.Generator, district: District, name: str, mean: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times, origins and destinations of a flow."""
    origin, destination, _, _ = FLOWS[name]
    slot = np.repeat(np.arange(len(mean)), rng.poisson(mean))
    time_s = (slot + rng.random(len(slot))) * SLOT_S
    if origin == "metro":  # they come with a train
        time_s = np.floor(time_s / TRAIN_S) * TRAIN_S + rng.uniform(0.0, 60.0, len(slot))
    weight = build(district).weight
    nodes = len(weight[origin])
    starts, ends = (rng.choice(nodes, size=len(slot), p=weight[kind]) for kind in (origin, destination))
    return time_s, starts, ends
