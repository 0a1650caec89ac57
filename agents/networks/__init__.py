"""Trainable torch modules: policies that fit any plant of their system, and critics for training only.

They are independent of RLlib; `training.rllib.module` wraps them. Observations come as named parts (see
`Features.shapes`) with any leading dimensions. ``(rows, …)`` holds agents of several sites, padded with zeros to a
common size, which must not change a decision. ``(B, N, …)`` keeps the agents of a plant together in learning, so that
a critic sees all of them, and layers across agents are possible.
"""

from __future__ import annotations

from typing import Any

from agents.networks.dampers import DamperPolicy
from agents.networks.drainage import GatePolicy
from agents.networks.flat import FlatCritic, FlatPolicy
from agents.networks.intersections import StageCritic, StageEncoder, StagePolicy
from agents.networks.pieces import NOT_ALLOWED, InContext, Parts, PolicyNetwork, Shapes, mlp
from agents.networks.transit import ZonePolicy

NETWORKS: dict[str, Any] = {
    "stages": StagePolicy,
    "gates": GatePolicy,
    "dampers": DamperPolicy,
    "zones": ZonePolicy,
    "flat": FlatPolicy,
}
"""Policy networks by name."""

CRITICS: dict[str, Any] = {name: StageCritic if name == "stages" else FlatCritic for name in NETWORKS}
"""Policy network → its critic."""

NETWORK_OF = {"intersections": "stages", "drainage": "gates", "dampers": "dampers", "transit": "zones"}
"""System → its policy network; ``flat`` for others."""

__all__ = [
    "CRITICS",
    "NETWORKS",
    "NETWORK_OF",
    "NOT_ALLOWED",
    "DamperPolicy",
    "FlatCritic",
    "FlatPolicy",
    "GatePolicy",
    "InContext",
    "Parts",
    "PolicyNetwork",
    "Shapes",
    "StageCritic",
    "StageEncoder",
    "StagePolicy",
    "ZonePolicy",
    "mlp",
]
