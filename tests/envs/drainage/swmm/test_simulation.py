"""Many values at once are those that SWMM's own toolkit tells one by one."""

import numpy as np
import pytest
from swmm.toolkit import solver
from swmm.toolkit.shared_enum import LinkResult, NodeResult

from envs import CityloopError, load_scenario
from envs.drainage.network import load_site
from envs.drainage.swmm.inp import Inp
from envs.drainage.swmm.simulation import Swmm, _reason
from envs.drainage.weather import set_up
from tests.envs.drainage.small import NETWORK


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
    depths, heads, inflows, flooded, _, flows = running.meter(nodes, nodes[:1], nodes, nodes, nodes[:0], links)()
    assert [len(found) for found in (depths, heads, inflows, flooded, flows)] == [2, 1, 2, 2, 3]
    assert (depths == running.depths_m(nodes)).all()
    assert (flooded == volume).all()
    assert (flows == running.flows_cms(links)).all()
    for kind, found in ((NodeResult.HEAD, heads), (NodeResult.TOTAL_INFLOW, inflows)):
        assert found.tolist() == [solver.node_get_result(node, kind) for node in nodes[: len(found)].tolist()]
    settings = [solver.link_get_result(link, LinkResult.SETTING) for link in links.tolist()]
    assert settings[:2] == [0.0, 0.125]


def test_flooding_counts_from_the_start_even_where_reports_begin_later(tmp_path):
    path = tmp_path / "own.inp"
    late = "REPORT_START_DATE 01/01/2020\nREPORT_START_TIME 05:00:00\nEND_DATE"
    path.write_text(NETWORK.replace("END_DATE", late).replace("FUNCTIONAL 0 0 500", "FUNCTIONAL 0 0 50"))
    swmm = Swmm(Inp(path), tmp_path, seconds=7200)  # as controllers that look ahead do
    try:
        swmm.set_settings(swmm.links(["G", "H"]), np.zeros(2))
        while swmm.advance(600):
            volumes_m3, hours = swmm.flooded(swmm.nodes(["T"]))
    finally:
        swmm.close()
    assert volumes_m3[0] > 100
    assert hours[0] > 0


def test_what_swmm_does_not_know_is_said(running):
    with pytest.raises(ValueError, match="1 values for 2 places"):
        running.set_settings(running.links(["1", "2"]), np.array([0.5]))
    unknown = np.array([10_000], dtype=np.int32)
    with pytest.raises(CityloopError, match="SWMM does not know a node"):
        running.meter(*[unknown[:0]] * 5, unknown)()
    with pytest.raises(CityloopError, match="SWMM does not know a node"):
        running.depths_m(unknown)


def test_a_meter_goes_on_as_swmm_does_and_says_where_it_ends_and_why_it_stops(tmp_path):
    scenario = load_scenario("drainage/theta")
    inp = set_up(scenario, load_site(scenario)).inp

    def episode(folder, advance):
        folder.mkdir()
        swmm = Swmm(inp, folder, seconds=3000)
        meter = swmm.meter(*[swmm.nodes(["P1", "P2"])] * 5, swmm.links(["1"]))
        found = []
        while advance(swmm, meter):
            found.append(np.concatenate(meter()).tolist())
        swmm.close()
        return found, meter

    def by_meter(_, meter):
        meter(600)
        return not meter.ended

    plain, _ = episode(tmp_path / "a", lambda swmm, _: swmm.advance(600))
    found, meter = episode(tmp_path / "b", by_meter)
    assert found == plain
    assert len(found) >= 4
    with pytest.raises(CityloopError, match=r"SWMM stopped: .*not opened"):
        meter(600)


@pytest.mark.parametrize("report", [None, "", "\n  no word of it\n"])
def test_what_swmm_does_not_report_is_said_as_it_was_raised(tmp_path, report):
    if report is not None:
        (tmp_path / "model.rpt").write_text(report)
    assert _reason(RuntimeError("no space left\nat all"), tmp_path) == "no space left"
