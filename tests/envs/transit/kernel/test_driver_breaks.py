"""Drivers' breaks: in their window, with nobody aboard, whatever is asked; and the kernel is exact around them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents import make_controller
from envs import CityloopError, load_scenario
from envs.core.env import make_loop
from envs.transit.kernel import driver_breaks, events, insertion, motion
from envs.transit.kernel.events import new_log, rows
from envs.transit.kernel.fleet import NOBODY, new_fleet, new_riders
from envs.transit.record import promises
from tests.envs.transit import brute
from tests.envs.transit.own import write
from tests.envs.transit.small import crowd, garage, street, town

WEIGHTS = np.array([1.0, 1.0, 0.5, 0.5])
HOURS = 4 * 3600.0
REST = {"fleet__rest_s": 1800.0, "fleet__rest_from_s": 3600.0, "fleet__rest_until_s": 2.5 * 3600.0}


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 2**31), st.integers(1, 3), st.integers(1, 5))
def test_the_best_insertion_is_the_best_of_all_around_breaks(seed, vehicles, slots):
    """Whole services, cancellations and idle vehicles sent about: the kernel against trying everything in Python."""
    rng = np.random.default_rng(seed)
    roads = town(rng, slots=slots)
    fleet = garage(rng, roads, vehicles)
    first = rng.uniform(650, 900, vehicles)  # all shifts have begun by then, and end later
    breaks = np.stack([first, first + rng.uniform(100, 500, vehicles), np.full(vehicles, 200.0)], axis=1)
    fleet.shift_s[:, 1] += 500.0
    riders = driver_breaks.with_breaks(crowd(rng, roads, 20), fleet, breaks)
    driver_breaks.plan_breaks(fleet, riders, roads, breaks)
    log = new_log(3000)
    times = np.concatenate([riders.known_s[:20], riders.cancel_s[:20]])
    who = np.concatenate([np.arange(20), -1 - np.arange(20)])
    for k in np.argsort(times, kind="stable"):
        if not np.isfinite(times[k]):
            continue
        now, r = times[k], int(who[k])
        motion.move_all(now, fleet, riders, roads, log, None)
        for v in np.flatnonzero(driver_breaks.free(fleet, riders, now)):
            if rng.random() < 0.3:
                motion.send(int(v), int(rng.integers(12)), now, fleet, riders, roads, log)
        if r < 0:
            motion.withdraw(-1 - r, now, fleet, riders, roads, log)
            continue
        expected, *_ = brute.best(r, now, fleet, riders, roads, WEIGHTS)
        found = insertion.best_insertion(r, now, fleet, riders, roads, WEIGHTS, insertion.EVERYWHERE)
        assert (found[1] == NOBODY) == (expected == np.inf)
        if found[1] != NOBODY:
            assert found[0] == pytest.approx(expected, abs=1e-5)
        motion.answer(r, now, fleet, riders, roads, WEIGHTS, insertion.EVERYWHERE, log)
        for v in range(vehicles):
            assert brute.play(v, brute.stops_of(v, fleet), now, fleet, riders, roads) is not None
    motion.move_all(1e6, fleet, riders, roads, log, None)
    assert promises.missed_breaks(rows(log), breaks) == 0


def test_a_break_by_hand():
    """It is taken where the last rider before it got off, and the next is served after it."""
    roads = street()
    fleet, breaks = new_fleet([0], [[4, 0]], [[0.0, 1e5]]), np.array([[300.0, 900.0, 600.0]])
    ends = [0, 3], [3, 6], [0.0, 400.0], [0.0, 400.0], [600.0, 1000.0], [180.0, 180.0], [500.0, 500.0]
    riders = driver_breaks.with_breaks(new_riders(*ends, [[1, 0]] * 2), fleet, breaks)
    driver_breaks.plan_breaks(fleet, riders, roads, breaks)
    log = new_log()
    usual = np.ones(10), insertion.EVERYWHERE, np.ones(3)
    motion.run(np.array([0.0, 400.0]), np.array([0, 1]), 5000.0, fleet, riders, roads, WEIGHTS, *usual, log, None)
    table = zip(*(column[: log.used[0]] for column in (log.kind, log.time_s, log.node)), strict=True)
    found = [(events.NAMES[kind], float(time_s), int(node)) for kind, time_s, node in table]
    assert ("rested", 300.0, 3) in found
    assert ("went_on", 900.0, 3) in found
    assert ("picked_up", 900.0, 3) in found, "the rider of 400 may wait until 1000"


@pytest.fixture(scope="module")
def loop():
    one = make_loop("transit/hcmc", duration_s=HOURS, district__cancelled=0.1, **REST)
    yield one
    one.close()


@pytest.mark.parametrize("name", ["reactive", "coverage", "solo"])
def test_every_driver_has_a_break_and_every_promise_holds(loop, name):
    found = loop.episode(make_controller(name, loop.site), 3).kpis
    assert (found["breaks"], found["breaks_missed"], found["broken"], found["failed"]) == (40, 0, 0, 0)
    assert found["served_pct"] > 60
    log = loop.world.log
    assert len(set(np.round(log.time_s[log.kind == events.RESTED]))) > 10, "not all at once"


def test_a_missed_break_would_be_seen(loop):
    loop.episode(make_controller("reactive", loop.site), 3)
    log, breaks = loop.world.log, loop.world.service.breaks
    late = log._replace(time_s=np.where(log.kind == events.RESTED, log.time_s + 7200, log.time_s))
    assert promises.missed_breaks(late, breaks) == 40
    short = log._replace(time_s=np.where(log.kind == events.WENT_ON, log.time_s - 60, log.time_s))
    assert promises.missed_breaks(short, breaks) == 40
    none = log._replace(kind=np.where(log.kind == events.RESTED, events.STOOD, log.kind))
    assert promises.missed_breaks(none, breaks) == 40


def test_idle_vehicles_are_idle_until_their_break(loop):
    loop.reset(0)
    assert loop.readings["idle_veh"].sum() == 40
    assert loop.readings["busy_veh"].sum() == 0


def test_breaks_and_breakdowns_together():
    change = REST | {"breakdowns__per_veh_h": 0.2, "breakdowns__repair_s": 1800.0}
    loop = make_loop("transit/hcmc", duration_s=HOURS, **change)
    found = loop.episode(make_controller("reactive", loop.site), 1).kpis
    loop.close()
    assert found["breakdowns"] > 5
    assert (found["breaks_missed"], found["broken"]) == (0, 0)


@pytest.mark.parametrize(
    ("fleet", "words"),
    [
        ("rest_s: 600, rest_from_s: 600, rest_until_s: 300", "a break begins from 600 to 300"),
        (
            "rest_s: 600, rest_from_s: 100, rest_until_s: 900, end_s: 1200",
            "a break may last until 1500, the shift 1200",
        ),
    ],
)
def test_breaks_that_make_no_sense(tmp_path, fleet, words):
    path = write(tmp_path)
    path.write_text(path.read_text().replace("seats: 4", f"seats: 4, {fleet}"))
    with pytest.raises(CityloopError, match=words):
        load_scenario(path)
