"""Vehicles without riders: counted as a simulated fleet's, sent where zones want them, there once they should be."""

import numpy as np
import pytest

from envs.core.registry import load_scenario
from envs.transit import census
from envs.transit.kernel.fleet import NOBODY, Fleet, Riders
from envs.transit.live.fleet import LiveFleet
from envs.transit.live.idle import IdleVehicles
from envs.transit.live.offers import Trip
from envs.transit.network import load_site
from envs.transit.settings import Charging
from envs.transit.world import TransitWorld
from tests.envs.transit.small import three_zones

EAST = np.array([-1.0, -1.0, 1.0])
"""Scores with which all vehicles should stand in the last zone, at 4."""


def fleet(at=(0,), shift=(0.0, 1e6), battery=None):
    count, terms = len(at), Charging(stops=("0",), places=1, low=0.1, until=0.9)
    full = None if battery is None else np.broadcast_to(np.array(battery, float), (count, 3))
    return LiveFleet(three_zones(), at, [(4, 1)] * count, [shift] * count, np.ones(1), 300.0, full, terms)


def send(live, now_s, scores=EAST):
    readings = live.idle.census(now_s, now_s, live.riders, [], [])
    live.idle.send(now_s, live.riders, readings, scores)
    return readings


def test_a_live_fleet_is_counted_as_a_simulated_one_is():
    scenario = load_scenario("transit/hcmc", duration_s=3600.0)
    site = load_site(scenario)
    world, seen = TransitWorld(scenario, site), []
    world.reset(scenario.seeds.validation.first)
    rng = np.random.default_rng(0)
    for _ in range(30):
        readings = world.step(np.stack([rng.uniform(-1, 1, len(site.zones)), np.zeros(len(site.zones))], axis=1))
        service = world.service
        copied = Fleet(*(column.copy() for column in service.fleet)), Riders(*(c.copy() for c in service.riders))
        since = (service.riders.known_s >= service.now_s - site.timing.recent_s) & (
            service.riders.known_s < service.now_s
        )
        asked = service.riders.origin[since]
        refused = service.riders.origin[since & (service.riders.state == 4)]
        live = IdleVehicles(site, copied[0], service.roads).census(
            service.now_s, service.now_s, copied[1], asked, refused
        )
        assert set(live) == set(readings)
        for name, values in readings.items():
            np.testing.assert_allclose(live[name], values, err_msg=name)
        seen.append(readings["inbound_veh"].sum())
    assert max(seen) > 0, "some were on their way"


def test_who_was_sent_drives_on_and_is_there_once_it_should_be():
    live = fleet()
    assert send(live, 0.0)["idle_veh"].tolist() == [1, 0, 0]
    live.look(90.0)
    assert (live.fleet.at[0], live.fleet.at_s[0], live.idle.arrive_s(0)) == (2, 120.0, 240.0)
    under_way = live.idle.census(90.0, 90.0, live.riders, [], [])
    assert (under_way["idle_veh"].sum(), under_way["inbound_veh"].tolist()) == (0, [0, 0, 1])
    live.look(241.0)
    there = live.idle.census(241.0, 241.0, live.riders, [], [])
    assert (there["idle_veh"].tolist(), there["inbound_veh"].sum()) == ([0, 0, 1], 0)
    assert live.fleet.heading[0] == 4, "its plan names the place until it says that it is there"
    live.report(0, 4, 250.0)
    assert live.fleet.heading[0] == NOBODY


def test_a_report_from_elsewhere_changes_where_it_is_and_not_where_it_goes():
    live = fleet()
    send(live, 0.0)
    live.look(241.0)
    live.report(0, 3, 241.0)
    assert (live.fleet.heading[0], live.idle.arrive_s(0)) == (4, 301.0)
    assert live.idle.who(241.0, live.riders)[1].tolist() == [True]


def test_a_rider_on_the_way_is_served_from_the_next_corner():
    live = fleet()
    send(live, 0.0)
    live.look(90.0)
    offer = live.best(Trip(2, 1, 90.0), 90.0)
    assert offer.begin_s == 120.0
    live.promise(Trip(2, 1, 90.0), offer, 90.0)
    assert live.fleet.heading[0] == NOBODY
    assert not np.any(live.idle.who(90.0, live.riders))


def test_whose_shift_is_over_or_battery_too_low_goes_nowhere():
    late = fleet(shift=(0.0, 200.0))
    send(late, 0.0)
    late.end_shifts(199.0)
    assert late.fleet.heading[0] == 4
    late.end_shifts(200.0)
    assert late.fleet.heading[0] == NOBODY
    low = fleet(battery=(3000.0, 10_000.0, 5.0))
    send(low, 0.0)
    assert low.fleet.heading[0] == NOBODY, "2 000 m there, and as far back to the charger"


@pytest.mark.parametrize(("slots", "known"), [(2, True), (1, False)])
def test_beyond_the_usual_day_nobody_knows_what_to_expect(slots, known):
    site = three_zones().model_copy(update={"usual": ((1.0, 2.0, 3.0),) * slots, "slot_s": 300.0})
    live = LiveFleet(site, (0,), [(4, 1)], [(0.0, 1e6)], np.ones(1), 300.0)
    expected = live.idle.census(0.0, 300.0, live.riders, [], [])["expected"]
    assert np.isfinite(expected).all() == known


def test_speeds_are_told_whatever_the_hour():
    roads = fleet().roads._replace(speed=np.array([0.5, 1.5]))
    assert [census.speed_at(roads, now_s) for now_s in (-10.0, 10.0, 310.0, 1e6)] == [0.5, 0.5, 1.5, 1.5]


def test_urgency_weighs_the_wait_of_who_asks_there():
    live = fleet(at=(0, 5))
    usual = live.best(Trip(1, 3, 0.0), 0.0).cost
    live.hurry(np.array([1.0, 0.0, 0.0]))
    assert live.best(Trip(1, 3, 0.0), 0.0).cost > usual
    live.hurry(np.zeros(3))
    assert live.best(Trip(1, 3, 0.0), 0.0).cost == usual


def test_what_nobody_reported_is_no_vehicle_when_the_shift_is_over():
    breaks = np.array([[0.0, 60.0, 100.0]])
    live = LiveFleet(three_zones(), (0,), [(4, 1)], [(0.0, 200.0)], np.ones(1), 300.0, breaks=breaks)
    assert live.plan_break(0, 0.0)
    live.begin_break(0, 0, 0.0)
    counted = [live.idle.census(t, t, live.riders, [], [])["busy_veh"].sum() for t in (50.0, 199.0, 201.0)]
    assert counted == [1, 1, 0]
