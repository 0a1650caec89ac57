"""The published objectives of the pystorms scenarios, step by step as their code defines them (its source, 1.0.0).

They are sums over SWMM's routing steps, not over decisions, so a run that reports one is stepped that finely. In the
input's own units, as they were published.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from envs.drainage.swmm.simulation import Swmm

FLOODED = 1e6


class Objective(ABC):
    """Cost of a run, summed over its routing steps.

    Args:
        swmm: the run.

    Attributes:
        NODES, LINKS: of the network that it was published for; it needs them all.
    """

    NODES: ClassVar[tuple[str, ...]]
    LINKS: ClassVar[tuple[str, ...]]

    @abstractmethod
    def __init__(self, swmm: Swmm): ...

    @abstractmethod
    def step(self, last: bool) -> float:
        """Cost of a routing step; ``last``: the run ends with it."""


class Theta(Objective):
    """Flow behind both basins above 0.5 m³/s, times ten; a million for every step in which a basin floods."""

    NODES, LINKS = ("P1", "P2"), ("8",)

    def __init__(self, swmm: Swmm):
        self._swmm, self._outlet, self._basins = swmm, swmm.links(self.LINKS), swmm.nodes(self.NODES)

    def step(self, last: bool) -> float:
        """Cost of a routing step."""
        flooded = np.count_nonzero(self._swmm.flooding(self._basins) > 0)
        return 10.0 * max(0.0, float(self._swmm.flows(self._outlet)[0]) - 0.5) + FLOODED * flooded


class Alpha(Objective):
    """Volume over the five overflow weirs, ft³, and a million times the rate of flooding at every node.

    As published, the second step counts from the start of the run, so the first step's time counts twice.
    """

    NODES = (
        *("J1", "J2", "J3", "J4", "J5a", "J5b", "JC1a", "JC1b", "JC2", "JC3a", "JC3b", "JC4a", "JC4b", "JC4c", "JC5"),
        *("JI1", "JI2", "JI3a", "JI3b", "JI4", "JI5", "R1", "R2", "R3", "R4", "R5"),
    )
    LINKS = tuple(f"W{k}" for k in range(1, 6))

    def __init__(self, swmm: Swmm):
        self._swmm = swmm
        self._nodes, self._weirs = swmm.nodes(self.NODES), swmm.links(self.LINKS)
        self._start = self._before = swmm.time
        self._steps = 0

    def step(self, last: bool) -> float:
        """Cost of a routing step."""
        now = self._swmm.time
        seconds = (now - (self._before if self._steps > 1 else self._start)).total_seconds()
        self._before, self._steps = now, self._steps + 1
        spilled = float(np.maximum(0.0, seconds * self._swmm.flows(self._weirs)).sum())
        return spilled + FLOODED * float(np.maximum(0.0, self._swmm.flooding(self._nodes)).sum())


class Gamma(Objective):
    """Outflow of each pond above 4 ft³/s; a million for every step in which one floods; 700 000 for each that still
    holds more than 0.1 ft at the end.
    """

    NODES, LINKS = tuple(str(k) for k in range(1, 12)), tuple(f"O{k}" for k in range(1, 12))

    def __init__(self, swmm: Swmm):
        self._swmm = swmm
        self._ponds, self._outlets = swmm.nodes(self.NODES), swmm.links(self.LINKS)

    def step(self, last: bool) -> float:
        """Cost of a routing step."""
        cost = float(np.maximum(0.0, self._swmm.flows(self._outlets) - 4.0).sum())
        cost += FLOODED * np.count_nonzero(self._swmm.flooding(self._ponds) > 0)
        return cost + (7e5 * np.count_nonzero(self._swmm.depths(self._ponds) > 0.1) if last else 0.0)


class Epsilon(Objective):
    """Load of suspended solids through the outlet above 1.075 kg/s; a thousand million for every step and node that
    floods.

    As published, the concentration is read at the node, not at the link, of that name.
    """

    NODES = ("001", "004", "006", "011", "022", "027", "030", "033", "039", "044", "050", "060")
    LINKS = ("001",)
    KG = 28.3168 / 1e6
    """Kilogrammes in a mg/l times a cubic foot."""

    def __init__(self, swmm: Swmm):
        self._swmm = swmm
        self._outlet = swmm.links(self.LINKS)
        self._node, *others = swmm.nodes(self.NODES)
        self._nodes = np.array(others, dtype=np.int32)

    def step(self, last: bool) -> float:
        """Cost of a routing step."""
        load = self._swmm.quality(self._node) * float(self._swmm.flows(self._outlet)[0]) * self.KG
        return max(0.0, load - 1.075) + 1e9 * np.count_nonzero(self._swmm.flooding(self._nodes) > 0)


OBJECTIVES: dict[str, type[Objective]] = {
    "theta": Theta,
    "alpha": Alpha,
    "gamma": Gamma,
    "epsilon": Epsilon,
}
"""Name → class that computes it on a running simulation."""
