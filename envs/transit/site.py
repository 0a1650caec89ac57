"""What is fixed about a service: street corners, stops, zones, and the promise to riders.

Plain data, made by `network.py`, readable without the simulator. SI units.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal

import numpy as np
from pydantic import Field

from envs.core.frozen import Frozen
from envs.core.readings import Axes
from envs.core.site import Site
from envs.transit.matrices import Matrices
from envs.transit.settings import SCORE_RANGE, URGENCY_BASE, Costs, Promise, Timing, Weights


class Node(Frozen):
    """A street corner.

    Attributes:
        id: its name.
        x_m, y_m: its position.
        zone: index of its zone.
        stop: whether riders may get on and off here.
    """

    id: str
    x_m: float
    y_m: float
    zone: int = Field(ge=0)
    stop: bool = True


class Road(Frozen):
    """A street from one corner to another, one way.

    Attributes:
        start, end: indices of nodes.
        seconds: travel time at free flow.
        metres: length.
    """

    start: int
    end: int
    seconds: float = Field(gt=0)
    metres: float = Field(ge=0)


class Zone(Frozen):
    """One agent.

    Attributes:
        id: its name.
        stand: node at which idle vehicles wait; -1: they may not.
        neighbours: indices of the zones next to it.
    """

    id: str
    stand: int
    neighbours: tuple[int, ...] = ()


class TransitSite(Site):
    """A service.

    Attributes:
        promise, timing, costs: terms of service.
        nodes, roads: the street graph.
        zones: the agents.
        vehicles: number of vehicles.
        weights: the objective of training.
        usual: mean requests of every zone in each slot of the episode, from the past; empty: unknown.
        slot_s: length of those slots.
    """

    system: Literal["transit"] = "transit"
    promise: Promise
    timing: Timing
    costs: Costs
    nodes: tuple[Node, ...] = Field(min_length=2)
    roads: tuple[Road, ...] = Field(min_length=1)
    zones: tuple[Zone, ...] = Field(min_length=1)
    vehicles: int = Field(ge=1)
    weights: Weights = Weights()
    usual: tuple[tuple[float, ...], ...] = ()
    slot_s: float = 300.0

    @property
    def unhashed(self) -> Any:
        """The objective and the usual demand: neither changes what a command means."""
        return {"weights", "usual", "slot_s"}

    @property
    def plant(self) -> Any:
        """Streets and zones, without travel times and fleet."""
        return self.nodes, [(road.start, road.end, road.metres) for road in self.roads], self.zones

    @cached_property
    def agents(self) -> tuple[str, ...]:
        """The zones' names."""
        return tuple(zone.id for zone in self.zones)

    @cached_property
    def axes(self) -> Axes:
        """Zones, and the service as a whole."""
        return {"zone": self.agents, "service": ("service",)}

    @property
    def limits(self) -> dict[str, Any]:
        """The timing, the promise, the number of vehicles, and the meaning of the two numbers of a zone's command."""
        return {
            "timing": self.timing.model_dump(),
            "promise": self.promise.model_dump(),
            "vehicles": self.vehicles,
            "targets": {"range": SCORE_RANGE, "faster": URGENCY_BASE},
        }

    @cached_property
    def matrices(self) -> Matrices:
        """Shortest paths between all nodes."""
        rows = np.array([(road.start, road.end, road.seconds, road.metres) for road in self.roads])
        start, end = rows[:, 0].astype(np.int64), rows[:, 1].astype(np.int64)
        return Matrices(len(self.nodes), start, end, rows[:, 2], rows[:, 3])

    @cached_property
    def zone_of(self) -> np.ndarray:
        """Zone of every node, int64 ``(nodes,)``."""
        return np.array([node.zone for node in self.nodes])

    @cached_property
    def stands(self) -> np.ndarray:
        """Node at which idle vehicles wait in every zone, -1: nowhere; int64 ``(N,)``."""
        return np.array([zone.stand for zone in self.zones])

    @cached_property
    def between_s(self) -> np.ndarray:
        """Seconds at free flow between the stands of zones (or a corner, where there is none), ``(N, N)``."""
        middles = [self._middle(k) for k in range(len(self.zones))]
        return self.matrices.free_s[np.ix_(middles, middles)]

    def _middle(self, zone: int) -> int:
        stand = self.zones[zone].stand
        return stand if stand >= 0 else int(np.flatnonzero(self.zone_of == zone)[0])

    def expected(self, begin_s: float, seconds: float) -> np.ndarray:
        """Usual requests of every zone from ``begin_s`` on for so many seconds, ``(N,)``; NaN: unknown."""
        if not self.usual:
            return np.full(len(self.zones), np.nan)
        fallen = self._cumulated
        edges = np.arange(len(fallen)) * self.slot_s
        ends = np.clip([begin_s, begin_s + seconds], 0.0, edges[-1])
        both = [[np.interp(end, edges, column) for column in fallen.T] for end in ends]
        return np.subtract(both[1], both[0])

    @cached_property
    def _cumulated(self) -> np.ndarray:
        table = np.array(self.usual)
        return np.concatenate([np.zeros((1, table.shape[1])), np.cumsum(table, axis=0)])
