"""A scenario → its site, and an episode's day: which source says what. How each is read, its own file knows."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from envs.transit import district, streets, tables, taxi
from envs.transit.day import Day, Town
from envs.transit.matrices import Matrices
from envs.transit.scenarios import TransitScenario
from envs.transit.site import TransitSite

SLOT_S = 300.0
"""Slots in which usual requests are kept."""


def town_of(scenario: TransitScenario) -> Town:
    """Streets and zones.

    Raises:
        CityloopError: if a file is not what it should be.
    """
    if scenario.district is not None:
        return district.build(scenario.district).town
    if scenario.days is not None:
        return taxi.town(scenario.days)
    if scenario.net is not None:
        return _streets(scenario).town
    assert scenario.nodes is not None
    assert scenario.roads is not None
    return tables.read_town(scenario.nodes, scenario.roads)


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
    """What happens in the episode of a seed: requests and speeds.

    Raises:
        CityloopError: if a file is not what it should be.
    """
    if scenario.district is not None:
        return district.day(scenario.district, scenario.duration_s, site.matrices, seed)
    if scenario.days is not None:
        found = taxi.day(scenario.days, taxi.date_of(scenario.days, scenario.seeds, seed))
        return _with_speeds(found.rows(found.earliest_s < scenario.duration_s), scenario)
    if scenario.net is not None:
        return _with_speeds(streets.day(_streets(scenario), scenario.trips, scenario.duration_s, seed), scenario)
    return _with_speeds(_own(scenario, site.matrices), scenario)


@lru_cache(maxsize=8)
def _own(scenario: TransitScenario, matrices: Matrices) -> Day:
    assert scenario.requests is not None
    room = [(crew.seats, crew.places) for crew in scenario.crews]
    return tables.read_requests(scenario.requests, town_of(scenario), matrices, room, scenario.duration_s)


def _with_speeds(day: Day, scenario: TransitScenario) -> Day:
    """The same under the scenario's own speeds, each for an equal part of the episode."""
    if not scenario.speeds:
        return day
    return replace(day, speed=np.array(scenario.speeds), slot_s=scenario.duration_s / len(scenario.speeds))
