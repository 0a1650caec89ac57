"""A fleet that SUMO drives: given plans and the streets to take, watched second by second.

Whoever dispatches, by a script (`play`) or on the spot (`street`), tells the fleet through this and learns of it from
this. Ways are ours: the streets that the dispatcher's own shortest paths name, as a driver's navigation would.
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
"""SUMO's flag for a stop beside the lanes."""

LONG_S = 1e6

STEP_S, BRAKE_MPS2, MARGIN_M = 1.0, 4.5, 5.0
"""A moving vehicle can stop beyond what it drives in a step, its braking distance and so many metres."""

AT_M = 1.0
"""So near a stop a vehicle is at it."""

STUCK_S = 60.0
"""A vehicle with riders in it that has stood so long with nobody getting on or off is sent on: given a plan at the very
moment at which somebody gets on, SUMO may have it wait for that rider for ever."""

IDLE = 0
"""SUMO's state of a taxi that has nothing to do."""

ASKING = 1
"""SUMO's state of a reservation that it has not told of yet."""


@dataclass
class Leg:
    """What a vehicle drove between two stands. Times are seconds from the beginning of the service.

    Attributes:
        vehicle: which.
        start, end: streets where it stood.
        depart_s, took_s: when it moved off, and until it stood.
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
    """A vehicle as it was seen last.

    Attributes:
        road: SUMO's street, or a way across a junction.
        stood: the street where it stands, or did last.
        there: whether it is on the road; SUMO takes who has to be put back into the traffic off it for a moment.
        metres: from its beginning.
        stands: whether the vehicle does.
        aboard: riders in it.
        driven_m, loaded_m: since it was made, and with riders in it.
        depart_s, path: since it moved off last; None: it has not yet.
        busy_s: when it stopped, or somebody got on or off, last.
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
        legs: what was driven between stands so far.
        lost: vehicles that SUMO took off the road for good.
        refused: plans that SUMO would not take.
        teleports: vehicles that SUMO took out of a jam, those of the traffic included.
        arrived: riders that are there.
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

    # -- watching -----------------------------------------------------------------------------------------------

    def step(self) -> list[tuple[int, int, bool]]:
        """Let a second pass; who got on or off in it: vehicle, rider, and whether it was on."""
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
        """Metres driven by all vehicles, and with riders in them."""
        return sum(taxi.driven_m for taxi in self.taxis), sum(taxi.loaded_m for taxi in self.taxis)

    def idle(self, v: int) -> bool:
        """Whether SUMO has nothing for a vehicle to do."""
        return int(self._sumo.vehicle.getParameter(f"v{v}", "device.taxi.state")) == IDLE

    def known(self, r: int) -> bool:
        """Whether a rider's request has come in."""
        return r in self._reservation

    def ahead(self, v: int) -> tuple[str, str | None]:
        """The street that a vehicle is on, or left last, and the one after it, to which it is bound unless None.

        Before its street's middle, if it has room to stop there or is about to, a vehicle is bound to none.
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
        """Metres to the middle of the street that a driving vehicle is on, or of the next if it is bound there."""
        taxi, vehicle = self.taxis[v], self._sumo.vehicle
        if bound is None:
            return middle_of(self._edges[taxi.road]) - taxi.metres
        return float(vehicle.getDrivingDistance(f"v{v}", bound, middle_of(self._edges[bound])))

    def _can_stop(self, v: int, street: str) -> bool:
        speed = self._sumo.vehicle.getSpeed(f"v{v}")
        room_m = speed * STEP_S + speed**2 / (2 * BRAKE_MPS2) + MARGIN_M
        return bool(self.taxis[v].metres + room_m < middle_of(self._edges[street]))

    # -- telling ------------------------------------------------------------------------------------------------

    def give(self, v: int, order: Sequence[int]) -> bool:
        """Give a vehicle its plan.

        Args:
            v: the vehicle.
            order: riders, those who are not aboard twice, in the order of stops.

        Returns:
            Whether that was possible at this moment, or is off; else it is to be tried again.
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
        """Whether SUMO would lose a stop, or time, if it were given a new plan at this moment.

        A moving vehicle may be on the street of its next stop already, and too near, or past it, to stop there: SUMO
        takes it off the road. One that stands for somebody who gets on or off is sent round the block for the rest,
        unless the next to get on is there as well. Both are given their plans some seconds later.
        """
        taxi = self.taxis[v]
        if taxi.stands:
            return not (joins and taxi.road == street) and not self.idle(v)
        return taxi.road == street and not self._can_stop(v, street)

    def _guide(self, v: int, places: Iterable[str]) -> None:
        """Lay a vehicle's way past some streets' stops, by the dispatcher's shortest paths."""
        here, bound = self.ahead(v)
        route, hop = [here] if bound is None else [here, bound], self._site.matrices.hop
        if route[-1] not in self.passing_of:
            return  # a street that the dispatcher does not know; SUMO's own way leads out of it
        at = self.stop_of[here] if self.taxis[v].stands and here in self.stop_of else self.passing_of[route[-1]]
        for street in places:
            while at != self.stop_of[street]:
                at = int(hop[at, self.stop_of[street]])
                if self.street_of[at] != route[-1]:
                    route.append(self.street_of[at])
        self._sumo.vehicle.setRoute(f"v{v}", route)

    def send(self, v: int, street: str) -> bool:
        """Send a vehicle that has nothing to do to a street; whether that was possible, or is off."""
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
