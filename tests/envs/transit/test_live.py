"""A fleet that is told what happens: its plans stay what it promised, and it carries over what breaks down."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.transit.fleet import ABOARD, ARRIVED, WAITING
from envs.transit.live import SLOTS, LiveFleet
from envs.transit.offers import Trip
from tests.envs.transit import brute
from tests.envs.transit.small import three_zones


def fleet(at=(0,), seats=4, places=1, shift=(0.0, 1e6), **site):
    count = len(at)
    return LiveFleet(three_zones(**site), at, [(seats, places)] * count, [shift] * count, np.ones(1), 300.0)


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
@given(st.integers(0, 2**31))
def test_whatever_happens_plans_keep_every_promise_of_vehicles_on_time(seed):
    """Random bookings, cancellations and breakdowns; vehicles do as planned. Each plan is played in plain Python."""
    rng = np.random.default_rng(seed)
    live = fleet(at=(0, 2, 5), seats=3)
    now, known = 0.0, []
    for _ in range(40):
        now += rng.exponential(60.0)
        serve(live, now)
        what = rng.random()
        waiting = [r for r in known if live.riders.state[r] == WAITING]
        if what < 0.15 and waiting:
            r = waiting[rng.integers(len(waiting))]
            live.withdraw(r, now)
            live.riders.state[r] = ARRIVED
        elif what < 0.2:
            v = int(rng.integers(3))
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
        kept = [r for v in range(3) for r, pick, _ in live.plan(v) if not pick]
        assert sorted(kept) == sorted(r for r in known if live.riders.state[r] in (WAITING, ABOARD))


def serve(live, now):
    """Let vehicles report what they do as planned up to a moment, one after the other."""
    fleet = live.fleet
    while True:
        leave = np.where(fleet.length > 0, fleet.leave_s[:, 0], np.inf)
        v, moment = int(leave.argmin()), float(leave.min())
        if moment > now:
            return live.look(now)
        live.look(moment)
        r, pick, _ = live.plan(v)[0]
        if pick:
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


def test_slots_grow_and_are_used_again():
    live = fleet()
    taken = [live.take_slot() for _ in range(3 * SLOTS)]
    assert len(set(taken)) == 3 * SLOTS
    assert 0 not in taken
    assert len(live.riders.origin) == 4 * SLOTS
    live.give_slot(taken[5])
    assert live.take_slot() == taken[5]
