"""Buildings with semi-active dampers: an agent is a damper, a decision is its voltage, the plant is our own arrays."""

from __future__ import annotations

import numpy as np
from gymnasium.spaces import Box

from envs.core.system import System, lazy
from envs.dampers.assembly import load_site
from envs.dampers.conditions import conditions
from envs.dampers.consistency import DampersConsistency
from envs.dampers.drawing import draw_episodes, draw_map
from envs.dampers.features import DampersFeatures
from envs.dampers.gauges import gauges
from envs.dampers.guard import DampersGuard
from envs.dampers.kpis import KPIS
from envs.dampers.readings import READINGS, cross_check
from envs.dampers.reward import DampersReward
from envs.dampers.scenarios import NAMES, DampersScenario, load
from envs.dampers.scene import make_scene
from envs.dampers.site import DampersSite
from envs.dampers.world import DampersWorld

COMMON = {"width": 32, "validate_every": 100, "validation_seeds": 4, "final_seeds": 8}
PPO = {
    **COMMON,
    "workers": 512,
    "fragment": 50,
    "minibatch": 8192,
    "epochs": 3,
    "gamma": 0.99,
    "entropy": 0.0,
    "entropy_end": 0.0,
    "averaging": 0.9,
}
BACKPROP = {**COMMON, "workers": 128, "fragment": 50, "learning_rate": 4e-3, "averaging": 0.97, "grad_clip": 1.0}
"""Training settings: hundreds of buildings cost little more than one, and a decision is ten milliseconds."""

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
    drawn=("level", "drift_est_mm", "accel_est_m_s2", "stroke_mm", "force_n"),
    draw_map=draw_map,
    draw_episodes=draw_episodes,
    everyday=("slew", "force", "stroke", "in_doubt"),
    cross_check=cross_check,
    consistency=DampersConsistency,
    make_world=DampersWorld,
    make_guard=DampersGuard,
    make_features=DampersFeatures,
    make_reward=DampersReward,
    make_scene=make_scene,
    conditions=conditions,
    gauges=gauges,
    make_vector=lazy("envs.dampers.vector", "DampersVector"),
    make_differentiable=lazy("envs.dampers.twin", "Twin"),
    training={"mappo": PPO, "ippo": PPO, "backprop": BACKPROP},
)
