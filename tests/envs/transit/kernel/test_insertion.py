"""The kernel is exact and keeps every promise: against plain Python that tries every place of every plan."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.transit.kernel import insertion, motion, plans, travel_times
from envs.transit.kernel.events import new_log
from envs.transit.kernel.fleet import NOBODY, new_fleet, new_riders
from tests.envs.transit import brute
from tests.envs.transit.small import crowd, garage, street, town

WEIGHTS = np.array([1.0, 1.0, 0.5, 0.5])


def asked(r, now, fleet, riders, roads, weights=WEIGHTS, mode=insertion.EVERYWHERE):
    return insertion.best_insertion(r, now, fleet, riders, roads, weights, mode)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(0, 2**31), st.integers(1, 3), st.integers(1, 8), st.integers(0, 3))
def test_the_best_insertion_is_the_best_of_all(seed, vehicles, slots, weighing):
    """Whole services, cancellations and no-shows included: at every request the same cost as trying everything."""
    rng = np.random.default_rng(seed)
    roads = town(rng, slots=slots)
    riders, fleet = crowd(rng, roads, 20), garage(rng, roads, vehicles)
    weights = np.array([(1, 1, 1, 1), (0.5, 1, 0.5, 0.5), (0, 1, 0, 0), (1, 0, 0, 0)][weighing], float)
    log = new_log(2000)
    times = np.concatenate([riders.known_s, riders.cancel_s])
    who = np.concatenate([np.arange(20), -1 - np.arange(20)])
    for k in np.argsort(times, kind="stable"):
        if not np.isfinite(times[k]):
            continue
        now, r = times[k], int(who[k])
        motion.move_all(now, fleet, riders, roads, log, None)
        if r < 0:
            motion.withdraw(-1 - r, now, fleet, riders, roads, log)
            continue
        expected, *_ = brute.best(r, now, fleet, riders, roads, weights)
        cost, v, i, j = asked(r, now, fleet, riders, roads, weights)
        assert (v == NOBODY) == (expected == np.inf)
        if v != NOBODY:
            assert cost == pytest.approx(expected, abs=1e-5)
            plans.insert(v, r, i, j, now, fleet, riders, roads)
            riders.state[r] = 1
            for other in range(vehicles):
                plan = brute.stops_of(other, fleet)
                assert brute.play(other, plan, now, fleet, riders, roads) is not None


def test_a_large_fleet_is_searched_to_the_end():
    """More vehicles than are searched in the order of their bounds: the cheapest of all, the first of equals."""
    rng = np.random.default_rng(7)
    roads = town(rng, slots=2)
    vehicles, count = 2 * insertion.SORTED, 200
    riders, fleet = crowd(rng, roads, count), garage(rng, roads, vehicles)
    log, equals = new_log(5000), 0
    for r in np.argsort(riders.known_s, kind="stable"):
        now = riders.known_s[r]
        motion.move_all(now, fleet, riders, roads, log, None)
        state = now, fleet, riders, roads, WEIGHTS, insertion.EVERYWHERE
        each = np.array([insertion.best_place(v, r, *state)[0] for v in range(vehicles)])
        cost, v, i, j = insertion.best_insertion(r, *state)
        assert cost == each.min()
        if v == NOBODY:
            continue
        assert (cost, i, j) == insertion.best_place(v, r, *state)
        first = int(each.argmin())
        equals += (each == cost).sum() > 1
        assert v == first or fleet.at[v] != fleet.at[first], "who stands elsewhere may have looked more promising"
        plans.insert(v, r, i, j, now, fleet, riders, roads)
        riders.state[r] = 1
    assert equals > 5


def test_pooling_a_rider_on_the_way_by_hand():
    """A vehicle at node 0 drives a rider from 0 to 9; another from 3 to 6 fits in without a detour."""
    roads = street()
    riders = new_riders(
        [0, 3], [9, 6], [0.0, 0.0], [0.0, 0.0], [600.0, 600.0], [540.0, 180.0], [900.0] * 2, [[1, 0]] * 2
    )
    fleet = new_fleet([0], [[4, 0]], [[0.0, 1e5]])
    cost, v, i, j = asked(0, 0.0, fleet, riders, roads)
    assert (cost, v, i, j) == (1.0 * 540 + 0.5 * 540, 0, 0, 0)
    plans.insert(v, 0, i, j, 0.0, fleet, riders, roads)
    cost, v, i, j = asked(1, 0.0, fleet, riders, roads)
    assert (i, j) == (1, 1)
    assert cost == 180.0 + 0.5 * 180.0  # three minutes of waiting, three of riding, nobody later, nothing driven more
    alone = asked(1, 0.0, fleet, riders, roads, mode=insertion.AT_THE_END)
    assert alone == (np.inf, NOBODY, -1, -1), "after the first rider it is too late"


@pytest.mark.parametrize(
    ("change", "promised"),
    [
        ({}, True),
        ({"room": [[1, 0]]}, False),  # no second seat
        ({"shift_s": [[0.0, 350.0]]}, False),  # off duty before the ride ends
        ({"latest": 170.0}, False),  # three minutes away
        ({"size": [[1, 1]]}, False),  # no wheelchair place
    ],
)
def test_what_cannot_be_kept_is_not_promised(change, promised):
    roads = street()
    size = np.array([[1, 0], *change.get("size", [[1, 0]])])
    latest = [600.0, change.get("latest", 180.0)]
    riders = new_riders([0, 3], [9, 6], [0.0] * 2, [0.0] * 2, latest, [540.0, 180.0], [560.0, 200.0], size)
    fleet = new_fleet([0], change.get("room", [[2, 0]]), change.get("shift_s", [[0.0, 1e5]]))
    _, v, i, j = asked(0, 0.0, fleet, riders, roads)
    if v != NOBODY:
        plans.insert(v, 0, i, j, 0.0, fleet, riders, roads)
    assert (asked(1, 0.0, fleet, riders, roads)[1] != NOBODY) == promised


def test_a_cancelled_stop_lets_nobody_wait_aboard_beyond_the_promise():
    """Without the first the second would be picked up at once, and sit in the vehicle until the third may board."""
    roads = street()
    earliest = [0.0, 0.0, 1000.0]
    latest = [600.0, 600.0, 1100.0]
    riders = new_riders(
        [0, 4, 6], [4, 8, 8], [0.0] * 3, earliest, latest, [240.0, 240.0, 120.0], [700.0] * 3, [[1, 0]] * 3
    )
    fleet = new_fleet([4], [[4, 0]], [[0.0, 1e5]])
    for r, places in enumerate([(0, 0), (2, 2), (3, 4)]):
        plans.insert(0, r, *places, 0.0, fleet, riders, roads)
    assert [riders.begin_s[1], fleet.arrive_s[0, 4]] == [480.0, 1120.0]
    motion.withdraw(0, 0.0, fleet, riders, roads, new_log())
    assert fleet.length[0] == 4
    assert [riders.begin_s[1], fleet.arrive_s[0, 2]] == [480.0, 1120.0]
    assert brute.play(0, brute.stops_of(0, fleet), 0.0, fleet, riders, roads) is not None


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.integers(0, 2**31), st.floats(0, 4000), st.floats(0, 1500))
def test_arrivals_are_in_the_order_of_departures_and_can_be_undone(seed, start, free):
    rng = np.random.default_rng(seed)
    speed = rng.uniform(0.2, 2.0, 6)
    end = travel_times.arrive(start, free, speed, 400.0)
    assert end == pytest.approx(brute.drive(start, free, speed, 400.0))
    assert travel_times.arrive(start + 1.0, free, speed, 400.0) >= end
    latest = travel_times.leave_by(end, free, speed, 400.0)
    assert latest == pytest.approx(start, abs=1e-6) or latest < 0
