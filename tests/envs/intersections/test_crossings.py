"""The generated grid with crossings: people who walk get over them, and vehicles wait no longer than they have to."""

import libsumo

from agents import make_controller
from envs import load_scenario
from envs.core.env import make_loop
from envs.intersections.features import CLEARING_S, CURRENT, INTERGREEN
from envs.intersections.network.read import load_site


def test_vehicles_keep_their_green_while_people_clear():
    site = load_site(load_scenario("intersections/crossings3x3"))
    for junction in site.junctions:
        walk = [any(junction.movements[k].crossing for k in site.ending(junction, s, 1 - s)) for s in (0, 1)]
        assert walk == [True, False], "every green stands there twice, with the walk and after it"
        assert site.held_green_s(junction, 0, 2) == 6, "12 s across four lanes, less yellow and all-red"
        assert site.intergreen_s(junction, 0, 2) == site.intergreen_s(junction, 1, 2) + 6


def test_a_policy_sees_what_vehicles_lose_by_a_change():
    loop = make_loop("intersections/crossings3x3", duration_s=60)
    try:
        loop.reset(loop.scenario.seeds.validation.first)
        for stages in loop.observation["stages"]:
            assert stages[0, CURRENT] == 1
            assert stages[2, INTERGREEN] * CLEARING_S == 6, "yellow and all-red; for 6 s more vehicles keep their green"
    finally:
        loop.close()


def test_people_and_traffic_come_through():
    loop = make_loop(load_scenario("intersections/crossings3x3", duration_s=300))
    try:
        controller = make_controller("greedy", loop.site)
        loop.reset(loop.scenario.seeds.validation.first)
        step = loop.step(controller.act(loop.readings, loop.observation))
        on_foot = [set(libsumo.person.getIDList())]
        while not (step := loop.step(controller.act(loop.readings, loop.observation))).done:
            on_foot.append(set(libsumo.person.getIDList()))
        assert len(set().union(*on_foot)) > 30
        assert set().union(*on_foot) - on_foot[-1], "some are where they wanted to be"
        assert step.kpis["throughput_veh"] > 100
        assert step.kpis["emergency_stops"] == 0
    finally:
        loop.close()
