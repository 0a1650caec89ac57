"""Taxi days in nyc2015's layout: a made-up data set, and the real one where it lies beside the project."""

import shutil

import pytest

from agents import make_controller
from envs import CityloopError, load_scenario
from envs.core.env import make_loop
from envs.transit.scenarios import DATA, USUAL_DATA, TransitScenario
from envs.transit.sources import taxi

GRAPH = 'origin_ID,destination_ID,distance,travel_time,route,fare\n0,1,459,2,"[0, 1]",2\n1,0,459,2,"[1, 0]",2\n'
GRAPH += '1,2,459,2,"[1, 2]",2\n2,1,459,2,"[2, 1]",2\n0,2,918,4,"[0, 1, 2]",4\n2,0,918,4,"[2, 1, 0]",4\n'


@pytest.fixture
def folder(tmp_path):
    dates = [f"2015-03-{k:02d}" for k in range(1, 18)]
    (tmp_path / "graph.csv").write_text(GRAPH)
    (tmp_path / "zones.csv").write_text(",longitude,latitude\n0,-74.0,40.73\n1,-73.99,40.73\n2,-73.98,40.73\n")
    (tmp_path / "training_dates.csv").write_text("training_dates\n" + "\n".join(dates[:16]) + "\n")
    (tmp_path / "validation_dates.csv").write_text("validation_dates\n" + dates[16] + "\n")
    (tmp_path / "trips").mkdir()
    for k, date in enumerate(dates):
        text = ",pickup_time,pickup_ID,dropoff_ID,distance\n" + "".join(f"{j},{60 * j},0,2,918\n" for j in range(k + 1))
        (tmp_path / "trips" / f"{date}.csv").write_text(text)
    return tmp_path


def test_roads_are_the_pairs_with_nothing_between(folder):
    town = taxi.town(folder)
    assert sorted((road.start, road.end) for road in town.roads) == [(0, 1), (1, 0), (1, 2), (2, 1)]
    assert {road.seconds for road in town.roads} == {120.0}
    assert town.zones[1].neighbours == (0, 2)


def test_a_spreadsheet_may_have_saved_the_streets(folder):
    (folder / "graph.csv").write_text(GRAPH, encoding="utf-8-sig")
    assert len(taxi.town(folder).roads) == 4


def test_days_are_split_without_overlap(folder):
    splits = taxi.splits(folder)
    assert splits["test"] == ("2015-03-08", "2015-03-16")
    assert len(splits["train"]) == 14
    assert not set(splits["test"]) & {*splits["train"], *splits["validation"]}


def test_given_test_days_are_taken(folder):
    taxi.splits(folder)
    (folder / "test_dates.csv").write_text("test_dates\n2015-03-02\n")
    assert taxi.splits(folder)["test"] == ("2015-03-02",)
    assert len(taxi.splits(folder)["train"]) == 15


def test_a_day_that_was_changed_is_read_anew(folder):
    assert len(taxi.day(folder, "2015-03-01").origin) == 1
    (folder / "trips" / "2015-03-01.csv").write_text(
        ",pickup_time,pickup_ID,dropoff_ID,distance\n0,0,0,2,918\n1,60,2,0,918\n"
    )
    assert len(taxi.day(folder, "2015-03-01").origin) == 2


def test_a_split_goes_through_its_days_with_other_starts(folder):
    scenario = TransitScenario(name="small", days=folder)
    dates = [taxi.date_of(folder, scenario.seeds, seed) for seed in range(4)]
    assert dates == ["2015-03-08", "2015-03-16"] * 2
    loop = make_loop(scenario)
    starts = []
    for seed in (0, 2):
        loop.reset(seed)
        starts.append(loop.world.service.fleet.at.tolist())
    assert starts[0] != starts[1]
    assert loop.site.expected(0.0, 300.0)[0] == pytest.approx(
        sum(min(k, 5) for k in range(1, 17) if k % 8) / 14, abs=1e-4
    )


def test_days_count_for_the_hash_wherever_they_lie(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("elsewhere") / "days"
    shutil.copytree(folder, other)
    one, two = (TransitScenario(name="small", days=place) for place in (folder, other))
    assert one.hash == two.hash
    (other / "zones.csv").write_text((other / "zones.csv").read_text().replace("40.73", "40.74"))
    assert one.hash != two.hash


def test_a_validation_day_is_not_trained_on(folder):
    (folder / "validation_dates.csv").write_text("validation_dates\n2015-03-17\n2015-03-03\n")
    assert "2015-03-03" not in taxi.splits(folder)["train"]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("0,60,0,3,918", r"row 3: dropoff_ID is '3': give a zone from 0 to 2"),
        ("0,60,-1,2,918", r"row 3: pickup_ID is '-1': give a zone"),
        ("0,-60,0,2,918", r"row 3: pickup_time is '-60': give seconds from 0 on"),
        ("0,noon,0,2,918", r"row 3: pickup_time is 'noon': give a number"),
        ("0,60,0", r"row 3: dropoff_ID is '': give a number"),
        ("0,60,5,0,2,918", r"row 3 has 6 values, the first row 5: write decimals with a point"),
    ],
)
def test_a_wrong_trip_is_named(folder, row, problem):
    path = folder / "trips" / "2015-03-01.csv"
    path.write_text(path.read_text() + row + "\n")
    with pytest.raises(CityloopError, match=problem):
        taxi.day(folder, "2015-03-01")


@pytest.mark.parametrize(
    ("name", "old", "new", "problem"),
    [
        (
            "zones.csv",
            "1,-73.99",
            ",,\n1,-73.99",
            r"zones.csv: it has empty rows, and zones are numbered by their rows",
        ),
        ("zones.csv", "-73.99", "west", r"zones.csv, row 3: longitude is 'west': give a number"),
        (
            "graph.csv",
            '0,1,459,2,"[0, 1]"',
            '0,7,459,2,"[0, 7]"',
            r"graph.csv, row 2: destination_ID is '7': give a zone",
        ),
        ("graph.csv", '0,1,459,2,"[0, 1]"', '0,1,459,0,"[0, 1]"', "row 2: distance is 459, travel_time 0"),
        ("graph.csv", '"[0, 1]"', '"0-1"', "row 2: route is '0-1': give a list of zones"),
    ],
)
def test_a_wrong_town_is_named(folder, name, old, new, problem):
    path = folder / name
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(CityloopError, match=problem):
        taxi.town(folder)


def test_who_asks_to_go_where_no_road_leads_is_left_out(folder, caplog):
    graph = folder / "graph.csv"
    graph.write_text(graph.read_text().replace('2,1,459,2,"[2, 1]",2\n', ""))
    trips = folder / "trips" / "2015-03-08.csv"
    trips.write_text(trips.read_text() + "9,600,2,0,918\n10,99999,2,0,918\n")
    loop = make_loop(TransitScenario(name="small", days=folder, duration_s=1200.0, fleet={"vehicles": 2}))
    kpis = loop.episode(make_controller("reactive", loop.site), 0).kpis
    assert (kpis["asked"], kpis["impossible"]) == (8, 1)
    assert "request 8: no road leads from 2 to 0: add one" in caplog.text


def test_every_split_has_a_day(folder):
    (folder / "training_dates.csv").write_text("training_dates\n2015-03-01\n2015-03-02\n")
    with pytest.raises(CityloopError, match="leaves no day for test: give more dates"):
        taxi.splits(folder)


def test_the_data_folder_may_be_relative(folder, monkeypatch):
    place = folder / "data" / "transit" / "nyc2015"
    shutil.copytree(folder, place)
    monkeypatch.chdir(folder)
    monkeypatch.setenv(DATA, "data")
    assert load_scenario("transit/nyc2015").days == place


def test_absent_data_are_said_to_be_absent(monkeypatch, tmp_path):
    monkeypatch.setenv(DATA, str(tmp_path))
    with pytest.raises(CityloopError, match=f"data set nyc2015 is not in .*: set {DATA} to the folder"):
        load_scenario("transit/nyc2015")


@pytest.mark.skipif(not (USUAL_DATA / "transit/nyc2015").is_dir(), reason=f"nyc2015 is not in {USUAL_DATA}")
def test_the_real_days_are_served():
    loop = make_loop("transit/nyc2015")
    kpis = loop.episode(make_controller("reactive", loop.site), 0).kpis
    assert kpis["served_pct"] > 99
    assert kpis["broken"] == 0
