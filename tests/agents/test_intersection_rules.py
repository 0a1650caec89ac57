"""Greedy and max-pressure on a junction that can be computed by hand, and Webster's formulas."""

import numpy as np
import pytest

from agents import fallback_name, make_controller, rules
from agents.baselines.intersections import SILENT_VEH_S
from agents.baselines.intersections_plans import (
    critical_ratios,
    following,
    own_cycle,
    split_greens,
    webster_cycle,
    webster_cycle_s,
)
from envs import load_scenario
from envs.core.world import Controller
from envs.intersections.guard import SignalGuard
from envs.intersections.junction import Phase
from envs.intersections.network.read import load_site
from envs.intersections.signals import SignalController
from envs.intersections.site import SignalSite
from tests.envs.intersections.small import crossroads, junction, movement, site

NAMES = ("fixed", "webster", "actuated", "max-pressure", "greedy")


def decide(controller, near=(0, 0), queue=(0, 0), behind=(0, 0), red_s=(0, 0), mask=(1, 1)):
    readings = {"near_veh": near, "queue_veh": queue, "exit_queue_veh": behind, "red_s": red_s}
    readings = {name: np.array(values, dtype=float) for name, values in readings.items()}
    (stage,) = controller.act(readings, {"action_mask": np.array([mask], dtype=np.float32)})
    return stage


@pytest.fixture(params=["greedy", "max-pressure"])
def rule(request):
    return make_controller(request.param, crossroads())


def test_the_fuller_road_gets_green(rule):
    assert decide(rule, near=(1, 2), queue=(1, 2)) == 1
    assert decide(rule, near=(3, 2), queue=(3, 2)) == 0


def test_ties_go_to_the_first_stage(rule):
    assert decide(rule) == 0
    assert decide(rule, near=(2, 2), queue=(2, 2)) == 0


def test_only_allowed_stages_are_asked_for(rule):
    assert decide(rule, near=(9, 0), queue=(9, 0), mask=(0, 1)) == 1


def test_greedy_counts_whoever_is_near():
    assert decide(make_controller("greedy", crossroads()), near=(1, 3), queue=(1, 0)) == 1


def test_max_pressure_holds_back_what_has_no_room():
    controller = make_controller("max-pressure", crossroads())
    assert decide(controller, queue=(5, 4)) == 0
    assert decide(controller, queue=(5, 4), behind=(2, 0)) == 1


def test_a_silent_detector_counts_by_its_red(rule):
    seconds = 4.5 / SILENT_VEH_S
    assert decide(rule, near=(4, np.nan), queue=(4, np.nan), red_s=(0, seconds)) == 1
    assert decide(rule, near=(5, np.nan), queue=(5, np.nan), red_s=(0, seconds)) == 0
    assert decide(rule, near=(np.nan, np.nan), queue=(np.nan, np.nan), red_s=(0, 10)) == 1


def test_a_stage_counts_for_the_share_of_movements_that_it_serves():
    # The lane in0 goes ahead and left; one stage serves both, one only the left turn, one gives way on the left turn.
    stages = ("GGr", "rGr", "Ggr", "rrG")
    place = site(junction(stages, [movement(0), movement(0), movement(1)]))
    greedy = make_controller("greedy", place)
    assert greedy._served.tolist() == [[1, 0], [0.5, 0], [0.75, 0], [0, 1]]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("regime", ["engineer", "resco"])
def test_every_rule_is_a_controller_that_needs_nothing_but_a_site(name, regime, tmp_path):
    extracted = load_site(load_scenario("intersections/ingolstadt7", regime=regime))
    extracted.save(tmp_path / "site.json")
    place = SignalSite.load(tmp_path / "site.json")
    controller = make_controller(name, place)
    assert isinstance(controller, Controller)
    assert controller.name == name
    assert (controller.program is None) == (name in ("max-pressure", "greedy"))
    n = len(place.junctions)
    zeros = {column: np.full(len(place.approaches), 1.0) for column in ("near_veh", "queue_veh")}
    readings = zeros | {"exit_queue_veh": np.zeros(len(place.exits))} | SignalController(place).status(200.0)
    mask = SignalGuard(place).mask(readings)
    controller.reset()
    wished = controller.act(readings, {"action_mask": mask.astype(np.float32)})
    assert wished.dtype == np.int64
    assert wished.shape == (n,)
    assert ((wished >= 0) & (wished < [len(j.stages) for j in place.junctions])).all()


def test_what_the_command_line_knows():
    assert set(rules("intersections")) == set(NAMES)
    assert fallback_name("intersections") == "max-pressure"


def test_a_plan_is_followed_where_nobody_runs_it():
    place = crossroads()
    controller, cabinet, guard = make_controller("fixed", place), SignalController(place), SignalGuard(place)
    shown = []
    for k in range(30):
        readings = cabinet.status(5.0 * k)
        shown.append(int(readings["stage"][0]))
        commands, _ = guard.check(readings, controller.act(readings, {}))
        cabinet.command(5.0 * k, commands)
    # 30 s of green, 6 s of intergreen, decisions every 5 s: eight decisions a stage, as 30 s are over after 36 s.
    assert shown[:7] == [0] * 7
    assert shown[7:15] == [1] * 8
    assert shown[15:23] == [0] * 8


@pytest.mark.parametrize(
    ("lost_s", "flow_ratio", "cycle_s"),
    [(12, 0.6, 57.5), (10, 0.5, 40.0), (16, 0.8, 120.0), (4, 0.1, 40.0), (20, 1.2, 120.0), (16, 0.75, 116.0)],
)
def test_websters_cycle(lost_s, flow_ratio, cycle_s):
    assert webster_cycle_s(lost_s, flow_ratio) == pytest.approx(cycle_s)  # (1.5 L + 5) / (1 - Y), from 40 to 120 s


def test_a_webster_plan_by_hand():
    # y = 450 / 1800 and 900 / 1800. L = 2 x (4 s yellow + 2 s all-red + 2 s start) = 16 s, C = 29 / 0.25 = 116 s.
    # Effective green 116 - 16 = 100 s, 1 : 2; shown green is 2 s longer.
    place = crossroads(450, 900)
    assert critical_ratios(place.junctions[0], (0, 1)) == pytest.approx([0.25, 0.5])
    assert webster_cycle(place, place.junctions[0]) == [(0, 35.0), (1, 69.0)]


def test_a_turn_that_is_served_enough_while_giving_way_needs_no_stage_of_its_own():
    def ratios(left_veh_h):
        stages = ("Ggr", "rGr", "rrG")
        movements = [movement(0, 900), movement(1, left_veh_h), movement(2, 360)]
        return critical_ratios(junction(stages, movements), (0, 1, 2))

    assert ratios(180) == pytest.approx([0.5, 0, 0.2])  # the permissive green carries half of 0.5
    assert ratios(540) == pytest.approx([0.5, 0.05, 0.2])  # 540 / 1800 = 0.3 = 0.5 / 2 + 0.05


def test_a_lane_needs_the_sum_of_its_movements():
    stages = ("GGr", "rrG")
    ratios = critical_ratios(junction(stages, [movement(0, 360), movement(0, 180), movement(1, 360)]), (0, 1))
    assert ratios == pytest.approx([0.3, 0.2])


def test_a_plan_reckons_with_the_stages_alone_that_its_cycle_has():
    """Rings can show 0 with 3 and 1 with 2 besides: a plan that never does so must not count on it."""
    stages = ("GrGr", "rGrG", "GrrG", "rGGr")
    place = junction(stages, [movement(0, 300), movement(1, 500), movement(2, 100), movement(3, 600)])
    place = place.model_copy(update={"program": place.program[:2]})
    assert critical_ratios(place, (0, 1)) == pytest.approx([300 / 1800, 600 / 1800, 0, 0])
    (first, first_s), (second, second_s) = webster_cycle(site(place), place)
    assert (first, second) == (0, 1)
    assert second_s / first_s == pytest.approx(2, abs=0.15), "effective greens as 600 to 300"


def followed(program, decisions=40):
    """The stages that a network's own program asks for where nobody can run it, without those that only go on."""
    place = junction(("Grr", "rGr", "rrG"), [movement(0), movement(1), movement(2)])
    phases = tuple(Phase(state=place.stages[stage], duration_s=green_s) for stage, green_s in program)
    place = site(place.model_copy(update={"program": phases}))
    controller, cabinet, guard = make_controller("fixed", place), SignalController(place), SignalGuard(place)
    asked = []
    for time_s in range(0, 5 * decisions, 5):
        commands, _ = guard.check(cabinet.status(time_s), controller.act(cabinet.status(time_s), {}))
        asked += [(time_s, stage) for _, _, stage in cabinet.command(time_s, commands)]
    return asked


def test_a_stage_that_a_program_shows_twice_leads_on_to_both():
    stages = [stage for _, stage in followed([(0, 10), (1, 10), (0, 20), (2, 10)])]
    assert stages[:6] == [1, 0, 2, 0, 1, 0]


def test_the_same_stage_twice_in_a_row_is_one_green():
    asked = followed([(0, 30), (0, 10), (1, 10), (2, 10)])
    assert asked[0] == (40, 1)
    assert [stage for _, stage in asked[:4]] == [1, 2, 0, 1]


def test_uncounted_movements_share_alike():
    place = crossroads()
    (_, first_s), (_, second_s) = webster_cycle(place, place.junctions[0])
    assert first_s == second_s


def test_greens_are_divided_in_proportion_and_none_is_too_short():
    assert split_greens([0.25, 0.5], 49, 7) == [17, 32]
    assert split_greens([0.02, 0.5], 49, 7) == [7, 42]
    assert split_greens([0.1, 0.1, 0.1], 10, 7) == [7, 7, 7]


def test_the_networks_greens_are_kept_but_for_the_minimum():
    place = load_site(load_scenario("intersections/cologne3"))
    assert own_cycle(place, place.junctions[0]) == [(0, 38.0), (1, 7.0), (2, 37.0)]


def test_left_turn_stages_can_be_skipped():
    left_turns = junction(("Ggrr", "rGrr", "rrGg", "rrrG"), [movement(k) for k in range(4)])
    assert following(left_turns, [0, 1, 2, 3], 0) == [1, 2]
    assert following(left_turns, [0, 1, 2, 3], 1) == [2]
    assert following(left_turns, [0, 1, 2, 3], 2) == [3, 0]


def test_a_site_without_left_turn_stages_skips_nothing():
    plain = junction(("Grr", "rGr", "rrG"), [movement(k) for k in range(3)])
    assert following(plain, [0, 1, 2], 1) == [2]
