"""What files of one's own bring along beside traffic: what they read is found, and nothing that they write is left."""

import xml.etree.ElementTree as ET

import pytest

from agents import make_controller
from envs import CityloopError
from envs.core.env import make_loop
from envs.intersections.routes import quiet_files
from tests.envs.intersections.own import YAML


def test_what_sumo_itself_says_is_passed_on(folder, capfd):
    (folder / "more.add.xml").write_text(
        '<additional><inductionLoop id="d" lane="none_0" pos="1" file="d.xml"/></additional>'
    )
    (folder / "own.yaml").write_text(f"{YAML}additional: [more.add.xml]\n")
    loop = make_loop(str(folder / "own.yaml"))
    with pytest.raises(CityloopError, match="none_0"):
        loop.reset(1)
    loop.close()
    assert capfd.readouterr().err == ""


def test_who_is_parked_stands_in_nobodys_way(folder):
    (folder / "more.add.xml").write_text(
        '<additional><parkingArea id="p" lane="left0A0_0" startPos="50" endPos="90" roadsideCapacity="5"/></additional>'
    )
    stop = '<stop parkingArea="p" duration="900"/>'
    (folder / "own.rou.xml").write_text(
        f'<routes><trip id="a" depart="0" from="left0A0" to="A0B0">{stop}</trip></routes>'
    )
    (folder / "own.yaml").write_text(f"{YAML}additional: [more.add.xml]\n")
    loop = make_loop(str(folder / "own.yaml"))
    loop.reset(1)
    seen = []
    while not loop.world.done:
        loop.step(make_controller("greedy", loop.site).act(loop.readings, loop.observation))
        seen.append((loop.world.truth["running_veh"], loop.world.truth["standing_veh"]))
    assert seen[0] == (1, 0)
    assert seen[-1] == (0, 0)


def test_detectors_of_ones_own_write_nothing_beside_the_files(folder):
    (folder / "more.add.xml").write_text(
        '<additional><inductionLoop id="d" lane="left0A0_0" pos="1" period="30" file="d.xml"/>'
        '<edgeData id="e" file="e.xml"/><timedEvent type="SaveTLSStates" source="A0" dest="t.xml"/></additional>'
    )
    (folder / "own.yaml").write_text(f"{YAML}additional: [more.add.xml]\n")
    before = sorted(folder.iterdir())
    loop = make_loop(str(folder / "own.yaml"))
    assert loop.episode(make_controller("greedy", loop.site), seed=1).kpis["due_veh"] > 0
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("named", [True, False])
def test_devices_of_vehicles_write_nothing_either(folder, monkeypatch, named):
    """SUMO names a file after each vehicle where none is given; where one is, the process aborts as it is closed, if
    the folder of an episode before, in which it lay, is gone.
    """
    monkeypatch.chdir(folder)
    keys = {"has.ssm.device": "true"}
    if named:
        keys |= {"has.toc.device": "true", "device.toc.manualType": "car", "device.toc.automatedType": "car"}
        keys |= {"device.ssm.file": "s.xml", "device.toc.file": "t.xml"}
    params = "".join(f'<param key="{key}" value="{value}"/>' for key, value in keys.items())
    flow = '<flow id="a" type="car" begin="0" period="9" from="left0A0" to="A0B0"/>'
    (folder / "own.rou.xml").write_text(f'<routes><vType id="car">{params}</vType>{flow}</routes>')
    before = sorted(folder.iterdir())
    loop = make_loop(str(folder / "own.yaml"))
    assert loop.episode(make_controller("greedy", loop.site), seed=1).kpis["due_veh"] > 0
    assert sorted(folder.iterdir()) == before


def test_what_additional_files_read_is_found_where_detectors_are_silenced(folder):
    """SUMO crashes, and the process with it, where it looks for one in vain."""
    (folder / "slow.xml").write_text('<vss><step time="0" speed="5"/></vss>')
    sign = '<variableSpeedSign id="v" lanes="A0B0_0" file="slow.xml"/>'
    detector = '<inductionLoop id="d" lane="left0A0_0" pos="1" period="30" file="d.xml"/>'
    (folder / "more.add.xml").write_text(f"<additional>{sign}{detector}</additional>")
    (quiet,) = quiet_files([folder / "more.add.xml"], folder)
    files = [element.get("file") for element in ET.parse(quiet).getroot()]
    assert files == [str(folder / "slow.xml"), "NUL"]
    (folder / "slow.xml").unlink()
    with pytest.raises(CityloopError, match=r"file of variableSpeedSign 'v' is 'slow\.xml': give an existing file"):
        quiet_files([folder / "more.add.xml"], folder)
