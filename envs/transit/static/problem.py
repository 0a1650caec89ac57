"""A static dial-a-ride problem as arrays, and the file format of Cordeau and Laporte."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from envs.core.errors import CityloopError

COLUMNS = 7
"""Number of columns of a node's line: id, x, y, service time, load, beginning and end of its window."""


@dataclass(frozen=True)
class Problem:
    """``n`` requests: node 0 is the depot, ``1..n`` pick-ups, ``n+1..2n`` the matching drop-offs. Minutes throughout.

    Attributes:
        name: its name.
        vehicles: largest number of vehicles, all alike.
        capacity: of each.
        duration: longest route, from leaving the depot to being back.
        ride: longest ride, from the end of boarding to the beginning of alighting.
        at: coordinates, ``(2n + 1, 2)``; the Euclidean distance is both time and cost.
        service: dwell time, ``(2n + 1,)``.
        load: change of the load at each node, int64 ``(2n + 1,)``.
        window: earliest and latest beginning of service, ``(2n + 1, 2)``.
    """

    name: str
    vehicles: int
    capacity: int
    duration: float
    ride: float
    at: np.ndarray
    service: np.ndarray
    load: np.ndarray
    window: np.ndarray

    @property
    def requests(self) -> int:
        """Number of requests."""
        return (len(self.at) - 1) // 2

    @property
    def between(self) -> np.ndarray:
        """Minutes between nodes, ``(2n + 1, 2n + 1)``."""
        return np.hypot(*(self.at[:, None] - self.at[None]).transpose(2, 0, 1))

    @property
    def tight(self) -> np.ndarray:
        """The windows tightened to what solutions can use: a ride takes at least its direct time, at most `ride`."""
        found, n, between = self.window.copy(), self.requests, self.between
        pick, drop = np.arange(1, n + 1), np.arange(n + 1, 2 * n + 1)
        least, most = self.service[pick] + between[pick, drop], self.service[pick] + self.ride
        found[pick, 0] = np.maximum(found[pick, 0], found[drop, 0] - most)
        found[pick, 1] = np.minimum(found[pick, 1], found[drop, 1] - least)
        found[drop, 0] = np.maximum(found[drop, 0], found[pick, 0] + least)
        found[drop, 1] = np.minimum(found[drop, 1], found[pick, 1] + most)
        first, last = self.window[0]
        found[1:, 0] = np.maximum(found[1:, 0], first + between[0, 1:])
        found[1:, 1] = np.minimum(found[1:, 1], last - between[1:, 0] - self.service[1:])
        return found


def read(path: Path) -> Problem:
    """A problem from a file in Cordeau and Laporte's layout.

    The first line holds vehicles, nodes without the depot, longest route, capacity and longest ride; one line for each
    node follows. A second depot at the end, which some files have, is left out.

    Raises:
        CityloopError: if the file has another format.
    """
    try:
        rows = [[float(word) for word in line.split()] for line in path.read_text().splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise CityloopError(f"instance {path} cannot be read: {error}") from None
    if not rows or len(rows[0]) != 5:
        raise CityloopError(f"instance {path}: the first line must hold vehicles, nodes, route, capacity and ride")
    vehicles, nodes, duration, capacity, ride = rows[0]
    body = rows[1 : int(nodes) + 2]
    if nodes < 2 or nodes % 2 or len(body) != nodes + 1 or any(len(row) != COLUMNS for row in body):
        raise CityloopError(f"instance {path}: it names {nodes:g} nodes, each with {COLUMNS} numbers; give just those")
    table = np.array(body)
    load = table[:, 4].astype(np.int64)
    half = int(nodes) // 2
    if (load[1 : half + 1] != -load[half + 1 :]).any() or (load[1 : half + 1] <= 0).any():
        raise CityloopError(f"instance {path}: a pick-up's load must be above 0, and taken off at its drop-off")
    return Problem(
        *(path.stem, int(vehicles), int(capacity), duration, ride),
        at=table[:, 1:3],
        service=table[:, 3],
        load=load,
        window=table[:, 5:7],
    )
