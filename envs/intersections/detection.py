"""Lane-area detection: from every vehicle's lane, position and speed to counts, queues and arrivals an approach.

Vehicles are read once a decision by libsumo's direct getters: in process, four calls a vehicle cost half of what a
subscription to the same four values does (`cityloop bench intersections` measures the whole). `sensing` then adds the
faults of detectors: noise, silence, delay.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np

from envs.core.readings import Readings
from envs.intersections.junction import GREEN, Junction
from envs.intersections.network.roads import Roads
from envs.intersections.network.stages import safe_stage
from envs.intersections.readings import ARRIVAL_S, NEAR_M, STANDING_MPS
from envs.intersections.site import SignalSite

STUCK_S = 150.0
"""Standstill from which a vehicle counts as stuck: it has been passed over."""

TALLIES = ("count", "queue", "near", "arrivals", "speed", "waiting", "all", "all standing")
"""Sums over every piece of lane; the first six within detection range only."""


@dataclass(frozen=True)
class Vehicles:
    """All vehicles on the network at one moment, as arrays of equal length.

    Attributes:
        piece: index of the lane, those that are watched first; -1 where it is unknown.
        position_m: from the start of the lane.
        speed_mps: speed.
        waiting_s: present standstill time; 0 for those that move.
    """

    piece: np.ndarray
    position_m: np.ndarray
    speed_mps: np.ndarray
    waiting_s: np.ndarray

    @cached_property
    def standing(self) -> np.ndarray:
        """Whether each stands still, bool."""
        return self.speed_mps < STANDING_MPS

    @cached_property
    def standing_veh(self) -> int:
        """Number of vehicles that stand still."""
        return int(np.count_nonzero(self.standing))


class Spread:
    """Sums over the pieces of lane that belong to each of several zones, as one pass over (piece, zone) pairs.

    Args:
        zones: for each zone its pieces; no zone is empty.
        weights: weight of a piece's content in each zone that it belongs to.
    """

    def __init__(self, zones: list[list[int]], weights: np.ndarray):
        self._pieces = np.array([piece for zone in zones for piece in zone])
        self._weights = weights[self._pieces]
        self._starts = np.cumsum([0, *(len(zone) for zone in zones[:-1])])

    def __call__(self, totals: np.ndarray) -> np.ndarray:
        """``(k, pieces)`` → ``(k, zones)``."""
        return np.add.reduceat(totals[:, self._pieces] * self._weights, self._starts, axis=1)


class Detection:
    """Measures a site.

    Every watched piece of lane is counted once; its counts are then spread over the approaches that it feeds (in equal
    shares) and the exits that it belongs to.
    """

    def __init__(self, site: SignalSite):
        self.site = site
        approaches = [[segment.lane for segment in approach.segments] for approach in site.approaches]
        exits = [list(exit_.lanes) for exit_ in site.exits]
        self._piece = {lane: k for k, lane in enumerate(dict.fromkeys(chain(*approaches, *exits)))}
        self._roads: Roads | None = None
        n = self._watched = len(self._piece)
        self._to_stop_m = np.full(n + 1, np.inf)
        feeds = np.zeros(n)
        for approach in site.approaches:
            for segment in approach.segments:
                p = self._piece[segment.lane]
                feeds[p] += 1
                self._to_stop_m[p] = min(self._to_stop_m[p], segment.offset_m + segment.length_m)
        self._approaches = Spread(self._indices(approaches), 1.0 / np.maximum(feeds, 1.0))
        self._exits = Spread(self._indices(exits), np.ones(n))
        self._stage_of = [_stages_of(junction) for junction in site.junctions]
        self._limit = np.array([approach.speed_mps for approach in site.approaches])
        self._capacity = np.array([approach.capacity_veh for approach in site.approaches])

    def _indices(self, zones: list[list[str]]) -> list[list[int]]:
        return [[self._piece[lane] for lane in zone] for zone in zones]

    def start(self, sumo: Any) -> None:
        """Begin an episode."""
        if self._roads is None:  # the network is the same in every episode
            self._roads = Roads(self.site, sumo, list(self._piece))
            self._piece = self._roads.index
            beyond = np.full(len(self._piece) - self._watched, np.inf)
            self._to_stop_m = np.concatenate([self._to_stop_m[:-1], beyond, [np.inf]])
        self._entries: dict[str, np.ndarray] = {}
        self._stage = np.zeros(len(self.site.junctions))
        self._changed_s = np.full(len(self.site.junctions), float(sumo.simulation.getTime()))
        movements = sum(len(junction.movements) for junction in self.site.junctions)
        self._last_green_s = np.full(movements, float(sumo.simulation.getTime()))

    def vehicles(self, sumo: Any) -> Vehicles:
        """All vehicles on the road at this moment; those that are parked are on no lane."""
        raw = sumo.libsumo._libsumo  # the getters beneath SWIG's Python wrappers, which cost as much again
        piece, ids = self._piece.get, raw.vehicle_getIDList()
        lanes = list(map(raw.vehicle_getLaneID, ids))
        if "" in lanes:
            ids = [name for name, lane in zip(ids, lanes, strict=True) if lane]
            lanes = [lane for lane in lanes if lane]
        speed = np.array(list(map(raw.vehicle_getSpeed, ids)), dtype=np.float64)
        waiting = np.zeros(len(ids))
        still = (speed < STANDING_MPS).nonzero()[0].tolist()
        waiting[still] = [raw.vehicle_getWaitingTime(ids[k]) for k in still]
        return Vehicles(
            np.array([piece(lane, -1) for lane in lanes], dtype=np.int64),
            np.array(list(map(raw.vehicle_getLanePosition, ids)), dtype=np.float64),
            speed,
            waiting,
        )

    def measure(self, vehicles: Vehicles) -> Readings:
        """Readings of detectors without faults."""
        piece, speed, standing = vehicles.piece, vehicles.speed_mps, vehicles.standing
        distance = self._to_stop_m[piece] - vehicles.position_m
        columns = np.empty((len(TALLIES), len(piece)))
        columns[0] = columns[1] = distance <= self.site.range_m  # unwatched pieces are infinitely far
        columns[1] *= standing
        columns[2] = distance <= NEAR_M
        columns[3] = (distance <= ARRIVAL_S * speed) & ~standing
        columns[3:6] = (columns[3], speed, vehicles.waiting_s)
        columns[2:6] *= columns[0]
        columns[6] = 1.0
        columns[7] = standing
        totals = self._totals(piece, columns)
        sums, exits = self._approaches(totals[:6]), self._exits(totals[6:])
        count = sums[0]
        return {
            "count_veh": count,
            "queue_veh": sums[1],
            "near_veh": sums[2],
            "arrivals_veh": sums[3],
            "speed_mps": np.where(count > 0, sums[4] / np.maximum(count, 1e-9), self._limit),
            "occupancy": np.minimum(count / self._capacity, 1.0),
            "waiting_s": sums[5],
            "exit_count_veh": exits[0],
            "exit_queue_veh": exits[1],
        }

    def delay(self, vehicles: Vehicles, sumo: Any) -> dict[str, Any]:
        """Delay at this moment, and the junctions that it is charged to.

        ``lost_veh`` ``(N,)``: Σ (1 - v / v_limit) over the vehicles on their way to each junction;
        ``network_lost_veh``: the same over all vehicles; ``held_veh`` ``(N,)``: vehicles that wait to enter on a street
        that leads there (those whose street leads to none are shared equally); ``backlog_veh``: all of them;
        ``stuck_veh`` ``(N,)``: vehicles on their way to each junction that have stood for `STUCK_S` or longer.
        """
        assert self._roads is not None
        roads, known = self._roads, vehicles.piece >= 0
        lane = vehicles.piece[known]
        slow = np.maximum(1.0 - vehicles.speed_mps[known] / roads.limit_mps[lane], 0.0)
        by_lane = np.bincount(lane, slow, minlength=len(roads.limit_mps))
        stuck = np.bincount(lane[vehicles.waiting_s[known] >= STUCK_S], minlength=len(by_lane))
        pending = sumo.simulation.getPendingVehicles()
        return {
            "lost_veh": by_lane @ roads.owner,
            "stuck_veh": stuck @ roads.owner,
            "network_lost_veh": float(by_lane.sum()),
            "held_veh": self._held(pending, sumo),
            "backlog_veh": len(pending),
        }

    def _held(self, pending: tuple[str, ...], sumo: Any) -> np.ndarray:
        assert self._roads is not None
        held = np.zeros(len(self.site.junctions))
        for vehicle in pending:
            if vehicle not in self._entries:  # the place of entry never changes: read once
                share = self._roads.owner_of_edge(sumo.vehicle.getRoute(vehicle)[0], sumo)
                self._entries[vehicle] = share + (1.0 - share.sum()) / len(held)
            held += self._entries[vehicle]
        return held

    def inside(self, vehicles: Vehicles) -> np.ndarray:
        """Vehicles that stand between the stop line of each approach and the far side, ``(approaches,)``."""
        assert self._roads is not None
        standing = vehicles.piece[vehicles.standing & (vehicles.piece >= 0)]
        approach = self._roads.inside[standing]
        return np.bincount(approach[approach >= 0], minlength=len(self.site.approaches)).astype(np.float64)

    def _totals(self, piece: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Vehicles' columns ``(k, vehicles)`` summed by watched piece of lane, ``(k, pieces)``."""
        k, n = len(columns), self._watched + 1  # the last one takes vehicles on unwatched pieces
        index = np.where((piece < 0) | (piece >= n), n - 1, piece) + n * np.arange(k)[:, None]
        return np.bincount(index.ravel(), columns.ravel(), minlength=k * n).reshape(k, n)[:, :-1]

    def shown(self, sumo: Any, time_s: float) -> Readings:
        """The junction and movement columns while the cabinet runs a program of its own, from the lamps it shows."""
        clearing, red, start = np.zeros(len(self._stage)), [], 0
        for j, junction in enumerate(self.site.junctions):
            state = sumo.trafficlight.getRedYellowGreenState(junction.id)
            stage = self._stage_of[j].get(state)
            if stage is not None:
                if stage != self._stage[j]:
                    self._stage[j], self._changed_s[j] = stage, time_s
            else:
                clearing[j] = 1.0
            span = slice(start, start + len(state))
            self._last_green_s[span] = np.where([signal in GREEN for signal in state], time_s, self._last_green_s[span])
            red.append(time_s - self._last_green_s[span])
            start += len(state)
        green = np.where(clearing > 0, 0.0, time_s - self._changed_s)
        return {"stage": self._stage.copy(), "clearing_s": clearing, "green_s": green, "red_s": np.concatenate(red)}


def _stages_of(junction: Junction) -> dict[str, int]:
    """State of the lamps → stage; greens of the network's own program that are no stage count as their safe stage."""
    foes, yields = set(junction.foes), set(junction.yields)
    own = {phase.state: safe_stage(phase.state, foes, yields) for phase in junction.program}
    stages = {state: k for k, state in enumerate(junction.stages)}
    return {state: stages[safe] for state, safe in own.items() if safe in stages} | stages
