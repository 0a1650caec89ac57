"""Streets take longer than the dispatcher knows: no decision breaks a promise for that, or makes a late one later."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents import make_controller
from envs import load_scenario
from envs.core.env import make_loop
from envs.core.errors import CityloopError
from envs.transit import kpis
from envs.transit.kernel import breakdowns, events, insertion, motion, plans
from envs.transit.kernel.events import DELAYED, DROPPED_OFF, PICKED_UP, new_log
from envs.transit.kernel.fleet import NOBODY, WAITING, new_fleet, new_riders
from envs.transit.kernel.unforeseen import SAMPLES, factors
from envs.transit.network import load_site
from envs.transit.record import promises
from envs.transit.record.ledger import Ledger
from envs.transit.settings import StreetNoise
from tests.envs.transit import brute
from tests.envs.transit.small import crowd, garage, street, streets, town

WEIGHTS = np.array([1.0, 1.0, 0.5, 0.5])
ANEW = np.array([400.0, 1.5, 200.0])
HOURS = 3 * 3600.0


def lateness(now, fleet, riders, roads):
    """What of all plans is how late, played in plain Python."""
    found = {}
    for v in range(len(fleet.at)):
        found |= brute.lateness(v, brute.stops_of(v, fleet), now, fleet, riders, roads)
    return found


def nothing_is_worse(before, after, spared=()):
    """Asserts that nothing has become late, or later, but for those who are spared, whose vehicle broke down."""
    for what, seconds in after.items():
        if what[0] not in spared or what[1] == "shift":
            assert seconds <= max(before.get(what, 0.0), 0.0) + 1e-4, what


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 2**31), st.integers(1, 3), st.integers(1, 4))
def test_no_decision_breaks_a_promise_or_makes_a_late_one_later(seed, vehicles, slots):
    """Whole services under streets that scatter: requests, cancellations, no-shows, reassigning and breakdowns.

    Every answer is the best of all insertions that make nothing late, or later, against plain Python.
    """
    rng = np.random.default_rng(seed)
    roads = town(rng, slots=slots)
    riders, fleet, log = crowd(rng, roads, 30, until_s=2400.0), garage(rng, roads, vehicles), new_log(9000)
    unknown = streets(rng, fleet, riders)
    times = np.concatenate([riders.known_s, riders.cancel_s])
    who = np.concatenate([np.arange(30), -1 - np.arange(30)])
    for k in np.argsort(times, kind="stable"):
        if not np.isfinite(times[k]):
            continue
        now, r = times[k], int(who[k])
        motion.move_all(now, fleet, riders, roads, log, unknown)
        assert (unknown.there_s[np.isfinite(unknown.there_s)] > now).all(), "who is there is known to be"
        assert (fleet.at_s[np.isfinite(unknown.there_s)] >= now).all(), "who is not is not thought to have been"
        before = lateness(now, fleet, riders, roads)
        if r < 0:
            motion.withdraw(-1 - r, now, fleet, riders, roads, log)
            nothing_is_worse(before, lateness(now, fleet, riders, roads))
            continue
        expected, *_ = brute.best(r, now, fleet, riders, roads, WEIGHTS)
        usual = roads, WEIGHTS, insertion.EVERYWHERE
        cost, v, _, _ = insertion.best_insertion(r, now, fleet, riders, *usual)
        assert (v == NOBODY) == (expected == np.inf)
        assert v == NOBODY or cost == pytest.approx(expected, abs=1e-5)
        motion.answer(r, now, fleet, riders, *usual, log)
        nothing_is_worse(before, lateness(now, fleet, riders, roads))
        if rng.random() < 0.3:
            before = lateness(now, fleet, riders, roads)
            waits = np.flatnonzero(riders.state == WAITING)
            motion.reassign(waits, 60.0, now, fleet, riders, roads, WEIGHTS, np.ones(12), log)
            nothing_is_worse(before, lateness(now, fleet, riders, roads))
        if rng.random() < 0.1:
            before, v = lateness(now, fleet, riders, roads), int(rng.integers(vehicles))
            concerned = set(fleet.rider[v, : fleet.length[v]].tolist())
            unknown.there_s[v] = np.inf
            breakdowns.break_down(v, now, fleet, riders, roads, WEIGHTS, ANEW, log)
            nothing_is_worse(before, lateness(now, fleet, riders, roads), concerned)
            breakdowns.repair(v, int(fleet.at[v]), now, fleet, log)
    motion.move_all(1e6, fleet, riders, roads, log, unknown)
    assert not fleet.length.any()
    assert not (riders.state == WAITING).any()


def alone(factor, slots=1):
    """A vehicle at node 0 of a street that takes ``factor`` times as long; riders from 3 to 6 and from 5 to 8."""
    roads = street()
    riders = new_riders(
        *([3, 5], [6, 8], [0.0, 200.0], [0.0, 200.0], [200.0, 400.0], [180.0] * 2, [240.0] * 2, [[1, 0]] * 2)
    )
    fleet = new_fleet([0], [[4, 0]], [[0.0, 1e5]])
    unknown = streets(np.random.default_rng(0), fleet, riders, nodes=10, slots=slots)
    return roads, riders, fleet, unknown._replace(factor=np.full_like(unknown.factor, factor)), new_log()


def answer(r, now, roads, riders, fleet, unknown, log):
    motion.move_all(now, fleet, riders, roads, log, unknown)
    return motion.answer(r, now, fleet, riders, roads, WEIGHTS, insertion.EVERYWHERE, log)


def test_what_the_dispatcher_learns_by_hand():
    """Streets take 75 s in place of 60: after 65 s the vehicle may be at node 1 any moment, after 75 s it is."""
    roads, riders, fleet, unknown, log = all_of = alone(1.25)
    assert answer(0, 0.0, *all_of)
    assert riders.begin_s[0] == 180.0
    for now, at, at_s in ((30.0, 1, 60.0), (65.0, 1, 65.0), (74.0, 1, 74.0), (76.0, 2, 135.0), (140.0, 2, 140.0)):
        motion.move_all(now, fleet, riders, roads, log, unknown)
        assert (fleet.at[0], fleet.at_s[0]) == (at, at_s)
        assert riders.begin_s[0] == at_s + 60.0 * (3 - at), "the rest as known"
    motion.move_all(1e4, fleet, riders, roads, log, unknown)
    rows = events.rows(log)
    times = {events.NAMES[k]: t for k, t, r in zip(rows.kind, rows.time_s, rows.rider, strict=True) if r == 0}
    assert times["picked_up"] == 225.0
    assert times["dropped_off"] == 450.0
    assert rows.load[rows.kind == DELAYED].tolist() == [25], "promised within 200 s"
    assert not (rows.kind == events.PROLONGED).any(), "180 s were planned, 240 promised"
    found = kpis.indicators(rows, fleet, riders, np.zeros(10, int), 1e4)
    assert (found["late_by_street"], found["broken"], found["failed"]) == (1, 0, 0)
    assert found["late_mean_min"] == pytest.approx(25 / 60)
    assert promises.broken_promises(rows._replace(load=rows.load - (rows.kind == DELAYED)), fleet, riders) == 1


def test_a_late_plan_stays_and_nobody_is_put_before_it():
    """The first rider is late; the second lies on the way, and boarding would make the first later still."""
    roads, riders, fleet, _, log = all_of = alone(2.0)
    riders.board_s[:] = 15.0
    riders.limit_s[0] = 200.0
    assert answer(0, 0.0, *all_of)
    motion.move_all(200.0, fleet, riders, roads, log, all_of[3])
    assert plans.at_latest(riders.latest_s[0], riders.begin_s[0]) > riders.latest_s[0]
    riders.latest_s[1] = 1000.0
    assert answer(1, 200.0, *all_of)
    assert fleet.rider[0, :4].tolist() == [0, 0, 1, 1], "the first keeps its times"
    motion.move_all(1e4, fleet, riders, roads, log, all_of[3])
    assert (riders.state == 3).all()


def test_a_margin_is_kept_in_hand():
    """Streets are slower by a quarter: what was held to 120 s takes 150, and the promise of 160 s is kept."""
    roads, riders, fleet, unknown, log = alone(1.25)
    riders.origin[0], riders.latest_s[0] = 2, 160.0
    held = riders._replace(latest_s=riders.latest_s - 40.0)
    assert answer(0, 0.0, roads, held, fleet, unknown, log)
    motion.move_all(1e4, fleet, held, roads, log, unknown)
    rows = events.rows(log)
    assert rows.time_s[rows.kind == PICKED_UP] == [150.0]
    assert rows.load[rows.kind == DELAYED].tolist() == [30], "by the plan's own limit"
    assert rows.load[rows.kind == events.PROLONGED].tolist() == [60], "300 s in place of 240"
    riders.limit_s[0] = 280.0
    found = kpis.indicators(rows, fleet, riders, np.zeros(10, int), 1e4, margin_s=40.0)
    assert (found["late_by_street"], found["broken"]) == (1, 0)
    assert found["late_mean_min"] == pytest.approx(20 / 60), "the ride; the pick-up is within the promise"


def test_who_is_early_lets_nobody_wait_aboard_beyond_the_promise():
    """Streets are quick: the first rider could board early, and would sit in the vehicle until the second may."""
    roads, riders, fleet, unknown, log = alone(0.5)
    riders.earliest_s[1], riders.latest_s[1] = 300.0, 400.0
    riders.limit_s[0] = 185.0
    assert answer(0, 0.0, roads, riders, fleet, unknown, log)
    plans.insert(0, 1, 1, 2, 0.0, fleet, riders, roads)
    riders.state[1] = WAITING
    motion.move_all(1e4, fleet, riders, roads, log, unknown)
    rows = events.rows(log)
    assert rows.time_s[(rows.kind == PICKED_UP) & (rows.rider == 0)] == pytest.approx([180.0])
    assert (rows.time_s[(rows.kind == DROPPED_OFF) & (rows.rider == 0)] <= 180.0 + 185.0).all()


@pytest.fixture(scope="module")
def site():
    return load_site(load_scenario("transit/hcmc"))


def test_the_model_is_what_it_says(site):
    """Mean one and the given spread; correlated by exp(-1) after ``lasting_s``, and among streets of a zone."""
    model = StreetNoise(spread=0.4, together=0.5)
    starts = np.arange(len(site.nodes))
    found = factors(model, site, starts, 4000, np.random.default_rng(1)).astype(float)
    assert found.mean() == pytest.approx(1.0, abs=0.01)
    assert found.std() == pytest.approx(0.4, abs=0.02)
    wave = np.log(found)
    wave = (wave - wave.mean()) / wave.std()
    assert (wave[:, :-SAMPLES] * wave[:, SAMPLES:]).mean() == pytest.approx(np.exp(-1), abs=0.03)
    zone = site.zone_of[starts]
    near = (zone[:, None] == zone) & ~np.eye(len(zone), dtype=bool)
    between = np.corrcoef(wave)
    assert between[near].mean() == pytest.approx(0.5, abs=0.05)
    assert between[zone[:, None] != zone].mean() == pytest.approx(0.0, abs=0.05)


def test_incidents_slow_a_part_of_the_town_for_a_time(site):
    model = StreetNoise(incidents_h=1.0, incident_m=800.0, incident_factor=3.0, incident_s=1200.0, lasting_s=60.0)
    starts = np.arange(len(site.nodes))
    found = factors(model, site, starts, 40_000, np.random.default_rng(2)).astype(float)
    assert set(np.unique(found)) <= {3.0**k for k in range(12)}
    slowed = (found > 1).mean(axis=1)  # each reaches about a twelfth of the town, and lasts a third of an hour
    assert 0 < slowed.min() < slowed.max() < 0.2


ROUGH = {
    "plain": {},
    "batch": {},
    "solo": {},
    "margin": {"promise__margin_s": 90.0},
    "reassigned": {"timing__reassign_s": 60.0},
    "breaking down": {"breakdowns__per_veh_h": 0.5, "breakdowns__repair_s": 1800.0},
    "with breaks and shifts": {
        "fleet__rest_s": 900.0,
        "fleet__rest_from_s": 2400.0,
        "fleet__rest_until_s": 6000.0,
        "fleet__end_s": 9000.0,
    },
    "all at once": {
        "promise__margin_s": 45.0,
        "timing__reassign_s": 60.0,
        "breakdowns__per_veh_h": 0.3,
        "breakdowns__repair_s": 1200.0,
        "fleet__end_s": 9000.0,
        "fleet__range_km": 40.0,
    },
    "electric": {"fleet__range_km": 40.0, "charging__count": 2, "charging__places": 1},
}


@pytest.fixture(scope="module")
def rough():
    """Episodes on streets that scatter, with incidents: name → indicators and events."""
    found = {}
    for name, more in ROUGH.items():
        changes = {"streets__spread": 0.5, "streets__incidents_h": 2.0, "district__booked": 0.3}
        changes |= {"timing__reassign_s": 0.0} | more
        controller = name if name in ("batch", "solo") else "reactive"
        hours = HOURS / 2 if name == "batch" else HOURS  # as its decisions take seconds
        loop = make_loop("transit/hcmc", duration_s=hours, fleet__vehicles=25, **changes)
        kpi = loop.episode(make_controller(controller, loop.site), 1).kpis
        found[name] = kpi, loop.world.log, loop.world.service
        loop.close()
    return found


def test_no_decision_is_to_blame_in_any_service(rough):
    for kpi, _, _ in rough.values():
        assert kpi["broken"] == kpi["failed"] == 0
        assert kpi["ran_empty"] == kpi["breaks_missed"] == 0
    assert all(rough[name][0]["late_by_street"] > 0 for name in rough if name != "margin")
    assert rough["with breaks and shifts"][0]["overtime_min"] > 0
    assert rough["electric"][0]["charges"] > 5


def test_everybody_who_was_promised_a_vehicle_is_served_late_or_not(rough):
    for name in ("plain", "batch", "solo", "reassigned"):
        _, log, service = rough[name]
        ledger = Ledger(log, service.asked)
        promised = np.unique(log.rider[log.kind == events.PROMISED])
        served = np.isfinite(ledger.dropped_s) | ledger.withdrawn | ledger.absent
        assert served[promised].all()


def test_a_margin_makes_fewer_late(rough):
    assert rough["margin"][0]["late_by_street"] < rough["plain"][0]["late_by_street"] / 2


def test_no_charger_has_more_vehicles_than_places(rough):
    _, log, service = rough["electric"]
    nodes = service._chargers.places[:, 0]
    for node in nodes:
        mine = (log.node == node) & np.isin(log.kind, [events.PLUGGED_IN, events.UNPLUGGED])
        sign = np.where(log.kind[mine] == events.PLUGGED_IN, 1, -1)
        order = np.lexsort((sign, np.round(log.time_s[mine], 3)))
        assert np.cumsum(sign[order]).max() <= 1


def test_lateness_that_streets_did_not_cause_would_be_seen(rough):
    """The excuse is no blank cheque: without it, or with later pick-ups than it covers, promises count as broken."""
    kpi, log, service = rough["plain"]
    excused = np.isin(log.kind, [events.DELAYED, events.PROLONGED])
    bare = log._replace(load=np.where(excused, 0, log.load))
    assert promises.broken_promises(bare, service.fleet, service.asked) == kpi["late_by_street"]
    later = log._replace(time_s=np.where(log.kind == PICKED_UP, log.time_s + 400.0, log.time_s))
    assert promises.broken_promises(later, service.fleet, service.asked) > 100


def test_the_same_seed_gives_the_same_streets():
    ends = []
    for _ in range(2):
        loop = make_loop("transit/hcmc", duration_s=3600.0, fleet__vehicles=10, streets__spread=0.3)
        ends.append(loop.episode(make_controller("reactive", loop.site), 4).kpis)
        loop.close()
    assert ends[0] == ends[1]


def test_a_margin_is_less_than_the_promise():
    with pytest.raises(CityloopError, match="margin_s is 300"):
        load_scenario("transit/hcmc", promise__margin_s=300.0)
