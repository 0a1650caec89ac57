"""A fleet that SUMO drives: it is given plans and the streets to take, and observed second by second.

The interface of both kinds of dispatch to SUMO's vehicles: by a script (`play`) and on line (`street`). Vehicles take
the streets of the dispatcher's own shortest paths, as a driver's navigation would tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from envs.transit.referee.script import lane_of, middle_of
from envs.transit.referee.traffic import WARM_S
from envs.transit.site import TransitSite
from envs.transit.sources import streets

PARKING = 1
"""SUMO's flag of a stop beside the lanes."""

LONG_S = 1e6

STEP_S, BRAKE_MPS2, MARGIN_M = 1.0, 4.5, 5.0
"""A step in seconds, deceleration, and margin: a moving vehicle can stop beyond the sum of their distances."""

AT_M = 1.0
"""Distance from a stop within which a vehicle is at it."""

STUCK_S = 60.0
"""Seconds without boarding or alighting after which a standing vehicle with riders is sent on: if it is given a plan at
the very moment at which a rider gets on, SUMO may have it wait for that rider for ever."""

IDLE = 0
"""SUMO's state of an idle taxi."""

ASKING = 1
"""SUMO's state of a new reservation."""


@dataclass
class Leg:
    """A drive between two stands. Times are seconds from the beginning of the service.

    Attributes:
        vehicle: its index.
        start, end: streets where it stood.
        depart_s, took_s: its departure, and its duration until it stood.
        loaded: whether anybody was aboard.
        path: streets driven, the first and the last included.
    """

    vehicle: int
    start: str
    end: str
    depart_s: float
    took_s: float
    loaded: bool
    path: tuple[str, ...]


@dataclass
class Taxi:
    """The last observation of a vehicle.

    Attributes:
        road: SUMO's street, or a way across a junction.
        stood: the street where it stands, or did last.
        there: whether it is on the road; SUMO takes vehicles off for a moment to put them back into the traffic.
        metres: position on the road.
        stands: whether the vehicle stands.
        aboard: riders in it.
        driven_m, loaded_m: distance driven in all, and with riders aboard.
        depart_s, path: time of its last departure (None: none yet), and streets since.
        busy_s: last time at which it stopped, or a rider got on or off.
    """

    road: str = ""
    stood: str = ""
    there: bool = True
    metres: float = 0.0
    stands: bool = True
    aboard: frozenset[int] = frozenset()
    driven_m: float = 0.0
    loaded_m: float = 0.0
    depart_s: float | None = None
    busy_s: float = 0.0
    path: list[str] = field(default_factory=list)


class Taxis:
    """The vehicles ``v0``, ``v1``, … and riders ``r0``, … of a running simulation.

    Args:
        sumo: libsumo, started.
        net: the streets.
        site: the dispatcher's nodes and ways.
        begins: street where each vehicle begins.
        origins, destinations: streets of every rider.

    Attributes:
        now_s: seconds from the beginning of the service.
        legs: completed drives between stands.
        lost: vehicles that SUMO took off the road for good.
        refused: plans that SUMO would not take.
        teleports: vehicles that SUMO took out of a jam, those of the traffic included.
        arrived: number of riders who have arrived.
    """

    def __init__(
        self,
        sumo: Any,
        net: streets.Net,
        site: TransitSite,
        begins: Sequence[str],
        origins: Sequence[str],
        destinations: Sequence[str],
    ):
        self._sumo, self._site = sumo, site
        self._edges = {edge.getID(): edge for edge in net.edges}
        self._origins, self._destinations = origins, destinations
        self.stop_of, self.passing_of = streets.places_of(site)
        self.street_of = [streets.street_of(node) for node in site.nodes]
        self._reservation: dict[int, str] = {}
        self.taxis = [Taxi(road=street, stood=street, path=[street]) for street in begins]
        self.legs: list[Leg] = []
        self.lost: set[int] = set()
        self.refused = self.teleports = self.arrived = 0
        self.now_s = float(sumo.simulation.getTime()) - WARM_S

    # -- observations -------------------------------------------------------------------------------------------

    def step(self) -> list[tuple[int, int, bool]]:
        """Advance by one second; returns boardings and alightings as (vehicle, rider, whether it is a boarding)."""
        simulation = self._sumo.simulation
        simulation.step()
        self.now_s = float(simulation.getTime()) - WARM_S
        self.teleports += simulation.getStartingTeleportNumber()
        self.arrived += len(simulation.getArrivedPersonIDList())
        self.lost |= {int(name[1:]) for name in simulation.getArrivedIDList() if name[0] == "v"}
        for found in self._sumo.person.getTaxiReservations(ASKING):
            self._reservation[int(found.persons[0][1:])] = found.id
        return [row for v in self.at_work for row in self._look(v)]

    @property
    def at_work(self) -> list[int]:
        """Vehicles that are on the road; none before the service begins."""
        return [v for v in range(len(self.taxis)) if v not in self.lost] if self.now_s > 0 else []

    def _look(self, v: int) -> Iterable[tuple[int, int, bool]]:
        vehicle, name, taxi = self._sumo.vehicle, f"v{v}", self.taxis[v]
        road = vehicle.getRoadID(name)
        taxi.road = road or taxi.road
        taxi.there = bool(road)
        if not road:
            return []
        stood, stands = taxi.stands, vehicle.isStopped(name)
        if stood and not stands:
            taxi.depart_s, taxi.path = self.now_s - STEP_S, [taxi.stood]
        if road in self._edges and taxi.path[-1] != road:
            taxi.path.append(road)
        if stands and not stood and taxi.depart_s is not None:
            took_s = self.now_s - taxi.depart_s
            leg = Leg(v, taxi.path[0], road, taxi.depart_s, took_s, bool(taxi.aboard), tuple(taxi.path))
            self.legs.append(leg)
        driven_m = vehicle.getDistance(name)
        taxi.loaded_m += driven_m - taxi.driven_m if taxi.aboard else 0.0
        aboard = frozenset(int(rider[1:]) for rider in vehicle.getPersonIDList(name))
        changed = [(v, r, False) for r in sorted(taxi.aboard - aboard)] + [
            (v, r, True) for r in sorted(aboard - taxi.aboard)
        ]
        taxi.metres, taxi.stands, taxi.aboard = vehicle.getLanePosition(name), stands, aboard
        taxi.stood = road if stands else taxi.stood
        taxi.driven_m = driven_m
        if changed or stands != stood:
            taxi.busy_s = self.now_s
        if stands and taxi.aboard and self.now_s == taxi.busy_s + STUCK_S:
            vehicle.resume(name)
        return changed

    @property
    def driven_m(self) -> tuple[float, float]:
        """Metres driven by all vehicles, and with riders aboard."""
        return sum(taxi.driven_m for taxi in self.taxis), sum(taxi.loaded_m for taxi in self.taxis)

    def idle(self, v: int) -> bool:
        """Whether a vehicle is idle in SUMO."""
        return int(self._sumo.vehicle.getParameter(f"v{v}", "device.taxi.state")) == IDLE

    def known(self, r: int) -> bool:
        """Whether a rider's request has come in."""
        return r in self._reservation

    def ahead(self, v: int) -> tuple[str, str | None]:
        """The street that a vehicle is on, or left last, and the next street to which it is bound, or None.

        It is None before the middle of the present street, while the vehicle can still stop there or is about to.
        """
        vehicle, taxi = self._sumo.vehicle, self.taxis[v]
        route, k = vehicle.getRoute(f"v{v}"), vehicle.getRouteIndex(f"v{v}")
        here = not taxi.road.startswith(":") and (taxi.stands or self._can_stop(v, route[k]) or self.about_to_stop(v))
        return route[k], route[k + 1] if not here and k + 1 < len(route) else None

    def about_to_stop(self, v: int) -> bool:
        """Whether a moving vehicle's next stop is ahead on its street."""
        taxi = self.taxis[v]
        for stop in self._sumo.vehicle.getStops(f"v{v}", 1):
            return bool(stop.lane.rsplit("_", 1)[0] == taxi.road and stop.endPos >= taxi.metres - AT_M)
        return False

    def left_m(self, v: int, bound: str | None) -> float:
        """Metres of a driving vehicle to the middle of its street, or of the next one if it is bound there."""
        taxi, vehicle = self.taxis[v], self._sumo.vehicle
        if bound is None:
            return middle_of(self._edges[taxi.road]) - taxi.metres
        return float(vehicle.getDrivingDistance(f"v{v}", bound, middle_of(self._edges[bound])))

    def _can_stop(self, v: int, street: str) -> bool:
        speed = self._sumo.vehicle.getSpeed(f"v{v}")
        room_m = speed * STEP_S + speed**2 / (2 * BRAKE_MPS2) + MARGIN_M
        return bool(self.taxis[v].metres + room_m < middle_of(self._edges[street]))

    # -- instructions -------------------------------------------------------------------------------------------

    def give(self, v: int, order: Sequence[int]) -> bool:
        """Give a vehicle its plan.

        Args:
            v: the vehicle.
            order: riders in the order of stops, twice if they are not aboard.

        Returns:
            Whether it was carried out or is obsolete; if not, it has to be tried again.
        """
        if v in self.lost:
            self.refused += 1
            return True
        if not order or not all(r in self._reservation for r in order) or not self.taxis[v].there:
            return not order
        places = self._places(v, order)
        if self._unable(v, places[0], order[0] not in self.taxis[v].aboard):
            return False
        try:
            self._sumo.vehicle.dispatchTaxi(f"v{v}", [self._reservation[r] for r in order])
            self._guide(v, places)
        except self._sumo.TraCIException:
            self.refused += 1
        return True

    def _places(self, v: int, order: Sequence[int]) -> list[str]:
        seen, found = set(self.taxis[v].aboard), []
        for r in order:
            found.append((self._destinations if r in seen else self._origins)[r])
            seen.add(r)
        return found

    def _unable(self, v: int, street: str, joins: bool) -> bool:
        """Whether SUMO would lose a stop, or time, if the vehicle were given a new plan at this moment.

        A moving vehicle may already be on the street of its next stop, and too near or past it to stop there: SUMO
        takes it off the road. A vehicle that stands for a rider who gets on or off is sent round the block for the
        rest, unless the next rider boards there as well. Both are given their plans some seconds later.
        """
        taxi = self.taxis[v]
        if taxi.stands:
            return not (joins and taxi.road == street) and not self.idle(v)
        return taxi.road == street and not self._can_stop(v, street)

    def _guide(self, v: int, places: Iterable[str]) -> None:
        """Route a vehicle along the stops of some streets, by the dispatcher's shortest paths."""
        here, bound = self.ahead(v)
        route, hop = [here] if bound is None else [here, bound], self._site.matrices.hop
        if route[-1] not in self.passing_of:
            return  # a street that the dispatcher does not know; SUMO's own route leads out of it
        at = self.stop_of[here] if self.taxis[v].stands and here in self.stop_of else self.passing_of[route[-1]]
        for street in places:
            while at != self.stop_of[street]:
                following = int(hop[at, self.stop_of[street]])
                if following == at:
                    return  # the dispatcher knows no way from there: SUMO's own is kept
                at = following
                if self.street_of[at] != route[-1]:
                    route.append(self.street_of[at])
        self._sumo.vehicle.setRoute(f"v{v}", route)

    def send(self, v: int, street: str) -> bool:
        """Send an idle vehicle to a street; returns whether it was carried out or is obsolete."""
        if v in self.lost:
            return True
        if not self.taxis[v].there or not self.idle(v):
            return False
        name, edge, vehicle = f"v{v}", self._edges[street], self._sumo.vehicle
        at, lane = middle_of(edge), int(lane_of(edge).rsplit("_", 1)[1])
        try:
            if self.taxis[v].stands:
                if self.taxis[v].road == street:
                    return True
                vehicle.changeTarget(name, street)
                vehicle.setStop(name, street, at, lane, LONG_S, PARKING)
                vehicle.resume(name)
            else:
                vehicle.replaceStop(name, 0, street, at, lane, LONG_S, PARKING)
            self._guide(v, [street])
        except self._sumo.TraCIException:
            self.refused += 1
        return True
