"""Site of a drainage network: tanks, gates, gauges, outfalls and their connections.

Plain data, derived from a SWMM input by `network.py` and readable without SWMM. SI units, whatever the input's are.
"""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from typing import Any, Literal

import numpy as np
from pydantic import Field

from envs.core.frozen import Frozen
from envs.core.readings import Axes
from envs.core.site import Site
from envs.drainage.settings import Timing, Weights

LEADS_MIN = (15, 30, 60, 120)
"""Lead times of the rain forecast: for each the rain from now until then."""

NEARLY_FULL = 0.95
"""Filling from which a tank counts as nearly full: it may lose water over its weir, and one of its gates stays open."""


class Tank(Frozen):
    """A storage node, or another node that a gate draws from.

    Attributes:
        id: SWMM node.
        invert_m: height of its bottom.
        full_m: depth when it is full.
        surcharge_m: additional depth under pressure before water leaves the network.
        rain: share of its catchment represented by each gauge, in the order of the site's gauges; it sums to one, or
            to zero where no catchment drains here directly.
        catchment_ha: area that drains here without passing another tank.
    """

    id: str
    invert_m: float
    full_m: float = Field(gt=0)
    surcharge_m: float = Field(default=0.0, ge=0)
    rain: tuple[float, ...] = ()
    catchment_ha: float = 0.0

    @property
    def over_m(self) -> float:
        """Depth from which on water leaves the network; SWMM reckons in feet, so less by a millimetre."""
        return self.full_m + self.surcharge_m - 0.001


class Gate(Frozen):
    """A link that is controlled: one agent.

    Attributes:
        id: SWMM link.
        kind: orifice, weir or pump.
        tank: index of the tank that it empties, -1: none, as an ideal pump passes its inflow on.
        below: index of the next tank downstream, -1: none.
        tide: index of the tidal water that it opens to directly, -1: none.
        static: its setting in the network's static plan.
        fail_safe: its setting while its tank's level is unknown.
        reduced: its setting in the equal-filling rule while its tank is the emptiest.
    """

    id: str
    kind: Literal["orifice", "weir", "pump"]
    tank: int = -1
    below: int = -1
    tide: int = -1
    static: float = Field(default=1.0, ge=0, le=1)
    fail_safe: float = Field(default=1.0, ge=0, le=1)
    reduced: float = Field(default=0.5, ge=0, le=1)


class Node(Frozen):
    """A node on the map, in the input's own coordinates.

    Attributes:
        id: SWMM node.
        kind: junction, storage or outfall.
        x, y: its place.
    """

    id: str
    kind: Literal["junction", "storage", "outfall"]
    x: float
    y: float


class Link(Frozen):
    """A link between two nodes of the map.

    Attributes:
        id: SWMM link.
        start, end: indices of nodes.
    """

    id: str
    start: int
    end: int


class DrainageSite(Site):
    """A drainage network.

    Attributes:
        timing: limits of the gates' movements.
        tanks: all storage nodes, then the other nodes that gates draw from.
        gates: the agents.
        gauges: rain gauges.
        outfalls: where water leaves the network.
        tides: those of them whose receiving water has a level of its own.
        nodes, links: the network as a map; empty where the input has no coordinates.
        controllable: nodes whose overflow the gates can influence, and outfalls whose outflow counts as overflow.
        drained: tanks with other outlets: uncontrolled links, ideal pumps, or seepage into the ground.
        weights: of the reward.
        input: path of the SWMM input, for controllers that look ahead with it; empty: unknown.
        start: when episodes begin; None: when the input does.
    """

    system: Literal["drainage"] = "drainage"
    timing: Timing
    tanks: tuple[Tank, ...]
    gates: tuple[Gate, ...] = Field(min_length=1)
    gauges: tuple[str, ...]
    outfalls: tuple[str, ...]
    tides: tuple[str, ...] = ()
    nodes: tuple[Node, ...] = ()
    links: tuple[Link, ...] = ()
    controllable: tuple[str, ...] = ()
    drained: tuple[str, ...] = ()
    weights: Weights = Weights()
    input: str = ""
    start: datetime | None = None

    @property
    def unhashed(self) -> Any:
        """Map, other outlets, reward, SWMM input, and depths of alarms: none changes the meaning of a command."""
        kept = ("nodes", "links", "controllable", "drained", "weights", "input", "start")
        return {**dict.fromkeys(kept, True), "tanks": {"__all__": {"surcharge_m"}}}

    @property
    def plant(self) -> Any:
        """Tanks, kind and connections of each gate, and outfalls."""
        tanks = [(tank.id, tank.invert_m, tank.full_m, tank.catchment_ha) for tank in self.tanks]
        return tanks, [(gate.id, gate.kind, gate.tank, gate.below) for gate in self.gates], self.outfalls

    @cached_property
    def agents(self) -> tuple[str, ...]:
        """The gates' names."""
        return tuple(gate.id for gate in self.gates)

    @property
    def rain_shares(self) -> np.ndarray:
        """Weight of each gauge in the rain on each gate's tank, ``(gates, gauges)``.

        Weights are equal where no catchment drains to the tank.
        """
        even = np.full(len(self.gauges), 1.0 / max(len(self.gauges), 1))
        own = [self.tanks[gate.tank].rain if gate.tank >= 0 else () for gate in self.gates]
        shares = np.array([rain if any(rain) else even for rain in own], dtype=np.float64)
        return shares.reshape(len(self.gates), len(self.gauges))

    @cached_property
    def axes(self) -> Axes:
        """Tanks, gates, gauges, tidal waters, and forecasts as ``gauge:minutes``."""
        return {
            "tank": tuple(tank.id for tank in self.tanks),
            "gate": self.agents,
            "gauge": self.gauges,
            "forecast": tuple(f"{gauge}:{lead}" for gauge in self.gauges for lead in LEADS_MIN),
            "tide": self.tides,
        }

    @property
    def limits(self) -> dict[str, Any]:
        """The timing, every gate's static setting and fail-safe position, and how deep tanks are."""
        positions = {gate.id: {"static": gate.static, "fail_safe": gate.fail_safe} for gate in self.gates}
        tanks = {tank.id: {"full_m": tank.full_m} for tank in self.tanks}
        return {"timing": self.timing.model_dump(), "gates": positions, "tanks": tanks}
