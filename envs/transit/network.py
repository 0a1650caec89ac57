"""A scenario → its site, and the day of an episode. Each source is read by a module of its own in `sources`."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from envs.core.machine.files import kept
from envs.core.machine.warn_once import warn_once
from envs.transit.matrices import Matrices
from envs.transit.scenarios import TransitScenario, feed_files
from envs.transit.site import TransitSite
from envs.transit.sources import district, gtfs, streets, tables, taxi
from envs.transit.sources.day import Day, Town
from envs.transit.sources.walking import Stops, to_stops

LOGGER = logging.getLogger(__name__)

SHOWN = 5
"""Unusable stops that are reported one by one; the others are counted."""

SLOT_S = 300.0
"""Length of the slots of usual requests."""


def town_of(scenario: TransitScenario) -> Town:
    """Streets and zones.

    Raises:
        CityloopError: if a file is invalid.
    """
    if scenario.district is not None:
        return district.build(scenario.district).town
    if scenario.days is not None:
        return taxi.town(scenario.days)
    if scenario.net is not None:
        return _streets(scenario).town
    assert scenario.nodes is not None
    assert scenario.roads is not None
    return _own_town(scenario.nodes, scenario.roads, scenario.gtfs, scenario.snap_m)


@kept(lambda nodes, roads, feed, snap_m: (nodes, roads, *feed_files(feed)))
def _own_town(nodes: Path, roads: Path, feed: Path | None, snap_m: float) -> Town:
    """A user's own town, with the stops of a GTFS feed if there is one."""
    town = tables.read_town(nodes, roads, with_stops=feed is None)
    if feed is None:
        return town
    town, problems = gtfs.published(town, tables.projection_of(nodes), feed, snap_m)
    for problem in problems[:SHOWN]:
        warn_once(LOGGER, feed, f"{feed.name}: {problem}")
    if len(problems) > SHOWN:
        warn_once(LOGGER, feed, f"{feed.name}: {len(problems) - SHOWN} more stops are left out")
    return town


def load_site(scenario: TransitScenario) -> TransitSite:
    """The site of a scenario."""
    town = town_of(scenario)
    table = _usual(scenario, len(town.zones))
    return TransitSite(
        name=scenario.name,
        promise=scenario.promise,
        timing=scenario.timing,
        costs=scenario.costs,
        nodes=town.nodes,
        roads=town.roads,
        zones=town.zones,
        vehicles=sum(crew.vehicles for crew in scenario.crews),
        weights=scenario.weights,
        usual=tuple(tuple(round(value, 4) for value in row) for row in table.tolist()),
        slot_s=SLOT_S,
    )


def _usual(scenario: TransitScenario, zones: int) -> np.ndarray:
    slots = int(np.ceil(scenario.duration_s / SLOT_S))
    if scenario.district is not None:
        return district.usual(scenario.district, scenario.duration_s)
    if scenario.days is not None:
        return taxi.usual(scenario.days, zones, slots, SLOT_S)
    if scenario.net is not None:
        return streets.usual(_streets(scenario), scenario.trips, scenario.duration_s, SLOT_S)
    return np.zeros((0, zones))


def _streets(scenario: TransitScenario) -> streets.Streets:
    assert scenario.net is not None
    return streets.read(scenario.net, scenario.routes, scenario.trips.zones, scenario.times)


def day_of(scenario: TransitScenario, site: TransitSite, seed: int) -> Day:
    """Requests and speeds of the episode of a seed.

    Raises:
        CityloopError: if a file is invalid.
    """
    if scenario.district is not None:
        found = district.day(scenario.district, scenario.duration_s, site.matrices, seed)
        return to_stops(found, _stops(scenario, site.matrices)) if scenario.walk.metres else found
    if scenario.days is not None:
        found = taxi.day(scenario.days, taxi.date_of(scenario.days, scenario.seeds, seed))
        return _with_speeds(_joined(found.rows(found.earliest_s < scenario.duration_s), site), scenario)
    if scenario.net is not None:
        return _with_speeds(streets.day(_streets(scenario), scenario.trips, scenario.duration_s, seed), scenario)
    return _with_speeds(_own(scenario, site.matrices), scenario)


def first_s(scenario: TransitScenario) -> float:
    """Time of the first request of the files in an episode, in seconds; 0 where requests are drawn.

    Raises:
        CityloopError: if a file is invalid.
    """
    if scenario.requests is not None:
        return float(day_of(scenario, load_site(scenario), 0).earliest_s.min())
    if scenario.net is None:
        return 0.0
    time_s, share = streets.chance(_streets(scenario), scenario.trips, scenario.duration_s)
    return float(time_s[share > 0].min(initial=scenario.duration_s))


@lru_cache(maxsize=8)
def _stops(scenario: TransitScenario, matrices: Matrices) -> Stops:
    return Stops(town_of(scenario).nodes, matrices, scenario.walk)


@kept(lambda scenario, matrices: scenario.files())
def _own(scenario: TransitScenario, matrices: Matrices) -> Day:
    assert scenario.requests is not None
    room = [(crew.seats, crew.places) for crew in scenario.crews]
    stops = Stops(town_of(scenario).nodes, matrices, scenario.walk)
    return tables.read_requests(scenario.requests, town_of(scenario), stops, room, scenario.duration_s)


def _joined(day: Day, site: TransitSite) -> Day:
    """The same without requests between corners that no road joins; each of them becomes a problem."""
    joined = np.isfinite(site.matrices.free_s[day.origin, day.destination])
    names = [node.id for node in site.nodes]
    problems = tuple(
        f"request {k}: no road leads from {names[day.origin[k]]} to {names[day.destination[k]]}: add one"
        for k in np.flatnonzero(~joined).tolist()
    )
    return replace(day.rows(joined), problems=problems) if problems else day


def _with_speeds(day: Day, scenario: TransitScenario) -> Day:
    """The same with the scenario's own speeds, each for an equal part of the episode."""
    if not scenario.speeds:
        return day
    return replace(day, speed=np.array(scenario.speeds), slot_s=scenario.duration_s / len(scenario.speeds))
