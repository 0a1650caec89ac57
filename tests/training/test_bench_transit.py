"""The benchmark answers the requests that it counts. How fast it is, no test says."""

import numpy as np
import pytest

from envs.core.env import make_loop
from training.bench.transit import bare, bench_transit, crowd, moves, one_by_one, town, whole


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
    assert set(found["ratios"]) == {
        "a request with 2 times the vehicles / with 5",
        "hcmc, a day of the bare service that sends and reassigns alike / of the loop",
    }
    assert all(value > 0 for value in found["figures"].values())
    assert len(found["figures"]) == 9
