"""A SUMO network as a street graph: a street of four corners by hand, and the packaged Ingolstadt."""

import gzip
import itertools
import re

import numpy as np
import pytest

from agents import make_controller
from envs import CityloopError, load_scenario
from envs.core.env import make_loop
from envs.transit import network
from envs.transit.sources import streets
from envs.transit.sources.measured import Measured, digest
from envs.transit.sources.settings import Trips

CORNERS = {"W": 0, "A": 300, "B": 600, "C": 900, "E": 1200}

TURNS = ["WA AB", "AB BC", "BC CE", "EC CB", "CB BA", "BA AW", "BA AB", "BC CB"]
"""One may turn round at A and C, not where the network was cut out of the city."""


@pytest.fixture
def files(tmp_path):
    """W — A — B — C — E both ways, 10 m/s; W and E are where the network was cut out."""
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
    for turn in TURNS:
        first, second = turn.split()
        lines.append(f'<connection from="{first}" to="{second}" fromLane="0" toLane="0" dir="s" state="M"/>')
    head = '<location netOffset="0,0" convBoundary="0,0,1200,0" origBoundary="0,0,1200,0" projParameter="!"/>'
    (tmp_path / "a.net.xml").write_text(f"<net version='1.20'>{head}{''.join(lines)}</net>")
    trips = [("WA", "CE", 0), ("WA", "BC", 10), ("AB", "CE", 1190), ("AB", "CB", 600), ("AB", "AB", 600)]
    trips.append(("AB", "ZZ", 5))
    text = "".join(f'<trip id="{k}" from="{a}" to="{b}" depart="{t}"/>' for k, (a, b, t) in enumerate(trips))
    text += '<vehicle id="v" depart="700"><route edges="CB BA AW"/></vehicle>'
    (tmp_path / "a.rou.xml").write_text(f"<routes>{text}</routes>")
    (tmp_path / "mine.yaml").write_text(
        "system: transit\nnet: a.net.xml\nroutes: [a.rou.xml]\nduration_s: 3600\n"
        "trips: {stretch: 3, share: 0.5, tide: 1, zones: [2, 1]}\nfleet: {vehicles: 2}\n"
    )
    return tmp_path / "mine.yaml"


def measured(path, **changes):
    """Travel times of that network: every turn 12 s, every stop 5 s, half speed in the second half."""
    values = {"net": digest(path), "routes": (), "sumo": "none", "stretch": 3, "flow": 1, "seeds": (), "driven": 8}
    values |= {"unexplained": 0, "delay_s": (12,) * 8, "stop_s": (5,) * 4, "speed": (1, 0.5), "slot_s": 1800}
    return Measured(**values | changes)


def test_nobody_walks_in_a_network(files):
    with pytest.raises(CityloopError, match=r"walk.metres is 500: riders of days and of a SUMO network ask at stops"):
        load_scenario(files, walk__metres=500.0)


def test_a_check_begins_where_trips_do(files):
    routes = files.with_name("a.rou.xml")
    routes.write_text(re.sub(r'depart="(\d+)"', lambda found: f'depart="{int(found[1]) + 500}"', routes.read_text()))
    scenario = load_scenario(files)
    first_s = network.first_s(scenario)
    assert scenario.shortened(1600.0, first_s).trips == scenario.trips, "the first trip that counts begins at 510"
    short = scenario.shortened(240.0, first_s)
    assert (short.trips.begin_s, short.duration_s) == (510, 240)
    assert network.load_site(short).usual


def test_a_network_of_short_streets_alone_is_refused(files):
    net = files.with_name("a.net.xml")
    net.write_text(net.read_text().replace('length="300"', 'length="40"'))
    with pytest.raises(CityloopError, match=r"a.net.xml has no street of 60 m or more, where riders could get on"):
        network.load_site(load_scenario(files))


def test_who_passes_through_is_no_customer_and_the_border_is_met_where_a_vehicle_gets_to(files):
    scenario = load_scenario(files)
    found = streets.read(scenario.net, scenario.routes, (2, 1))
    names = [node.id for node in found.town.nodes]
    trips = [(names[a], names[b], t) for a, b, t in zip(found.origin, found.destination, found.depart_s, strict=True)]
    assert trips == [("AB", "BC", 10), ("AB", "BC", 1190), ("AB", "CB", 600), ("CB", "BA", 700)]
    assert found.tide.tolist() == [streets.INWARD, streets.OUTWARD, streets.WITHIN, streets.OUTWARD]
    assert [node.id for node in found.town.nodes if node.stop] == ["AB", "BA", "BC", "CB"]


def test_ways_follow_the_turns_that_are_allowed(files):
    site = network.load_site(load_scenario(files))
    index = {node.id: k for k, node in enumerate(site.nodes)}
    ways, stop_s = site.matrices, streets.STOP_S + streets.LEAST_S
    turn_s = 30 + streets.JUNCTION_S
    assert ways.free_s[index["AB"], index["BC"]] == pytest.approx(turn_s + stop_s)
    assert ways.free_s[index["BC"], index["AB"]] == pytest.approx(3 * turn_s + stop_s), "round by C and A"
    assert ways.metres[index["BC"], index["AB"]] == 900
    assert [zone.id for zone in site.zones] == ["A1", "A2"]


def test_zones_have_letters_beyond_the_26th_row(files):
    net = files.parent / "a.net.xml"
    upright = re.sub(r'shape="(\d+),0 (\d+),0"', r'shape="0,\1 0,\2"', net.read_text())
    net.write_text(upright)
    site = network.load_site(load_scenario(files, trips__zones=(1, 30)))
    assert [zone.id for zone in site.zones] == ["A1", "AD1"]


def test_who_has_pulled_out_is_past_the_stop(files):
    site = network.load_site(load_scenario(files))
    stop_of, passing_of = streets.places_of(site)
    after = {street: {r.end for r in site.roads if r.start == stop} for street, stop in stop_of.items()}
    assert after == {
        "AB": {passing_of["BC"]},
        "BC": {passing_of["CB"]},
        "CB": {passing_of["BA"]},
        "BA": {passing_of["AB"]},
    }
    pull_s = (
        site.matrices.free_s[stop_of["AB"], passing_of["BC"]] - site.matrices.free_s[passing_of["AB"], passing_of["BC"]]
    )
    assert pull_s == pytest.approx(streets.STOP_S)
    assert {streets.street_of(site.nodes[node]) for node in (stop_of["AB"], passing_of["AB"])} == {"AB"}


def test_measured_times_take_the_place_of_allowances(files, tmp_path):
    net = load_scenario(files).net
    (tmp_path / "times.json").write_text(measured(net).model_dump_json())
    scenario = load_scenario(files, times=tmp_path / "times.json")
    site = network.load_site(scenario)
    index = {node.id: k for k, node in enumerate(site.nodes)}
    assert site.matrices.free_s[index["AB"], index["BC"]] == pytest.approx(30 + 12 + 5 + streets.LEAST_S)
    day = network.day_of(scenario, site, 0)
    assert (day.speed.tolist(), day.slot_s) == ([1, 0.5], 1800)
    assert scenario.hash != load_scenario(files).hash


def test_nobody_stops_where_nobody_gets_out_again(files, tmp_path):
    net = load_scenario(files).net
    (tmp_path / "times.json").write_text(measured(net, stop_s=(5, 5, 90, 5)).model_dump_json())
    site = network.load_site(load_scenario(files, times=tmp_path / "times.json"))
    assert [node.id for node in site.nodes if node.stop] == ["AB", "BA", "CB"]


def test_times_of_another_network_are_refused(files, tmp_path):
    net = load_scenario(files).net
    (tmp_path / "times.json").write_text(measured(net, net="0" * 64).model_dump_json())
    with pytest.raises(CityloopError, match="were measured on another network"):
        network.load_site(load_scenario(files, times=tmp_path / "times.json"))


def test_what_cannot_be_read_of_a_trip_is_said(files):
    scenario = load_scenario(files)
    text = scenario.routes[0].read_text().replace('depart="700"', 'depart="triggered"')
    scenario.routes[0].write_text(text)
    with pytest.raises(CityloopError, match="depart of vehicle 'v' is 'triggered': give seconds"):
        streets.read(scenario.net, scenario.routes, (2, 1))


def test_files_that_were_changed_are_read_anew(files):
    """In one process, as in a notebook; the hash of the scenario says that they were."""
    (path,) = load_scenario(files).routes
    before = network.load_site(load_scenario(files))
    path.write_text(path.read_text().replace('depart="700"', 'depart="1900"'))
    assert network.load_site(load_scenario(files)).usual != before.usual
    net = load_scenario(files).net
    net.write_text(net.read_text().replace('speed="10"', 'speed="5"'))
    after = network.load_site(load_scenario(files))
    assert sum(road.seconds for road in after.roads) > sum(road.seconds for road in before.roads)


def test_routes_are_read_as_sumo_reads_them(files, tmp_path):
    """Compressed, with times of the clock, and with routes that are named."""
    routes = load_scenario(files).routes
    before = streets.trips_of(routes)
    (path,) = routes
    vehicle = '<vehicle id="v" depart="700"><route edges="CB BA AW"/></vehicle>'
    otherwise = '<route id="r" edges="CB BA AW"/><vehicle id="v" depart="0:11:40" route="r"/>'
    text = path.read_text().replace(vehicle, otherwise)
    assert otherwise in text
    packed = tmp_path / "own.rou.xml.gz"
    packed.write_bytes(gzip.compress(text.encode()))
    assert streets.trips_of((packed,)) == before


def test_alternatives_of_duarouter_are_read(files):
    (path,) = load_scenario(files).routes
    before, text = streets.trips_of((path,)), path.read_text()
    choices = '<routeDistribution last="0"><route cost="1" probability="1" edges="CB BA AW"/></routeDistribution>'
    path.write_text(text.replace('<route edges="CB BA AW"/>', choices))
    assert path.read_text() != text
    assert streets.trips_of((path,)) == before


def test_trips_that_are_no_requests_are_told_of(files, caplog):
    """Half of an own file's trips were lost without a word; that one of the fixture ends at ZZ, which is no street."""
    scenario = load_scenario(files)
    (path,) = scenario.routes
    elsewhere = '<trip id="t" fromTaz="1" toTaz="2" depart="0"/><person id="p" depart="0"><walk edges="AB"/></person>'
    path.write_text(path.read_text().replace("</routes>", f"{elsewhere}</routes>"))
    trips = streets.read(scenario.net, scenario.routes, (2, 1)).depart_s
    assert len(trips) == 4
    assert sorted(record.message for record in caplog.records) == [
        "left out: 1 of 7 trips begin or end at no street for passenger cars of a.net.xml, such as 'ZZ': "
        "give this network's routes",
        "left out: of a.rou.xml, 2 trips or persons name no first and last street, such as trip 't': "
        "write them as trips with from and to",
    ]


@pytest.mark.parametrize("around", ["{}", '<interval begin="0" end="9">{}</interval>'])
def test_flows_are_refused_as_they_are_no_trips(files, around):
    (path,) = load_scenario(files).routes
    flow = around.format('<flow id="f" begin="0" end="9" number="3"/>')
    path.write_text(path.read_text().replace("</routes>", f"{flow}</routes>"))
    with pytest.raises(CityloopError, match="flow 'f' is no trip: let duarouter make vehicles of it"):
        streets.trips_of((path,))


def test_a_net_without_streets_is_refused(files):
    scenario = load_scenario(files)
    net = scenario.net
    net.write_text(net.read_text().replace('speed="10"', 'speed="10" allow="tram"'))
    with pytest.raises(CityloopError, match="no street for passenger cars"):
        streets.read(net, scenario.routes, (2, 1))


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


def test_a_window_without_trips_is_refused_and_a_day_without_riders_passes(files):
    with pytest.raises(
        CityloopError, match=r"no trip begins from 5000 s to 6200 s of the route files: set trips.begin_s"
    ):
        make_loop(load_scenario(files, trips__begin_s=5000))
    loop = make_loop(load_scenario(files, trips__share=1e-9))
    kpis = loop.episode(make_controller("reactive", loop.site), seed=1).kpis
    assert (kpis["served_pct"], kpis["wait_min"]) == (100, 0)
