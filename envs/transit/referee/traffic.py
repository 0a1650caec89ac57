"""The traffic around a fleet: trips of a scenario's route files, stretched in time like its requests."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np

from envs.core.errors import CityloopError
from envs.core.sumo.reading import read_root
from envs.transit.scenarios import TransitScenario
from envs.transit.sources import streets

WARM_S = 900.0
"""Seconds before a service in which traffic like that of its beginning fills the streets."""

CARRIED = ("type", "departLane", "departSpeed", "departPos", "arrivalLane", "arrivalPos", "line")
"""Attributes of a vehicle that are kept."""


def needs_net(scenario: TransitScenario) -> None:
    """Refuse a scenario that SUMO cannot play.

    Raises:
        CityloopError: if it has no SUMO network.
    """
    if scenario.net is None:
        raise CityloopError(f"scenario {scenario.name or 'of yours'} has no SUMO network: give one with net and routes")


def write(scenario: TransitScenario, path: Path, seed: int, flow: float) -> int:
    """Write a route file; the service begins at second `WARM_S`.

    An hour of the scenario's files becomes ``stretch`` hours, each with ``flow`` times as many vehicles. Trips are
    copied accordingly, each within half a minute of the file's time either way, stretched as well.

    Args:
        scenario: with a SUMO network.
        path: the file.
        seed: of the number and times of copies.
        flow: vehicles per hour, relative to the files.

    Returns:
        Number of vehicles.
    """
    rng = np.random.default_rng([seed, 14])
    stretch = scenario.trips.stretch
    copies = stretch * flow
    root, rows = ET.Element("routes"), []
    for file in scenario.routes:
        for element in read_root(file):
            if element.tag in ("vType", "route", "vTypeDistribution"):
                root.append(element)
            if element.tag not in ("trip", "vehicle"):
                continue
            time_s = (streets.depart_s(file, element) - scenario.trips.begin_s) * stretch
            if not 0 <= time_s < scenario.duration_s:
                continue
            count = int(copies) + int(rng.random() < copies % 1)
            times = time_s + rng.uniform(-30.0, 30.0, count) * stretch
            times = np.concatenate([times, -times[times < WARM_S]])  # the beginning mirrored, to fill the streets
            rows += [(t, element) for t in times.tolist() if -WARM_S < t < scenario.duration_s]
    for k, (time_s, element) in enumerate(sorted(rows, key=lambda row: row[0])):
        kept: dict[str, Any] = {name: element.attrib[name] for name in CARRIED if name in element.attrib}
        kept |= {name: element.attrib[name] for name in ("from", "to", "via", "route") if name in element.attrib}
        made = ET.SubElement(root, element.tag, id=f"car{k}", depart=f"{time_s + WARM_S:.1f}", **kept)
        made.extend(element.findall("route"))
    ET.ElementTree(root).write(path)
    return len(rows)
