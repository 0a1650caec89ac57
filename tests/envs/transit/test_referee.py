"""SUMO beside our own simulator: what was driven becomes travel times, and a service's decisions are carried out."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from envs import CityloopError, load_scenario
from envs.transit import streets
from envs.transit.referee import measure, traffic
from tests.envs.transit.test_streets import files  # noqa: F401, a fixture
from training.referee import record, referee


def test_traffic_is_as_dense_as_in_the_files(files, tmp_path):  # noqa: F811
    scenario = load_scenario(files)
    for flow in (1.0, 2.0):
        made = traffic.write(scenario, tmp_path / "cars.rou.xml", seed=3, flow=flow)
        times = [float(car.get("depart")) - traffic.WARM_S for car in ET.parse(tmp_path / "cars.rou.xml").getroot()]
        assert len(times) == made
        assert times == sorted(times)
        # Seven trips, times the stretch of three; those at the edge may fall outside.
        assert sum(time_s >= 0 for time_s in times) == pytest.approx(7 * 3 * flow, abs=3 * flow + 3)


def test_observations_become_delays_speeds_and_stops(files):  # noqa: F811
    net = streets.read_net(load_scenario(files).net)
    turns = list(zip(net.start.tolist(), net.end.tolist(), strict=True))
    rows = [(a, b, t, 9.0, 0) for a, b in turns for t in range(0, 1800, 10)]
    rows += [(a, b, t, 48.0, 0) for a, b in turns for t in range(1800, 3600, 10)]  # 39 s of 30 + 9 more
    rows += [(a, b, 900.0, 28.5 + 8.0, 1) for a, b in turns for _ in range(50)]
    found = measure.combine(net, np.array(rows), 3600.0)
    assert found["driven"] == len(turns)
    np.testing.assert_allclose(found["delay_s"], 28.5, atol=0.5)  # the mean of both halves, hardly moved by the prior
    np.testing.assert_allclose(found["speed"], [58.5 / 39, 58.5 / 39, 58.5 / 78, 58.5 / 78], rtol=0.02)
    np.testing.assert_allclose(found["stop_s"], 8.0, atol=0.5)
    assert found["unexplained"] < 0.02


def test_what_has_no_network_cannot_be_played():
    with pytest.raises(CityloopError, match="has no SUMO network"):
        referee(load_scenario("transit/hcmc"))


def test_riders_who_change_vehicles_cannot_be_played():
    with pytest.raises(CityloopError, match="set it to 0"):
        referee(load_scenario("transit/cologne", timing__reassign_s=60.0))


def test_a_script_says_what_the_events_say():
    found, script = record(load_scenario("transit/cologne", duration_s=1800.0), "reactive", 0)
    promised = {r for _, _, r in script.promises}
    assert found["served_pct"] == pytest.approx(100 * len(promised) / len(script.known_s))
    for order in script.orders:
        picks = [r for r, pick in order if pick]
        assert sorted(picks) == sorted(r for r, pick in order if not pick)
        assert all(order.index((r, True)) < order.index((r, False)) for r in picks)


@pytest.mark.slow
def test_sumo_carries_out_the_same_decisions():
    """On empty streets, whose times were measured, SUMO serves the same riders, with rides of the same length."""
    scenario = load_scenario("transit/cologne", duration_s=1800.0, fleet__vehicles=20)
    found = referee(scenario, seeds=1, flow=0.1, stock=("greedyShared",))
    ours, theirs, stock = found["rows"].values()
    assert theirs["served_pct"] == pytest.approx(ours["served_pct"], abs=3)
    assert theirs["ride_mean_s"] == pytest.approx(ours["ride_mean_s"], rel=0.2)
    assert theirs["total_km"] == pytest.approx(ours["total_km"], rel=0.2)
    assert theirs["lost_veh"] == 0
    assert stock["wait_mean_s"] > ours["wait_mean_s"]
