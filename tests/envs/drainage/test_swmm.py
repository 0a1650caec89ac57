"""Many values at once are those that SWMM's own toolkit tells one by one."""

import numpy as np
import pytest
from swmm.toolkit import solver
from swmm.toolkit.shared_enum import LinkResult, NodeResult

from envs import CityloopError, load_scenario
from envs.drainage.network import load_site
from envs.drainage.swmm import Swmm
from envs.drainage.weather import set_up


@pytest.fixture
def running(tmp_path):
    scenario = load_scenario("drainage/theta")
    swmm = Swmm(set_up(scenario, load_site(scenario)).inp, tmp_path)
    yield swmm
    swmm.close()


def test_values_are_those_of_the_toolkit(running):
    nodes, links = running.nodes(["P1", "P2"]), running.links(["1", "2", "8"])
    running.set_settings(running.links(["1", "2"]), np.array([0.0, 0.125]))
    while not running.flooded(nodes)[0].any():
        assert running.advance(600)
    volume, hours = running.flooded(nodes)
    for k, node in enumerate(nodes.tolist()):
        stats = solver.node_get_stats(node)
        assert (volume[k], hours[k]) == (stats.volFlooded, stats.timeFlooded)
        assert running.depths_m(nodes)[k] == solver.node_get_result(node, NodeResult.DEPTH)
        assert running.inflow_m3(nodes)[k] == solver.node_get_total_inflow(node)
    for k, link in enumerate(links.tolist()):
        assert running.flows_cms(links)[k] == solver.link_get_result(link, LinkResult.FLOW)
    seen = running.meter(nodes, nodes[:1], nodes, nodes, links)()
    assert {name: len(found) for name, found in seen.items()} == {
        "depths_m": 2,
        "heads_m": 1,
        "inflows_cms": 2,
        "flooded_m3": 2,
        "flows_cms": 3,
    }
    assert (seen["depths_m"] == running.depths_m(nodes)).all()
    assert (seen["flooded_m3"] == volume).all()
    assert (seen["flows_cms"] == running.flows_cms(links)).all()
    for kind, found in ((NodeResult.HEAD, seen["heads_m"]), (NodeResult.TOTAL_INFLOW, seen["inflows_cms"])):
        assert found.tolist() == [solver.node_get_result(node, kind) for node in nodes[: len(found)].tolist()]
    settings = [solver.link_get_result(link, LinkResult.SETTING) for link in links.tolist()]
    assert settings[:2] == [0.0, 0.125]


def test_what_swmm_does_not_know_is_said(running):
    with pytest.raises(ValueError, match="1 values for 2 places"):
        running.set_settings(running.links(["1", "2"]), np.array([0.5]))
    unknown = np.array([10_000], dtype=np.int32)
    with pytest.raises(CityloopError, match="SWMM does not know a node"):
        running.meter(*[unknown[:0]] * 4, unknown)()
    with pytest.raises(CityloopError, match="SWMM does not know a node"):
        running.depths_m(unknown)
