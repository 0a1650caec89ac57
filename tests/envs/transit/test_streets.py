"""A SUMO network as a street graph: a street of four corners by hand, and the packaged Ingolstadt."""

import itertools

import numpy as np
import pytest

from agents import make_controller
from envs import CityloopError, load_scenario
from envs.core.env import make_loop
from envs.transit import network, streets
from envs.transit.scenarios import Trips

CORNERS = {"W": 0, "A": 300, "B": 600, "E": 900}


@pytest.fixture
def files(tmp_path):
    """W — A — B — E both ways, 10 m/s; W and E are where the network was cut out."""
    names, lines = list(CORNERS), []
    for a, b in itertools.pairwise(names):
        for start, end in ((a, b), (b, a)):
            shape = f"{CORNERS[start]},0 {CORNERS[end]},0"
            lane = f'<lane id="{start}{end}_0" index="0" speed="10" length="300" shape="{shape}"/>'
            lines.append(f'<edge id="{start}{end}" from="{start}" to="{end}">{lane}</edge>')
    lines += [
        f'<junction id="{n}" type="priority" x="{x}" y="0" incLanes="" intLanes="" shape=""/>'
        for n, x in CORNERS.items()
    ]
    head = '<location netOffset="0,0" convBoundary="0,0,900,0" origBoundary="0,0,900,0" projParameter="!"/>'
    (tmp_path / "a.net.xml").write_text(f"<net version='1.20'>{head}{''.join(lines)}</net>")
    trips = [("WA", "BE", 0), ("WA", "AB", 10), ("AB", "BE", 1190), ("AB", "AB", 600), ("AB", "ZZ", 5)]
    text = "".join(f'<trip id="{k}" from="{a}" to="{b}" depart="{t}"/>' for k, (a, b, t) in enumerate(trips))
    text += '<vehicle id="v" depart="700"><route edges="BA AW"/></vehicle>'
    (tmp_path / "a.rou.xml").write_text(f"<routes>{text}</routes>")
    (tmp_path / "mine.yaml").write_text(
        "system: transit\nnet: a.net.xml\nroutes: [a.rou.xml]\nduration_s: 3600\n"
        "trips: {stretch: 3, share: 0.5, tide: 1, zones: [2, 1]}\nfleet: {vehicles: 2}\n"
    )
    return tmp_path / "mine.yaml"


def test_who_passes_through_is_no_customer(files):
    scenario = load_scenario(files)
    found = streets.read(scenario.net, scenario.routes, (2, 1))
    names = [node.id for node in found.town.nodes]
    trips = [(names[a], names[b], t) for a, b, t in zip(found.origin, found.destination, found.depart_s, strict=True)]
    assert trips == [("W", "B", 10), ("A", "E", 1190), ("A", "B", 600), ("B", "W", 700)]
    assert found.tide.tolist() == [streets.INWARD, streets.OUTWARD, streets.WITHIN, streets.OUTWARD]


def test_what_cannot_be_read_of_a_trip_is_said(files):
    scenario = load_scenario(files)
    text = scenario.routes[0].read_text().replace('depart="700"', 'depart="triggered"')
    scenario.routes[0].write_text(text)
    streets.read.cache_clear()
    with pytest.raises(CityloopError, match="depart of vehicle 'v' is 'triggered': give seconds"):
        streets.read(scenario.net, scenario.routes, (2, 1))


def test_a_net_without_streets_is_refused(files):
    scenario = load_scenario(files)
    net = scenario.net
    net.write_text(net.read_text().replace('speed="10"', 'speed="10" allow="tram"'))
    streets.read.cache_clear()
    with pytest.raises(CityloopError, match="no street for passenger cars"):
        streets.read(net, scenario.routes, (2, 1))


def test_roads_take_their_length_at_their_limit_and_the_junction(files):
    site = network.load_site(load_scenario(files))
    assert {road.seconds for road in site.roads} == {30 + streets.JUNCTION_S}
    assert site.matrices.metres.max() == 900
    assert [zone.id for zone in site.zones] == ["A1", "A2"]


def test_the_tide_comes_in_and_goes_out(files):
    scenario = load_scenario(files)
    found = streets.read(scenario.net, scenario.routes, (2, 1))
    time_s, share = streets.chance(found, scenario.trips, 3600.0)
    assert time_s.tolist() == [30, 3570, 1800, 2100]
    assert share == pytest.approx([1.0, 1.0, 0.5, 0.5 * (1 - np.cos(np.pi * 2100 / 3600))], abs=1e-3)
    counts = np.mean([len(streets.day(found, scenario.trips, 3600.0, seed).origin) for seed in range(300)])
    assert counts == pytest.approx(share.sum(), rel=0.05)
    assert streets.usual(found, scenario.trips, 3600.0, 300.0).sum() == pytest.approx(share.sum())
    assert streets.usual(found, Trips(share=1, tide=0), 3600.0, 300.0).sum() == 4


def test_an_own_network_is_served(files):
    loop = make_loop(load_scenario(files))
    kpis = [loop.episode(make_controller("reactive", loop.site), seed).kpis for seed in range(4)]
    assert sum(result["asked"] for result in kpis) > 4
    assert all(result["broken"] == 0 for result in kpis)


def test_what_is_no_network_is_refused(files, tmp_path):
    (tmp_path / "a.net.xml").write_text("nothing")
    with pytest.raises(CityloopError, match=r"a.net.xml cannot be read .*: give a SUMO network"):
        network.load_site(load_scenario(files))


def test_a_network_needs_routes(files):
    files.write_text("system: transit\nnet: a.net.xml\n")
    with pytest.raises(CityloopError, match="net and routes go together"):
        load_scenario(files)


def test_ingolstadt_is_served_by_what_the_package_brings():
    loop = make_loop("transit/ingolstadt", duration_s=3600.0)
    assert np.isfinite(loop.site.matrices.free_s).all()
    kpis = loop.episode(make_controller("reactive", loop.site), 0).kpis
    assert kpis["asked"] > 100
    assert kpis["broken"] == 0
