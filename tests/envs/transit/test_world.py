"""Services played out: by hand on a street, and whole days in which no promise may be broken."""

import csv

import numpy as np
import pytest

from agents import make_controller, rules
from envs import CityloopError, load_scenario
from envs.core.env import make_loop
from envs.transit.kernel import events
from envs.transit.record import promises
from envs.transit.record.ledger import Ledger
from tests.envs.transit.own import write
from training.evaluation.evaluate import evaluate

HOURS = 3 * 3600.0


@pytest.fixture(scope="module")
def district():
    loop = make_loop(
        "transit/hcmc", duration_s=HOURS, district__booked=0.3, district__cancelled=0.2, district__absent=0.1
    )
    yield loop
    loop.close()


def own(tmp_path, requests, **more):
    text = "".join(f"{key}: {value}\n" for key, value in more.items())
    return make_loop(
        load_scenario(write(tmp_path, requests="time_s,from,to,known_s,cancel_s,absent\n" + requests, more=text))
    )


def history(loop, controller="insertion", seed=0):
    loop.episode(make_controller(controller, loop.site), seed)
    log = loop.world.log
    return [(events.NAMES[k], int(r), t) for k, r, t in zip(log.kind, log.rider, log.time_s, strict=True) if r >= 0]


def test_a_day_by_hand(tmp_path):
    """One vehicle, at the western end at first: it takes the first rider at once, the second on the way."""
    loop = own(tmp_path, "0,a,c,0,,0\n30,b,c,30,,0\n900,b,a,900,,0\n")
    times = {(kind, r): t for kind, r, t in history(loop, seed=from_the_west(loop))}
    assert times["picked_up", 0] == 0
    assert times["picked_up", 1] == 60
    assert times["dropped_off", 0] == times["dropped_off", 1] == 120
    assert times["picked_up", 2] == 960
    assert times["dropped_off", 2] == 1020
    result = loop.world.kpis()
    assert result["wait_mean_min"] == pytest.approx((0 + 30 + 60) / 180)
    assert result["wait_min"] == result["wait_mean_min"]
    assert result["ride_min"] == pytest.approx((120 + 60 + 60) / 180)
    assert result["detour"] == 1.0
    assert (result["total_km"], result["empty_km"]) == (2.0, 0.5)
    assert result["empty_pct"] == 25
    assert result["occupancy"] == pytest.approx((0.5 + 2 * 0.5 + 0.5) / 2.0)
    assert result["parties_per_veh_h"] == 3 / (1200 / 3600)


def from_the_west(loop):
    """A seed whose only vehicle begins at the first corner."""
    for seed in range(50):
        loop.reset(seed)
        if loop.world.service.fleet.at[0] == 0:
            return seed
    raise AssertionError("no vehicle ever begins there")


def test_a_program_of_another_kind_is_told(district):
    with pytest.raises(CityloopError, match="program is a str: give a Dispatch"):
        district.reset(0, program="nearest")


def test_nobody_begins_where_no_road_leads_away(tmp_path):
    loop = own(tmp_path, "0,a,c,0,,0\n")
    starts = set()
    for seed in range(30):
        loop.reset(seed)
        starts.add(loop.site.nodes[loop.world.service.fleet.at[0]].id)
    assert starts == {"a", "b", "c"}, "not at the island e, nor at the corner d without a stop"


def test_who_books_is_not_picked_up_before_the_time(tmp_path):
    times = {(kind, r): t for kind, r, t in history(own(tmp_path, "600,a,c,0,,0\n"))}
    assert times["promised", 0] == 0
    assert times["picked_up", 0] == 600


def test_who_cancels_is_not_waited_for_and_who_does_not_come_is_left(tmp_path):
    loop = own(tmp_path, "600,a,c,0,300,0\n700,a,b,10,,1\n800,b,c,800,,0\n")
    found = history(loop)
    assert [kind for kind, r, _ in found if r == 0] == ["requested", "promised", "cancelled"]
    assert [kind for kind, r, _ in found if r == 1] == ["requested", "promised", "absent"]
    assert ("picked_up", 2) in {(kind, r) for kind, r, _ in found}
    result = loop.world.kpis()
    assert (result["asked"], result["withdrawn"], result["absent"], result["broken"]) == (1, 1, 1, 0)


def test_the_reason_of_a_refusal_is_told(tmp_path):
    loop = own(tmp_path, "0,a,c,0,,0\n0,c,a,0,,0\n", promise="{wait_s: 60, ride_factor: 1, ride_allowance_s: 0}")
    loop.episode(make_controller("insertion", loop.site), 1)
    result = loop.world.kpis()
    assert result["refused_too_late"] >= 1
    assert result["served_pct"] == 100 * (2 - result["refused_too_late"]) / 2
    assert result["wait_min"] == pytest.approx(
        (result["wait_mean_min"] * (2 - result["refused_too_late"]) + 30 * result["refused_too_late"]) / 2
    )


@pytest.mark.parametrize("name", [name for name in rules("transit") if name != "batch"])
def test_no_controller_breaks_a_promise(district, name):
    """`batch`, whose decisions take seconds, has an hour of its own in `test_batch`."""
    result = district.episode(make_controller(name, district.site), 5).kpis
    assert result["broken"] == result["failed"] == 0
    assert result["asked"] > 200
    assert result["withdrawn"] > 5
    assert result["absent"] > 5


def test_no_request_breaks_a_promise(district):
    """Whatever zones ask for, riders get what they were promised."""
    rng = np.random.default_rng(0)
    district.reset(6)
    step = None
    while step is None or not step.done:
        step = district.step(rng.uniform(-3, 3, (len(district.site.agents), 2)))
    assert step.kpis["broken"] == 0
    assert step.kpis["moved"] > 0


def test_reassigning_keeps_every_promise_and_serves_no_fewer():
    """Riders who wait are given to other vehicles again and again; whoever was promised one is picked up in time."""
    found = {}
    for reassign_s in (0.0, 120.0):
        changes = {"district__booked": 0.3, "district__cancelled": 0.2, "district__absent": 0.1}
        loop = make_loop("transit/hcmc", duration_s=HOURS, fleet__vehicles=20, timing__reassign_s=reassign_s, **changes)
        found[reassign_s] = [loop.episode(make_controller("reactive", loop.site), seed).kpis for seed in range(3)]
        loop.close()
    assert all(kpis["broken"] == 0 for kpis in found[120.0])
    assert all(kpis["handed_over"] > 10 for kpis in found[120.0])
    assert all(kpis["handed_over"] == 0 for kpis in found[0.0])
    served = {key: np.mean([kpis["served_pct"] for kpis in value]) for key, value in found.items()}
    assert served[120.0] > served[0.0]


def test_a_broken_promise_would_be_seen(district):
    """The count of broken promises is no constant: shift the same events, and it rises."""
    district.episode(make_controller("insertion", district.site), 5)
    service, log = district.world.service, district.world.log
    assert promises.broken_promises(log, service.fleet, service.riders) == 0
    late = log._replace(time_s=np.where(log.kind == events.PICKED_UP, log.time_s + 900, log.time_s))
    assert promises.broken_promises(late, service.fleet, service.riders) > 100
    small = service.fleet._replace(room=np.ones_like(service.fleet.room))
    assert promises.broken_promises(log, small, service.riders) > 100
    short = service.fleet._replace(shift_s=np.tile([0.0, 3600.0], (len(service.fleet.at), 1)))
    assert promises.broken_promises(log, short, service.riders) > 100
    lost = log._replace(kind=np.where(log.kind == events.DROPPED_OFF, events.DROVE, log.kind))
    assert promises.broken_promises(lost, service.fleet, service.riders) > 100


def test_everybody_is_accounted_for(district):
    district.episode(make_controller("reactive", district.site), 7)
    log, riders = district.world.log, district.world.service.riders
    asked = np.bincount(log.rider[log.kind == events.REQUESTED], minlength=len(riders.origin))
    ends = np.isin(log.kind, [events.REFUSED, events.CANCELLED, events.ABSENT, events.DROPPED_OFF])
    ended = np.bincount(log.rider[ends], minlength=len(riders.origin))
    known = riders.known_s < HOURS
    assert (asked[known] == 1).all()
    assert (ended[known] == 1).all()
    assert (np.diff(log.time_s) >= 0).all()


def test_kilometres_are_those_of_the_plans(district):
    """What was driven with people aboard is at least what everybody's direct ride needs, by the fullest vehicle."""
    district.episode(make_controller("solo", district.site), 7)
    log, riders = district.world.log, district.world.service.riders
    served = log.rider[log.kind == events.DROPPED_OFF]
    direct_m = district.site.matrices.metres[riders.origin[served], riders.destination[served]].sum()
    full = (log.kind == events.DROVE) & (log.load > 0)
    assert log.metres[full].sum() == pytest.approx(direct_m), "one party at a time: every ride is direct"


def test_rewards_add_up_to_what_is_reported(district):
    district.reset(5)
    waited, refused, done = 0.0, 0.0, False
    while not done:
        step = district.step(np.zeros((len(district.site.agents), 2)))
        waited += district.world.truth["waited_s"].sum()
        refused += district.world.truth["refused"].sum()
        done = step.done
    log, riders = district.world.log, district.world.service.riders
    ledger = Ledger(log, riders)
    owed = ~ledger.withdrawn & ~ledger.absent
    within = np.isfinite(ledger.picked_s) & owed & (ledger.picked_s <= HOURS)
    assert waited >= ledger.wait_s[within].sum() - 1e-6
    assert waited <= ledger.wait_s[within].sum() + 60 * step.kpis["wait_p95_min"] * (len(owed) - within.sum())
    assert refused == ledger.refused.sum()


def test_the_last_readings_are_those_of_the_end(district):
    """Not of ten minutes later, when all promises were kept and everybody stands idle: learners value them."""
    controller = make_controller("standby", district.site)
    controller.reset()
    district.reset(3, controller.program)
    step = None
    while step is None or not step.done:
        step = district.step(controller.act(district.readings, district.observation))
    assert district.readings["time_s"][0] == pytest.approx(HOURS)
    assert district.readings["busy_veh"].sum() > 0


def test_a_zone_whose_riders_are_refused_is_told_of(tmp_path):
    """Of nine who want to leave the west at once one seat takes three: too few for a mean wait, not for a share."""
    path = write(tmp_path, requests="time_s,from,to\n" + "0,a,c\n" * 9, more="fleet: {vehicles: 1, seats: 1}\n")
    evaluate(load_scenario(path), ["insertion"], seeds=1, processes=1, out=tmp_path / "out")
    with (tmp_path / "out" / "places.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["place"], row["wait_min"]) for row in rows] == [("west", "")]
    assert float(rows[0]["served_pct"]) == pytest.approx(100 * 3 / 9)
    assert (tmp_path / "out" / "map_served_pct.png").is_file()


def test_off_shift_vehicles_do_nothing(tmp_path):
    loop = own(
        tmp_path,
        "0,a,c,0,,0\n700,a,c,700,,0\n",
        more="[{vehicles: 1, begin_s: 600}]",
        promise="{wait_s: 900}",
        timing="{decision_s: 300}",
    )
    loop.reset(0)
    assert loop.readings["idle_veh"].sum() == 1
    loop.step(np.zeros((2, 2)))
    loop.step(np.zeros((2, 2)))
    loop.step(np.zeros((2, 2)))
    assert loop.world.time_s == 900
    vehicles = sum(loop.readings[name].sum() for name in ("idle_veh", "inbound_veh", "busy_veh"))
    assert vehicles == 2


def test_nothing_is_compiled_for_a_town_that_nobody_plays(monkeypatch):
    """A loop is made for its site alone, too, as by the caller of plants; those that play prepare first."""
    asked = []
    monkeypatch.setattr("envs.transit.service.warm_up", lambda **more: asked.append(more))
    loop = make_loop("transit/hcmc", streets__spread=0.2)
    assert asked == []
    loop.world.prepare()
    assert asked == [{"disturbed": True}]
