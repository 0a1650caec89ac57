"""Riders on foot: to the stops that suit the trip best, no farther than they may; and what that does to their times."""

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents import make_controller
from envs import CityloopError, load_scenario
from envs.core.env import make_loop
from envs.transit.settings import Walk
from envs.transit.site import Node
from envs.transit.sources.day import plain_day
from envs.transit.sources.walking import WEARY, Stops, to_stops
from tests.envs.transit.own import NODES, REQUESTS, write
from tests.envs.transit.small import town


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 2**31), st.floats(50, 900))
def test_the_best_pair_of_all(seed, metres):
    """Against trying every pair of stops in plain Python."""
    rng = np.random.default_rng(seed)
    roads = town(rng)
    nodes = tuple(
        Node(id=str(k), x_m=rng.uniform(0, 2000), y_m=rng.uniform(0, 2000), zone=0, stop=bool(rng.random() < 0.5))
        for k in range(12)
    )
    walk = Walk(metres=metres, mps=1.2)
    stops = Stops(nodes, roads, walk)
    ends = [int(rng.integers(12)), (float(rng.uniform(0, 2000)), float(rng.uniform(0, 2000)))]

    def near(end):
        if isinstance(end, int) and nodes[end].stop:
            return {end: 0.0}
        x, y = (nodes[end].x_m, nodes[end].y_m) if isinstance(end, int) else end
        away = {k: float(np.hypot(node.x_m - x, node.y_m - y)) for k, node in enumerate(nodes) if node.stop}
        return {k: value for k, value in away.items() if value <= metres}

    tried = {
        (a, b): WEARY * (to + back) / 1.2 + roads.free_s[a, b]
        for a, to in near(ends[0]).items()
        for b, back in near(ends[1]).items()
        if a != b
    }
    if not tried:
        with pytest.raises(ValueError, match=r"nearest stop|no road|alone is near"):
            stops.pair(*ends)
        return
    a, b, to_m, from_m = stops.pair(*ends)
    assert WEARY * (to_m + from_m) / 1.2 + roads.free_s[a, b] == pytest.approx(min(tried.values()))
    assert max(to_m, from_m) <= metres


def test_who_walks_is_at_the_stop_later_and_who_cannot_is_named():
    nodes = tuple(Node(id=str(k), x_m=300.0 * k, y_m=0.0, zone=0, stop=k in (0, 1, 8)) for k in range(10))
    free = 60.0 * np.abs(np.subtract.outer(np.arange(10), np.arange(10))).astype(float)
    stops = Stops(nodes, type("TravelTimes", (), {"free_s": free}), Walk(metres=400.0, mps=1.5))
    day = to_stops(plain_day([2, 0, 5], [9, 8, 8], [10.0, 20.0, 30.0]), stops)
    assert day.origin.tolist() == [1, 0]
    assert day.destination.tolist() == [8, 8]
    assert day.earliest_s.tolist() == [10 + 300 / 1.5, 20.0]
    assert day.walk_m.tolist() == [600.0, 0.0]
    assert day.problems == ("request 2: from is 900 m from the nearest stop, more than 400: move it nearer",)
    with pytest.raises(ValueError, match="stop '8' alone is near its begin and its end: leave it out"):
        stops.pair(8, 9)


def test_a_district_whose_riders_come_from_anywhere():
    change = {"duration_s": 2 * 3600.0, "walk__metres": 600.0}
    loop = make_loop("transit/hcmc", district__anywhere=True, **change)
    kpis = loop.episode(make_controller("reactive", loop.site), 0).kpis
    assert 100 < kpis["walk_m"] < 1200
    assert (kpis["broken"], kpis["impossible"]) == (0, 0)
    riders = loop.world.service.riders
    stop = np.array([node.stop for node in loop.site.nodes])
    assert stop[riders.origin].all()
    assert stop[riders.destination].all()
    assert loop.world.service.walk_m.max() <= 2 * 600
    assert 0.3 < (loop.world.service.walk_m > 0).mean() < 1.0
    loop.close()
    with pytest.raises(CityloopError, match=r"walk.metres 0: let riders walk"):
        load_scenario("transit/hcmc", district__anywhere=True)


def test_own_riders_walk_from_corners_and_places(tmp_path, caplog):
    """Corner d is no stop: 500 m from c; a place 400 m north of b; one that is too far from everything."""
    requests = "time_s,from,to,from_x_m,from_y_m\n0,d,a,,\n60,,c,500,400\n120,,c,500,4000\n"
    loop = make_loop(load_scenario(write(tmp_path, requests=requests, more="walk: {metres: 500, mps: 1}\n")))
    with caplog.at_level(logging.WARNING):
        kpis = loop.episode(make_controller("insertion", loop.site), 0).kpis
    assert "row 4: from is 4000 m from the nearest stop, more than 500" in caplog.text
    assert (kpis["asked"], kpis["impossible"], kpis["walk_m"]) == (2, 1, 450.0)
    riders = loop.world.service.riders
    assert sorted(zip(riders.origin.tolist(), riders.earliest_s.tolist(), strict=True)) == [(1, 460.0), (2, 500.0)]
    assert riders.known_s.tolist() == [0.0, 60.0], "they ask when they set out"


def test_without_walking_it_says_how(tmp_path, caplog):
    requests = REQUESTS + "60,d,a\n"
    loop = make_loop(load_scenario(write(tmp_path, nodes=NODES, requests=requests)))
    with caplog.at_level(logging.WARNING):
        loop.reset(0)
    assert "a corner without a stop: name a stop, or let riders walk (walk.metres)" in caplog.text
