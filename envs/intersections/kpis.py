"""Indicators of an episode, from SUMO's own trip and statistics reports."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from envs.intersections.detection import Vehicles
from envs.intersections.routes import scheduled_vehicles, waiting_for_load

GRIDLOCK_S = 300.0
"""Standstill that is gridlock, not a red light."""

GRIDLOCK_VEH = 10
"""Number of vehicles that stand so long at once that is a gridlock."""

LOCKED_SHARE = 0.5
"""Share of all vehicles that are stuck from which the network counts as locked, and the episode may end."""

KPIS = {
    "delay_s": "time loss plus departure delay, mean over all vehicles due, those that never entered included",
    "resco_delay_s": "RESCO's definition: never-entered vehicles count only where the file has <vehicle> elements",
    "travel_time_s": "mean time on the road of the vehicles that entered, unfinished trips at their present age",
    "waiting_s": "mean time below 0.1 m/s of the vehicles that entered",
    "stops": "mean number of halts of the vehicles that entered",
    "queue_veh": "standing vehicles on the network, mean over the start and the end of every decision",
    "throughput_veh": "vehicles that reached their destination",
    "due_veh": "vehicles whose departure was due",
    "undeparted_veh": "vehicles due that never could enter",
    "gridlock": "1 if at some decision 10 or more vehicles had stood still for 300 s or longer",
    "emergency_stops": "vehicles that had to brake harder than they can, as counted by SUMO",
    "teleports": "vehicles that SUMO took off the road",
}
"""Indicator → definition."""


class GridlockWatch:
    """Watches an episode for gridlock, and keeps the mean queue.

    Attributes:
        gridlocked: whether `GRIDLOCK_VEH` vehicles or more have at some decision stood for `GRIDLOCK_S`.
        locked: whether, beside that, they were `LOCKED_SHARE` of all vehicles: nothing moves any more.
    """

    def __init__(self) -> None:
        self.gridlocked = self.locked = False
        self._standing: list[int] = []

    def see(self, vehicles: Vehicles) -> None:
        """Take in one decision."""
        self._standing.append(vehicles.standing_veh)
        stuck = int((vehicles.waiting_s >= GRIDLOCK_S).sum())
        if stuck >= GRIDLOCK_VEH:
            self.gridlocked = True
            self.locked |= stuck >= LOCKED_SHARE * len(vehicles.waiting_s)

    @property
    def mean_queue_veh(self) -> float:
        """Standing vehicles, mean over decisions."""
        return float(np.mean(self._standing))


def read_kpis(
    folder: Path, routes: list[Path], additional: Sequence[Path], end_s: float, watch: GridlockWatch
) -> dict[str, float]:
    """The indicators of a finished episode.

    Args:
        folder: where SUMO wrote ``trips.xml`` and ``statistics.xml``.
        routes: the route files that it ran on.
        additional: its additional files, which may have vehicles as well.
        end_s: when the episode ended.
        watch: the gridlock watch of the episode.
    """
    trips = _trips(folder / "trips.xml", waiting_for_load([*routes, *additional]))
    statistics = ET.parse(folder / "statistics.xml").getroot()
    entered, arrived = trips["depart"] >= 0, trips["arrival"] >= 0
    lost = trips["timeLoss"] + trips["departDelay"]
    return {
        "delay_s": _mean(lost),
        "resco_delay_s": _resco_delay_s(trips, routes, end_s),
        "travel_time_s": _mean(trips["duration"][entered]),
        "waiting_s": _mean(trips["waitingTime"][entered]),
        "stops": _mean(trips["waitingCount"][entered]),
        "queue_veh": watch.mean_queue_veh,
        "throughput_veh": float(arrived.sum()),
        "due_veh": float(len(lost)),
        "undeparted_veh": float((~entered).sum()),
        "gridlock": float(watch.gridlocked),
        "emergency_stops": _statistic(statistics, "safety", "emergencyStops"),
        "teleports": _statistic(statistics, "teleports", "total"),
    }


def _trips(path: Path, undated: Collection[str]) -> dict[str, np.ndarray]:
    """The columns of a trip report, one row a vehicle; ``depart`` is -1 for vehicles that never entered.

    Args:
        path: the report.
        undated: vehicles that depart when somebody boards. Those that nobody boarded are not due, and left out: SUMO
            counts their wait from 0 s.
    """
    names = ("depart", "arrival", "duration", "waitingTime", "waitingCount", "timeLoss", "departDelay")
    trips = ET.parse(path).getroot().iter("tripinfo")
    due = [trip for trip in trips if trip.attrib["id"] not in undated or float(trip.attrib["depart"]) >= 0]
    rows = [[float(trip.attrib[name]) for name in names] for trip in due]
    table = np.array(rows).reshape(-1, len(names))
    return {name: table[:, k] for k, name in enumerate(names)}


def _resco_delay_s(trips: dict[str, np.ndarray], routes: list[Path], end_s: float) -> float:
    """RESCO's average delay (its utils/readXML.py, as the published curves were made).

    Vehicles that entered count with time loss and departure delay. Vehicles that never entered count from their
    scheduled departure to the end, but only ``<vehicle>`` elements (not trips) scheduled after the last that entered.
    """
    entered = trips["depart"] >= 0
    if not entered.any():
        return 0.0
    delays = (trips["timeLoss"] + trips["departDelay"])[entered]
    last = float((trips["depart"] - trips["departDelay"])[entered].max())
    missing = np.array([end_s - depart for depart in scheduled_vehicles(routes) if last < depart < end_s])
    return float((delays.sum() + missing.sum()) / (len(delays) + len(missing)))


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else 0.0


def _statistic(root: ET.Element, element: str, attribute: str) -> float:
    found = root.find(element)
    return 0.0 if found is None else float(found.get(attribute, 0))
