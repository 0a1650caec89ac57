"""The input of SUMO for a service: its vehicles and riders, and its decisions if they are known beforehand."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envs.transit.referee.traffic import WARM_S
from envs.transit.scenarios import TransitScenario
from envs.transit.sources import streets


@dataclass(frozen=True)
class Script:
    """A service to be driven. Times are seconds from its beginning.

    Attributes:
        begins: street where each vehicle begins, ``V`` names.
        seats: of each.
        known_s: time at which each request comes in.
        origins, destinations: its streets.
        promises: our decisions, as time, vehicle and rider; empty if they are not known beforehand.
        orders: all stops of each vehicle, as rider and whether it is a pick-up.
        sent: time, vehicle and street of every idle vehicle that is sent somewhere.
    """

    begins: tuple[str, ...]
    seats: tuple[int, ...]
    known_s: tuple[float, ...]
    origins: tuple[str, ...]
    destinations: tuple[str, ...]
    promises: tuple[tuple[float, int, int], ...] = ()
    orders: tuple[tuple[tuple[int, bool], ...], ...] = ()
    sent: tuple[tuple[float, int, str], ...] = ()


REROUTE_S = 120
"""Seconds after which a vehicle that finds its own way looks for a better one."""


def write(scenario: TransitScenario, net: streets.Net, script: Script, path: Path, guided: bool = True) -> None:
    """Write the route file of vehicles and riders.

    Parties wait at the middle of a street; a vehicle stands beside the lanes, for as long as boarding takes.

    Args:
        scenario: for the time that boarding takes.
        net: the streets.
        script: vehicles and riders.
        path: the file.
        guided: whether vehicles are given their streets; else they look for the quickest way at present.
    """
    root, timing = ET.Element("routes"), scenario.timing
    for seats in sorted(set(script.seats)):
        boarding: dict[str, Any] = {
            "personCapacity": str(seats),
            "boardingDuration": f"{(timing.board_s + timing.alight_s) / 2:g}",
        }
        kind = ET.SubElement(root, "vType", id=f"fleet{seats}", vClass="passenger", **boarding)
        for key, value in (
            ("has.taxi.device", "true"),
            ("device.taxi.pickUpDuration", "0"),
            ("device.taxi.dropOffDuration", "0"),
            ("device.taxi.parking", "true"),
            *(() if guided else (("has.rerouting.device", "true"), ("device.rerouting.period", str(REROUTE_S)))),
        ):
            ET.SubElement(kind, "param", key=key, value=value)
    middle = {edge.getID(): edge for edge in net.edges}
    for v, (street, seats) in enumerate(zip(script.begins, script.seats, strict=True)):
        more: dict[str, Any] = {"departPos": "stop", "line": "taxi"}
        made = ET.SubElement(root, "vehicle", id=f"v{v}", type=f"fleet{seats}", depart="0", **more)
        ET.SubElement(made, "route", edges=street)
        at: dict[str, Any] = {"lane": lane_of(middle[street]), "endPos": f"{middle_of(middle[street]):.2f}"}
        ET.SubElement(made, "stop", **at, triggered="person", parking="true")
    for r, (time_s, a, b) in enumerate(zip(script.known_s, script.origins, script.destinations, strict=True)):
        begin = f"{middle_of(middle[a]):.2f}"
        made = ET.SubElement(root, "person", id=f"r{r}", depart=f"{WARM_S + time_s:.2f}", departPos=begin)
        ends: dict[str, Any] = {"from": a, "to": b, "arrivalPos": f"{middle_of(middle[b]):.2f}"}
        ET.SubElement(made, "ride", lines="taxi", **ends)
    ET.ElementTree(root).write(path)


def middle_of(edge: Any) -> float:
    """Metres from a street's beginning to its stop, rounded as in files: else SUMO may see a rider behind the stop."""
    return round(float(edge.getLength()) / 2, 2)


def lane_of(edge: Any) -> str:
    """The rightmost lane for passenger cars."""
    return str(next(lane.getID() for lane in edge.getLanes() if lane.allows("passenger")))
