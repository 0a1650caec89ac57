"""The torch modules that are trained: a policy that fits any plant of its system, and a critic for training only.

Nothing here knows RLlib; `training.module` wraps these. Observations come as named parts (see `Features.shapes`) with
any leading dimensions: ``(rows, …)`` where agents of several sites are decided for at once, padded with zeros to a
common size (which may not change a decision); ``(B, N, …)`` where learning keeps the agents of one plant together, so
that a critic sees all of them, and layers across agents are possible.
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
"""Policy network → the critic that goes with it."""

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
