"""The whole road network as the simulator has it: the signal that each lane leads to, and lanes inside junctions.

Only a world needs this: detectors see approaches to stop lines (`detection.py`), but delay arises everywhere, and is
charged to the junction that a delayed vehicle is bound for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from envs.intersections.site import SignalSite

LASTING = 1.0 - 1e-9
"""Factor on ownership from lane to lane; slightly below 1, so that a closed circle without signals has no owner."""


class Roads:
    """Lanes of a running simulation, indexed.

    Args:
        site: the signals.
        sumo: libsumo, with the site's network loaded.
        first: lanes that get the first indices, in this order; the others follow.

    Attributes:
        index: lane → index.
        limit_mps: speed limits, ``(lanes,)``.
        owner: share of each junction in a lane, ``(lanes, N)``: 1 on the lanes that lead to its stop lines; where
            several junctions may come next, equal shares at every fork; 0 where no signal follows.
        inside: approach from which a lane crosses a junction, ``(lanes,)``, -1 for lanes that cross none.
    """

    def __init__(self, site: SignalSite, sumo: Any, first: Sequence[str]):
        lanes = list(dict.fromkeys([*first, *sumo.lane.getIDList()]))
        self.index = {lane: k for k, lane in enumerate(lanes)}
        self.limit_mps = np.array([max(sumo.lane.getMaxSpeed(lane), 0.1) for lane in lanes])
        forks = [self._following(sumo, lane) for lane in lanes]
        self.owner = self._owners(site, forks)
        self.inside = np.full(len(lanes), -1)
        for junction in site.junctions:
            links = sumo.trafficlight.getControlledLinks(junction.id)
            for movement, paths in zip(junction.movements, links, strict=False):  # states may have letters to spare
                for _, _, via in paths:
                    self._claim(via, movement.approach, forks, lanes)
        self._edges: dict[str, np.ndarray] = {}

    def _following(self, sumo: Any, lane: str) -> list[int]:
        """Lanes that follow a lane; the lane across the junction, where there is one, instead of the lane behind it."""
        following = [link[4] or link[0] for link in sumo.lane.getLinks(lane)]
        return [self.index[name] for name in dict.fromkeys(following)]

    def _owners(self, site: SignalSite, forks: Sequence[Sequence[int]]) -> np.ndarray:
        from scipy.sparse import csc_array, eye_array
        from scipy.sparse.linalg import splu

        stops = np.zeros((len(forks), len(site.junctions)))
        for j, junction in enumerate(site.junctions):
            for movement in junction.movements:
                if movement.approach >= 0:
                    stops[self.index[site.approaches[movement.approach].id], j] = 1.0
        source = [k for k, following in enumerate(forks) for _ in following if not stops[k].any()]
        target = [ahead for k, following in enumerate(forks) for ahead in following if not stops[k].any()]
        share = LASTING / np.bincount(source, minlength=len(forks))[source]
        onward = csc_array((share, (source, target)), shape=(len(forks), len(forks)))
        # A lane's owners are the mean of those of the lanes ahead. Solved, as side streets may run in circles.
        return np.asarray(splu(eye_array(len(forks), format="csc") - onward).solve(stops))

    def _claim(self, via: str, approach: int, forks: Sequence[Sequence[int]], lanes: Sequence[str]) -> None:
        """Mark the lanes across a junction; a path may have two, with room to wait between them."""
        while via.startswith(":") and self.inside[self.index[via]] < 0:
            self.inside[self.index[via]] = approach
            following = forks[self.index[via]]
            via = lanes[following[0]] if following else ""

    def owner_of_edge(self, edge: str, sumo: Any) -> np.ndarray:
        """Share of each junction in an edge, ``(N,)``: the mean over its lanes."""
        if edge not in self._edges:
            lanes = [self.index[f"{edge}_{k}"] for k in range(sumo.edge.getLaneNumber(edge))]
            self._edges[edge] = self.owner[lanes].mean(axis=0)
        return self._edges[edge]
