"""Buildings with semi-active dampers: an agent is a damper, a decision is its voltage, the plant is our own arrays."""

from __future__ import annotations

import numpy as np
from gymnasium.spaces import Box

from envs.core.registry import System
from envs.core.vector import Vector
from envs.dampers.features import DampersFeatures
from envs.dampers.guard import DampersGuard
from envs.dampers.kpis import KPIS
from envs.dampers.readings import READINGS, cross_check
from envs.dampers.reward import DampersReward
from envs.dampers.scenarios import NAMES, DampersScenario, load
from envs.dampers.site import DampersSite, load_site
from envs.dampers.world import DampersWorld


def _vector(scenario: DampersScenario, num_envs: int, seed: int) -> Vector:
    from envs.dampers.vector import DampersVector

    return DampersVector(scenario, num_envs, seed)


SYSTEM = System(
    name="dampers",
    description="semi-active dampers of a building that is shaken, simulated as arrays",
    kpi="j",
    failure="overloaded",
    kpis=KPIS,
    readings=READINGS,
    scenario_class=DampersScenario,
    site_class=DampersSite,
    scenario_names=NAMES,
    load_scenario=load,
    load_site=load_site,
    action_space=lambda site: Box(0.0, 1.0, (1,), np.float64),
    command="level",
    drawn=("level", "drift_est_mm"),
    cross_check=cross_check,
    make_world=DampersWorld,
    make_guard=DampersGuard,
    make_features=DampersFeatures,
    make_reward=DampersReward,
    make_vector=_vector,
)
