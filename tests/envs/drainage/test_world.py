"""The plant is SWMM and nothing else: published figures, rain told or read, faults, and no water lost unseen."""

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

import envs.drainage.weather
from agents import make_controller
from envs import CityloopError, load_scenario
from envs.core.env import make_loop
from envs.drainage.actuators import Actuators
from envs.drainage.readings import READINGS
from envs.drainage.swmm.simulation import Swmm
from tests.envs.drainage.small import NETWORK


def episode(ref, controller="uncontrolled", seed=0, **settings):
    loop = make_loop(ref, **settings)
    try:
        return loop.episode(make_controller(controller, loop.site), seed).kpis
    finally:
        loop.close()


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("theta", 1630.3422288715237),  # pystorms' notebooks, uncontrolled
        ("gamma", 400_221_923.1345468),
        ("alpha", 19_353.692250),  # these two are not published: pystorms 1.0.0 on the same SWMM
        pytest.param("epsilon", 7_688.360416243399, marks=pytest.mark.slow),  # fifteen days in steps of ten seconds
    ],
)
def test_objectives_of_pystorms_are_reproduced(name, theirs):
    assert episode(f"drainage/{name}")["objective"] == pytest.approx(theirs, rel=1e-9)


@pytest.mark.parametrize(
    ("event", "controller", "overflow_m3"),
    [("oct2000", "uncontrolled", 10_015), ("oct2000", "static", 9_208), ("aug2008", "static", 22_266)],
)
def test_astlingen_overflows_as_in_plain_swmm(event, controller, overflow_m3):
    # A bare pyswmm loop with the same settings on the same series gives these volumes.
    kpis = episode(f"drainage/astlingen-{event}", controller)
    assert kpis["overflow_m3"] == pytest.approx(overflow_m3, abs=1)
    assert kpis["invalid"] == 0


def test_rain_that_is_told_falls_as_rain_that_is_read(monkeypatch):
    loop = make_loop("drainage/astlingen-oct2000")
    try:
        read = loop.episode(make_controller("static", loop.site), 0).kpis
        table = loop.world.rain_mm
    finally:
        loop.close()
    monkeypatch.setattr(envs.drainage.weather, "storm", lambda *_: table)
    told = episode("drainage/astlingen", "static", duration_s=300 * len(table))
    assert told == pytest.approx(read, rel=1e-9)


def test_nothing_is_written_beside_the_input():
    folder = load_scenario("drainage/theta").inp.parent
    before = sorted(folder.iterdir())
    episode("drainage/theta")
    assert sorted(folder.iterdir()) == before


def test_a_second_simulation_in_a_process_is_refused_and_the_first_goes_on():
    first, second = make_loop("drainage/astlingen"), make_loop("drainage/astlingen")
    try:
        first.reset(1)
        with pytest.raises(CityloopError, match="already runs a SWMM simulation: close that environment first"):
            second.reset(1)
        first.step(np.full((4, 1), 0.5))
    finally:
        first.close()
        second.close()


def test_a_simulation_that_does_not_end_in_order_leaves_no_folder(monkeypatch):
    loop = make_loop("drainage/theta")
    loop.reset(1)
    folder, close = Path(loop.world._folder.name), Swmm.close

    def fails(swmm):
        close(swmm)
        raise CityloopError("SWMM did not end in order: the disk is full")

    monkeypatch.setattr(Swmm, "close", fails)
    with pytest.raises(CityloopError, match="did not end in order"):
        loop.close()
    assert not folder.exists()
    loop.close()


def test_a_plant_that_fails_is_not_asked_to_go_on(monkeypatch):
    with closing(make_loop("drainage/theta")) as loop:
        loop.reset(1)

        def fails(commands):
            raise CityloopError("SWMM stopped: it does not say why")

        with monkeypatch.context() as patch:
            patch.setattr(loop.world, "step", fails)
            with pytest.raises(CityloopError, match="SWMM stopped"):
                loop.step(np.full((2, 1), 0.5))
        with pytest.raises(CityloopError, match="call reset"):
            loop.step(np.full((2, 1), 0.5))
        loop.reset(1)
        loop.step(np.full((2, 1), 0.5))


def test_a_simulation_that_nobody_holds_makes_room():
    first = make_loop("drainage/astlingen")
    first.reset(1)
    del first
    with make_loop("drainage/astlingen").world as world:
        world.reset(1)


def test_a_stuck_gate_does_not_move_and_the_reading_says_so():
    loop = make_loop("drainage/astlingen", faults__stuck_gates=1)
    try:
        loop.reset(3)
        static = loop.readings["setting"].copy()
        loop.step(np.ones((4, 1)))
        assert (loop.readings["setting"] != static).sum() == 3
    finally:
        loop.close()


def test_a_blocked_conduit_floods_what_lies_above_it():
    blocked = episode("drainage/astlingen-oct2000", "static", faults__blocked={"C23": 0.02})
    assert blocked["overflow_m3"] > 1.05 * episode("drainage/astlingen-oct2000", "static")["overflow_m3"]


def test_small_movements_are_ignored_by_the_actuator():
    loop = make_loop("drainage/astlingen", timing__deadband=0.1)
    try:
        loop.reset(0)
        before = loop.readings["setting"].copy()
        loop.step((before + 0.09)[:, None])
        np.testing.assert_array_equal(loop.readings["setting"], before)
        assert loop.world.truth["moved"].sum() == 0
        loop.step((before + 0.11)[:, None])
        np.testing.assert_allclose(loop.readings["setting"], before + 0.11)
        assert (loop.readings["still_s"] == 300).all()
        assert (loop.readings["moves"] == 1).all()
    finally:
        loop.close()


def test_no_sea_comes_in_through_the_tidal_gate():
    loop = make_loop("drainage/estuary")
    gate = loop.site.agents.index("TIDEGATE")
    try:
        for seed in (1, 3):
            loop.reset(seed)
            done = False
            while not done:
                done = loop.step(np.ones((3, 1))).done
                assert loop.readings["flow_cms"][gate] > -0.02
    finally:
        loop.close()


def test_the_tide_is_known_from_the_start():
    loop = make_loop("drainage/estuary")
    try:
        levels = []
        for seed in range(6):
            loop.reset(seed)
            levels.append(loop.readings["tide_m"][0])
    finally:
        loop.close()
    assert max(levels) - min(levels) > 0.8


def test_a_pump_that_is_told_to_stop_stops(tmp_path):
    text = load_scenario("drainage/estuary").inp.read_text()
    (tmp_path / "own.inp").write_text(text.replace("ON       0        0", "ON       0.3      0.1"))
    loop = make_loop("drainage/estuary", inp=str(tmp_path / "own.inp"))
    pump = loop.site.agents.index("STATION")
    try:
        loop.reset(1)
        for _ in range(100):
            loop.step(np.zeros((3, 1)))
            if loop.readings["setting"][pump] == 0:
                assert loop.readings["flow_cms"][pump] == 0
        assert loop.readings["depth_m"].max() > 0.5
    finally:
        loop.close()


def test_there_are_no_local_programs():
    loop = make_loop("drainage/theta")
    with pytest.raises(CityloopError, match="no local programs"):
        loop.reset(0, program="fixed")


def test_overflow_is_accounted_decision_by_decision():
    loop = make_loop("drainage/astlingen")
    try:
        loop.reset(0)
        seen = 0.0
        static = loop.readings["setting"][:, None].copy()
        step = None
        while step is None or not step.done:
            step = loop.step(static)
            seen += loop.world.truth["controllable_m3"]
    finally:
        loop.close()
    assert seen > 100
    assert seen == pytest.approx(step.kpis["controllable_m3"])


def test_the_tide_comes_and_goes_and_shuts_the_gate_below_it():
    loop = make_loop("drainage/estuary")
    gate, pond = loop.site.agents.index("TIDEGATE"), loop.site.axes["tank"].index("LOWER")
    levels, shut = [], 0
    try:
        loop.reset(1)
        done = False
        while not done:
            readings = loop.readings
            tide = readings["tide_m"][0]
            above = tide > loop.site.tanks[pond].invert_m + readings["depth_m"][pond]
            step = loop.step(np.ones((3, 1)))
            assert not above or step.commands[gate, 0] == 0
            shut += bool(above)
            levels.append(tide)
            done = step.done
    finally:
        loop.close()
    assert max(levels[1:]) == pytest.approx(1.3, abs=0.01)
    assert min(levels[1:]) == pytest.approx(-0.7, abs=0.01)
    assert shut > 20


SAME = "varied: {depth_spread: 0, hours_spread: 0}\n"
"""Settings with which varied rain is that of the input."""


def own(folder, text=NETWORK, more=""):
    """A scenario on an input of one's own."""
    (folder / "own.inp").write_text(text)
    (folder / "own.yaml").write_text(f"system: drainage\ninp: own.inp\n{more}")
    return str(folder / "own.yaml")


def test_rain_that_is_told_falls_however_seldom_swmm_looks_when_it_is_dry(tmp_path):
    seldom = NETWORK.replace("DRY_STEP 0:05:00", "DRY_STEP 1:00:00")
    read, told = (episode(own(tmp_path, seldom, f"rain: {rain}\n{SAME}"), "static") for rain in ("file", "varied"))
    assert read["treated_m3"] > 1000
    assert told["treated_m3"] == pytest.approx(read["treated_m3"], rel=0.01)


@pytest.mark.parametrize("kind", ["MONTHLY 0 9 0 0 0 0 0 0 0 0 0 0", "TIMESERIES warm"])
def test_rain_that_is_told_falls_as_long_where_evaporation_changes_meanwhile(tmp_path, kind):
    late = NETWORK.replace("START_DATE 01/01/2020", "START_DATE 01/31/2020\nSTART_TIME 21:52:00")
    late = late.replace("END_DATE 01/01/2020", "END_DATE 02/01/2020")
    late = f"{late}warm 0:00 0 2:08 9 9:00 0\n[EVAPORATION]\n{kind}\n"
    read, told = (episode(own(tmp_path, late, f"rain: {rain}\n{SAME}"), "static") for rain in ("file", "varied"))
    assert read["treated_m3"] > 1000
    assert told["treated_m3"] == pytest.approx(read["treated_m3"], rel=0.03)


def test_rain_that_is_told_falls_as_rain_that_has_factors_for_months(tmp_path):
    text = NETWORK + "[ADJUSTMENTS]\nRAINFALL 3 1 1 1 1 1 1 1 1 1 1 1\n"
    read, told = (episode(own(tmp_path, text, f"rain: {rain}\n{SAME}"), "static") for rain in ("file", "varied"))
    assert told["treated_m3"] == pytest.approx(read["treated_m3"], rel=1e-6)
    assert told["rain_mm"] == read["rain_mm"] == pytest.approx((40 + 3 * (20 + 60 + 30)) / 12)


def test_another_series_takes_the_place_of_a_file_of_rain(tmp_path):
    gauge = "R INTENSITY 0:05 1.0 TIMESERIES rain"
    series = "ev1 01/05/2020 0:00 12\nev1 01/05/2020 0:05 0\n"
    more = "series: ev\nduration_s: 3600\n"
    for source in ("TIMESERIES rain", "FILE nowhere.dat STA MM"):
        text = NETWORK.replace("TIMESERIES rain", source, 1) + series
        assert episode(own(tmp_path, text, more), "static")["rain_mm"] == pytest.approx(1.0)
    none = NETWORK.replace(gauge, "").replace("S R T 30 80 500 0.5 0", "")
    none = none.replace("S 0.01 0.1 0.05 0.05 25 OUTLET", "").replace("S 3.0 0.5 4 7 0", "")
    with pytest.raises(CityloopError, match=r"series is 'ev', and own\.inp has no rain gauge: add one"):
        episode(own(tmp_path, none + series, more), "static")


def test_a_rule_shuts_what_nobody_else_controls(tmp_path):
    rules = "[CONTROLS]\nRULE A\nIF SIMULATION TIME >= 0\nTHEN ORIFICE {} SETTING = 0\n"
    open_, shut, not_his = (
        episode(own(tmp_path, NETWORK + more, "gates: [G]\n"), "static")
        for more in ("", rules.format("H"), rules.format("G"))
    )
    assert shut["peak_outflow_cms"] < 0.6 * open_["peak_outflow_cms"]
    assert not_his == open_


def test_a_gate_rests_no_longer_than_can_be_reported():
    drives = Actuators(np.full(2, 0.5), np.zeros(2, dtype=bool))
    drives.move(np.array([0.5, 0.6]), 1.5e7)
    assert drives.readings(1.5e7 + 300)["still_s"].tolist() == [READINGS["still_s"].high, 300]


def test_a_tank_that_others_drain_may_fall_while_its_gates_are_shut(tmp_path):
    """`G` is controlled and shut, `H` drains the tank all the same: no level sensor is wrong."""
    loop = make_loop(own(tmp_path, NETWORK, "gates: [G]\n"))
    assert loop.site.drained == ("T",)
    watch, largest, over = loop.system.consistency(loop.site), 0.0, False
    loop.reset(0)
    while not over:
        before = {name: values.copy() for name, values in loop.readings.items()}
        over = loop.step(np.zeros((1, 1))).done
        fell = float(before["depth_m"][0] - loop.readings["depth_m"][0])
        largest = max(largest, fell if before["setting"][0] == 0 else 0.0)
        assert watch.residuals(before, loop.readings, 300.0)["kept"].tolist() == [0.0]
    loop.close()
    assert largest > 0.05
    both = make_loop(own(tmp_path, NETWORK))
    assert both.site.drained == ()
    assert both.site.tanks == loop.site.tanks


def test_moves_of_a_day_are_counted_and_those_of_stuck_gates_are_none():
    drives = Actuators(np.full(3, 0.5), np.array([False, False, True]))
    drives.move(np.array([0.6, 0.5, 0.9]), 0.0)
    moved = drives.move(np.array([0.4, 0.7, 0.9]), 300.0)
    assert np.allclose(moved, [0.2, 0.2, 0.0])
    assert drives.settings.tolist() == [0.4, 0.7, 0.5]
    assert (drives.moves, round(drives.movement, 9)) == (3, 0.5)
    assert drives.readings(600.0)["moves"].tolist() == [2, 1, 0]
    assert drives.readings(86400.0)["moves"].tolist() == [1, 1, 0]
    assert drives.readings(86700.0)["moves"].tolist() == [0, 0, 0]
    drives.move(drives.settings, 86700.0)
    assert not drives.moving
