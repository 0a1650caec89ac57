"""Stops of a GTFS feed are the published ones; what of them is nowhere is named."""

import logging
import zipfile

import numpy as np
import pytest

from agents import make_controller
from envs import CityloopError, load_scenario
from envs.core.env import make_loop
from envs.transit.sources.gtfs import Projection
from tests.envs.transit.own import write

NODES = "node,lat,lon\na,10.7700,106.70\nb,10.7745,106.70\nc,10.7790,106.70\nd,10.7835,106.70\n"
STOPS = (
    "stop_id,stop_name,stop_lat,stop_lon,location_type\n"
    "s1,First,10.7701,106.7001,0\ns2,Third,10.7791,106.7,\ns3,Hall,10.7745,106.7,1\n"
    "s4,Sea,10.9,106.7,0\ns5,Odd,north,106.7,0\n"
)


def feed(tmp_path, stops=STOPS, zipped=False):
    """A feed's folder, or the same as a zip."""
    folder = tmp_path / "feed"
    folder.mkdir()
    (folder / "stops.txt").write_text(stops)
    if not zipped:
        return folder
    with zipfile.ZipFile(tmp_path / "feed.zip", "w") as file:
        file.write(folder / "stops.txt", "stops.txt")
    return tmp_path / "feed.zip"


@pytest.mark.parametrize("zipped", [False, True])
def test_published_stops(tmp_path, caplog, zipped):
    path = feed(tmp_path, zipped=zipped)
    requests = "time_s,from,to\n0,a,c\n30,b,d\n"
    mine = write(tmp_path, nodes=NODES, requests=requests, more=f"gtfs: {path}\nwalk: {{metres: 600, mps: 1}}\n")
    with caplog.at_level(logging.WARNING):
        loop = make_loop(load_scenario(mine))
    assert [node.id for node in loop.site.nodes if node.stop] == ["a", "c"]
    assert "stop 's4' is 12" in caplog.text
    assert "stops.txt: stop 's5' is at 'north', '106.7': give degrees" in caplog.text
    kpis = loop.episode(make_controller("insertion", loop.site), 0).kpis
    assert (kpis["asked"], kpis["served_pct"]) == (2, 100)
    assert kpis["walk_m"] == pytest.approx(1000 / 2, rel=0.01)


def test_where_a_feed_names_the_stops_corners_need_not(tmp_path):
    nodes = NODES.replace("\n", ",0\n").replace("lon,0", "lon,stop")
    mine = write(tmp_path, nodes=nodes, requests="time_s,from,to\n0,a,c\n", more=f"gtfs: {feed(tmp_path)}\n")
    assert [node.id for node in make_loop(load_scenario(mine)).site.nodes if node.stop] == ["a", "c"]


@pytest.mark.parametrize("name", ["feed", "./feed"])
def test_a_feeds_folder_lies_beside_the_yaml(tmp_path, name):
    path = feed(tmp_path)
    mine = load_scenario(write(tmp_path, nodes=NODES, more=f"gtfs: {name}\nwalk: {{metres: 600, mps: 1}}\n"))
    assert mine.gtfs == path.resolve()


def test_degrees_are_metres():
    """A minute of latitude is a nautical mile."""
    metres = Projection(60.0, 10.0).metres(np.array([60 + 1 / 60, 60.0]), np.array([10.0, 10 + 1 / 60]))
    assert metres[0] == pytest.approx([0, 1852], abs=2)
    assert metres[1] == pytest.approx([926, 0], abs=2)


@pytest.mark.parametrize(
    ("stops", "nodes", "words"),
    [
        ("stop_id,stop_lat,stop_lon\ns1,10.77,106.7\n", NODES, "1 of its stops are on the street graph"),
        ("", NODES, "has no stops.txt, or it is empty"),
        ("stop_id,stop_lat\ns1,10.77\n", NODES, "its stops.txt has no column stop_lon: add it"),
        (STOPS, "node,x_m,y_m\na,0,0\nb,500,0\nc,1000,0\nd,1500,0\n", "give lat and lon of corners"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(tmp_path, stops, nodes, words):
    mine = write(tmp_path, nodes=nodes, more=f"gtfs: {feed(tmp_path, stops)}\n")
    with pytest.raises(CityloopError, match=words) as error:
        make_loop(load_scenario(mine))
    assert "\n" not in str(error.value)


def test_it_goes_with_ones_own_corners(tmp_path):
    with pytest.raises(CityloopError, match="gtfs goes with nodes"):
        load_scenario("transit/hcmc", gtfs=str(feed(tmp_path)))
