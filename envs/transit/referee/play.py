"""One service, driven by SUMO's taxis: either a dispatch of ours, decision by decision, or one that SUMO brings.

A decision says which vehicle serves a request, and where among the stops of its plan. As a rider who was promised a
vehicle stays with it and the order of stops never changes, the order of all stops that a vehicle made, without those of
riders not yet known at a moment, is its plan at that moment. SUMO's vehicles are given just that order at just that
moment; when they are where is for SUMO to say. Parties wait at the middle of a street; a vehicle stands beside the
lanes for as long as boarding takes.
"""

from __future__ import annotations

import tempfile
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from envs.transit import streets
from envs.transit.referee import driving, traffic
from envs.transit.referee.traffic import WARM_S
from envs.transit.scenarios import TransitScenario

TAIL_S = 3600.0
"""So long after a service whoever was promised something may still be brought there."""

PARKING = 1
"""SUMO's flag for a stop beside the lanes."""

LONG_S = 1e6
REROUTE_S = 120

BRAKING_M = 50.0
"""Within so many metres of a place a moving vehicle may be unable to stop there."""


@dataclass(frozen=True)
class Script:
    """What is to be driven. Times are seconds from the beginning of the service.

    Attributes:
        begins: street where each vehicle begins, ``V`` names.
        seats: of each.
        known_s: when each request comes in.
        origins, destinations: its streets.
        promises: our decisions: time, vehicle and rider; empty where SUMO decides.
        orders: of each vehicle, all its stops: rider, and whether it is a pick-up.
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


@dataclass(frozen=True)
class Played:
    """What became of it.

    Attributes:
        picked_s, dropped_s: of every rider; NaN: never.
        metres, loaded_m: driven by all vehicles, and with somebody aboard.
        teleports: vehicles that SUMO took out of a jam, those of the traffic included.
        lost: vehicles that SUMO took off the road for good.
        refused: decisions that were not carried out.
    """

    picked_s: np.ndarray
    dropped_s: np.ndarray
    metres: float
    loaded_m: float
    teleports: int
    lost: int
    refused: int


def play(scenario: TransitScenario, script: Script, seed: int, flow: float, algorithm: str = "traci") -> Played:
    """Drive a service in SUMO, with traffic around it.

    Args:
        scenario: where.
        script: what.
        seed: of the traffic and of driving.
        flow: vehicles an hour around, relative to the route files.
        algorithm: SUMO's dispatch; ``traci``: ours.
    """
    assert scenario.net is not None
    net = streets.read_net(scenario.net)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        traffic.write(scenario, folder / "cars.rou.xml", seed, flow)
        write(scenario, net, script, folder / "fleet.rou.xml")
        out = folder / "trips.xml"
        more = ["--device.taxi.dispatch-algorithm", algorithm, "--tripinfo-output", str(out)]
        more += ["--tripinfo-output.write-unfinished"]
        files = [folder / "fleet.rou.xml", folder / "cars.rou.xml"]
        sumo = driving.start(driving.arguments(scenario.net, files, seed, more))
        try:
            drive = _Drive(sumo, net, script)
            teleports = drive.run(scenario.duration_s)
        finally:
            sumo.close()
        dropped_s, metres, loaded_m = _outcome(out, len(script.known_s))
        return Played(drive.picked_s, dropped_s, metres, loaded_m, teleports, len(drive.lost), drive.refused)


def write(scenario: TransitScenario, net: streets.Net, script: Script, path: Path) -> None:
    """The route file of vehicles and riders."""
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
            ("has.rerouting.device", "true"),
            ("device.rerouting.period", str(REROUTE_S)),
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
    """Metres from a street's beginning to its stop; as written in files, or SUMO takes a rider for being behind."""
    return round(float(edge.getLength()) / 2, 2)


def lane_of(edge: Any) -> str:
    """The rightmost lane for passenger cars."""
    return str(next(lane.getID() for lane in edge.getLanes() if lane.allows("passenger")))


class _Drive:
    """A running simulation that is given our decisions."""

    def __init__(self, sumo: Any, net: streets.Net, script: Script):
        self._sumo, self._script = sumo, script
        self._edges = {edge.getID(): edge for edge in net.edges}
        self._reservation: dict[int, str] = {}
        self._known: list[set[int]] = [set() for _ in script.begins]
        self.picked_s = np.full(len(script.known_s), np.nan)
        self._last_s = [0.0] * len(script.begins)
        todo: list[tuple[float, str, int, Any]] = [(time_s, "promise", v, r) for time_s, v, r in script.promises]
        todo += [(time_s, "send", v, street) for time_s, v, street in script.sent]
        self._todo = sorted(todo, key=lambda row: row[0])
        self.lost: set[int] = set()
        self.refused = 0

    def run(self, duration_s: float) -> int:
        """Drive to the end; returns teleports."""
        sumo, riders, teleports = self._sumo, len(self._script.known_s), 0
        waiting: list[tuple[Any, ...]] = []
        arrived = 0
        while sumo.simulation.getTime() < WARM_S + duration_s + TAIL_S and arrived < riders:
            sumo.simulation.step()
            teleports += sumo.simulation.getStartingTeleportNumber()
            arrived += len(sumo.simulation.getArrivedPersonIDList())
            now_s = sumo.simulation.getTime() - WARM_S
            for name in sumo.simulation.getArrivedIDList():
                if name[0] == "v":
                    self.lost.add(int(name[1:]))
            for v in self._at_work if now_s > 0 else ():
                for name in sumo.vehicle.getPersonIDList(f"v{v}"):
                    r = int(name[1:])
                    if np.isnan(self.picked_s[r]):
                        self.picked_s[r] = now_s
            if not self._script.promises:
                continue
            for found in sumo.person.getTaxiReservations(1):
                self._reservation[int(found.persons[0][1:])] = found.id
            while self._todo and self._todo[0][0] <= now_s:
                waiting.append(self._todo.pop(0))
            waiting = [row for row in waiting if not self._carry_out(*row)]
            if now_s > duration_s and not waiting and not self._todo and self._all_done():
                break
        return teleports

    @property
    def _at_work(self) -> list[int]:
        return [v for v in range(len(self._known)) if v not in self.lost]

    def _all_done(self) -> bool:
        return not any(int(self._sumo.vehicle.getParameter(f"v{v}", "device.taxi.state")) for v in self._at_work)

    def _carry_out(self, time_s: float, what: str, v: int, which: Any) -> bool:
        """Whether a decision was carried out, or is off."""
        if what == "send":
            return self._send(v, which, time_s)
        if which not in self._reservation:
            return False  # the rider asks in this very second
        if v in self.lost:
            self.refused += 1
            return True
        known = self._known[v] | {which}
        aboard = set(self._sumo.vehicle.getPersonIDList(f"v{v}"))
        there = {r for r in known if f"r{r}" not in aboard and self._gone(r)}
        order = [
            r
            for r, pick in self._script.orders[v]
            if r in known and r not in there and not (pick and f"r{r}" in aboard)
        ]
        if order and self._passing(v, order[0], f"r{order[0]}" in aboard):
            return False
        self._known[v].add(which)
        self._last_s[v] = time_s
        try:
            self._sumo.vehicle.dispatchTaxi(f"v{v}", [self._reservation[r] for r in order])
        except self._sumo.TraCIException:
            self.refused += 1
        return True

    def _passing(self, v: int, r: int, aboard: bool) -> bool:
        """Whether SUMO would lose a stop, or time, if it were given a new plan at this moment.

        A moving vehicle may be on the street of its next stop already, and too near, or past it, to stop there: SUMO
        takes it off the road. One that stands for somebody who gets on or off is sent round the block for the rest,
        unless the next to get on is there as well. Both are given their plans some seconds later.
        """
        vehicle, name = self._sumo.vehicle, f"v{v}"
        street = (self._script.destinations if aboard else self._script.origins)[r]
        if vehicle.isStopped(name):
            joins = not aboard and vehicle.getRoadID(name) == street
            return not joins and int(vehicle.getParameter(name, "device.taxi.state")) != 0
        if vehicle.getRoadID(name) != street:
            return False
        return bool(vehicle.getLanePosition(name) > middle_of(self._edges[street]) - BRAKING_M)

    def _gone(self, r: int) -> bool:
        return f"r{r}" not in self._present()

    def _present(self) -> set[str]:
        return set(self._sumo.person.getIDList())

    def _send(self, v: int, street: str, time_s: float) -> bool:
        """Send an idle vehicle; one that SUMO still has busy goes when it is free, unless it was promised since."""
        name, edge = f"v{v}", self._edges[street]
        if time_s < self._last_s[v] or v in self.lost:
            return True
        if int(self._sumo.vehicle.getParameter(name, "device.taxi.state")) != 0:
            return False
        self._last_s[v] = time_s
        at, lane = middle_of(edge), int(lane_of(edge).rsplit("_", 1)[1])
        vehicle = self._sumo.vehicle
        try:
            if vehicle.isStopped(name):
                if vehicle.getRoadID(name) == street:
                    return True
                vehicle.changeTarget(name, street)
                vehicle.setStop(name, street, at, lane, LONG_S, PARKING)
                vehicle.resume(name)
            else:
                vehicle.replaceStop(name, 0, street, at, lane, LONG_S, PARKING)
        except self._sumo.TraCIException:
            self.refused += 1
        return True


def _outcome(path: Path, riders: int) -> tuple[np.ndarray, float, float]:
    """When riders got off, and metres driven by all vehicles and with somebody aboard."""
    dropped_s, metres, loaded = np.full(riders, np.nan), 0.0, 0.0
    for _, element in ET.iterparse(path):
        if element.tag == "personinfo":
            ride, r = element.find("ride"), int(element.attrib["id"][1:])
            if ride is not None and float(ride.attrib["arrival"]) >= 0:
                dropped_s[r] = float(ride.attrib["arrival"]) - WARM_S
        elif element.tag == "tripinfo":
            taxi = element.find("taxi")
            if taxi is not None:
                metres += float(element.attrib["routeLength"])
                loaded += float(taxi.attrib["occupiedDistance"])
    return dropped_s, metres, loaded
