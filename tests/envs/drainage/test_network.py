"""SWMM input → site, and a network of one's own."""

import re
from datetime import datetime
from pathlib import Path

import pytest

from agents import make_controller
from envs import CityloopError, load_scenario
from envs.core.env import make_loop
from envs.drainage import scenarios
from envs.drainage.network import load_site
from envs.drainage.scene import make_scene
from envs.drainage.swmm.inp import Inp
from tests.envs.drainage.own import YAML, refusal, small


def test_astlingens_gates_and_what_lies_below_them():
    site = load_site(load_scenario("drainage/astlingen"))
    tanks = [tank.id for tank in site.tanks]
    below = {gate.id: (tanks[gate.tank], tanks[gate.below]) for gate in site.gates}
    assert below == {"V2": ("T2", "T1"), "V3": ("T3", "T1"), "V4": ("T4", "T1"), "V6": ("T6", "T3")}
    assert all(tank.full_m == 5 for tank in site.tanks)
    # SC03 (18 ha) and SC08 (28 ha) under RG1 drain to T3 by J10 and J12, nothing else does without passing a tank.
    three = site.tanks[tanks.index("T3")]
    assert three.catchment_ha == pytest.approx(46)
    assert three.rain == (1, 0, 0, 0)


def test_the_map_does_not_change_what_a_command_means():
    site = load_site(load_scenario("drainage/astlingen"))
    assert len(site.nodes) == 30
    assert len(site.links) == 29
    v2 = next(link for link in site.links if link.id == "V2")
    assert (site.nodes[v2.start].id, site.nodes[v2.end].id) == ("T2", "J17")
    assert site.model_copy(update={"nodes": (), "links": ()}).hash == site.hash


def test_feet_become_metres():
    site = load_site(load_scenario("drainage/gamma"))
    eleven = next(tank for tank in site.tanks if tank.id == "11")
    assert eleven.full_m == pytest.approx(14.96 * 0.3048)
    assert len(site.gates) == 11


def test_a_network_of_ones_own_runs_with_nothing_named(folder):
    loop = make_loop(str(folder / "own.yaml"))
    try:
        assert loop.site.agents == ("1", "2")
        kpis = loop.episode(make_controller("efd", loop.site), 1).kpis
    finally:
        loop.close()
    assert kpis["rain_mm"] > 0
    assert kpis["invalid"] == 0


def test_an_unknown_gate_is_named(folder):
    assert "gates names 'V9', which is no orifice, weir or pump: there is 1, 2" in refusal(folder, gates=("V9",))


def test_names_that_are_numbers_want_quotation_marks(folder):
    (folder / "own.yaml").write_text(YAML + "gates: [1]\n")
    with pytest.raises(CityloopError, match=r"own.yaml: gates.0 is 1: give text, in quotation marks$"):
        load_scenario(folder / "own.yaml")


def test_an_unknown_node_is_named(folder):
    assert "controllable names 'X', which is no node" in refusal(folder, controllable=("X",))
    assert "sensitive names 'X', which is no node" in refusal(folder, sensitive=("X",))
    assert "faults.stuck_gates is 3: there are 2 gates" in refusal(folder, faults__stuck_gates=3)


@pytest.mark.parametrize(
    ("row", "told"), [("", "own.inp: rain on S runs off nowhere, as in SWMM"), ("s 0.01 0.1 0.05 0.05 25 OUTLET\n", "")]
)
def test_subcatchments_from_which_nothing_runs_off_are_told(folder, caplog, row, told):
    small(folder, "S 0.01 0.1 0.05 0.05 25 OUTLET\n", row)
    load_site(load_scenario(folder / "own.yaml"))
    assert told in caplog.text
    assert bool(caplog.text) == bool(told)


def test_a_site_knows_when_its_episodes_begin():
    assert load_site(load_scenario("drainage/astlingen-aug2008")).start == datetime(2008, 8, 11)
    assert load_site(load_scenario("drainage/astlingen")).start is None


def test_a_setting_out_of_range_is_named(folder):
    with pytest.raises(CityloopError, match=r"settings\.1 is 2: give a number from 0"):
        load_scenario(folder / "own.yaml", settings={"1": 2.0})


def test_a_missing_file(folder):
    (folder / "own.inp").unlink()
    with pytest.raises(CityloopError, match=r"own\.inp is missing: give an existing SWMM input file"):
        load_scenario(folder / "own.yaml")


def test_what_is_no_swmm_input(folder):
    (folder / "own.inp").write_text("hello")
    assert "has no section [OPTIONS]" in refusal(folder)


def test_what_swmm_refuses_is_said_in_its_words(folder):
    text = (folder / "own.inp").read_text()
    (folder / "own.inp").write_text(text.replace("[CONDUITS]", "[CONDUITS]\nbad P1 nowhere 10 0.01 0 0 0 0\n"))
    sentence = refusal(folder)
    assert "SWMM cannot start own.inp: ERROR 209: undefined object nowhere in [CONDUIT" in sentence
    assert sentence.endswith("row 'bad P1 nowhere 10 0.01 0 0 0 0'")  # its number in what is run is not the user's


@pytest.mark.parametrize(
    ("section", "row", "says"),
    [
        ("STORAGE", "P9 10", "[STORAGE] has a row 'P9 10': it needs 3 words"),
        ("STORAGE", "P9 ten 2", "[STORAGE] has a row 'P9 ten 2': 'ten' is no number"),
        ("ORIFICES", "V9 P1", "[ORIFICES] has a row 'V9 P1': it needs 3 words"),
        ("SUBCATCHMENTS", "S9 1", "[SUBCATCHMENTS] has a row 'S9 1': it needs 4 words"),
        ("COORDINATES", "P1 left 0", "'left' is no number"),
        ("COORDINATES", "P1 0 nan", "'nan' is no number"),
        ("STORAGE", "P9 10 inf", "'inf' is no number"),
    ],
)
def test_rows_that_cannot_be_read_are_told(folder, section, row, says):
    text = (folder / "own.inp").read_text()
    assert f"[{section}]" in text
    (folder / "own.inp").write_text(text.replace(f"[{section}]", f"[{section}]\n{row}"))
    assert says in refusal(folder)


@pytest.mark.parametrize("interval", ["often", "0:00"])
def test_a_rain_gauge_without_an_interval_is_named(folder, interval):
    lines = (folder / "own.inp").read_text().splitlines()
    at = next(k for k in range(lines.index("[RAINGAGES]") + 1, len(lines)) if lines[k].strip() and lines[k][0] != ";")
    words = lines[at].split()
    lines[at] = " ".join([*words[:2], interval, *words[3:]])
    (folder / "own.inp").write_text("\n".join(lines))
    assert f"rain gauge {words[0]} has the interval '{interval}': give H:MM" in refusal(folder)


def test_a_network_without_gates(folder):
    text = (folder / "own.inp").read_text()
    (folder / "own.inp").write_text(text.replace("[ORIFICES]", "[NOTHING]"))
    assert "there is nothing to control" in refusal(folder)


def test_an_episode_lasts_as_long_as_the_input_if_nothing_else_is_said(folder):
    text = (folder / "own.inp").read_text()
    (folder / "own.yaml").write_text("system: drainage\ninp: own.inp\n")
    inp = Inp(folder / "own.inp")
    inp.set_options(START_DATE="06/01/2020", START_TIME="22:00", END_DATE="06/03/2020", END_TIME="01:00")
    inp.write(folder / "own.inp")
    assert load_scenario(folder / "own.yaml").duration_s == 27 * 3600
    (folder / "own.yaml").write_text(YAML)
    (folder / "own.inp").write_text(text)
    assert load_scenario(folder / "own.yaml").duration_s == 7200


def test_a_tide_that_no_outfall_feels_is_refused(folder):
    assert "no outfall of own.inp has a level: make one FIXED" in refusal(folder, tide__amplitude_m=1)


@pytest.mark.parametrize("shape", ["IRREGULAR canal", "STREET wide", "FORCE_MAIN 0.4 130", "dummy"])
def test_a_conduit_that_cannot_be_made_rougher_is_not_blocked(folder, shape):
    small(folder, "C CIRCULAR", f"c {shape}")
    said = refusal(folder, faults__blocked={"C": 0.5})
    assert f"faults.blocked.C is 0.5, and a conduit of shape {shape.split()[0].upper()} does not feel the" in said


@pytest.mark.parametrize(("option", "mend"), [("IGNORE_ROUTING YES", "NO"), ("FLOW_ROUTING none", "DYNWAVE")])
def test_a_network_without_routing_is_refused(folder, option, mend):
    small(folder, "FLOW_ROUTING DYNWAVE", option)
    name, _, value = option.upper().partition(" ")
    assert f"own.inp: {name} is {value}, and no water would flow: set it to {mend}" in refusal(folder)


def test_an_input_that_ends_before_it_begins_is_refused_unless_the_scenario_knows_better(folder):
    small(folder, "END_DATE 01/01/2020", "END_DATE 12/31/2019")
    assert load_scenario(folder / "own.yaml").duration_s == 7200
    (folder / "own.yaml").write_text("system: drainage\ninp: own.inp\n")
    with pytest.raises(CityloopError) as error:
        load_scenario(folder / "own.yaml")
    assert "own.inp: END_DATE and END_TIME are 12/31/2019 06:00:00, and it starts at 01/01/2020" in str(error.value)
    small(folder, "END_DATE 01/01/2020\nEND_TIME 06:00:00", "END_DATE 12/31/9999\nEND_TIME 24:00:00")
    with pytest.raises(CityloopError, match="END_DATE 12/31/9999 END_TIME 24:00:00 is no moment: correct the options"):
        load_scenario(folder / "own.yaml")


@pytest.mark.parametrize(("name", "what"), [("alpha", "node 'J1'"), ("gamma", "node '1'"), ("epsilon", "node '001'")])
def test_an_objective_of_another_network_is_refused(folder, name, what):
    sentence = f"objective is '{name}', which needs {what}, and own.inp has none of that name: leave objective out"
    assert sentence in refusal(folder, objective=name)


def test_an_objective_needs_its_links_too(folder):
    inp = Inp(folder / "own.inp")
    assert load_site(load_scenario(folder / "own.yaml").override({"objective": "theta"}))
    inp.replace("CONDUITS", [["eight" if row[0] == "8" else row[0], *row[1:]] for row in inp.rows("CONDUITS")])
    inp.write(folder / "own.inp")
    assert "which needs link '8'" in refusal(folder, objective="theta")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("duration_s", 1e300, "give no more than 1,000,000 decisions of 300 s"),
        ("duration_s", 1.0, "it must cover a decision of 300 s"),
        ("storms.count", [1, 10**9], "count must be two numbers with 1 <= low <= high <= 1000"),
        ("design.idf.a", 1e308, "design.idf.a is 1e+308"),
    ],
)
def test_what_nobody_could_wait_for_is_refused(folder, key, value, words):
    with pytest.raises(CityloopError) as error:
        load_scenario(folder / "own.yaml", **{key: value})
    assert words in str(error.value)


def test_a_curve_for_minutes_is_refused(folder):
    """84.6865 times 60^0.7092, i.e. as if durations were given in minutes."""
    with pytest.raises(CityloopError, match=r"idf gives \d+ mm in 0.5 h once in 50 years.* for mm/h, years and hours"):
        load_scenario(folder / "own.yaml", **{"design.idf.a": 1545.0})


def test_an_ideal_pump_passes_on_what_comes_in_as_in_swmm(folder):
    pumped = (
        "[OPTIONS]\nFLOW_UNITS CMS\nFLOW_ROUTING DYNWAVE\n"
        "START_DATE 01/01/2020\nEND_DATE 01/01/2020\nEND_TIME 03:00:00\n"
        "ROUTING_STEP 5\n[JUNCTIONS]\nU 10 3 0 0 0\nW 5 8 0 0 0\nD 9 3 0 0 0\n[OUTFALLS]\nO 8 FREE NO\n"
        "[CONDUITS]\nA U W 100 0.013 0 0 0 0\nB D O 200 0.013 0 0 0 0\n[PUMPS]\n{}\n"
        '[XSECTIONS]\nA CIRCULAR 1 0 0 0 1\nB CIRCULAR 1 0 0 0 1\n[INFLOWS]\nU FLOW "" FLOW 1.0 1.0 0.2\n'
    )
    for row in ("P W D * ON 0 0", "P W D"):
        (folder / "own.inp").write_text(pumped.format(row))
        loop = make_loop(str(folder / "own.yaml"))
        try:
            kpis = loop.episode(make_controller("uncontrolled", loop.site), 0).kpis
        finally:
            loop.close()
        assert loop.site.drained == ("W",)  # by nothing that a level or a setting tells
        assert kpis["overflow_m3"] == 0  # stopped once in an empty node, it would never catch up
        assert kpis["treated_m3"] == pytest.approx(0.2 * loop.scenario.duration_s, rel=0.05)


@pytest.mark.parametrize(
    ("shape", "found"),
    [
        ("FUNCTIONAL 0 0 500 0 0", ()),
        ("FUNCTIONAL 0 0 500 0 0 90 0.00 0.2", ()),
        ("FUNCTIONAL 0 0 500 0 0 90 50 0.2", ("T",)),
        ("CYLINDRICAL 30 25 0 0 0 10", ("T",)),
        ("TABULAR area 0 1 90 50 0.2", ("T",)),
        ("TABULAR area 0 1", ()),
    ],
)
def test_a_tank_whose_water_seeps_away_may_fall_while_its_gates_are_shut(folder, shape, found):
    small(folder, "FUNCTIONAL 0 0 500 0 0", shape)
    assert load_site(load_scenario(folder / "own.yaml")).drained == found


def test_a_gate_whose_end_has_no_place_is_drawn_all_the_same(tmp_path):
    """Every gate and tank has a mark, with coordinates in the input or without."""
    text = (Path(scenarios.__file__).parent / "estuary.inp").read_text()
    mine = tmp_path / "mine.inp"
    mine.write_text(re.sub(r"^RIVER_PUMP +1350 .*\n", "", text, flags=re.MULTILINE))
    site = load_site(load_scenario("drainage/estuary", inp=str(mine)))
    assert {mark.id for mark in make_scene(site).marks} >= {*site.agents, *(tank.id for tank in site.tanks)}
