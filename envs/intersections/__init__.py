"""Signalised intersections: an agent is a junction, a decision is which green comes next, the plant is SUMO."""

from __future__ import annotations

from gymnasium.spaces import Discrete

from envs.core.system import System, lazy
from envs.intersections.close_signals import CloseSignals
from envs.intersections.conditions import conditions
from envs.intersections.demand import first_s
from envs.intersections.gauges import gauges
from envs.intersections.guard import SignalGuard
from envs.intersections.kpis import KPIS
from envs.intersections.network.read import load_site
from envs.intersections.readings import READINGS, cross_check
from envs.intersections.reward import SignalReward
from envs.intersections.scenarios import NAMES, VARIANTS, SignalScenario, load
from envs.intersections.scene import make_scene
from envs.intersections.site import SignalSite
from envs.intersections.world import SumoWorld

SYSTEM = System(
    name="intersections",
    description="signalised junctions of a road network, simulated by SUMO",
    kpi="delay_s",
    failure="gridlock",
    failure_in_kpi=True,
    kpis=KPIS,
    readings=READINGS,
    scenario_class=SignalScenario,
    site_class=SignalSite,
    scenario_names=NAMES,
    variant_names=VARIANTS,
    load_scenario=load,
    load_site=load_site,
    first_s=first_s,
    action_space=lambda site: Discrete(site.most_stages),
    command="stage",
    drawn=("stage",),
    choices=("stage",),
    cross_check=cross_check,
    consistency=lazy("envs.intersections.consistency", "SignalConsistency"),
    make_world=SumoWorld,
    make_guard=SignalGuard,
    make_features=lazy("envs.intersections.features", "SignalFeatures"),
    make_reward=SignalReward,
    make_coordination=CloseSignals.of,
    make_scene=make_scene,
    conditions=conditions,
    gauges=gauges,
)
