"""Vehicles break down: whom others can serve they serve, every other promise holds, and everybody is accounted for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents import make_controller
from envs.core.env import make_loop
from envs.transit.kernel import breakdowns, events, insertion, motion
from envs.transit.kernel.events import new_log
from envs.transit.kernel.fleet import ABOARD, STRANDED, WAITING
from envs.transit.record import promises
from tests.envs.transit import brute
from tests.envs.transit.small import crowd, garage, town

HOURS = 3 * 3600.0
WEIGHTS = np.array([1.0, 1.0, 0.5, 0.5])
ANEW = np.array([400.0, 1.5, 200.0])


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 2**31), st.integers(1, 4))
def test_after_a_breakdown_every_plan_still_keeps_its_promises(seed, slots):
    """Against plain Python; and nobody is lost: who was in the plan is in another one, once, or stranded."""
    rng = np.random.default_rng(seed)
    roads = town(rng, slots=slots)
    riders, fleet, log = crowd(rng, roads, 25), garage(rng, roads, 3), new_log(9000)
    for r in range(25):
        now = riders.known_s[r]
        motion.move_all(now, fleet, riders, roads, log, None)
        motion.answer(r, now, fleet, riders, roads, WEIGHTS, insertion.EVERYWHERE, log)
        if rng.random() < 0.2:
            v = int(rng.integers(3))
            waited = riders.latest_s.copy()
            known = {int(x) for x in fleet.rider[v, : fleet.length[v]]}
            first = log.used[0]
            breakdowns.break_down(v, now, fleet, riders, roads, WEIGHTS, ANEW, log)
            rows = slice(first, log.used[0])
            kept = log.rider[rows][(log.kind[rows] == events.HANDED_OVER) & (log.load[rows] == events.KEPT)]
            set_down = log.rider[rows][log.kind[rows] == events.SET_DOWN]
            assert fleet.length[v] == 0
            for other in known:
                plans = [u for u in range(3) if other in fleet.rider[u, : fleet.length[u]]]
                assert len(plans) == (0 if riders.state[other] == STRANDED else 1)
                if other in kept and other not in set_down:
                    assert riders.latest_s[other] == waited[other], "under the same promise"
            breakdowns.repair(v, int(fleet.at[v]), now, fleet, log)
        for v in range(3):
            assert brute.play(v, brute.stops_of(v, fleet), now, fleet, riders, roads) is not None
        inside = []
        for v in range(3):
            inside += [int(fleet.rider[v, k]) for k in range(fleet.length[v]) if not fleet.pick[v, k]]
        assert sorted(inside) == sorted(np.flatnonzero(np.isin(riders.state, [WAITING, ABOARD])))


@pytest.fixture(scope="module")
def rough():
    """A morning on which a vehicle breaks down every two hours of its shift, for half an hour."""
    loop = make_loop(
        "transit/hcmc",
        duration_s=HOURS,
        fleet__vehicles=25,
        breakdowns__per_veh_h=0.5,
        breakdowns__repair_s=1800.0,
        district__cancelled=0.1,
    )
    yield loop
    loop.close()


def test_dispatch_breaks_nothing_even_then(rough):
    for name in ("reactive", "solo"):
        found = [rough.episode(make_controller(name, rough.site), seed).kpis for seed in range(3)]
        assert all(kpi["broken"] == kpi["failed"] == 0 for kpi in found)
        assert all(kpi["breakdowns"] > 15 for kpi in found)
        assert sum(kpi["broken_by_breakdown"] for kpi in found) > 0
        assert all(kpi["stranded"] <= kpi["broken_by_breakdown"] for kpi in found)


def test_everybody_is_accounted_for(rough):
    rough.episode(make_controller("reactive", rough.site), 2)
    log, riders = rough.world.log, rough.world.service.asked
    asked = np.bincount(log.rider[log.kind == events.REQUESTED], minlength=len(riders.origin))
    ends = np.isin(log.kind, [events.REFUSED, events.CANCELLED, events.ABSENT, events.DROPPED_OFF, events.STRANDED])
    ended = np.bincount(log.rider[ends], minlength=len(riders.origin))
    known = riders.known_s < HOURS
    assert (asked[known] == 1).all()
    assert (ended[known] == 1).all()
    picked = np.bincount(log.rider[log.kind == events.PICKED_UP], minlength=len(riders.origin))
    down = np.bincount(log.rider[log.kind == events.SET_DOWN], minlength=len(riders.origin))
    off = np.bincount(log.rider[log.kind == events.DROPPED_OFF], minlength=len(riders.origin))
    assert (picked == down + off).all(), "who boards gets off"
    assert down.sum() > 0


def test_out_of_service_vehicles_do_nothing(rough):
    """No event of a vehicle between its breakdown and its repair, but that it sets riders down."""
    rough.episode(make_controller("reactive", rough.site), 2)
    log = rough.world.log
    assert (log.kind == events.BROKE_DOWN).sum() > 10
    for v in range(25):
        out = False
        for kind in log.kind[log.vehicle == v]:
            if kind == events.BROKE_DOWN:
                out = True
            elif kind == events.REPAIRED:
                out = False
            elif out:
                assert kind == events.SET_DOWN


def test_without_breakdowns_nothing_is_different(rough):
    """The draws of a breakdown are its own: the same requests, the same starts."""
    whole = make_loop("transit/hcmc", duration_s=HOURS, fleet__vehicles=25, district__cancelled=0.1)
    whole.reset(2)
    rough.reset(2)
    np.testing.assert_array_equal(whole.world.service.asked.known_s, rough.world.service.asked.known_s)
    np.testing.assert_array_equal(whole.world.service.fleet.at, rough.world.service.fleet.at)
    whole.close()


def test_the_breakdowns_fault_is_not_dispatchs(rough):
    """Take away what tells of the breakdown, and the same late rides are broken promises."""
    rough.episode(make_controller("reactive", rough.site), 2)
    log, service = rough.world.log, rough.world.service
    assert promises.broken_promises(log, service.fleet, service.asked) == 0
    silent = log._replace(load=np.where(log.kind == events.HANDED_OVER, events.KEPT, log.load))
    assert promises.broken_promises(silent, service.fleet, service.asked) > 0
