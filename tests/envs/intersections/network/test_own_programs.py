"""Signal programs of one's own networks: which one counts, what of it is taken up, and what is told or refused."""

import re

import pytest

from agents import make_controller
from envs import load_scenario
from envs.core.env import make_loop
from envs.core.sumo.programs import run_sumo_program
from envs.intersections.network import notes
from envs.intersections.network.read import load_site
from envs.intersections.network.stages import safe_stage
from tests.envs.intersections.own import YAML, refusal

KINDS = ("node", "edge", "connection")


def test_stages_are_those_of_the_program_that_sumo_would_run(folder):
    """The last of a file; programs that are off, or blink, are passed over."""
    before = load_site(load_scenario(folder / "own.yaml"))
    text = (folder / "own.net.xml").read_text()
    light = re.search(r'    <tlLogic id="A0".*?</tlLogic>\n', text, re.DOTALL)[0]
    dark = "O" * len(before.junctions[0].program[0].state)
    night = re.sub(r'duration="\d+"', 'duration="77"', light.replace('programID="0"', 'programID="night"'))
    off = (
        f'<tlLogic id="A0" type="static" programID="-off" offset="0"><phase duration="90" state="{dark}"/></tlLogic>\n'
    )
    (folder / "own.net.xml").write_text(text.replace(light, f"{light}{night}{off}"))
    after = load_site(load_scenario(folder / "own.yaml"))
    assert after.junctions[0].stages == before.junctions[0].stages
    assert {phase.duration_s for phase in after.junctions[0].program} == {77.0}
    assert after.junctions[1:] == before.junctions[1:]


def test_a_program_of_an_additional_file_is_the_one_that_sumo_runs(folder):
    text = (folder / "own.net.xml").read_text()
    light = re.search(r'<tlLogic id="A0".*?</tlLogic>', text, re.DOTALL)[0].replace('programID="0"', 'programID="new"')
    program = re.sub(r'duration="\d+"', 'duration="77"', light).replace(' offset="0"', "")
    (folder / "tls.add.xml").write_text(f"<additional>{program}</additional>")
    (folder / "own.yaml").write_text(f"{YAML}additional: [tls.add.xml]\n")
    site = load_site(load_scenario(folder / "own.yaml"))
    assert {phase.duration_s for phase in site.junctions[0].program} == {77.0}
    (folder / "tls.add.xml").write_text('<additional><WAUT id="w"/></additional>')
    assert "switches programs by the clock (WAUT)" in refusal(folder / "own.yaml")


def test_a_network_that_switches_programs_by_the_clock_is_refused(folder):
    """SUMO would put the network's program in the place of the cabinet's, from one second to the next."""
    text = (folder / "own.net.xml").read_text()
    (folder / "own.net.xml").write_text(text.replace("</net>", '<WAUT id="w" startProg="0" refTime="0"/></net>'))
    assert "switches programs by the clock (WAUT)" in refusal(folder / "own.yaml")


def test_a_program_may_be_an_additional_file_by_itself(folder):
    """As in a demonstration that SUMO brings."""
    text = (folder / "own.net.xml").read_text()
    light = re.search(r'<tlLogic id="A0".*?</tlLogic>', text, re.DOTALL)[0].replace('programID="0"', 'programID="new"')
    (folder / "own.add.xml").write_text(re.sub(r'duration="\d+"', 'duration="77"', light))
    (folder / "own.yaml").write_text(f"{YAML}additional: [own.add.xml]\n")
    first, *_ = load_site(load_scenario(folder / "own.yaml")).junctions
    assert {phase.duration_s for phase in first.program} == {77.0}


def test_a_state_with_too_few_letters(folder):
    text = (folder / "own.net.xml").read_text()
    (folder / "own.net.xml").write_text(re.sub(r'state="(\w+)\w"', r'state="\1"', text, count=1))
    assert re.search(r"signal A0, program '0': state '\w+' has \d+ letters", refusal(folder / "own.yaml"))


def test_states_of_unlike_length(folder):
    text = (folder / "own.net.xml").read_text()
    (folder / "own.net.xml").write_text(re.sub(r'state="(\w+)"', r'state="\1rr"', text, count=1))
    assert re.search(r"signal A0, program '0': states '\w+' and '\w+' differ in length", refusal(folder / "own.yaml"))


def test_a_green_that_neither_gives_way_nor_is_given_way_to():
    """It is not shown; what keeps its protected green is."""
    foes = {(0, 1)}
    assert safe_stage("gG", foes, set()) == "rG"
    assert safe_stage("GG", foes, set()) is None
    assert safe_stage("GG", foes, {(0, 1)}) == "gG"


def test_a_light_that_blinks_beside_greens_lets_through(folder):
    """Whoever gives way; a stage without it would leave some approach red for ever."""
    net = folder / "own.net.xml"
    before = load_site(load_scenario(folder / "own.yaml")).junctions[0]
    link = before.stages[0].index("G")
    blinking = before.stages[0][:link] + "o" + before.stages[0][link + 1 :]
    light = re.search(r'<tlLogic id="A0".*?</tlLogic>', net.read_text(), re.DOTALL)[0]
    net.write_text(net.read_text().replace(light, light.replace(before.stages[0], blinking)))
    after = load_site(load_scenario(folder / "own.yaml")).junctions[0]
    assert after.stages == (blinking.replace("o", "g"), *before.stages[1:])


def test_two_signals_at_one_node_keep_their_programs(folder, caplog):
    """Neither knows of the other's greens across its ways, which their programs are made for."""
    net = folder / "own.net.xml"
    text = net.read_text()
    for old in re.findall(r'<connection [^>]*tl="A0" linkIndex="[01]"[^>]*>', text):
        text = text.replace(old, old.replace('tl="A0"', 'tl="twin"'))
    light = re.search(r'<tlLogic id="A0".*?</tlLogic>', text, re.DOTALL)[0]
    net.write_text(text.replace(light, light + light.replace('id="A0"', 'id="twin"')))
    site = load_site(load_scenario(folder / "own.yaml"))
    assert site.agents == ("A1", "B0", "B1")
    for name, other in (("A0", "twin"), ("twin", "A0")):
        assert f"signal {name} keeps its program: at node A0 signal {other} gives green across its ways" in caplog.text


def test_a_link_of_vehicles_and_walkers_at_once(folder):
    grid = ["--grid", "--grid.number=1", "--grid.attach-length=200", "--sidewalks.guess", "--crossings.guess"]
    run_sumo_program("netgenerate", *grid, "--default-junction-type=traffic_light", f"-o={folder / 'own.net.xml'}")
    text = (folder / "own.net.xml").read_text()
    crossing = re.search(r'<connection from=":A0_w\d" to=":A0_c\d"[^>]*tl="A0" linkIndex="(\d+)"[^>]*>', text)
    (folder / "own.net.xml").write_text(text.replace(crossing[0], crossing[0].replace(f'"{crossing[1]}"', '"0"')))
    sentence = refusal(folder / "own.yaml")
    assert "signal A0: link 0 is of vehicles and walkers at once: give each connection a link of its own" in sentence


def test_both_signals_of_a_crossing_conflict_with_the_road_they_cross(folder):
    """Those who come from its other end may have a signal of their own, which has no row in the network's table."""
    nodes = '<node id="a" x="0" y="0"/><node id="m" x="200" y="0" type="traffic_light"/><node id="b" x="400" y="0"/>'
    (folder / "n.nod.xml").write_text(f"<nodes>{nodes}</nodes>")
    ways = ("am", "mb", "bm", "ma")
    edges = "".join(f'<edge id="{way}" from="{way[0]}" to="{way[1]}" sidewalkWidth="2"/>' for way in ways)
    (folder / "e.edg.xml").write_text(f"<edges>{edges}</edges>")
    crossing = '<crossing node="m" edges="am ma" linkIndex="2" linkIndex2="3"/>'
    (folder / "c.con.xml").write_text(f"<connections>{crossing}</connections>")
    net, plain = folder / "own.net.xml", [f"--{kind}-files={next(folder.glob(f'*.{kind[:3]}.xml'))}" for kind in KINDS]
    run_sumo_program("netconvert", *plain, "--walkingareas", f"--output-file={net}")
    net.write_text(net.read_text().replace('"GGrr"', '"GGrG"'))
    (folder / "own.rou.xml").write_text('<routes><trip id="t" depart="0" from="am" to="mb"/></routes>')
    (junction,) = load_site(load_scenario(folder / "own.yaml")).junctions
    assert junction.foes == ((0, 2), (0, 3), (1, 2), (1, 3))
    assert junction.stages == ("ggrG", "rrGG")


@pytest.mark.parametrize(("length_m", "refused"), [(64.0, False), (70.0, True)])
def test_a_crossing_that_takes_longer_than_a_cabinet_reports(folder, length_m, refused):
    """Its readings would be refused, at each change from the green of those who walk."""
    net = folder / "own.net.xml"
    grid = ["--grid", "--grid.number=1", "--grid.attach-length=200", "--sidewalks.guess", "--crossings.guess"]
    run_sumo_program("netgenerate", *grid, "--default-junction-type=traffic_light", f"-o={net}")
    net.write_text(re.sub(r'(<lane id=":A0_c0_0"[^>]* length=)"[^"]*"', rf'\1"{length_m}"', net.read_text()))
    if refused:
        said = r"signal A0: pedestrians need 66 s over link \d+, 70 m, and a change of stage may take 60: divide"
        assert re.search(said, refusal(folder / "own.yaml"))
    else:
        site = load_site(load_scenario(folder / "own.yaml"))
        assert site.longest_intergreen_s(site.junctions[0]) == 60


def test_links_of_several_lanes_are_seen_in_one_alone(folder, caplog):
    net = folder / "own.net.xml"
    grid = ["--grid", "--grid.number=1", "--grid.attach-length=200", "--default.lanenumber=4"]
    run_sumo_program("netgenerate", *grid, "--default-junction-type=traffic_light", f"-o={net}")
    run_sumo_program("netconvert", f"--sumo-net-file={net}", "--tls.group-signals", f"--output-file={net}")
    load_site(load_scenario(folder / "own.yaml"))
    assert "signal A0: nobody sees lane " in caplog.text
    assert "(netconvert --tls.ungroup-signals)" in caplog.text


def test_a_program_that_waits_for_vehicles_is_said_to_be_run_by_the_clock(folder, caplog):
    net = folder / "own.net.xml"
    net.write_text(net.read_text().replace('id="A0" type="static"', 'id="A0" type="actuated"'))
    load_site(load_scenario(folder / "own.yaml"))
    assert "signal A0 has a program of type actuated: `fixed` runs its phases in turn" in caplog.text


def test_what_is_true_of_many_signals_is_said_once(folder, caplog, monkeypatch):
    """A map from OpenStreetMap brings a hundred programs that wait for vehicles; commands load it several times."""
    net = folder / "own.net.xml"
    net.write_text(net.read_text().replace('type="static"', 'type="actuated"'))
    monkeypatch.setattr(notes, "SHOWN", 3)
    for duration_s in (60, 30):
        load_site(load_scenario(folder / "own.yaml", duration_s=duration_s))
    said = "signals A0, A1, B0 and 1 more have programs of type actuated: `fixed` runs their phases in turn, by the"
    assert [record.message for record in caplog.records] == [f"{said} clock"]


def test_of_many_signals_that_keep_their_programs_the_first_say_why(folder, caplog, monkeypatch):
    text = (folder / "own.net.xml").read_text()
    for light in ("A0", "A1", "B0"):
        old = re.findall(rf'<connection [^>]*tl="{light}" linkIndex="[01]"[^>]*>', text)
        for connection in old:
            text = text.replace(connection, connection.replace(f'tl="{light}"', f'tl="twin{light}"'))
        logic = re.search(rf'<tlLogic id="{light}".*?</tlLogic>', text, re.DOTALL)[0]
        text = text.replace(logic, logic + logic.replace(f'id="{light}"', f'id="twin{light}"'))
    (folder / "own.net.xml").write_text(text)
    monkeypatch.setattr(notes, "SHOWN", 2)
    assert load_site(load_scenario(folder / "own.yaml")).agents == ("B1",)
    assert caplog.text.count("keeps its program: at node") == 2
    assert "4 more signals keep their programs, too: B0, twinA0, twinA1, twinB0" in caplog.text


def test_a_link_that_is_red_for_ever_is_told_of_where_routes_lead_over_it(folder, caplog):
    """netconvert makes such programs of type NEMA where a junction is not one of four arms."""
    net = folder / "own.net.xml"
    text = net.read_text()
    site = load_site(load_scenario(folder / "own.yaml"))
    used = next(k for k, movement in enumerate(site.junctions[0].movements) if movement.flow_veh_h)
    light = re.search(r'<tlLogic id="A0".*?</tlLogic>', text, re.DOTALL)[0]
    shut = re.sub(rf'state="(\w{{{used}}})\w', r'state="\1r', light)
    net.write_text(text.replace(light, shut))
    load_site(load_scenario(folder / "own.yaml"))
    said = f"signal A0: no phase gives green to link {used}, which routes lead over: nobody gets past; make its program"
    assert [record.message for record in caplog.records] == [f"{said} anew (netconvert --tls.rebuild)"]


def test_an_offset_alone_is_that_of_the_program_that_is_there(folder):
    """What SUMO's tlsCoordinator writes."""
    (folder / "tls.add.xml").write_text('<additional><tlLogic id="A0" programID="0" offset="17"/></additional>')
    (folder / "own.yaml").write_text(f"{YAML}additional: [tls.add.xml]\n")
    first, *others = load_site(load_scenario(folder / "own.yaml")).junctions
    assert [first.offset_s, *(junction.offset_s for junction in others)] == [17, 0, 0, 0]
    assert first.stages == others[0].stages


@pytest.mark.parametrize(("written", "offset_s"), [("", 0), (' offset="begin"', 30), (' offset="0:00:17"', 17)])
def test_offsets_as_netedit_writes_them(folder, written, offset_s):
    """It leaves out what is 0."""
    net = folder / "own.net.xml"
    net.write_text(net.read_text().replace(' offset="0"', written))
    (folder / "own.yaml").write_text(f"{YAML}begin_s: 30\n")
    site = load_site(load_scenario(folder / "own.yaml"))
    assert [junction.offset_s for junction in site.junctions] == [offset_s] * 4


@pytest.mark.parametrize("name", ["fixed", "webster", "0>1", "start"])
def test_programs_may_be_called_like_ours_and_have_letters_to_spare(folder, name):
    net = folder / "own.net.xml"
    text = re.sub(r'(<phase [^>]*state="\w+)', r"\1rr", net.read_text())
    net.write_text(text.replace('programID="0"', f'programID="{name}"'))
    loop = make_loop(str(folder / "own.yaml"))
    for controller in ("fixed", "greedy"):
        assert loop.episode(make_controller(controller, loop.site), seed=1).kpis["due_veh"] > 0


def test_a_plan_of_short_greens_is_said_to_become_longer(folder, caplog):
    net = folder / "own.net.xml"
    net.write_text(re.sub(r'<phase duration="\d+"', '<phase duration="3"', net.read_text()))
    (folder / "own.yaml").write_text(YAML)
    load_site(load_scenario(folder / "own.yaml", regime="resco"))
    assert "shorter than min_green_s" not in caplog.text
    load_site(load_scenario(folder / "own.yaml"))
    assert "signal A0: greens of its program are shorter than min_green_s, 7: `fixed` makes its cycle" in caplog.text


def test_a_green_arrow_lets_through(folder, caplog):
    """SUMO's `s`: whoever turns right stops and goes on, whatever else is red."""
    net = folder / "own.net.xml"
    net.write_text(re.sub(r'(<phase [^>]*state=")[Ggry]', r"\1s", net.read_text()))
    (folder / "own.rou.xml").write_text(
        '<routes><flow id="a" begin="0" end="40" number="4" from="left0A0" to="A0bottom0"/>'
        '<flow id="b" begin="0" end="40" number="4" from="top0A1" to="A1left1"/></routes>'
    )
    loop = make_loop(str(folder / "own.yaml"))
    assert loop.episode(make_controller("greedy", loop.site), 1).kpis["throughput_veh"] > 0
    assert "no phase gives green" not in caplog.text
