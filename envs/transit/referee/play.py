"""One service driven by SUMO's taxis, dispatched decision by decision by us, or by an algorithm of SUMO.

A decision assigns a request to a vehicle and to places among the stops of its plan. As a rider stays with the vehicle
that was promised and the order of stops never changes, a vehicle's plan at a moment is the order of all stops that it
made, without those of riders who were not known yet. SUMO's vehicles are given that order at that moment; SUMO decides
when they are where.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from envs.transit.network import load_site
from envs.transit.referee import driving, traffic
from envs.transit.referee.script import Script, write
from envs.transit.referee.taxis import Taxis
from envs.transit.scenarios import TransitScenario
from envs.transit.sources import streets

TAIL_S = 3600.0
"""Time after a service in which open promises can still be carried out, in seconds."""


@dataclass(frozen=True)
class Played:
    """The outcome of a service.

    Attributes:
        picked_s, dropped_s: times of every rider; NaN: never.
        metres, loaded_m: distance driven by all vehicles, and with somebody aboard.
        teleports: vehicles that SUMO took out of a jam, those of the traffic included.
        lost: vehicles that SUMO took off the road for good.
        refused: number of decisions that were not carried out.
    """

    picked_s: np.ndarray
    dropped_s: np.ndarray
    metres: float
    loaded_m: float
    teleports: int = 0
    lost: int = 0
    refused: int = 0


def play(scenario: TransitScenario, script: Script, seed: int, flow: float, algorithm: str = "traci") -> Played:
    """Drive a service in SUMO, with traffic around it.

    Args:
        scenario: with a SUMO network.
        script: the service.
        seed: of the traffic and of driving.
        flow: vehicles per hour of the traffic, relative to the route files.
        algorithm: SUMO's dispatch algorithm; ``traci``: ours.
    """
    with tempfile.TemporaryDirectory() as name:
        sumo = start(scenario, script, seed, flow, Path(name), algorithm)
        try:
            net = streets.read_net(_net(scenario))
            taxis = Taxis(sumo, net, load_site(scenario), script.begins, script.origins, script.destinations)
            drive = _Drive(taxis, script)
            drive.run(scenario.duration_s)
        finally:
            sumo.close()
    metres, loaded_m = taxis.driven_m
    return Played(drive.picked_s, drive.dropped_s, metres, loaded_m, taxis.teleports, len(taxis.lost), taxis.refused)


def start(
    scenario: TransitScenario,
    script: Script,
    seed: int,
    flow: float,
    folder: Path,
    algorithm: str = "traci",
) -> Any:
    """Start SUMO with a fleet and the traffic around it; returns libsumo.

    Args:
        scenario: with a SUMO network.
        script: vehicles and riders.
        seed: of the traffic and of driving.
        flow: vehicles per hour of the traffic, relative to the route files.
        folder: for SUMO's files.
        algorithm: SUMO's dispatch algorithm; ``traci``: ours.
    """
    files = write_files(scenario, script, seed, flow, folder, guided=algorithm == "traci")
    more = ["--device.taxi.dispatch-algorithm", algorithm]
    return driving.start(driving.arguments(_net(scenario), files, seed, more))


def write_files(
    scenario: TransitScenario, script: Script, seed: int, flow: float, folder: Path, guided: bool
) -> list[Path]:
    """Write the route files of a fleet and of the traffic around it.

    Args:
        scenario: with a SUMO network.
        script: vehicles and riders.
        seed: of the traffic.
        flow: vehicles per hour of the traffic, relative to the route files.
        folder: for the files.
        guided: whether vehicles are given their streets.
    """
    files = [folder / "fleet.rou.xml", folder / "cars.rou.xml"]
    write(scenario, streets.read_net(_net(scenario)), script, files[0], guided)
    traffic.write(scenario, files[1], seed, flow)
    return files


def _net(scenario: TransitScenario) -> Path:
    assert scenario.net is not None
    return scenario.net


class _Drive:
    """A running simulation that carries out our decisions."""

    def __init__(self, taxis: Taxis, script: Script):
        self._taxis, self._script = taxis, script
        self._known: list[set[int]] = [set() for _ in script.begins]
        self._last_s = [0.0] * len(script.begins)
        self.picked_s, self.dropped_s = np.full((2, len(script.known_s)), np.nan)
        todo: list[tuple[float, int, Any]] = [(time_s, v, r) for time_s, v, r in script.promises]
        todo += [(time_s, v, street) for time_s, v, street in script.sent]
        self._todo = sorted(todo, key=lambda row: row[0])

    def run(self, duration_s: float) -> None:
        """Drive to the end."""
        taxis, riders = self._taxis, len(self._script.known_s)
        waiting: list[tuple[float, int, Any]] = []
        while taxis.now_s < duration_s + TAIL_S and taxis.arrived < riders:
            for _, r, on in taxis.step():
                (self.picked_s if on else self.dropped_s)[r] = taxis.now_s
            if not self._script.promises:
                continue
            while self._todo and self._todo[0][0] <= taxis.now_s:
                waiting.append(self._todo.pop(0))
            waiting = [row for row in waiting if not self._carry_out(*row)]
            if taxis.now_s > duration_s and not waiting and not self._todo and all(map(taxis.idle, taxis.at_work)):
                break

    def _carry_out(self, time_s: float, v: int, which: Any) -> bool:
        """Carry out a decision, one more rider or a street to go to; False: it has to be tried again."""
        if isinstance(which, str):
            # A vehicle that is busy in SUMO goes when it is free, unless it was promised to a rider since.
            return time_s < self._last_s[v] or self._taxis.send(v, which)
        known = self._known[v] | {which}
        order = [
            r
            for r, pick in self._script.orders[v]
            if r in known and np.isnan((self.picked_s if pick else self.dropped_s)[r])
        ]
        if not self._taxis.known(which) or not self._taxis.give(v, order):
            return False
        self._known[v], self._last_s[v] = known, time_s
        return True
