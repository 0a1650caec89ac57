"""Demand: variations of a seed, and the counts that fixed-time plans are made from."""

import gzip
import xml.etree.ElementTree as ET

import pytest
import sumolib

from envs import CityloopError, load_scenario
from envs.core.sumo.reading import seconds
from envs.intersections.demand import route_files
from envs.intersections.network.counts import _poured, turn_flows
from envs.intersections.network.read import load_site
from envs.intersections.routes import read_routes, scheduled_vehicles

ROUTES = """<routes>
  <vType id="car"/>
  <route id="straight" edges="left0A0 A0B0 B0right0"/>
  <vehicle id="a" depart="10" route="straight"/>
  <vehicle id="b" depart="5" type="car"><route edges="left0A0 A0B0"/></vehicle>
  <trip id="c" depart="590" from="left0A0" to="A0B0"/>
  <flow id="d" begin="0" end="300" vehsPerHour="120" from="left0A0" to="B0right0"/>
  <flow id="e" begin="0" end="600" number="20" route="straight"/>
  <flow id="f" begin="0" end="600" period="exp(0.1)" from="bottom0A0" to="A0A1"/>
  <vehicle id="late" depart="700" route="straight"/>
</routes>"""


@pytest.fixture
def scenario(tmp_path):
    path = tmp_path / "own.rou.xml"
    path.write_text(ROUTES)
    return load_scenario("intersections/grid2x2", routes=[str(path)])


def departs(path):
    return [seconds(child.get("depart") or child.get("begin")) for child in ET.parse(path).getroot() if child.get("id")]


def varied(scenario, folder, seed=1, **demand):
    folder.mkdir(exist_ok=True)
    (path,) = route_files(scenario.override({f"demand.{key}": value for key, value in demand.items()}), seed, folder)
    return [child for child in ET.parse(path).getroot() if child.tag in ("vehicle", "trip", "flow")]


def test_an_unvaried_demand_in_order_is_the_file_itself(scenario, tmp_path):
    (path,) = scenario.routes
    path.write_text(ROUTES.replace('id="b" depart="5"', 'id="b" depart="15"').replace("590", "16").replace("0.1", "1"))
    ordered = [line for line in path.read_text().splitlines() if "<flow" not in line]
    path.write_text("\n".join(ordered))
    assert route_files(scenario, 1, tmp_path) == [path]


def test_nothing_is_lost_of_a_file_out_of_order(scenario, tmp_path):
    """SUMO ignores, without failing, whatever departs before something above it in the file."""
    (path,) = route_files(scenario, 1, tmp_path)
    times = departs(path)
    assert path != scenario.routes[0]
    assert times == [None, None, 0, 0, 0, 5, 10, 590, 700], "definitions first"


def test_people_who_come_late_hold_nobody_up(scenario, tmp_path):
    stream = '<personFlow id="p" begin="500" end="600" period="50"><walk edges="left0A0"/></personFlow>'
    scenario.routes[0].write_text(ROUTES.replace("<vehicle id", f"{stream}<vehicle id", 1))
    for demand in ({}, {"scale": [1, 1], "jitter_s": 1}):
        changed = scenario.override({f"demand.{key}": value for key, value in demand.items()})
        (path,) = route_files(changed, 1, tmp_path)
        times = [time for time in departs(path) if time is not None]
        assert times == sorted(times)
        assert 500 in times


def test_who_is_aboard_from_the_beginning_comes_with_the_vehicle(scenario, tmp_path):
    rider = '<person id="r{0}" depart="triggered"><ride from="left0A0" to="A0B0" lines="{0}"/></person>'
    riders = rider.format("late") + rider.format("a")
    scenario.routes[0].write_text(ROUTES.replace("</routes>", f"{riders}</routes>"))
    (path,) = route_files(scenario, 1, tmp_path)
    order = [child.get("id") for child in ET.parse(path).getroot()]
    assert order[order.index("a") + 1] == "ra"
    assert order[order.index("late") + 1] == "rlate"
    for k, scale in enumerate((2, 0.01)):
        folder = tmp_path / str(k)
        folder.mkdir()
        (path,) = route_files(scenario.override({"demand.scale": [scale, scale]}), 1, folder)
        order = [child.get("id") for child in ET.parse(path).getroot()]
        assert ("ra" in order) == ("a" in order) == (scale == 2), "nobody waits for a vehicle that is not there"
        assert "ra" not in order or order.index("ra") > order.index("a")


@pytest.mark.parametrize(("scale", "shares"), [(1.1, [0.99]), (1.3, [0.585] * 2), (3.0, [0.9] * 3)])
def test_no_flow_is_more_probable_than_one(scenario, tmp_path, scale, shares):
    """It becomes several, so that as many vehicles come as are asked for."""
    scenario.routes[0].write_text('<routes><flow id="q" begin="0" end="9" from="a" to="b" probability="0.9"/></routes>')
    flows = varied(scenario, tmp_path / "v", scale=[scale, scale])
    assert [float(flow.get("probability")) for flow in flows] == pytest.approx(shares)
    assert len({flow.get("id") for flow in flows}) == len(shares)


def test_what_is_grouped_counts_too(scenario, tmp_path):
    """Flows of an interval, zones of a group; a period may be told by the clock."""
    flow = '<flow id="q" period="0:00:10" from="left0A0" to="A0B0"/>'
    scenario.routes[0].write_text(f'<routes><interval begin="0" end="300">{flow}</interval></routes>')
    net = sumolib.net.readNet(str(scenario.net), withInternal=True)
    turns = turn_flows(net, scenario.routes, 0.0, 600.0)
    assert sum(turns.values()) == pytest.approx(30 * 6)
    (changed,) = varied(scenario, tmp_path / "v", scale=[2, 2])
    assert (changed.get("begin"), changed.get("end"), float(changed.get("period"))) == ("0", "300", 5.0)
    zones = tmp_path / "zones.add.xml"
    zones.write_text('<tazs><taz id="west" edges="left0A0"/></tazs>')
    assert [zone.get("id") for zone in read_routes(zones)] == ["west"]


def test_a_compressed_file_is_read(scenario, tmp_path):
    packed = tmp_path / "own.rou.xml.gz"
    packed.write_bytes(gzip.compress(ROUTES.encode()))
    assert len(read_routes(packed)) == len(read_routes(scenario.routes[0]))
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(CityloopError, match=r"own\.rou\.xml\.gz cannot be read"):
        read_routes(packed)


@pytest.mark.parametrize(
    "odd", ['vehsPerHour="many"', 'period="exp(x)"', 'probability="-1"', 'period="0"', 'number="nan"']
)
def test_a_flow_without_a_rate_is_refused(odd, scenario):
    scenario.routes[0].write_text(f'<routes><flow id="q" begin="0" end="9" from="a" to="b" {odd}/></routes>')
    name, _, value = odd.partition("=")
    bound = "above 0" if name == "period" else "from 0 on"
    with pytest.raises(CityloopError) as error:
        read_routes(scenario.routes[0])
    assert f"{name} of flow 'q' is {value.strip(chr(34))!r}: give a number {bound}" in str(error.value)


def test_scale_multiplies_vehicles_and_flows(scenario, tmp_path):
    children = varied(scenario, tmp_path / "v", scale=[2, 2])
    assert sum(child.tag != "flow" for child in children) == 6, "three within the window, twice"
    assert len({child.get("id") for child in children}) == len(children)
    flows = {child.get("id"): child for child in children if child.tag == "flow"}
    assert float(flows["d"].get("vehsPerHour")) == 240
    assert int(flows["e"].get("number")) == 40
    assert flows["f"].get("period") == "exp(0.200000)"


def test_many_small_flows_grow_and_shrink_as_one_large_one(scenario, tmp_path):
    """Numbers are rounded by chance, up or down, so that their sum scales however small each is."""
    flow = '<flow id="f{}" begin="{}" end="600" number="1" route="straight"/>'
    small = "".join(flow.format(k, k) for k in range(300))
    scenario.routes[0].write_text(f'<routes><route id="straight" edges="left0A0 A0B0 B0right0"/>{small}</routes>')
    for scale, low, high in ((1.0, 300, 300), (1.4, 390, 450), (0.4, 90, 150)):
        numbers = [int(flow.get("number")) for flow in varied(scenario, tmp_path / "v", scale=[scale, scale])]
        assert low <= sum(numbers) <= high
        assert min(numbers) > 0


def test_copies_are_called_like_nobody_else(scenario, tmp_path):
    scenario.routes[0].write_text(
        '<routes><trip id="a" depart="3" from="left0A0" to="A0B0"/><trip id="a.1" depart="4" from="left0A0" to="A0B0"/>'
        "</routes>"
    )
    names = [child.get("id") for child in varied(scenario, tmp_path / "varied", scale=(3.0, 3.0))]
    assert len(names) == len(set(names)) == 6


def test_copies_are_called_like_nobody_in_other_files_and_in_flows(scenario, tmp_path):
    """SUMO stops in the middle of an episode where two vehicles have one name; it calls those of flow 0 0.0, 0.1, …"""
    trips = [(0, "0"), (0, "1"), (1, "1.1")]
    flow = '<flow id="0" begin="0" end="300" vehsPerHour="400" route="s"/>'
    for k in (0, 1):
        rides = "".join(f'<vehicle id="{name}" depart="3" route="s"/>' for file, name in trips if file == k)
        way = '<route id="s" edges="left0A0 A0B0"/>' + flow if k == 0 else ""
        (tmp_path / f"{k}.rou.xml").write_text(f"<routes>{way}{rides}</routes>")
    routes = [str(tmp_path / f"{k}.rou.xml") for k in (0, 1)]
    changed = scenario.override({"routes": routes, "demand.scale": [2, 2]})
    roots = [ET.parse(path).getroot() for path in route_files(changed, 1, tmp_path)]
    names = [child.get("id") for root in roots for child in root.iter("vehicle")]
    assert len(names) == len(set(names)) == 6
    assert not {f"0.{k}" for k in range(34)} & set(names)


def test_departures_stay_sorted_and_within_the_window(scenario, tmp_path):
    children = varied(scenario, tmp_path / "v", scale=[3, 3], shift_s=300, jitter_s=60)
    times = [seconds(child.get("depart") or child.get("begin")) for child in children]
    assert times == sorted(times)
    assert min(times) >= 0
    assert max(times) < scenario.duration_s


def test_a_shift_turns_the_profile(scenario, tmp_path):
    before = sorted([10, 5, 590])
    after = sorted(float(c.get("depart")) for c in varied(scenario, tmp_path / "v", shift_s=300) if c.tag != "flow")
    assert after != before
    gaps = {round((b - a) % 600, 2) for a in before for b in after}
    assert any(all(round((a + gap) % 600, 2) in after for a in before) for gap in gaps), "all moved by one amount"


def test_the_same_seed_gives_the_same_demand(tmp_path):
    scenario, seed = load_scenario("intersections/cologne1"), 100_003  # a training seed: its demand varies
    for name in "ab":
        (tmp_path / name).mkdir()
    one, two = (route_files(scenario, seed, tmp_path / name)[0].read_bytes() for name in "ab")
    other = route_files(scenario, seed + 1, tmp_path / "a")[0].read_bytes()
    assert one == two
    assert one != other


def test_test_seeds_run_on_the_file_and_training_seeds_vary(tmp_path):
    scenario = load_scenario("intersections/cologne1")
    assert route_files(scenario, 5, tmp_path) == list(scenario.routes)
    assert route_files(scenario, 100_005, tmp_path) != list(scenario.routes)


@pytest.mark.parametrize("name", ["vehsPerHour", "probability", "number"])
def test_a_rate_of_zero_is_a_flow_of_nobody(name, scenario):
    scenario.routes[0].write_text(f'<routes><flow id="q" begin="0" end="9" from="a" to="b" {name}="0"/></routes>')
    (flow,) = read_routes(scenario.routes[0])
    assert flow.get(name) == "0"


def test_only_vehicle_elements_are_scheduled_vehicles(scenario):
    assert scheduled_vehicles(list(scenario.routes)) == [10.0, 5.0, 700.0]


def test_sumo_times_are_read():
    assert seconds("12.5") == 12.5
    assert seconds("01:00:10") == 3610
    assert seconds("1:00:00:00") == 86400
    assert seconds("triggered") is None


def test_a_broken_route_file_is_one_clear_sentence(scenario):
    scenario.routes[0].write_text("<routes><vehicle")
    with pytest.raises(CityloopError, match=r"route file .*own\.rou\.xml cannot be read .*: give a SUMO \.rou\.xml"):
        load_site(scenario)


def test_a_file_of_something_else_is_one_clear_sentence(scenario):
    scenario.routes[0].write_text("<net/>")
    with pytest.raises(CityloopError, match="has the root <net>"):
        load_site(scenario)


@pytest.mark.parametrize("root", ["flows", "trips", "additionals", "vehicles", "myRoutes"])
def test_a_file_may_call_its_root_anything(scenario, root):
    routes = scenario.routes[0]
    before = len(read_routes(routes))
    routes.write_text(routes.read_text().replace("<routes", f"<{root}").replace("</routes", f"</{root}"))
    assert len(read_routes(routes)) == before > 0


def test_counts_are_taken_along_routes_trips_and_flows(scenario):
    net = sumolib.net.readNet(str(scenario.net))
    flows = turn_flows(net, scenario.routes, 0.0, 600.0)
    ahead = sum(flow for (lane, edge), flow in flows.items() if lane.startswith("left0A0_") and edge == "A0B0")
    assert ahead == pytest.approx(6 * (1 + 1 + 1 + 10 + 20))  # vehicles in ten minutes, an hour has six of them
    north = sum(flow for (lane, edge), flow in flows.items() if lane.startswith("bottom0A0_") and edge == "A0A1")
    assert north == pytest.approx(3600 * 0.1)


def test_the_site_carries_the_counts(scenario):
    site = load_site(scenario)
    junction = site.junctions[site.agents.index("A0")]
    total = sum(movement.flow_veh_h for movement in junction.movements)
    assert total == pytest.approx(6 * 33 + 360, abs=1)


@pytest.mark.parametrize(
    ("loads", "flow", "shares"),
    [([0, 0], 10, [5, 5]), ([10, 0], 4, [0, 4]), ([3, 0], 5, [1, 4]), ([1, 2, 9], 3, [2, 1, 0])],
)
def test_drivers_even_out_the_lanes(loads, flow, shares):
    assert _poured(loads, flow) == pytest.approx(shares)


def test_routes_are_counted_wherever_they_are_defined(scenario, tmp_path):
    routes, defined = scenario.routes[0], tmp_path / "defined.add.xml"
    ways = '<route edges="left0A0 A0B0" probability="3"/><route edges="left0A0 A0A1" probability="1"/>'
    defined.write_text(f'<additional><routeDistribution id="either">{ways}</routeDistribution></additional>')
    routes.write_text('<trips><flow id="f" begin="0" end="600" number="80" route="either"/></trips>')
    net = sumolib.net.readNet(str(scenario.net))
    flows = turn_flows(net, [routes, defined], 0, 600)
    assert sum(flow for (_, edge), flow in flows.items() if edge == "A0B0") == pytest.approx(360)
    assert sum(flow for (_, edge), flow in flows.items() if edge == "A0A1") == pytest.approx(120)


@pytest.mark.parametrize(
    "either",
    [
        '<routeDistribution id="either" routes="ahead left" probabilities="3 1"/>',
        '<routeDistribution id="either"><route refId="ahead" probability=".75"/><route refId="left" probability=".25"/>'
        "</routeDistribution>",
    ],
)
def test_a_distribution_may_name_its_routes(scenario, either):
    ways = '<route id="ahead" edges="left0A0 A0B0"/><route id="left" edges="left0A0 A0A1"/>'
    flow = '<flow id="f" begin="0" end="600" number="80" route="either"/>'
    scenario.routes[0].write_text(f"<routes>{either}{ways}{flow}</routes>")
    flows = turn_flows(sumolib.net.readNet(str(scenario.net)), scenario.routes, 0, 600)
    assert sum(flow for (_, edge), flow in flows.items() if edge == "A0B0") == pytest.approx(360)
    assert sum(flow for (_, edge), flow in flows.items() if edge == "A0A1") == pytest.approx(120)


@pytest.mark.parametrize(
    ("flow", "vehicles"),
    [
        ('end="1200" number="60"', 60),  # begins with the episode, as in SUMO
        ('begin="600" number="60" vehsPerHour="3600"', 60),  # over after a minute
        ('begin="600" number="60" period="20"', 30),
    ],
)
def test_flows_begin_and_end_when_sumo_has_them_do_so(scenario, flow, vehicles):
    scenario.routes[0].write_text(f'<routes><flow id="f" {flow} from="left0A0" to="A0B0"/></routes>')
    flows = turn_flows(sumolib.net.readNet(str(scenario.net)), scenario.routes, 600, 600)
    assert sum(flows.values()) == pytest.approx(6 * vehicles)


@pytest.mark.parametrize(
    "ends",
    [
        'from="left0A0" to="A1top0"',
        'fromJunction="left0" to="A1top0"',
        'from="left0A0" toJunction="top0"',
        'fromTaz="west" toTaz="north"',
        'from="left0A0" toTaz="any"',
    ],
)
def test_trips_between_edges_junctions_and_zones_are_counted(scenario, tmp_path, ends):
    """From the west to the north over A0 and A1; of two ways into a zone the quicker one, as SUMO chooses."""
    routes, zones = scenario.routes[0], tmp_path / "zones.add.xml"
    west, north = '<taz id="west" edges="left0A0"/>', '<taz id="north"><tazSink id="A1top0" weight="1"/></taz>'
    zones.write_text(f'<additional>{west}{north}<taz id="any" edges="A1top0 B1top1"/></additional>')
    routes.write_text(f'<routes><flow id="f" begin="0" end="600" number="80" {ends}/></routes>')
    net = sumolib.net.readNet(str(scenario.net))
    flows = turn_flows(net, [routes, zones], 0, 600)
    assert {edge for _, edge in flows} == {"A0A1", "A1top0"}
    assert sum(flow for (_, edge), flow in flows.items() if edge == "A0A1") == pytest.approx(480)


def test_a_trip_that_nothing_leads_to_is_not_counted(scenario):
    scenario.routes[0].write_text('<routes><trip id="t" depart="0" from="A1top0" toJunction="nowhere"/></routes>')
    assert turn_flows(sumolib.net.readNet(str(scenario.net)), scenario.routes, 0, 600) == {}


def test_a_file_within_a_file_is_refused(scenario):
    scenario.routes[0].write_text('<routes><include href="other.rou.xml"/></routes>')
    with pytest.raises(CityloopError, match=r"includes 'other\.rou\.xml': name that file itself in the scenario"):
        read_routes(scenario.routes[0])


def test_settings_stay_their_owners(scenario):
    settings = {"regime": "resco", "duration_s": 60.0}
    assert scenario.override(settings).regime == "resco"
    assert settings == {"regime": "resco", "duration_s": 60.0}
