"""Yellow, all-red and what is shown between stages, against the published formulas."""

import numpy as np
import pytest

from envs.intersections.junction import Movement, ite_red_clearance_s, ite_yellow_s
from envs.intersections.signals import SignalController, transition
from envs.intersections.site import SignalSite
from envs.intersections.timing import REGIMES
from tests.envs.intersections.small import crossroads, junction, movement, site
from tests.safety.conflict_monitor import ConflictMonitor


@pytest.mark.parametrize(
    ("speed_kmh", "yellow_s"),
    [(30, 3), (40, 3), (50, 4), (60, 4), (70, 5), (100, 6)],  # 2.4, 2.8, 3.3, 3.7, 4.2, 5.6 s, rounded up, at least 3
)
def test_yellow_follows_the_ite_formula(speed_kmh, yellow_s):
    assert ite_yellow_s(speed_kmh / 3.6) == yellow_s


def test_yellow_stays_between_three_and_six_seconds():
    assert ite_yellow_s(0.0) == 3
    assert ite_yellow_s(60.0) == 6


@pytest.mark.parametrize(
    ("width_m", "speed_mps", "red_s"),
    [(20.0, 13.9, 2), (35.0, 13.9, 3), (0.0, 13.9, 1), (100.0, 8.3, 6), (10.0, 0.0, 6)],
)
def test_red_clearance_follows_the_ite_formula(width_m, speed_mps, red_s):
    assert ite_red_clearance_s(width_m, speed_mps) == red_s  # (w + 6.1 m) / v, rounded, from 1 to 6 s


def test_engineers_get_yellow_and_all_red_from_speed_and_width():
    place = crossroads()
    phases = transition(place, place.junctions[0], 0, 1)
    assert [(phase.state, phase.duration_s) for phase in phases] == [("yr", 4), ("rr", 2)]


def test_resco_gets_three_seconds_of_yellow_and_no_all_red():
    place = crossroads().model_copy(update={"timing": REGIMES["resco"]})
    phases = transition(place, place.junctions[0], 0, 1)
    assert [(phase.state, phase.duration_s) for phase in phases] == [("yr", 3)]


def test_what_stays_green_stays_green():
    place = site(junction(("GGr", "GrG"), [movement(0), movement(1), movement(2)]))
    assert [phase.state for phase in transition(place, place.junctions[0], 0, 1)] == ["Gyr", "Grr"]


def test_a_stage_that_only_adds_greens_needs_no_transition():
    place = site(junction(("Grr", "GGr", "rrG"), [movement(0), movement(1), movement(2)]))
    assert transition(place, place.junctions[0], 0, 1) == []


def turning(regime):
    """A left turn that crosses oncoming traffic: first protected, then giving way to it."""
    movements = [movement(0), movement(1)]
    place = site(junction(("rG", "Gg"), movements, foes=[(0, 1)], yields=[(1, 0)]), REGIMES[regime])
    return place.model_copy(update={"regime": regime})


@pytest.mark.parametrize(
    ("regime", "old", "shown"),
    [
        ("engineer", 0, [("ry", 4), ("rr", 2)]),  # the arrow ends before those in its way start
        ("engineer", 1, [("yg", 4), ("rg", 2)]),  # and begins once they have left
        ("resco", 0, []),
        ("resco", 1, [("yg", 3)]),
    ],
)
def test_a_turn_that_is_protected_and_then_gives_way(regime, old, shown):
    place = turning(regime)
    assert [(p.state, p.duration_s) for p in transition(place, place.junctions[0], old, 1 - old)] == shown


def test_a_turn_whose_arrow_ends_is_red_meanwhile():
    cabinet = SignalController(turning("engineer"))
    cabinet.command(10.0, np.array([1]))
    assert cabinet.status(12.0)["red_s"].tolist() == [12, 2]
    assert cabinet.status(16.0)["red_s"].tolist() == [0, 0]


def test_two_greens_that_give_way_to_each_other_by_right_of_way():
    """Of what was protected and what starts, only who must let the other go has lost something."""
    movements = [movement(0), movement(1)]
    for yields, shown in (((1, 0), [("ry", 4), ("rr", 2)]), ((0, 1), [])):
        place = site(junction(("rG", "gg"), movements, foes=[(0, 1)], yields=[yields]))
        phases = transition(place, place.junctions[0], 0, 1)
        assert [(p.state, p.duration_s) for p in phases] == shown
        monitor = ConflictMonitor(place, place.junctions[0])
        seconds = ["rG"] * 9 + [p.state for p in phases for _ in range(int(p.duration_s))] + ["gg"] * 9
        assert [fault for s, state in enumerate(seconds) for fault in monitor.watch(float(s), state)] == []


def test_a_site_from_before_regimes_is_told_by_its_timing():
    for regime in ("resco", "engineer"):
        place = turning(regime)
        content = place.model_dump(mode="json")
        del content["regime"]
        again = SignalSite.model_validate(content)
        assert (again.regime, again.hash) == (regime, place.hash)


def test_a_turn_keeps_its_right_where_nobody_in_its_way_starts():
    place = site(junction(("rGr", "rgG"), [movement(k) for k in range(3)], foes=[(0, 1)], yields=[(1, 0)]))
    assert transition(place, place.junctions[0], 0, 1) == []


def test_walkers_clear_the_road_before_the_next_green():
    walk = Movement(approach=-1, exits=(), speed_mps=1.2, width_m=10.7, crossing=True)
    place = site(junction(("GrG", "rGr"), [movement(0), movement(1), walk], foes=[(0, 1), (1, 2)]))
    phases = transition(place, place.junctions[0], 0, 1)
    assert [phase.state for phase in phases] == ["Grr", "yrr", "rrr"], "walkers get no yellow"
    assert sum(phase.duration_s for phase in phases) == pytest.approx(10.7 / 1.07)


@pytest.mark.parametrize(
    ("regime", "width_m", "shown"),
    [
        ("engineer", 16.05, [("Grr", 9), ("yrr", 4), ("rrr", 2)]),
        ("engineer", 5.35, [("yrr", 4), ("rrr", 2)]),  # whoever walks no longer than 6 s holds nobody up
        ("resco", 16.05, [("Grr", 12), ("yrr", 3)]),
    ],
)
def test_vehicles_keep_their_green_while_walkers_clear(regime, width_m, shown):
    walk = Movement(approach=-1, exits=(), speed_mps=1.2, width_m=width_m, crossing=True)
    lights = junction(("GrG", "rGr"), [movement(0), movement(1), walk], foes=[(0, 1), (1, 2)])
    phases = transition(site(lights, REGIMES[regime]), lights, 0, 1)
    assert [(phase.state, phase.duration_s) for phase in phases] == shown


def test_red_begins_with_the_yellow_of_vehicles_and_at_once_for_walkers():
    walk = Movement(approach=-1, exits=(), speed_mps=1.2, width_m=16.05, crossing=True)
    place = site(junction(("GrG", "rGr"), [movement(0), movement(1), walk], foes=[(0, 1), (1, 2)]))
    held_s = place.held_green_s(place.junctions[0], 0, 1)
    assert held_s > 5
    cabinet = SignalController(place)
    cabinet.command(100.0, np.array([1]))
    assert cabinet.status(104.0)["red_s"].tolist() == [0.0, 104.0, 4.0]
    assert cabinet.status(100.0 + held_s + 3)["red_s"].tolist() == [3.0, 100.0 + held_s + 3, held_s + 3]
    assert cabinet.shown(104.0) == ["Grr"]


def test_walkers_are_given_their_time_though_nobody_starts_yet():
    """Who crosses their way may start in the stage after: it is reached no sooner than they need."""
    walk = Movement(approach=-1, exits=(), speed_mps=1.2, width_m=16.05, crossing=True)
    place = site(junction(("GrG", "Grr", "rGr"), [movement(0), movement(1), walk], foes=[(0, 1), (1, 2)]))
    phases = transition(place, place.junctions[0], 0, 1)
    assert {phase.state for phase in phases} == {"Grr"}
    assert sum(phase.duration_s for phase in phases) == pytest.approx(16.05 / 1.07)


def test_a_short_green_leaves_time_to_clear_for_who_starts_after_it():
    """A movement ends, and nobody starts; who crosses its way may start in the stage after, a minimum green later."""
    lights = junction(("GGr", "Grr", "GrG"), [movement(k) for k in range(3)], foes=[(1, 2)])
    for least_s, red_s in ((1, 1), (2, 0), (7, 0)):
        place = site(lights, REGIMES["engineer"].model_copy(update={"min_green_s": least_s}))
        assert place.all_red_s(lights, 0, 1) == red_s
        phases = transition(place, lights, 0, 1)
        monitor = ConflictMonitor(place, lights)
        seconds = ["GGr"] * 9 + [p.state for p in phases for _ in range(int(p.duration_s))] + ["Grr"] * least_s
        seconds += [p.state for p in transition(place, lights, 1, 2)] + ["GrG"] * 9
        assert [fault for s, state in enumerate(seconds) for fault in monitor.watch(float(s), state)] == []


def test_the_cabinet_keeps_time():
    cabinet = SignalController(crossroads(), time_s=100.0)
    assert cabinet.command(110.0, np.array([0])) == []
    assert cabinet.command(120.0, np.array([1])) == [(0, 0, 1)]
    assert [cabinet.shown(120.0 + s)[0] for s in range(8)] == ["yr"] * 4 + ["rr"] * 2 + ["rG"] * 2
    status = cabinet.status(123.0)
    assert (status["stage"][0], status["clearing_s"][0], status["green_s"][0]) == (1, 3, 0)
    assert status["red_s"].tolist() == [3, 23]
    status = cabinet.status(130.0)
    assert (status["clearing_s"][0], status["green_s"][0]) == (0, 4)
    assert status["red_s"].tolist() == [10, 0]
