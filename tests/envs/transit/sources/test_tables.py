"""A user's own files: what is wrong is said with its row, and all other requests are served."""

import logging
from unicodedata import normalize

import pytest

from agents import make_controller
from envs import CityloopError, load_scenario
from envs.core.env import make_loop
from envs.core.testing.systems import check_system
from envs.transit.kernel import events
from envs.transit.network import first_s
from envs.transit.sources.tables import read_town
from tests.envs.transit.own import NODES, REQUESTS, ROADS, write


def test_a_town_that_was_changed_is_read_anew(tmp_path):
    rides = []
    for seconds in (60, 120):
        loop = make_loop(load_scenario(write(tmp_path, roads=ROADS.replace(",60,", f",{seconds},"))))
        rides.append(loop.episode(make_controller("insertion", loop.site), 0).kpis["ride_min"])
    assert rides[1] == 2 * rides[0]


def test_requests_that_were_changed_are_read_anew(tmp_path):
    asked = []
    for rows in (REQUESTS, "\n".join(REQUESTS.splitlines()[:2])):
        loop = make_loop(load_scenario(write(tmp_path, requests=rows)))
        asked.append(loop.episode(make_controller("insertion", loop.site), 0).kpis["asked"])
    assert asked == [3, 1]


def test_an_own_town_is_served(tmp_path):
    loop = make_loop(load_scenario(write(tmp_path)))
    assert loop.site.agents == ("west", "east")
    assert loop.site.zones[0].neighbours == (1,)
    assert loop.site.stands.tolist() == [0, 2]
    kpis = loop.episode(make_controller("insertion", loop.site), 0).kpis
    assert (kpis["asked"], kpis["served_pct"], kpis["impossible"]) == (3, 100, 0)


def test_it_keeps_the_contract_and_what_is_left_out_is_said_once(tmp_path, caplog):
    """In an episode cut for checks more would be left out, and every loop would say so anew."""
    path = write(tmp_path, requests=f"{REQUESTS}60,a,zz\n")
    path.write_text(path.read_text().replace("vehicles: 1", "vehicles: 5"))  # else two seeds may begin alike
    assert [check for check in check_system(path, decisions=4) if not check.ok] == []
    assert [record.message.partition(", row")[2][:15] for record in caplog.records] == [" 5: to is 'zz',"]


def test_columns_that_are_not_read_are_named(tmp_path, caplog):
    """The booking service calls it wheelchairs; the file was read without any."""
    requests = REQUESTS.replace("from,to", "from,to,wheelchairs,app").replace("c\n", "c,1,web\n")
    make_loop(load_scenario(write(tmp_path, requests=requests)))
    (told,) = (record.message.partition(";") for record in caplog.records)
    assert told[0] == "not read: requests.csv, column 'wheelchairs', 'app'"
    assert "wheelchair, cancel_s" in told[2]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("60,a,zz,1,0", "row 5: to is 'zz', on no corner of the street graph: name a stop"),
        ("60,a,d,1,0", "row 5: to is 'd', a corner without a stop"),
        ("60,a,a,1,0", "row 5: it leads from 'a' to the same place"),
        ("60,a,e,1,0", "row 5: no road leads from 'a' to 'e'"),
        ("60,a,b,9,0", "row 5: party is 9, wheelchair 0, and vehicles have 4 seats and 0 places: split it"),
        ("60,a,b,1,1", "row 5: party is 1, wheelchair 1"),
        ("60,a,b,inf,0", "row 5: party is 'inf': give a whole number"),
        ("60,a,b,1,inf", "row 5: wheelchair is 'inf': give a whole number"),
        ("60,a,b,half,0", "row 5: party is 'half': give a whole number"),
        ("-3,a,b,1,0", "row 5: time_s is '-3': give seconds from 0 to below 1200"),
        ("5000,a,b,1,0", "row 5: time_s is '5000'"),
        (",a,b,1,0", "row 5: time_s is ''"),
    ],
)
def test_an_impossible_row_is_named_and_the_rest_is_served(tmp_path, caplog, row, problem):
    lines = REQUESTS.splitlines()
    requests = "\n".join([lines[0] + ",party,wheelchair", *(line + ",1,0" for line in lines[1:]), row, "700,b,a,1,0"])
    loop = make_loop(load_scenario(write(tmp_path, requests=requests)))
    with caplog.at_level(logging.WARNING):
        kpis = loop.episode(make_controller("insertion", loop.site), 0).kpis
    assert problem in caplog.text
    assert (kpis["asked"], kpis["impossible"], kpis["broken"]) == (4, 1, 0)


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"nodes": NODES + "a,1,1,west,1\n"}, "row 7: node is 'a': give each corner a name of its own"),
        ({"nodes": NODES.replace("500,0", "here,0", 1)}, "row 3: x_m is 'here': give a number"),
        ({"nodes": NODES.replace("500,0", "nan,0", 1)}, "row 3: x_m is 'nan': give a number"),
        ({"roads": ROADS + "a,q,60,500,1\n"}, "row 5: to is 'q', which is no node of nodes.csv"),
        ({"roads": ROADS.replace("60", "0", 1)}, "row 2: seconds are 0"),
        ({"roads": ROADS.replace("seconds", "minutes")}, "column 'seconds' is missing"),
        ({"nodes": NODES.replace(",1\n", ",0\n")}, "fewer than two corners are stops"),
        ({"requests": "time_s,from,to\n"}, "it holds no request"),
        ({"requests": "time_s,from,to\n60,a,zz\n"}, "no request can be served; requests.csv, row 2: to is 'zz'"),
        ({"requests": REQUESTS.replace("time_s", "when")}, "column 'time_s' is missing"),
        ({"nodes": NODES.replace(",1\n", ",yes\n", 1)}, "row 2: stop is 'yes': give 1 or 0"),
        ({"nodes": NODES + "f,1,5,2,5,west,1\n"}, "row 7 has 7 values, the first row 5: write decimals with a point"),
        ({"requests": "time_s,from,to,to\n60,a,b,c\n"}, "column 'to' is there twice: leave one out"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path, files, problem):
    scenario = load_scenario(write(tmp_path, **files))
    with pytest.raises(CityloopError, match=problem):
        make_loop(scenario).reset(0)


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ("days: .\n", "give one of: district"),
        ("fleet: {vehicles: 0}\n", "fleet.vehicles is 0"),
        ("flee: 3\n", "unknown key 'flee'"),
        ("more: [{begin_s: 50, end_s: 20}]\n", "a shift must end after it begins"),
        ("speeds: [1, 0]\n", "give numbers from 0.05 to 5"),
    ],
)
def test_a_wrong_scenario_is_refused(tmp_path, more, problem):
    path = write(tmp_path)
    path.write_text("\n".join(line for line in path.read_text().splitlines() if line[:4] != more[:4]) + "\n" + more)
    with pytest.raises(CityloopError, match=problem):
        load_scenario(path)


@pytest.mark.parametrize("separator", [";", "\t"])
def test_columns_may_be_separated_otherwise(tmp_path, separator):
    usual, other = tmp_path / "usual", tmp_path / "other"
    for folder, mark in ((usual, ","), (other, separator)):
        folder.mkdir()
        files = {"nodes": NODES, "roads": ROADS, "requests": REQUESTS}
        write(folder, **{name: text.replace(",", mark) for name, text in files.items()})
    towns = [read_town(folder / "nodes.csv", folder / "roads.csv") for folder in (usual, other)]
    assert towns[0] == towns[1]


def test_rows_that_a_spreadsheet_leaves_empty_are_none(tmp_path, caplog):
    files = {"nodes": f"{NODES},,,,\n", "roads": f"{ROADS},,,,\n", "requests": f"{REQUESTS},,\n , ,\n"}
    loop = make_loop(load_scenario(write(tmp_path, **files)))
    assert loop.episode(make_controller("insertion", loop.site), 0).kpis["asked"] == 3
    assert not caplog.records


def test_a_name_is_the_same_however_its_accents_are_written(tmp_path):
    """As one character, or as a letter and what stands above and below it."""
    street = "Đường Nguyễn Huệ"
    texts = [normalize("NFC", NODES.replace("\na,", f"\n{street},")), ROADS.replace("\na,", f"\n{street},")]
    requests = normalize("NFD", REQUESTS.replace(",a", f",{street}"))
    loop = make_loop(load_scenario(write(tmp_path, *texts, requests)))
    assert loop.episode(make_controller("insertion", loop.site), 0).kpis["asked"] == 3


def test_a_service_whose_riders_come_later_is_checked_until_they_do(tmp_path):
    path = write(tmp_path, requests="time_s,from,to\n40000,a,c\n25230,b,c\n")
    scenario = load_scenario(path, duration_s=50_000.0)
    short = scenario.shortened(240.0, first_s(scenario))
    assert short.duration_s == 25_200 + 240
    loop = make_loop(short)
    assert loop.episode(make_controller("insertion", loop.site), 0).kpis["asked"] == 1


def test_names_of_columns_may_have_blanks_around_them(tmp_path):
    usual = read_town(*_files(write(tmp_path)))
    assert read_town(*_files(write(tmp_path, nodes=NODES.replace("node,x_m", "node , x_m ")))) == usual


def _files(path):
    return path.parent / "nodes.csv", path.parent / "roads.csv"


def test_degrees_that_are_no_place_are_refused(tmp_path):
    swapped = "node,lat,lon\na,114.9,4.9\nb,114.9,4.8\n"
    with pytest.raises(CityloopError, match=r"there is no place at lat 114\.9, lon 4\.9"):
        make_loop(load_scenario(write(tmp_path, nodes=swapped)))


def test_files_count_for_the_hash_wherever_they_lie(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one, two = (load_scenario(write(tmp_path / name)) for name in ("one", "two"))
    assert one.hash == two.hash
    assert load_scenario(write(tmp_path / "two", requests=REQUESTS + "900,a,b\n")).hash != one.hash


def test_who_withdraws_before_the_service_begins_is_not_driven(tmp_path):
    early = "time_s,from,to,known_s,cancel_s\n300,a,c,-100,-50\n"
    loop = make_loop(load_scenario(write(tmp_path, requests=early)))
    kpis = loop.episode(make_controller("insertion", loop.site), 0).kpis
    assert (kpis["withdrawn"], kpis["broken"]) == (1, 0)
    assert not (loop.world.log.kind == events.PICKED_UP).any()


def test_slow_streets_are_driven_slowly(tmp_path):
    slow = make_loop(
        load_scenario(write(tmp_path, requests="time_s,from,to\n0,a,c\n700,a,c\n", more="speeds: [1, 0.5]\n"))
    )
    slow.episode(make_controller("insertion", slow.site), 0)
    riders = slow.world.service.riders
    assert riders.direct_s.tolist() == [120.0, 240.0]
