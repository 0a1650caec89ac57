"""SUMO's world where it cannot begin: nothing is left that would keep the next one from it."""

import tempfile

import pytest

from envs import CityloopError, load_scenario
from envs.core.env import make_loop
from envs.intersections.network.read import load_site
from envs.intersections.world import SumoWorld


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_whatever_keeps_it_from_starting_leaves_no_folder_and_no_claim(monkeypatch, tmp_path, error):
    scenario = load_scenario("intersections/grid2x2")
    world = SumoWorld(scenario, load_site(scenario))

    def stop(*_):
        raise error

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("envs.intersections.world.route_files", stop)
    with pytest.raises(error):
        world.reset(0)
    assert SumoWorld._running() is None
    assert not list(tmp_path.iterdir())


def test_a_program_of_another_kind_is_told():
    loop = make_loop("intersections/grid2x2")
    with pytest.raises(CityloopError, match="program is a dict: give a LocalProgram"):
        loop.reset(0, program={"phases": 4})
