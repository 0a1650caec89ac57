"""NEMA programs: two rings of phases, and what they show together."""

import subprocess

import pytest
from sumolib.net import TLSProgram

from envs import CityloopError, load_scenario
from envs.core.sumo.programs import sumo_binary
from envs.intersections.network.read import load_site
from envs.intersections.network.rings import shown_together


def program(ring1="1,2,3,4", ring2="5,6,7,8", **barriers):
    """Phase k shows green to link k alone and lasts ten seconds more than k at most."""
    found = TLSProgram("0", 0, "NEMA")
    for k in range(1, 9):
        state = "".join("G" if link == k else "r" for link in range(1, 9))
        found.addPhase(state, 99, minDur=5, maxDur=10 + k, name=str(k))
    for key, value in {"ring1": ring1, "ring2": ring2, "barrierPhases": "4,8", **barriers}.items():
        found.setParam(key, value)
    return found


def links(phases):
    """Names of the phases that are shown together."""
    return ["".join(str(1 + k) for k, letter in enumerate(phase.state) if letter == "G") for phase in phases]


@pytest.mark.parametrize("name", ["barrier2Phases", "coordinatePhases"])
def test_eight_phases_are_eight_stages(name):
    in_turn, besides = shown_together("A", program(**{name: "2,6"}))
    assert links(in_turn) == ["37", "48", "15", "26"], "those before the first barrier, then the others"
    assert sorted(links(besides)) == ["16", "25", "38", "47"]
    assert [phase.duration_s for phase in in_turn] == [13, 14, 11, 12], "no phase longer than it may last"


def test_a_ring_may_begin_anywhere_and_leave_places_empty():
    in_turn, besides = shown_together("A", program("3,4,1,2", "0,8, 0,6", barrier2Phases="2,6"))
    assert links(in_turn) == ["38", "48", "16", "26"]
    assert besides == []


def test_phases_of_one_ring_alone_are_shown_alone():
    in_turn, _ = shown_together("A", program("1,2,3,4", "5,6", barrierPhases="4", barrier2Phases="2,6"))
    assert links(in_turn) == ["3", "4", "15", "26"]


@pytest.mark.parametrize(("ring1", "words"), [("1,2,9", "ring1 .* names phase '9'"), ("", "ring1 .* names no phase")])
def test_a_ring_that_makes_no_sense_is_one_sentence(ring1, words):
    with pytest.raises(CityloopError, match=f"signal A: {words}"):
        shown_together("A", program(ring1))


@pytest.fixture
def folder(tmp_path):
    """Four signals as netgenerate makes them for North America, and one vehicle."""
    net = tmp_path / "own.net.xml"
    grid = ["--grid", "--grid.number=2", "--grid.attach-length=100", "--default-junction-type=traffic_light"]
    kind = ["--tls.default-type=NEMA", "--tls.layout=opposites", f"--output-file={net}"]
    subprocess.run([sumo_binary("netgenerate"), *grid, *kind], check=True, capture_output=True)
    (tmp_path / "own.rou.xml").write_text('<routes><trip id="a" depart="0" from="left0A0" to="A1top0"/></routes>')
    (tmp_path / "own.yaml").write_text(
        "system: intersections\nnet: own.net.xml\nroutes: [own.rou.xml]\nduration_s: 60\n"
    )
    return tmp_path


def test_opposite_roads_have_green_together(folder, caplog):
    site = load_site(load_scenario(folder / "own.yaml"))
    said = "signals A0, A1, B0, B1 have programs of type NEMA: `fixed` runs their phases in turn, by the clock"
    assert said in caplog.text, "SUMO ends a green where no vehicle comes, so that it is quicker"
    for junction in site.junctions:
        assert len(junction.stages) == 2
        assert [phase.duration_s for phase in junction.program] == [50, 3, 50, 3], "with yellows, as a fixed program"
        assert ["y" in phase.state for phase in junction.program] == [False, True, False, True]
        roads = [{m.approach for m, c in zip(junction.movements, s, strict=True) if c in "Gg"} for s in junction.stages]
        assert [len(found) for found in roads] == [2, 2]
        assert set.union(*roads) == {m.approach for m in junction.movements}


def test_a_program_of_an_additional_file_too(folder):
    before = load_site(load_scenario(folder / "own.yaml")).junctions[0]
    text = (folder / "own.net.xml").read_text()
    logic = text[text.index("<tlLogic") : text.index("</tlLogic>") + len("</tlLogic>")]
    more = logic.replace('programID="0"', 'programID="1"').replace('maxDur="50"', 'maxDur="30"')
    (folder / "more.add.xml").write_text(f"<additional>{more}</additional>")
    with (folder / "own.yaml").open("a") as file:
        file.write("additional: [more.add.xml]\n")
    after = load_site(load_scenario(folder / "own.yaml")).junctions[0]
    assert after.stages == before.stages
    assert [phase.duration_s for phase in after.program] == [30, 3, 30, 3]
