"""Dispatch programs that the plant carries out by itself, as data that can be named without the simulator."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Dispatch:
    """A local program of the plant: how requests are dispatched, in place of the scenario's own dispatch.

    Attributes:
        name: its name.
        weights: of an insertion's cost: added driving, wait, ride, others' delay.
        pooled: whether parties may share a vehicle.
        batch_s: seconds for which requests are gathered and then answered together; 0: each at once.
    """

    name: str
    weights: tuple[float, float, float, float]
    pooled: bool = True
    batch_s: float = 0.0
