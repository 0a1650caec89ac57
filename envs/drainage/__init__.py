"""Urban drainage: an agent is a gate, orifice or pump, a decision is its setting, the plant is EPA SWMM."""

from __future__ import annotations

import numpy as np
from gymnasium.spaces import Box

from envs.core.system import System, lazy
from envs.drainage.conditions import conditions
from envs.drainage.drawing import draw_map
from envs.drainage.gauges import gauges
from envs.drainage.kpis import KPIS
from envs.drainage.network import load_site
from envs.drainage.readings import READINGS, cross_check
from envs.drainage.scenarios import NAMES, DrainageScenario, load
from envs.drainage.scene import make_scene
from envs.drainage.site import DrainageSite
from envs.drainage.world import SwmmWorld

BACKPROP = {
    "workers": 96,
    "fragment": 288,
    "width": 32,
    "learning_rate": 6e-3,
    "learning_rate_end": 2e-4,
    "averaging": 0.9,
    "validate_every": 20,
}
"""Training settings: a window is a day, as decisions take effect over hours."""

SYSTEM = System(
    name="drainage",
    description="gates, orifices and pumps of an urban drainage network, simulated by EPA SWMM",
    kpi="controllable_m3",
    failure="invalid",
    negligible=10.0,  # m³: less is a puddle
    failure_voids=True,
    kpis=KPIS,
    readings=READINGS,
    scenario_class=DrainageScenario,
    site_class=DrainageSite,
    scenario_names=NAMES,
    load_scenario=load,
    load_site=load_site,
    action_space=lambda site: Box(0.0, 1.0, (1,), np.float64),
    command="setting",
    draw_map=draw_map,
    drawn=("depth_m", "setting", "rain_mmh"),
    everyday=("deadband", "dwell", "moves", "rate", "tide", "dry", "no_level"),
    cross_check=cross_check,
    consistency=lazy("envs.drainage.consistency", "DrainageConsistency"),
    make_world=SwmmWorld,
    make_guard=lazy("envs.drainage.guard", "DrainageGuard"),
    make_features=lazy("envs.drainage.features", "DrainageFeatures"),
    make_reward=lazy("envs.drainage.reward", "DrainageReward"),
    make_scene=make_scene,
    conditions=conditions,
    gauges=gauges,
    make_differentiable=lazy("envs.drainage.surrogate.twin", "Twin"),
    training={"backprop": BACKPROP},
)
