"""A network of one's own: it runs from a YAML file, and what is wrong with it is said in one sentence."""

import shutil
import subprocess

import pytest

from agents import make_controller
from envs import CityloopError, load_scenario
from envs.core.env import make_loop
from envs.core.sumo.programs import run_sumo_program, sumo_binary
from envs.core.testing.systems import check_system
from envs.intersections.demand import first_s
from envs.intersections.network.read import load_site
from tests.envs.intersections.own import YAML, refusal


def test_a_network_of_ones_own_runs(folder):
    loop = make_loop(str(folder / "own.yaml"))
    assert loop.scenario.ref == "intersections/own"
    kpis = loop.episode(make_controller("max-pressure", loop.site), seed=1).kpis
    assert kpis["due_veh"] > 0


def test_trips_between_junctions_and_zones_run(folder):
    """SUMO knows junctions as ends of trips only if it is told so."""
    (folder / "own.rou.xml").write_text(
        '<routes><flow id="a" begin="0" end="60" number="5" fromJunction="left0" toJunction="top1"/>'
        '<flow id="b" begin="0" end="60" number="5" fromTaz="west" toJunction="top1"/></routes>'
    )
    (folder / "zones.add.xml").write_text('<additional><taz id="west" edges="left0A0 left1A1"/></additional>')
    (folder / "own.yaml").write_text(YAML + "additional: [zones.add.xml]\n")
    loop = make_loop(str(folder / "own.yaml"))
    assert loop.episode(make_controller("webster", loop.site), seed=1).kpis["due_veh"] == 10


def test_motorcycles_share_a_lane_where_a_scenario_says_so(folder):
    (folder / "own.rou.xml").write_text(
        '<routes><vType id="moto" vClass="motorcycle"/><flow id="a" type="moto" begin="0" end="60" number="120" '
        'from="left0A0" to="B0right0"/></routes>'
    )

    def delay_s(**settings):
        loop = make_loop(load_scenario(folder / "own.yaml", duration_s=180, **settings))
        return loop.episode(make_controller("fixed", loop.site), seed=1).kpis["delay_s"]

    assert delay_s(lateral_resolution_m=0.8) < 0.8 * delay_s()


def test_a_setting_that_came_later_leaves_known_hashes_alone(folder):
    """Cards name scenarios that were trained on by their hashes."""
    plain, given = load_scenario(folder / "own.yaml"), load_scenario(folder / "own.yaml", lateral_resolution_m=0.8)
    assert plain.hash != given.hash
    assert load_scenario("intersections/cologne1").hash == "f5de75ddde5ec275", "as on the card of the generalist"


def test_the_hash_follows_content_and_not_place(folder, tmp_path_factory):
    with (folder / "own.yaml").open("a") as file:
        file.write("name: day.inp\ndescription: counted by hand, see counts.csv\n")
    other = tmp_path_factory.mktemp("elsewhere")
    for path in folder.iterdir():
        shutil.copy(path, other)
    here, there = load_scenario(folder / "own.yaml"), load_scenario(other / "own.yaml")
    assert (here.name, here.description) == ("day.inp", "counted by hand, see counts.csv"), "words, not files"
    assert here.hash == there.hash
    (other / "own.rou.xml").write_text("<routes/>")
    assert load_scenario(other / "own.yaml").hash != here.hash


def test_missing_network(folder):
    (folder / "own.net.xml").unlink()
    sentence = refusal(folder / "own.yaml")
    assert "own.net.xml is missing: give an existing file" in sentence


def test_broken_network(folder):
    (folder / "own.net.xml").write_text("<net><edge")
    sentence = refusal(folder / "own.yaml")
    assert "own.net.xml cannot be read" in sentence
    assert "give a SUMO .net.xml file" in sentence
    (folder / "own.net.xml").write_text("<routes/>")
    assert "own.net.xml cannot be read (it holds <routes>): give a SUMO .net.xml" in refusal(folder / "own.yaml")


def test_network_without_signals(folder):
    command = [sumo_binary("netgenerate"), "--grid", "--grid.number=2", f"--output-file={folder / 'own.net.xml'}"]
    subprocess.run(command, check=True, capture_output=True)
    assert "has no traffic lights: give a network with signals" in refusal(folder / "own.yaml")


def test_a_type_that_sumo_crashes_on(folder):
    net = folder / "own.net.xml"
    net.write_text(net.read_text().replace('type="static"', 'type="off"', 1))
    assert "program '0': its type is 'off', on which SUMO crashes: give 'static'" in refusal(folder / "own.yaml")


def test_traffic_that_passes_no_signal_is_told_of(folder, caplog):
    """All controllers have the same delay then."""
    net = folder / "own.net.xml"
    grid = ["--grid", "--grid.number=3", "--grid.attach-length=100", "--tls.set=A0", f"-o={net}"]
    run_sumo_program("netgenerate", *grid)
    for last, said in (("A0B0", 0), ("B1C1", 1)):
        first = "left0A0" if last == "A0B0" else "A1B1"
        (folder / "own.rou.xml").write_text(
            f'<routes><vehicle id="a" depart="0"><route edges="{first} {last}"/></vehicle></routes>'
        )
        load_site(load_scenario(folder / "own.yaml"))
        assert caplog.text.count("no route leads over a signal that is controlled") == said


def test_it_begins_when_it_is_to_begin(folder):
    """To the hundredth of a second, however late."""
    (folder / "own.rou.xml").write_text(
        '<routes><trip id="a" depart="1234560.25" from="left0A0" to="A0B0"/>'
        '<trip id="b" depart="1234567" from="left0A0" to="A0B0"/></routes>'
    )
    loop = make_loop(load_scenario(folder / "own.yaml", begin_s=1234567.0))
    loop.reset(1)
    assert loop.world.time_s == 1234567.0
    assert loop.episode(make_controller("fixed", loop.site), seed=1).kpis["due_veh"] == 1


def test_lanes_for_trams_or_buses_in_the_middle(folder):
    """Who turns into the lane beside it, and what turns into it, give way to nobody, and need not: both are served."""
    ends = {"w": (-300, 0), "e": (300, 0), "n": (0, 300), "s": (0, -300)}
    nodes = "".join(f'<node id="{name}" x="{x}" y="{y}"/>' for name, (x, y) in ends.items())
    (folder / "n.nod.xml").write_text(f'<nodes><node id="c" x="0" y="0" type="traffic_light"/>{nodes}</nodes>')
    edges = ""
    for name in ends:
        lanes = (3, '<lane index="2" allow="tram"/>') if name in "we" else (2, "")
        edges += "".join(
            f'<edge id="{a}{b}" from="{a}" to="{b}" numLanes="{lanes[0]}">{lanes[1]}</edge>'
            for a, b in ((name, "c"), ("c", name))
        )
    (folder / "e.edg.xml").write_text(f"<edges>{edges}</edges>")
    files = f"--node-files={folder / 'n.nod.xml'}", f"--edge-files={folder / 'e.edg.xml'}"
    run_sumo_program("netconvert", *files, "--no-turnarounds", f"--output-file={folder / 'own.net.xml'}")
    flows = '<flow id="car" begin="0" end="60" number="9" from="nc" to="cs"/>'
    flows += '<flow id="tram" type="t" begin="0" end="60" number="3" from="wc" to="ce"/>'
    (folder / "own.rou.xml").write_text(f'<routes><vType id="t" vClass="tram"/>{flows}</routes>')
    loop = make_loop(str(folder / "own.yaml"))
    (junction,) = loop.site.junctions
    into = [{loop.site.exits[k].id for k in movement.exits} for movement in junction.movements]
    (beside,) = [k for k, lanes in enumerate(into) if lanes == {"cw_0"} and approach(loop.site, k) == "nc_0"]
    (tram,) = [k for k, lanes in enumerate(into) if lanes == {"cw_2"} and approach(loop.site, k) == "sc_1"]
    (merging,) = [k for k, lanes in enumerate(into) if lanes == {"cw_0"} and approach(loop.site, k) == "sc_1"]
    assert (beside, tram) not in junction.foes
    assert (beside, merging) in junction.foes
    assert any(stage[beside] in "Gg" and stage[tram] in "Gg" for stage in junction.stages)
    kpis = loop.episode(make_controller("max-pressure", loop.site), seed=1).kpis
    assert kpis["due_veh"] == 12


def approach(site, k):
    return site.approaches[site.junctions[0].movements[k].approach].id


def test_a_check_begins_where_traffic_does(folder):
    scenario = load_scenario(folder / "own.yaml", duration_s=900)
    for text, begin_s in (
        ('<trip id="a" depart="400" from="left0A0" to="A0B0"/>', 400),
        ('<trip id="a" depart="890" from="left0A0" to="A0B0"/>', 780),
        ('<flow id="a" begin="0" period="9" from="left0A0" to="A0B0"/>', 0),
        ("", 0),
    ):
        (folder / "own.rou.xml").write_text(f"<routes>{text}</routes>")
        short = scenario.shortened(120, first_s(scenario))
        assert (short.begin_s, short.duration_s) == (begin_s, 120)


def test_a_check_of_what_cannot_begin_says_so_once_and_of_the_whole(folder):
    (folder / "own.rou.xml").write_text('<routes><trip id="a" depart="25200" from="left0A0" to="A0B0"/></routes>')
    path = folder / "own.yaml"
    path.write_text(path.read_text().replace("duration_s: 60", "duration_s: 900"))
    bad = [check for check in check_system(path) if not check.ok]
    assert [check.name for check in bad] == ["spaces"]
    assert "no vehicle due from 0 s to 900 s: set begin_s and duration_s" in bad[0].detail


def test_a_comma_in_a_path_is_refused(folder):
    comma = folder / "a,b"
    comma.mkdir()
    for path in list(folder.glob("own.*")):
        shutil.copy(path, comma)
    assert "has a comma in its path, where SUMO ends a name: rename or move it" in refusal(comma / "own.yaml")


def test_routes_that_do_not_fit_the_network(folder):
    (folder / "own.rou.xml").write_text('<routes><trip id="a" depart="0" from="nowhere" to="left0A0"/></routes>')
    loop = make_loop(str(folder / "own.yaml"))
    with pytest.raises(CityloopError, match=r"SUMO .*nowhere"):
        loop.reset(1)
    loop.close()


def test_a_file_whose_name_cannot_be_a_scenarios(folder):
    path = folder / "my town.yaml"
    path.write_text(YAML)
    assert "no scenario can be called 'my town': add key 'name'" in refusal(path)
    path.write_text(f"name: town\n{YAML}")
    assert load_scenario(path).name == "town"


def test_who_is_to_enter_at_a_speed_close_to_a_red_waits_for_its_green(folder):
    edges = ("left0A0 A0B0", "bottom0A0 A0A1")
    trips = "".join(
        f'<vehicle id="{k}.{t}" depart="{t}" departPos="-5" departSpeed="8"><route edges="{way}"/></vehicle>'
        for t in range(10)
        for k, way in enumerate(edges)
    )
    (folder / "own.rou.xml").write_text(f"<routes>{trips}</routes>")
    loop = make_loop(str(folder / "own.yaml"))
    assert loop.episode(make_controller("greedy", loop.site), 1).kpis["due_veh"] == 20


def test_without_internal_lanes_a_path_is_as_long_as_the_way_between_its_lanes(folder):
    """Else the conflict area would have no width, and the red clearance would be a second at any junction."""
    whole = load_site(load_scenario(folder / "own.yaml"))
    net = folder / "own.net.xml"
    run_sumo_program("netconvert", f"--sumo-net-file={net}", "--no-internal-links", f"--output-file={net}")
    bare = load_site(load_scenario(folder / "own.yaml"))
    for usual, found in zip(whole.junctions, bare.junctions, strict=True):
        for a, b in zip(usual.movements, found.movements, strict=True):
            assert 0.8 * a.width_m < b.width_m < 1.2 * a.width_m
