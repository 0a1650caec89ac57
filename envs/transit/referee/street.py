"""The plant with real streets: SUMO drives the fleet, and our dispatch decides by observations from SUMO.

`StreetWorld` is a world like any other, with the same controllers, guard and indicators; only the movement of vehicles
differs. Each second SUMO reports positions, boardings and alightings; requests are answered by the same insertion into
the same plans from these; and vehicles whose plan has changed are informed.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from envs.transit.kernel import events, insertion, journal, motion, plans
from envs.transit.kernel.fleet import ABOARD, ARRIVED, NOBODY, SEATS, WAITING
from envs.transit.kernel.travel_times import arrive
from envs.transit.referee.play import TAIL_S, start
from envs.transit.referee.script import Script
from envs.transit.referee.taxis import Taxis
from envs.transit.referee.watched import DROVE, STARTED, STOOD, WatchedService, WatchedWorld
from envs.transit.scenarios import TransitScenario
from envs.transit.service import Service
from envs.transit.site import TransitSite
from envs.transit.sources import streets
from envs.transit.sources.day import Day

ROWS = 16
"""Upper bound of a vehicle's rows in the log per second."""


class StreetWorld(WatchedWorld):
    """A fleet in one town, driven by SUMO, which is global to a process: one world in each process.

    Args:
        scenario: with a SUMO network.
        site: the scenario's site.
        flow: vehicles per hour of the traffic, relative to the route files.
    """

    def __init__(self, scenario: TransitScenario, site: TransitSite, flow: float):
        super().__init__(scenario, site)
        self._flow = flow

    def _begin(self, day: Day, seed: int, program: Any) -> Service:
        assert program is None, "what SUMO drives is dispatched as the scenario says"
        self.close()
        return StreetService(self.scenario, self.site, day, seed, self._flow)

    @property
    def service(self) -> StreetService:
        """The running service."""
        assert isinstance(self._service, StreetService)
        return self._service

    def close(self) -> None:
        """End SUMO."""
        if isinstance(self._service, StreetService):
            self._service.close()
        super().close()


class StreetService(WatchedService):
    """A fleet in SUMO.

    Args:
        scenario: fleet and promise.
        site: streets and zones.
        day: requests and speeds.
        seed: of vehicles' positions and of the traffic.
        flow: vehicles per hour of the traffic, relative to the route files.

    Attributes:
        taxis: the vehicles.
    """

    def __init__(self, scenario: TransitScenario, site: TransitSite, day: Day, seed: int, flow: float):
        super().__init__(scenario, site, day, seed)
        self._folder = tempfile.TemporaryDirectory()
        script = script_of(self, site)
        self._sumo = start(scenario, script, seed, flow, Path(self._folder.name))
        assert scenario.net is not None
        ends = script.origins, script.destinations
        self.taxis = Taxis(self._sumo, streets.read_net(scenario.net), site, script.begins, *ends)
        while self.taxis.now_s < 0:
            self.taxis.step()
        vehicles = len(self.fleet.at)
        self._changed = np.zeros(vehicles, bool)
        self._sent: dict[int, str] = {}
        self._waits = np.ones(vehicles, bool)  # has not moved since it became idle
        self._driven_m = np.zeros(vehicles)

    def close(self) -> None:
        """End SUMO."""
        self._sumo.close()
        self._folder.cleanup()

    # -- time -----------------------------------------------------------------------------------------------------

    def run(self, until_s: float, urgency: np.ndarray) -> None:
        """Advance time second by second, and answer all requests on the way; see `Service.run`."""
        while self.now_s < until_s:
            self._second(urgency)

    def finish(self) -> None:
        """Carry out open promises, for `TAIL_S` at most."""
        end_s = self.now_s + TAIL_S
        while self.fleet.length.any() and self.now_s < end_s:
            self._second(np.ones(len(self.roads.free_s)))
        self._make_room(len(self.fleet.at))
        for v in range(len(self.fleet.at)):
            journal.note_drive(v, self.now_s, self.fleet, self.log)

    def _second(self, urgency: np.ndarray) -> None:
        happened, now_s = self.taxis.step(), self.taxis.now_s
        self._make_room(ROWS * len(self.fleet.at))
        before_s = self.riders.begin_s.copy()
        for v, r, on in happened:
            self._board(v, r, now_s) if on else self._alight(v, r, now_s)
        for v in self.taxis.at_work:
            self._place(v, now_s)
            self._account(v, before_s)
        for v, r, on in happened:
            if on:
                self.moved_s[self._reason(v), r] += now_s - before_s[r]
        first, last = np.searchsorted(self._agenda_s, [self.now_s, now_s], side="left")
        for time_s, r in zip(self._agenda_s[first:last], self._agenda[first:last], strict=True):
            self._answer(int(r), float(time_s), urgency)
        self.now_s = now_s
        self._instruct()

    # -- observations from SUMO -----------------------------------------------------------------------------------

    def _board(self, v: int, r: int, now_s: float) -> None:
        fleet, riders = self.fleet, self.riders
        self._drove(v, now_s)
        riders.state[r], riders.begin_s[r] = ABOARD, now_s
        fleet.aboard[v] += riders.size[r]
        fleet.at_s[v] = max(fleet.at_s[v], now_s) + riders.board_s[r]
        journal.write(self.log, now_s, events.PICKED_UP, v, r, riders.origin[r], 0.0, 0)
        self._close(v, r, True)

    def _alight(self, v: int, r: int, now_s: float) -> None:
        fleet, riders = self.fleet, self.riders
        self._drove(v, now_s)
        riders.state[r] = ARRIVED
        fleet.aboard[v] -= riders.size[r]
        fleet.at_s[v] = max(fleet.at_s[v], now_s) + riders.alight_s[r]
        journal.write(self.log, now_s, events.DROPPED_OFF, v, r, riders.destination[r], 0.0, 0)
        self._close(v, r, False)

    def _close(self, v: int, r: int, pick: bool) -> None:
        fleet, count = self.fleet, self.fleet.length[v]
        plans.close(v, int(np.flatnonzero((fleet.rider[v, :count] == r) & (fleet.pick[v, :count] == pick))[0]), fleet)

    def _drove(self, v: int, now_s: float) -> None:
        driven_m = self.taxis.taxis[v].driven_m
        self.fleet.metres[v] += driven_m - self._driven_m[v]
        self._driven_m[v] = driven_m
        journal.note_drive(v, now_s, self.fleet, self.log)

    def _place(self, v: int, now_s: float) -> None:
        """Set a vehicle's present or next node and its time there, and recompute its plan."""
        fleet, taxi, taxis = self.fleet, self.taxis.taxis[v], self.taxis
        if taxi.stands:
            fleet.at[v] = taxis.stop_of[taxi.road]
            fleet.at_s[v] = max(fleet.at_s[v], now_s)
            if fleet.length[v] == 0 and fleet.at_s[v] <= now_s:
                self._waits[v] = True
                if fleet.at[v] == fleet.heading[v]:
                    self._drove(v, now_s)
                    fleet.heading[v] = NOBODY
                    journal.write(self.log, now_s, events.STOOD, v, NOBODY, fleet.at[v], 0.0, 0)
        elif taxi.there:
            self._waits[v] = False
            fleet.at[v], fleet.at_s[v] = self._next(v, now_s)
        plans.schedule(v, fleet, self.riders, self.roads)

    def _next(self, v: int, now_s: float) -> tuple[int, float]:
        """The next node of a driving vehicle, and its arrival there at the usual travel times."""
        taxi, passing = self.taxis.taxis[v], self.taxis.passing_of
        here, bound = self.taxis.ahead(v)
        target = here if bound is None else bound
        if target not in passing or here not in passing:
            return int(self.fleet.at[v]), now_s
        came = here if bound is not None else taxi.path[-2] if len(taxi.path) > 1 else here
        a, b = passing.get(came, passing[target]), passing[target]
        whole_m = float(self.roads.metres[a, b])
        share = min(max(self.taxis.left_m(v, bound) / whole_m, 0.0), 1.0) if whole_m > 0 else 0.0
        left_s = share * self.roads.free_s[a, b]
        if bound is None and here in self.taxis.stop_of and self.taxis.about_to_stop(v):
            b = self.taxis.stop_of[here]
        return b, float(arrive(now_s, left_s, self.roads.speed, self.roads.slot_s))

    def _reason(self, v: int) -> int:
        return DROVE if not self.taxis.taxis[v].stands else STARTED if self._waits[v] else STOOD

    def _account(self, v: int, before_s: np.ndarray) -> None:
        who = self._to_pick(v)
        self.moved_s[self._reason(v), who] += self.riders.begin_s[who] - before_s[who]

    # -- instructions to vehicles -------------------------------------------------------------------------------------

    def _answer(self, r: int, now_s: float, urgency: np.ndarray) -> None:
        """Answer a request, and record the changes for riders who wait already."""
        before_s, mine = self.riders.begin_s.copy(), self._weights.copy()
        mine[insertion.WAIT] *= urgency[self.riders.origin[r]]
        state = self.fleet, self.riders, self.roads
        motion.answer(r, now_s, *state, mine, self._mode, self.log)
        self._note(r, before_s)
        if self.riders.state[r] == WAITING:
            v = int(self.riders.vehicle[r])
            self._changed[v] = True
            self._sent.pop(v, None)

    def send(self, vehicle: int, node: int) -> None:
        """Send an idle vehicle to a node."""
        super().send(vehicle, node)
        self._sent[vehicle] = self.taxis.street_of[node]

    def _instruct(self) -> None:
        """Give vehicles their changed plans, as soon as SUMO can take them."""
        fleet = self.fleet
        for v in np.flatnonzero(self._changed).tolist():
            if self.taxis.give(v, fleet.rider[v, : fleet.length[v]].tolist()):
                self._changed[v] = False
        self._sent = {v: street for v, street in self._sent.items() if not self.taxis.send(v, street)}


def script_of(service: Service, site: TransitSite, **more: Any) -> Script:
    """Vehicles and riders of a service that has not begun, located by streets.

    Args:
        service: the service.
        site: its site.
        **more: decisions, as in `Script`.
    """
    fleet, riders = service.fleet, service.asked
    return Script(
        begins=tuple(streets.street_of(site.nodes[node]) for node in fleet.at),
        seats=tuple(fleet.room[:, SEATS].tolist()),
        known_s=tuple(riders.known_s.tolist()),
        origins=tuple(streets.street_of(site.nodes[node]) for node in riders.origin),
        destinations=tuple(streets.street_of(site.nodes[node]) for node in riders.destination),
        **more,
    )
