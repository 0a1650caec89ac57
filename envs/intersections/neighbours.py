"""State of a junction's neighbours, lane by lane: vehicles upstream, with green or held, and traffic ahead.

Derived from the site alone: an exit and an approach belong together if they share a street. If a neighbour is farther
away than detection reaches, there is no link, and its columns stay zero.
"""

from __future__ import annotations

import numpy as np

from envs.core.readings import Readings
from envs.intersections.junction import street_of
from envs.intersections.site import SignalSite


class Neighbours:
    """Links between the junctions of a site.

    Args:
        site: the site.
    """

    def __init__(self, site: SignalSite):
        movements = [(j, k) for j, junction in enumerate(site.junctions) for k in range(len(junction.movements))]
        self._junction = np.array([j for j, _ in movements])
        self._columns = np.arange(len(movements))
        self._green = site.green_table()
        share = np.zeros((len(movements), len(site.approaches)))  # of a movement in its approach
        leads = np.zeros((len(site.approaches), len(movements)))  # of an approach in the traffic of a movement
        following = _following(site)
        for row, (j, k) in enumerate(movements):
            movement = site.junctions[j].movements[k]
            if movement.approach < 0:
                continue
            share[row, movement.approach] = 1.0
            for exit_ in movement.exits:
                for approach in following[exit_]:
                    leads[approach, row] += 1.0 / len(movement.exits) / len(following[exit_])
        share /= np.maximum(share.sum(axis=0), 1.0)
        self._arrive = leads  # (approaches, movements)
        self._from = share.argmax(axis=1)
        self._weight = share.max(axis=1)
        self._ahead = (leads @ share).T  # (approaches, approaches downstream)
        self._of_approach = share.T

    def green(self, readings: Readings) -> np.ndarray:
        """Whether each movement has green at this moment, ``(movements,)`` of 0 and 1."""
        stage = readings["stage"].astype(np.int64)[self._junction]
        return self._green[stage, self._columns] * (readings["clearing_s"] <= 0)[self._junction]

    def inflow(self, vehicles: np.ndarray, green: np.ndarray) -> np.ndarray:
        """Vehicles upstream on their way to each approach, ``(approaches, 2)``: with green now, and held by a red.

        A vehicle is taken to turn each way that its lane leads with equal probability.

        Args:
            vehicles: on each approach, ``(approaches,)``.
            green: whether each movement has green, ``(movements,)`` of 0 and 1.
        """
        each = vehicles[self._from] * self._weight
        return self._arrive @ np.array([each * green, each * (1.0 - green)]).T

    def ahead(self, vehicles: np.ndarray, green: np.ndarray) -> np.ndarray:
        """Vehicles on the approaches that come next, and the share of their movements with green, ``(approaches, 2)``.

        Args:
            vehicles: on each approach, ``(approaches,)``.
            green: whether each movement has green, ``(movements,)`` of 0 and 1.
        """
        return self._ahead @ np.array([vehicles, self._of_approach @ green]).T


def _following(site: SignalSite) -> list[list[int]]:
    """For each exit, the approaches further down the same street."""
    streets: dict[str, list[int]] = {}
    for k, approach in enumerate(site.approaches):
        for street in {street_of(segment.lane) for segment in approach.segments}:
            streets.setdefault(street, []).append(k)
    return [
        sorted({k for street in {street_of(lane) for lane in exit_.lanes} for k in streets.get(street, [])})
        for exit_ in site.exits
    ]
