"""Demand-responsive transit: an agent is a zone, a decision says where idle vehicles stand; our own event simulator."""

from __future__ import annotations

import numpy as np
from gymnasium.spaces import Box

from envs.core.system import System, lazy
from envs.transit.conditions import conditions
from envs.transit.consistency import TransitConsistency
from envs.transit.drawing import draw_map
from envs.transit.gauges import gauges
from envs.transit.kpis import KPIS
from envs.transit.network import first_s, load_site
from envs.transit.readings import READINGS, cross_check
from envs.transit.reward import TransitReward
from envs.transit.scenarios import NAMES, TransitScenario, load
from envs.transit.scene import make_scene
from envs.transit.site import TransitSite

SYSTEM = System(
    name="transit",
    description="a demand-responsive fleet: where idle vehicles stand, and how urgent a wait is",
    kpi="wait_min",
    failure="failed",
    negligible=0.05,  # minutes: three seconds
    kpis=KPIS,
    readings=READINGS,
    scenario_class=TransitScenario,
    site_class=TransitSite,
    scenario_names=NAMES,
    load_scenario=load,
    load_site=load_site,
    first_s=first_s,
    action_space=lambda site: Box(-1.0, 1.0, (2,), np.float64),
    command="target",
    drawn=("idle_veh", "waiting"),
    draw_map=draw_map,
    beside=("served_pct", "ride_min", "empty_pct"),
    trade=("served_pct", "wait_mean_min"),
    cross_check=cross_check,
    consistency=TransitConsistency,
    make_world=lazy("envs.transit.world", "TransitWorld"),
    make_guard=lazy("envs.transit.guard", "TransitGuard"),
    make_features=lazy("envs.transit.features", "TransitFeatures"),
    make_reward=TransitReward,
    make_scene=make_scene,
    conditions=conditions,
    gauges=gauges,
)
