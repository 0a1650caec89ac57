"""Ways to dispatch that the plant can carry out by itself, as data: no simulator is needed to name one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Dispatch:
    """How requests are dispatched, where it is not as the scenario says: what a local program of the plant is.

    Attributes:
        name: what it is called.
        weights: of an insertion's cost: added driving, wait, ride, others' delay.
        pooled: whether parties may share a vehicle.
        batch_s: requests are gathered for so long and then answered together; 0: each at once.
    """

    name: str
    weights: tuple[float, float, float, float]
    pooled: bool = True
    batch_s: float = 0.0
