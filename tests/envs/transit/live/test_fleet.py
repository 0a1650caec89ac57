"""A fleet that is told what happens: its plans stay what it promised, and it carries over what breaks down."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.transit.kernel import motion
from envs.transit.kernel.events import new_log
from envs.transit.kernel.fleet import ABOARD, ARRIVED, CHARGING, LEFT, NOBODY, WAITING
from envs.transit.live.fleet import SLOTS, LiveFleet
from envs.transit.live.offers import Trip
from envs.transit.settings import Charging
from tests.envs.transit import brute
from tests.envs.transit.small import three_zones, with_dead_ends


def fleet(at=(0,), seats=4, places=1, shift=(0.0, 1e6), battery=None, chargers=("0",), reassign_s=0.0, rest=None):
    """``battery``: (metres left, metres when full, metres gained in a second), of each vehicle or of all; ``rest``: of
    all drivers, begun from when until when, and how long."""
    count = len(at)
    site = three_zones()
    site = site.model_copy(update={"timing": site.timing.model_copy(update={"reassign_s": reassign_s})})
    full = None if battery is None else np.broadcast_to(np.array(battery, float), (count, 3))
    terms = Charging(stops=chargers, places=1, low=0.5, until=0.9)
    breaks = None if rest is None else np.tile(np.array(rest, float), (count, 1))
    live = LiveFleet(site, at, [(seats, places)] * count, [shift] * count, np.ones(1), 300.0, full, terms, breaks)
    assert rest is None or all(live.plan_break(v, 0.0) for v in range(count))
    return live


def book(live, now, origin, destination, earliest=None, party=1):
    trip = Trip(origin, destination, now if earliest is None else earliest, party)
    live.look(now)
    offer = live.best(trip, now)
    return None if offer is None else live.promise(trip, offer, now)


def test_an_offer_says_what_it_means_and_changes_nothing():
    """At 0 a rider from 0 to 5 is under way; another, from 1 to 3, fits in without a detour."""
    live = fleet()
    book(live, 0.0, 0, 5)
    before = [column.copy() for column in live.fleet]
    offer = live.best(Trip(1, 3, 0.0), 0.0)
    for old, new in zip(before, live.fleet, strict=True):
        np.testing.assert_array_equal(old, new)
    # Boarding takes 15 s, getting off 10: the first rider arrives so much later.
    assert (offer.vehicle, offer.begin_s, offer.arrive_s) == (0, 75.0, 75 + 15 + 120)
    assert (offer.driving_s, offer.others_s, offer.others, offer.shared) == (0.0, 25.0, 1, 1)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 2**31), st.booleans(), st.booleans())
def test_whatever_happens_plans_keep_every_promise_of_vehicles_on_time(seed, electric, tired):
    """Random bookings, cancellations, breakdowns and decisions, idle vehicles sent about; vehicles do as planned. Each
    plan is played in plain Python, with its battery and break, and every promise stays what it was."""
    rng = np.random.default_rng(seed)
    battery = [(share * 9000.0, 9000.0, 20.0) for share in (0.4, 0.6, 0.9)] if electric else None
    rest = (900.0, 1500.0, 300.0) if tired else None
    live = fleet(at=(0, 2, 5), seats=3, battery=battery, reassign_s=60.0, rest=rest)
    now, known, promised, broken = 0.0, [], {}, set()
    for _ in range(40):
        now += rng.exponential(60.0)
        serve(live, now)
        what = rng.random()
        waits = [r for r in known if live.riders.state[r] == WAITING]
        if rng.random() < 0.5:
            promised = {r: live.promised(r) for r in waits}
            live.see_to_batteries(now)
            readings = live.idle.census(now, now, live.riders, [], [])
            live.idle.send(now, live.riders, readings, rng.uniform(-1, 1, 3))
            moved = live.reassign(now, waits)
            assert {r: live.promised(r) for r in waits} == promised
            assert all(live.riders.vehicle[r] != v for r, v in moved.items())
        waiting = [r for r in known if live.riders.state[r] == WAITING]
        if what < 0.15 and waiting:
            r = waiting[rng.integers(len(waiting))]
            live.withdraw(r, now)
            live.riders.state[r] = ARRIVED
        elif what < 0.2:
            v = int(rng.integers(3))
            broken.add(v)
            live.break_down(v, now)
            assert live.fleet.length[v] == 0
            live.repair(v, int(live.fleet.at[v]), now + 1.0)
        else:
            a, b = rng.choice(6, 2, replace=False)
            r = book(live, now, int(a), int(b), now + rng.choice([0.0, 900.0]), int(rng.integers(1, 4)))
            known += [] if r is None else [r]
        for v in range(3):
            stops = brute.stops_of(v, live.fleet)
            assert brute.play(v, stops, 0.0, live.fleet, live.riders, live.roads) is not None
        stops = [stop for v in range(3) for stop in live.plan(v)]
        kept = [r for r, pick, _ in stops if not pick and np.isfinite(live.riders.limit_s[r])]
        assert sorted(kept) == sorted(r for r in known if live.riders.state[r] in (WAITING, ABOARD))
    found = [live.breaks.of(v, live.riders) for v in range(3) if tired and v not in broken]
    assert all(now < 1500.0 or not live.breaks.to_come(v) for v in range(3))
    assert all(now < 1800.0 or one.over for one in found)


def serve(live, now):
    """Let vehicles report what they do as planned up to a moment, one after the other."""
    fleet = live.fleet
    while True:
        leave = np.where(fleet.length > 0, fleet.leave_s[:, 0], np.inf)
        for v in np.flatnonzero(np.isinf(live.riders.limit_s[fleet.rider[:, 0]])):
            if fleet.length[v] and fleet.pick[v, 0]:  # a stay or break, which it reports when it begins
                leave[v] = live.riders.begin_s[fleet.rider[v, 0]]
        v, moment = int(leave.argmin()), float(leave.min())
        if moment > now:
            return live.look(now)
        live.look(moment)
        r, pick, _ = live.plan(v)[0]
        if live.riders.state[r] == CHARGING:
            (live.plug_in if pick else live.unplug)(v, moment)
            assert live.fleet.battery[v, LEFT] >= 0
        elif np.isinf(live.riders.limit_s[r]) and pick:
            live.begin_break(v, int(fleet.node[v, 0]), moment)
        elif np.isinf(live.riders.limit_s[r]):
            live.end_break(v, moment)
        elif pick:
            live.board(r, moment)
        else:
            live.alight(r, moment)


def test_a_vehicle_drives_on_but_serves_nobody_until_it_says_so():
    live = fleet()
    r = book(live, 0.0, 3, 5)
    live.look(90.0)
    assert (live.fleet.at[0], live.fleet.at_s[0]) == (2, 120.0)
    live.look(180.0 + 15.0)
    assert live.fleet.arrive_s[0, 1] == 180 + 15 + 120
    live.look(300.0)  # nobody has boarded yet: everything gets later
    assert live.fleet.arrive_s[0, 1] == 300 + 120
    assert live.riders.state[r] == WAITING


def test_a_margin_is_promised_and_not_planned_with():
    """A vehicle is 180 s away. With 400 promised and 240 in hand that is too far, with 210 it is not."""
    promise = three_zones().promise
    assert (promise.wait_s, promise.ride_allowance_s) == (600.0, 300.0)
    for wait_s, margin_s, able in ((600.0, 0.0, True), (400.0, 240.0, False), (400.0, 210.0, True)):
        site = three_zones()
        update = {"wait_s": wait_s, "margin_s": margin_s}
        site = site.model_copy(update={"promise": promise.model_copy(update=update)})
        live = LiveFleet(site, (0,), [(4, 1)], [(0.0, 1e6)], np.ones(1), 300.0)
        offer = live.best(Trip(3, 5, 0.0), 0.0)
        assert (offer is not None) is able
        if offer is not None:
            assert (offer.latest_s, offer.limit_s) == (wait_s, 1.5 * 120 + 300)
            r = live.promise(Trip(3, 5, 0.0), offer, 0.0)
            assert live.promised(r) == (wait_s, 1.5 * 120 + 300)
            assert live.riders.latest_s[r] == wait_s - margin_s


def test_a_report_from_elsewhere_is_believed():
    live = fleet()
    book(live, 0.0, 3, 5)
    live.report(0, 1, 100.0)
    live.look(100.0)
    assert live.fleet.arrive_s[0, 0] == 100 + 120


@pytest.mark.parametrize(("at", "outcome"), [((0, 1), "kept"), ((0, 5), "anew"), ((0,), "stranded")])
def test_what_breaks_down_is_carried_over(at, outcome):
    """A rider waits at 0, to be picked up within two minutes; another vehicle is there at once, too late, or not."""
    site = three_zones()
    site = site.model_copy(update={"promise": site.promise.model_copy(update={"wait_s": 120.0})})
    live = LiveFleet(site, at, [(4, 1)] * len(at), [(0.0, 1e6)] * len(at), np.ones(1), 300.0)
    r = book(live, 0.0, 0, 4, 60.0)
    assert live.riders.vehicle[r] == 0
    # Where the new promise is two minutes from now, the vehicle at 5 is too far: it may have ten.
    live._anew[0] = 600.0
    assert live.break_down(0, 0.0) == {r: outcome}
    assert live.riders.vehicle[r] == (-1 if outcome == "stranded" else 1)
    if outcome != "stranded":
        assert (live.riders.latest_s[r] == 180.0) == (outcome == "kept")


def test_who_was_aboard_is_picked_up_where_the_vehicle_stands():
    live = fleet(at=(0, 5))
    r = book(live, 0.0, 0, 4)
    live.board(r, 15.0)
    live.look(100.0)
    assert live.break_down(0, 100.0) == {r: "kept"}
    assert (live.riders.origin[r], live.riders.vehicle[r], live.riders.state[r]) == (2, 1, WAITING)
    assert live.fleet.aboard[0, 0] == 0
    # It ends within the ride that was promised: 1.5 times four minutes and five more.
    assert live.riders.latest_s[r] + live.riders.limit_s[r] == 1.5 * 240 + 300


def test_who_waits_is_given_to_a_vehicle_that_comes_sooner():
    """Red, at 0, is to be at 4 in four minutes; then blue comes back into service next to the rider."""
    for reassign_s in (0.0, 60.0):
        live = fleet(at=(0, 5), reassign_s=reassign_s)
        live.break_down(1, 0.0)
        r = book(live, 0.0, 4, 2)
        promised = live.promised(r)
        live.repair(1, 5, 10.0)
        assert live.reassign(10.0, [r]) == ({r: 0} if reassign_s else {})
        assert (live.riders.vehicle[r], live.promised(r)) == (1 if reassign_s else 0, promised)
    live.look(75.0)
    assert live.reassign(75.0, [r]) == {}, "blue is there"


ELECTRIC = 2000.0, 5000.0, 5.0


def test_a_live_battery_is_reckoned_by_the_way_until_it_is_read():
    live = fleet(battery=(3500.0, 5000.0, 5.0))
    book(live, 0.0, 2, 3)
    live.look(90.0)
    assert live.fleet.battery[0, LEFT] == 2500.0, "on its way to 2, where it is next"
    live.report(0, 1, 90.0)
    assert live.fleet.battery[0, LEFT] == 3000.0, "it has come to 1 alone"
    live.report(0, 2, 150.0)
    live.read(0, 0.5, 150.0)
    assert (live.fleet.battery[0, LEFT], live.batteries.share(0, 150.0, live.fleet, live.riders)) == (2500.0, 0.5)
    assert live.lasts(0)
    live.read(0, 0.2, 150.0)
    assert not live.lasts(0), "a ride of 500 m, and 1500 to the charger"


def test_a_live_stay_by_hand():
    """1 km from the charger with 2 km left: there after two minutes; to nine tenths it takes 700 s."""
    live = fleet(at=(2,), battery=ELECTRIC)
    live.see_to_batteries(0.0)
    stay = live.batteries.stay(0, live.riders)
    assert (stay.node, stay.begin_s, stay.length_s) == (0, 120.0, 700.0)
    live.look(150.0)
    assert live.batteries.stay(0, live.riders).begin_s == 150.0, "it is late"
    live.plug_in(0, 150.0)
    live.report(0, 0, 200.0)
    assert live.batteries.plugged(0, live.fleet)
    assert live.batteries.share(0, 250.0, live.fleet, live.riders) == 1500 / 5000
    assert book(live, 249.0, 0, 1) is None, "it takes no one until 850 s, a second more than is promised"
    live.read(0, 0.5, 250.0)
    live.unplug(0, 350.0)
    assert (live.fleet.battery[0, LEFT], live.fleet.aboard[0, 0], live.plan(0)) == (3000.0, 0, [])
    assert book(live, 350.0, 0, 1) is not None


def test_who_drives_off_has_unplugged():
    live = fleet(at=(0,), battery=ELECTRIC)
    live.see_to_batteries(0.0)
    live.plug_in(0, 0.0)
    live.report(0, 1, 160.0)
    assert (live.fleet.battery[0, LEFT], live.plan(0)) == (2000 + 5 * 160 - 500, [])


def test_a_vehicle_that_has_less_than_it_was_thought_to_gives_riders_up():
    """By its own account red cannot make it to 5 and back; blue can. Nothing else makes anybody change vehicles."""
    live = fleet(at=(3, 4), battery=(5000.0, 5000.0, 5.0))
    live.break_down(1, 0.0)
    r = book(live, 0.0, 5, 4, earliest=900.0)
    live.repair(1, 4, 1.0)
    assert live.reassign(1.0, [r]) == {}
    live.read(0, 0.32, 1.0)
    live.batteries.chargers.places[:, 1] = 0  # no place at the charger
    assert live.reassign(1.0, [r]) == {r: 0}
    assert (live.lasts(0), live.lasts(1)) == (True, True)


def test_slots_grow_and_are_used_again():
    live = fleet()
    taken = [live.take_slot() for _ in range(3 * SLOTS)]
    assert len(set(taken)) == 3 * SLOTS
    assert 0 not in taken
    assert len(live.riders.origin) == 4 * SLOTS
    live.give_slot(taken[5])
    assert live.take_slot() == taken[5]


@pytest.mark.parametrize("there", [False, True])
def test_nothing_goes_before_a_stop_that_is_being_served(there):
    """Red is at 3, where a rider boards, which it reports when it is done: by then who waits at 2 comes after."""
    live = fleet(at=(3,))
    r = book(live, 0.0, 3, 5)
    if not there:
        live.report(0, 2, 0.0)
    live.look(10.0)
    first = live.best(Trip(2, 1, 10.0), 10.0).first
    assert (first > 0) == there
    assert live.plan(0)[0][:2] == (r, True)


REST = 600.0, 1200.0, 900.0


def test_a_break_by_hand():
    """From ten minutes on, for a quarter of an hour, where the last rider gets off; nothing comes in between."""
    live = fleet(rest=REST)
    r = book(live, 0.0, 0, 2)
    assert [(who == r, pick) for who, pick, _ in live.plan(0)] == [
        (True, True),
        (True, False),
        (False, True),
        (False, False),
    ]
    live.board(r, 15.0)
    live.look(136.0)
    live.alight(r, 145.0)
    assert live.breaks.of(0, live.riders).node == 2
    assert live.idle.who(200.0, live.riders)[0][0], "it is idle until then"
    live.look(630.0)
    assert live.breaks.to_come(0), "its driver says when it begins"
    live.begin_break(0, 2, 640.0)
    assert (live.breaks.under_way(0), live.breaks.of(0, live.riders).begin_s) == (True, 640.0)
    assert not live.idle.who(700.0, live.riders)[0][0]
    assert live.best(Trip(2, 3, 700.0), 700.0) is None, "it goes on at 1 540 s, and ten minutes are promised"
    assert live.best(Trip(2, 3, 950.0), 950.0).begin_s == 1540.0
    live.look(1600.0)
    live.end_break(0, 1610.0)
    assert live.breaks.of(0, live.riders).over
    assert (live.plan(0), live.fleet.aboard[0, 0], live.fleet.at_s[0]) == ([], 0, 1610.0)


def test_who_goes_on_without_a_word_has_ended_the_break():
    for on in (lambda live, r: live.report(0, 3, 900.0), lambda live, r: live.board(r, 1560.0)):
        live = fleet(rest=REST)
        live.look(600.0)
        live.begin_break(0, 0, 600.0)
        r = book(live, 890.0, 0, 3, 1000.0)
        on(live, r)
        assert live.breaks.of(0, live.riders).over
        assert not live.fleet.aboard[0, 0] or live.riders.state[r] == ABOARD


def test_a_break_that_does_not_fit_in_is_not_planned():
    """It would have to begin within a minute, and who was promised a ride cannot wait until it is over."""
    breaks = np.array([[0.0, 60.0, 900.0]])
    live = LiveFleet(three_zones(), [0], [(4, 1)], [(0.0, 1e6)], np.ones(1), 300.0, breaks=breaks)
    r = book(live, 0.0, 0, 5)
    assert not live.plan_break(0, 0.0)
    assert [stop[0] for stop in live.plan(0)] == [r, r]
    assert live.breaks.of(0, live.riders).over


@pytest.mark.parametrize("corner", [6, 7])
def test_a_vehicle_from_which_no_road_leads_to_its_next_stop_stays_until_it_is_elsewhere(corner):
    live = LiveFleet(with_dead_ends(three_zones()), [0], [(4, 1)], [(0.0, 1e6)], np.ones(1), 300.0)
    r = book(live, 0.0, 3, 5)
    assert live.ways_on(0).tolist() == [True] * 6 + [False] * 2
    live.report(0, corner, 10.0)
    live.look(1000.0)
    assert (live.fleet.at[0], live.fleet.at_s[0], live.plan(0)[0][:2]) == (corner, 10.0, (r, True))
    assert live.best(Trip(1, 2, 1000.0), 1000.0) is None
    live.report(0, 2, 1010.0)
    live.look(1070.0)
    assert live.fleet.at[0] == 3


def test_a_vehicle_is_sent_nowhere_without_a_road():
    live = LiveFleet(with_dead_ends(three_zones()), [6], [(4, 1)], [(0.0, 1e6)], np.ones(1), 300.0)
    assert live.ways_on(0).all(), "it has nowhere to go"
    live.fleet.heading[0] = 2
    assert live.ways_on(0).tolist() == [True] * 6 + [False] * 2
    live.look(600.0)
    assert live.fleet.at[0] == 6
    live.fleet.heading[0] = NOBODY
    motion.send(0, 2, 600.0, live.fleet, live.riders, live.roads, new_log(4))
    assert live.fleet.heading[0] == NOBODY
