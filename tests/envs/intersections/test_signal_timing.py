"""Yellow, all-red and what is shown between stages, against the published formulas."""

import numpy as np
import pytest

from envs.intersections.scenarios import REGIMES
from envs.intersections.signals import SignalController, transition
from envs.intersections.site import Movement, ite_red_clearance_s, ite_yellow_s
from tests.envs.intersections.small import crossroads, junction, movement, site


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


def test_walkers_clear_the_road_before_the_next_green():
    walk = Movement(approach=-1, exits=(), speed_mps=1.2, width_m=10.7, crossing=True)
    place = site(junction(("GrG", "rGr"), [movement(0), movement(1), walk], foes=[(0, 1), (1, 2)]))
    yellow, red = transition(place, place.junctions[0], 0, 1)
    assert (yellow.state, red.state) == ("yrr", "rrr")  # walkers get no yellow
    assert yellow.duration_s + red.duration_s == pytest.approx(10.7 / 1.07)


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
