"""The benchmark answers the requests that it counts. How fast it is, no test says."""

import numpy as np
import pytest

from envs.core.env import make_loop
from envs.transit.service import Service
from training.bench.ridepy import installed, on_the_way, seconds_per_request
from training.bench.transit import SEATS, SEED, bare, bench_transit, crowd, moves, one_by_one, town, whole


def test_both_ways_of_timing_give_the_same_service():
    scenario, site = town(10)
    day = crowd(site, 60)
    assert len(np.unique(day.origin)) > 20
    assert (day.origin != day.destination).all()
    took, served = whole(scenario, site, day)
    assert took > 0
    assert 20 < served < 100, "ten vehicles are too few"
    assert set(one_by_one(scenario, site, day)) == {"median", "p99"}


def test_the_bare_service_does_what_the_loop_did():
    loop = make_loop("transit/hcmc", duration_s=3600)
    calls = moves(loop)
    assert {name for name, _ in calls} == {"send", "reassign", "run"}
    assert bare(loop, calls) > 0
    with pytest.raises(RuntimeError, match="another than the loop's"):
        bare(loop, [(name, given) for name, given in calls if name != "send"])
    loop.close()


def test_ratios_and_figures_are_named():
    found = bench_transit(repeats=1, vehicles=5, growth=2)
    peer = "requests/s with 5 vehicles / of RidePy's Python dispatcher"
    assert set(found["ratios"]) == {
        peer,
        "a request with 2 times the vehicles / with 5",
        "hcmc, a day of the bare service that sends and reassigns alike / of the loop",
    }
    assert all(value > 0 for value in found["figures"].values())
    assert len(found["figures"]) == 9 + 2 * installed()
    assert np.isfinite(found["ratios"][peer]) == installed()


def test_a_vehicle_under_way_is_on_its_way_to_the_next_corner():
    table = [[0.0, 10.0, 30.0], [10.0, 0.0, 20.0], [30.0, 20.0, 0.0]]  # three corners in a row
    hop = [[0, 1, 1], [0, 1, 2], [1, 1, 2]]
    assert on_the_way(table, hop, 0, 2, 30.0) == (0, 0.0)
    assert on_the_way(table, hop, 0, 2, 24.0) == (1, 4.0)
    assert on_the_way(table, hop, 0, 2, 20.0) == (1, 0.0)
    assert on_the_way(table, hop, 0, 2, 5.0) == (2, 5.0)


def test_the_peer_answers_the_same_requests():
    pytest.importorskip("ridepy", reason="an extra: pip install 'cityloop[bench]'")
    scenario, site = town(10)
    day = crowd(site, 60)
    took, served = seconds_per_request(site, day, SEATS, Service(scenario, site, day, SEED, None).fleet.at)
    assert took > 0
    assert 20 < served < 100, "ten vehicles are too few"
