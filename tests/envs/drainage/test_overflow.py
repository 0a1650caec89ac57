"""Where water overflows: tanks, ponds, nodes under pressure, and outfalls that count as overflow."""

import numpy as np
import pytest

from envs import CityloopError, load_scenario
from envs.core.env import make_loop
from envs.core.errors import ReadingError
from envs.drainage.conditions import conditions
from envs.drainage.network import load_site
from envs.drainage.readings import cross_check
from envs.drainage.surrogate.reservoirs import reservoirs
from envs.drainage.swmm.inp import Inp
from tests.envs.drainage.own import refusal, small


@pytest.mark.parametrize("named", [{"sensitive": ("SPARE",)}, {"controllable": ("T", "SPARE")}])
def test_what_runs_out_at_an_outfall_may_count_as_overflow(folder, named):
    """As where a weir leads to a creek: gate `H` is that weir, and shut nothing comes there."""
    small(folder, "", "")
    found = []
    for setting in (0.0, 1.0):
        loop = make_loop(str(folder / "own.yaml"), gates=("G", "H"), settings={"H": setting}, **named)
        try:
            loop.reset(0)
            spilt = 0.0
            while not loop.world.done:
                step = loop.step(np.array([[0.0], [setting]]))
                spilt += loop.world.truth["controllable_m3"]
            places = loop.world.places()["overflow_m3"]
        finally:
            loop.close()
        assert spilt == pytest.approx(step.kpis["controllable_m3"])
        assert step.kpis["overflow_m3"] == pytest.approx(sum(places.values()))
        found.append((places["SPARE"], places["T"], step.kpis))
    shut, open_ = found
    assert shut[0] == 0
    assert open_[0] > 0
    assert open_[2]["controllable_m3"] == pytest.approx(open_[0] + open_[1])
    assert open_[2]["sensitive_m3"] == pytest.approx(open_[0] if "sensitive" in named else 0.0)
    assert open_[2]["treated_m3"] < 1.0, "what counts as overflow is not treated"


def test_an_outfall_is_treated_or_counts_as_overflow(folder):
    small(folder, "", "")
    said = refusal(folder, treatment=("O", "SPARE"), sensitive=("SPARE",))
    assert "what runs out at SPARE is in treatment and counts as overflow: choose one" in said
    scenario = load_scenario(folder / "own.yaml", sensitive=("SPARE",))
    with pytest.raises(CityloopError, match=r"own.inp: what runs out at SPARE counts as overflow.*train on SWMM"):
        reservoirs(Inp(scenario.inp), load_site(scenario), scenario.sensitive)


def test_a_full_tank_overflows_in_swmm_and_in_words(folder):
    """SWMM reckons in feet: 2.9 m came back as a little less, and nobody was told."""
    small(folder, "T 8 3 0 FUNCTIONAL 0 0 500", "T 8 2.9 0 FUNCTIONAL 0 0 10")
    loop = make_loop(str(folder / "own.yaml"))
    said, full = [], []
    try:
        loop.reset(0)
        while not loop.world.done:
            loop.step(np.zeros((2, 1)))
            full.append(loop.readings["depth_m"][0] > 2.895)
            said.append(any("it overflows" in found.text for found in conditions(loop.site, loop.readings)))
    finally:
        loop.close()
    assert loop.world.kpis()["overflow_m3"] > 0
    assert said == full
    assert any(said)


def test_an_outfall_that_counts_nowhere_is_told(folder, caplog):
    small(folder, "", "")
    load_site(load_scenario(folder / "own.yaml", treatment=("O",)))
    assert "what runs out at SPARE is neither treated nor counts as overflow" in caplog.text


def test_nodes_under_pressure_overflow_later(folder):
    small(folder, "J 7 3 0 0 0\n", "J 7 3 0 12 0\n")
    (folder / "own.inp").write_text((folder / "own.inp").read_text().replace("G T J SIDE", "G J T SIDE"))
    site = load_site(load_scenario(folder / "own.yaml"))
    tanks = {tank.id: (tank.full_m, tank.surcharge_m) for tank in site.tanks}
    assert tanks == {"T": (3.0, 0.0), "J": (3.0, 12.0)}
    depth_m = {"T": [0.0, 0.0, 3.0], "J": [3.5, 15.0, 2.9]}
    said = [conditions(site, {"depth_m": np.array([depth_m[t.id][k] for t in site.tanks])}) for k in range(3)]
    texts = [[(found.priority, found.text) for found in each] for each in said]
    assert texts[0] == [("medium", "J is under pressure (3.50 of 3.00 m)")]
    assert texts[1] == [("high", "J is full (15.00 m): it overflows")]
    assert texts[2] == [("high", "T is full (3.00 m): it overflows"), ("medium", "J is nearly full (2.90 of 3.00 m)")]


@pytest.mark.parametrize(("area", "option", "over"), [(500, "YES", 3), (0, "YES", 5), (500, "NO", 5)])
def test_water_ponds_on_a_node_from_its_full_depth_on_whatever_its_surcharge(folder, area, option, over):
    """As in SWMM: 899 m³ ponded on a node of 3 m, and for want of 2 m more nobody was told that it overflows."""
    small(folder, "J 7 3 0 0 0\n", f"J 7 3 0 2 {area}\n")
    text = (folder / "own.inp").read_text().replace("[OPTIONS]", f"[OPTIONS]\nALLOW_PONDING {option}")
    text = text.replace("S R T 30", "S R J 30").replace("C CIRCULAR 1", "C CIRCULAR 0.1").replace("H T SP", "H J SP")
    (folder / "own.inp").write_text(text)
    loop = make_loop(str(folder / "own.yaml"))
    place = [tank.id for tank in loop.site.tanks].index("J")
    try:
        loop.reset(0)
        while loop.readings["depth_m"][place] < 3.05:
            loop.step(np.zeros((2, 1)))
        assert loop.world.truth["controllable_m3"] > 0
        assert any("it overflows" in found.text for found in conditions(loop.site, loop.readings))
        assert loop.site.tanks[place].over_m == pytest.approx(over, abs=0.002)
    finally:
        loop.close()


def test_a_sealed_node_may_be_under_as_much_pressure_as_its_surcharge(folder):
    """A force main of 0.3 m, sealed for 150 m, stood under 40 m of water, and its ticks were refused."""
    small(folder, "J 7 3 0 0 0\n", "J 7 0 0 150 0\n")
    text = (folder / "own.inp").read_text().replace("C CIRCULAR 1", "C FORCE_MAIN 0.3").replace("H T SP", "H J SP")
    (folder / "own.inp").write_text(text)
    site = load_site(load_scenario(folder / "own.yaml"))
    readings = {"depth_m": np.array([55.0 if tank.id == "J" else 1.0 for tank in site.tanks])}
    cross_check(site, readings)
    with pytest.raises(ReadingError, match=r"tank T"):
        cross_check(site, {"depth_m": np.full(2, 55.0)})


@pytest.mark.parametrize(
    "shape",
    [
        "FUNCTIONAL 0 0 500 1.5 0",
        "cylindrical 40 30 0 1.5 0",
        "CONICAL 40 30 3 1.5 0",
        "PARABOLIC 40 30 2 1.5 0",
        "PYRAMIDAL 40 30 3 1.5 0",
    ],
)
def test_tanks_of_all_shapes_that_swmm_takes_may_be_under_pressure(folder, shape):
    small(folder, "FUNCTIONAL 0 0 500 0 0", shape)
    loop = make_loop(str(folder / "own.yaml"))
    try:
        loop.reset(0)
        assert loop.site.tanks[0].surcharge_m == 1.5
    finally:
        loop.close()


def test_a_node_that_a_gate_draws_from_is_counted_once():
    """Whoever adds up what overflows at all nodes would count it twice."""
    site = load_site(load_scenario("drainage/alpha"))
    assert "R1" in {tank.id for tank in site.tanks}
    assert len(site.controllable) == len(set(site.controllable)) == 26
