"""Electric range: no vehicle ever runs out, whatever is asked, and the kernel is exact about it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents import make_controller
from envs import CityloopError, load_scenario
from envs.core.env import make_loop
from envs.transit import kpis
from envs.transit.kernel import breakdowns, charging, driver_breaks, events, insertion, motion, plans
from envs.transit.kernel.charging import Chargers
from envs.transit.kernel.events import new_log, rows
from envs.transit.kernel.fleet import FULL, LEFT, NOBODY, WAITING, new_fleet, new_riders
from envs.transit.kernel.travel_times import travel_times_of
from envs.transit.matrices import Matrices
from envs.transit.record import promises
from tests.envs.transit import brute
from tests.envs.transit.own import write
from tests.envs.transit.small import crowd, garage, street, town

WEIGHTS = np.array([1.0, 1.0, 0.5, 0.5])
ANEW = np.array([400.0, 1.5, 200.0])
HOURS = 4 * 3600.0
SHORT = {"fleet__range_km": 25.0, "fleet__charged": (0.4, 1.0), "charging__count": 2, "charging__places": 2}


class Services:
    """A random service of vehicles with small batteries, of which everything may happen at any time."""

    def __init__(self, seed, vehicles, slots, pauses):
        self.rng = rng = np.random.default_rng(seed)
        self.places = np.array([[0, 1], [6, 1]])
        self.roads = town(rng, slots=slots, uneven=True, chargers=self.places[:, 0])
        self.fleet = garage(rng, self.roads, vehicles, end_s=9000.0)
        full = np.full(vehicles, rng.uniform(1.2, 3) * self.roads.charger_m.max() + 1000.0)
        left = np.maximum(rng.uniform(0.3, 1, vehicles) * full, self.roads.charger_m[self.fleet.at])
        self.batteries = np.stack([left, full, np.full(vehicles, 40.0)], axis=1)
        self.fleet.battery[:] = self.batteries
        self.asked = riders = crowd(rng, self.roads, 25, until_s=4000.0, wait_s=900.0, factor=2.5)
        withdraws = rng.random(25) < 0.3
        riders.cancel_s[withdraws] = riders.known_s[withdraws] + rng.uniform(0, 900, withdraws.sum())
        first = rng.uniform(650, 2000, vehicles)
        self.breaks = np.stack([first, first + rng.uniform(100, 500, vehicles), np.full(vehicles, 200.0)], axis=1)
        self.breaks *= pauses
        self.fleet.shift_s[:, 1] += 1500.0 * pauses
        self.riders = driver_breaks.with_breaks(riders._replace(size=riders.size.copy()), self.fleet, self.breaks)
        driver_breaks.plan_breaks(self.fleet, self.riders, self.roads, self.breaks)
        self.riders, self.stay_of = charging.with_stays(self.riders, self.fleet)
        self.state = self.fleet, self.riders, self.roads
        self.log = new_log(9000)

    def agenda(self):
        """Moments and what happens then: a rider asks (r) or withdraws (-1 - r)."""
        times = np.concatenate([self.asked.known_s, self.asked.cancel_s])
        who = np.concatenate([np.arange(25), -1 - np.arange(25)])
        return [(times[k], int(who[k])) for k in np.argsort(times, kind="stable") if np.isfinite(times[k])]

    def around(self, now):
        """Idle vehicles are sent about, those who wait are given to others, and who is low is to charge."""
        for v in np.flatnonzero(driver_breaks.free(self.fleet, self.riders, now)):
            if self.rng.random() < 0.4:
                motion.send(int(v), int(self.rng.integers(12)), now, *self.state, self.log)
        if self.rng.random() < 0.2:
            waits = np.flatnonzero(self.riders.state == WAITING)
            motion.reassign(waits, 30.0, now, *self.state, WEIGHTS, np.ones(12), self.log)
        if self.rng.random() < 0.5:
            chargers = Chargers(self.places, self.stay_of, self.rng.uniform(0.3, 0.8), 0.9)
            charging.plan_stays(charging.low(now, self.fleet, self.riders, chargers), now, *self.state, chargers)

    def check(self, now):
        """Every plan keeps every promise, played in plain Python; and so does the battery from here to a charger."""
        for v in range(len(self.fleet.at)):
            assert brute.play(v, brute.stops_of(v, self.fleet), now, *self.state) is not None


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 2**31), st.integers(1, 3), st.integers(1, 4), st.booleans())
def test_the_best_insertion_is_the_best_of_all_within_range(seed, vehicles, slots, pauses):
    """Whole services on streets whose quickest ways are not the shortest: the kernel against trying everything."""
    all_of = Services(seed, vehicles, slots, pauses)
    fleet, riders, roads = all_of.state
    for now, r in all_of.agenda():
        motion.move_all(now, *all_of.state, all_of.log, None)
        all_of.around(now)
        all_of.check(now)
        if r < 0:
            motion.withdraw(-1 - r, now, *all_of.state, all_of.log)
            all_of.check(now)
            continue
        expected, *_ = brute.best(r, now, *all_of.state, WEIGHTS)
        found = insertion.best_insertion(r, now, *all_of.state, WEIGHTS, insertion.EVERYWHERE)
        assert (found[1] == NOBODY) == (expected == np.inf)
        if found[1] != NOBODY:
            assert found[0] == pytest.approx(expected, abs=1e-5)
        motion.answer(r, now, fleet, riders, roads, WEIGHTS, insertion.EVERYWHERE, all_of.log)
        all_of.check(now)
    motion.move_all(1e6, *all_of.state, all_of.log, None)
    found = kpis.indicators(
        rows(all_of.log), fleet, all_of.asked, np.zeros(12, int), 9000.0, None, all_of.breaks, all_of.batteries
    )
    assert (found["broken"], found["breaks_missed"], found["ran_empty"]) == (0, 0, 0)
    assert most_at_once(rows(all_of.log)) <= 1


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(0, 2**31), st.integers(2, 4))
def test_no_battery_ends_by_a_breakdown_either(seed, vehicles):
    all_of = Services(seed, vehicles, 2, False)
    for now, r in all_of.agenda():
        motion.move_all(now, *all_of.state, all_of.log, None)
        all_of.around(now)
        if all_of.rng.random() < 0.15:
            v = int(all_of.rng.integers(vehicles))
            more = WEIGHTS, ANEW, all_of.log
            breakdowns.break_down(v, now, *all_of.state, *more)
            breakdowns.repair(v, int(all_of.fleet.at[v]), now, all_of.fleet, all_of.log)
            assert all_of.fleet.battery[v, LEFT] == all_of.fleet.battery[v, FULL]
        elif r < 0:
            motion.withdraw(-1 - r, now, *all_of.state, all_of.log)
        else:
            how = WEIGHTS, insertion.EVERYWHERE, all_of.log
            motion.answer(r, now, *all_of.state, *how)
        all_of.check(now)
    motion.move_all(1e6, *all_of.state, all_of.log, None)
    log = rows(all_of.log)
    assert all(promises.lowest_left(log, v, all_of.batteries[v]) > -promises.SHORT_M for v in range(vehicles))
    assert most_at_once(log) <= 1


def most_at_once(log):
    """The largest number of vehicles that were at one charger at a time."""
    there, most = {}, 0
    steps = {events.PLUGGED_IN: 1, events.UNPLUGGED: -1, events.BROKE_DOWN: -1}
    order = np.lexsort((log.kind == events.PLUGGED_IN, np.round(log.time_s, 3)))  # at one moment those who leave first
    for k in order:
        v, node = log.vehicle[k], log.node[k]
        if steps.get(log.kind[k], 0) > 0:
            there[v] = node
            most = max(most, list(there.values()).count(node))
        elif log.kind[k] in steps:
            there.pop(v, None)
    return most


def on_a_street(left_m, riders, at=0, charger=0):
    """One vehicle on a street of ten corners, 500 m and a minute apart, with a charger; 10 km of range when full."""
    roads = street(chargers=np.array([charger]))
    fleet = new_fleet([at], [[4, 0]], [[0.0, 1e5]], [[left_m, 10_000.0, 5.0]])
    riders, stay_of = charging.with_stays(new_riders(*riders), fleet)
    return fleet, riders, Chargers(np.array([[charger, 1]]), stay_of, 0.3, 0.8), roads


TO_THE_END = [0], [9], [0.0], [0.0], [600.0], [540.0], [900.0], [[1, 0]]


@pytest.mark.parametrize(("left_m", "promised"), [(9000.0, True), (8999.0, False)])
def test_who_could_not_come_back_to_a_charger_is_not_promised(left_m, promised):
    fleet, riders, _, roads = on_a_street(left_m, TO_THE_END)
    found = insertion.best_insertion(0, 0.0, fleet, riders, roads, WEIGHTS, insertion.EVERYWHERE)
    assert (found[1] == 0) is promised


def test_nor_is_an_idle_vehicle_sent_there():
    fleet, riders, _, roads = on_a_street(8999.0, TO_THE_END)
    motion.send(0, 9, 0.0, fleet, riders, roads, new_log())
    assert fleet.heading[0] == NOBODY
    motion.send(0, 8, 0.0, fleet, riders, roads, new_log())
    assert fleet.heading[0] == 8


def test_a_stay_by_hand():
    """500 m from a charger with 1 km left: there after a minute with 500 m, 7.5 km at 5 m/s until four fifths."""
    fleet, riders, chargers, roads = on_a_street(1000.0, TO_THE_END, at=1)
    log, who = new_log(), charging.low(0.0, fleet, riders, chargers)
    charging.plan_stays(who, 0.0, fleet, riders, roads, chargers)
    assert not len(charging.low(0.0, fleet, riders, chargers)), "it has a stay in its plan"
    assert not driver_breaks.free(fleet, riders, 0.0)[0]
    motion.move_all(5000.0, fleet, riders, roads, log, None)
    table = zip(*(column[: log.used[0]] for column in (log.kind, log.time_s, log.node, log.metres)), strict=True)
    found = [(events.NAMES[kind], float(time_s), int(node), float(metres)) for kind, time_s, node, metres in table]
    assert found == [("drove", 60.0, 0, 500.0), ("plugged_in", 60.0, 0, 0.0), ("unplugged", 1560.0, 0, 7500.0)]
    assert fleet.battery[0, LEFT] == 8000.0


def test_who_finds_all_places_taken_begins_when_one_is_free():
    roads = street(chargers=np.array([0]))
    battery = [[1000.0, 10_000.0, 5.0], [500.0, 10_000.0, 5.0]]
    fleet = new_fleet([1, 0], [[4, 0]] * 2, [[0.0, 1e5]] * 2, battery)
    riders, stay_of = charging.with_stays(new_riders(*TO_THE_END), fleet)
    chargers = Chargers(np.array([[0, 1]]), stay_of, 0.3, 0.8)
    who = charging.low(0.0, fleet, riders, chargers)
    assert who.tolist() == [1, 0], "the emptiest first"
    charging.plan_stays(who, 0.0, fleet, riders, roads, chargers)
    assert fleet.floor_s[[1, 0], 0].tolist() == [0.0, 1500.0]


def test_who_has_a_booking_charges_before_it_as_long_as_there_is_time():
    """Booked for 1500 s at corner 2, two minutes from the charger where the vehicle stands: it may stay until then."""
    booked = [2], [4], [0.0], [1500.0], [2100.0], [120.0], [900.0], [[1, 0]]
    fleet, riders, chargers, roads = on_a_street(2500.0, booked)
    stay = chargers.stay_of[0]
    plans.insert(0, 0, 0, 0, 0.0, fleet, riders, roads)
    charging.plan_stays(np.array([0]), 0.0, fleet, riders, roads, chargers._replace(until=1.0))
    assert (fleet.rider[0, 0], riders.board_s[stay]) == (stay, 1500.0 - 120.0)
    assert riders.begin_s[0] == 1500.0


def test_a_vehicle_goes_by_a_stop_without_which_its_battery_would_not_last():
    """From 0 by 1 to 2 it is 200 m, but the quickest way from 0 to 2 is 10 km long."""
    matrices = np.array([(0, 1, 60, 100), (1, 2, 60, 100), (0, 2, 100, 10_000), (2, 0, 500, 100), (1, 0, 60, 100)])
    ends, length = matrices[:, :2].T, matrices[:, 2:].T.astype(float)
    roads = roads_on(*ends, *length)
    fleet = new_fleet([0], [[4, 0]], [[0.0, 1e5]], [[1000.0, 1000.0, 5.0]])
    asked = [1, 2], [2, 0], [0.0] * 2, [0.0] * 2, [600.0] * 2, [60.0, 500.0], [900.0] * 2, [[1, 0]] * 2
    riders, log = new_riders(*asked), new_log()
    plans.insert(0, 0, 0, 0, 0.0, fleet, riders, roads)
    plans.insert(0, 1, 1, 2, 0.0, fleet, riders, roads)
    riders.state[:] = WAITING
    motion.withdraw(0, 0.0, fleet, riders, roads, log)
    assert fleet.length[0] == 4
    motion.move_all(1e5, fleet, riders, roads, log, None)
    kind, metres = log.kind[: log.used[0]].tolist(), log.metres[: log.used[0]]
    assert metres.sum() == 300.0
    assert kind.count(events.PICKED_UP) == kind.count(events.DROPPED_OFF) == 1


def roads_on(start, end, seconds, metres):
    """Three nodes and a charger at the first."""
    return travel_times_of(Matrices(3, start, end, seconds, metres), np.ones(1), 300.0, np.array([0]))


@pytest.fixture(scope="module")
def loop():
    """Half a day on which vehicles have breaks, break down, and have to charge two or three times."""
    rest = {"fleet__rest_s": 1800.0, "fleet__rest_from_s": 3600.0, "fleet__rest_until_s": 2.5 * 3600.0}
    more = {"breakdowns__per_veh_h": 0.05, "breakdowns__repair_s": 1800.0, "timing__reassign_s": 60.0}
    one = make_loop("transit/hcmc", duration_s=HOURS, district__cancelled=0.1, **SHORT, **rest, **more)
    yield one
    one.close()


@pytest.mark.parametrize("name", ["reactive", "solo", "batch"])
def test_no_vehicle_runs_empty_and_every_promise_holds(loop, name):
    found = loop.episode(make_controller(name, loop.site), 3).kpis
    assert (found["ran_empty"], found["broken"], found["breaks_missed"], found["failed"]) == (0, 0, 0, 0)
    assert found["charges"] > 40
    assert 0 <= found["lowest_charge_pct"] < 30
    assert found["charged_km"] / found["charging_h"] == pytest.approx(50 / 0.4, rel=0.1)
    assert most_at_once(loop.world.log) <= 2


def test_an_empty_battery_would_be_seen(loop):
    loop.episode(make_controller("reactive", loop.site), 3)
    log, service = loop.world.log, loop.world.service
    dead = log._replace(metres=np.where(log.kind == events.UNPLUGGED, 0.0, log.metres))
    zones = loop.site.zone_of
    more = zones, HOURS, service.walk_m, service.breaks, service.batteries
    found = kpis.indicators(dead, service.fleet, service.asked, *more)
    assert (found["ran_empty"] > 10, found["failed"]) == (True, 1)


def test_a_range_without_end_is_as_none():
    """To the last bit, whoever charges nowhere: the same log."""
    logs = []
    for range_km in (0.0, 2000.0):
        one = make_loop("transit/hcmc", duration_s=HOURS, fleet__range_km=range_km, district__cancelled=0.1)
        one.episode(make_controller("reactive", one.site), 4)
        logs.append(one.world.log)
        one.close()
    for a, b in zip(*logs, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("fleet", "more", "words"),
    [
        ("", "charging: {low: 0.5, until: 0.4}", "until is 0.4: a vehicle that is low, at 0.5, must charge to more"),
        (", charged: [0.9, 0.2]", "", r"charged is \[0.9, 0.2\]: give two shares above 0"),
        (", range_km: -1", "", "range_km"),
    ],
)
def test_impossible_batteries_are_refused(tmp_path, fleet, more, words):
    path = write(tmp_path, more=more)
    path.write_text(path.read_text().replace("seats: 4", f"seats: 4{fleet}"))
    with pytest.raises(CityloopError, match=words):
        load_scenario(path)


def test_chargers_must_be_there_and_near_enough():
    for change, words in (
        ({"charging__stops": ("nowhere",)}, "charging.stops names 'nowhere', no corner of 'hcmc': name a corner"),
        ({"fleet__range_km": 2.0}, r"a battery may last 2 km as a shift begins, and from corner '.*' it is"),
    ):
        one = make_loop("transit/hcmc", **({"fleet__range_km": 60.0} | change))
        with pytest.raises(CityloopError, match=words):
            one.reset(0)
        one.close()
