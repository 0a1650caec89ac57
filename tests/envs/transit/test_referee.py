"""SUMO beside our own simulator: what was driven becomes travel times."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from envs import CityloopError, load_scenario
from envs.transit.referee import driving, legs, measure, traffic
from envs.transit.sources import streets
from tests.envs.transit.sources.test_streets import files  # noqa: F401, a fixture


def test_traffic_is_as_dense_as_in_the_files(files, tmp_path):  # noqa: F811
    scenario = load_scenario(files)
    for flow in (1.0, 2.0):
        made = traffic.write(scenario, tmp_path / "cars.rou.xml", seed=3, flow=flow)
        times = [float(car.get("depart")) - traffic.WARM_S for car in ET.parse(tmp_path / "cars.rou.xml").getroot()]
        assert len(times) == made
        assert times == sorted(times)
        # Seven trips, times the stretch of three; those at the edge may fall outside.
        assert sum(time_s >= 0 for time_s in times) == pytest.approx(7 * 3 * flow, abs=3 * flow + 3)


def test_what_stops_sumo_is_its_own_sentence(files, tmp_path):  # noqa: F811
    routes = tmp_path / "cars.rou.xml"
    routes.write_text('<routes><trip id="a" depart="0" from="nowhere" to="nowhere"/></routes>')
    command = driving.arguments(load_scenario(files).net, [routes], seed=1)
    with pytest.raises(CityloopError, match="SUMO cannot go on: The edge 'nowhere'"):
        driving.apart(drive_on, (command,))


def drive_on(command):
    driving.start(command).simulationStep(10.0)


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


def test_a_time_without_traffic_is_as_fast_as_usual_and_too_little_traffic_is_refused(files):  # noqa: F811
    net = streets.read_net(load_scenario(files).net)
    turns = list(zip(net.start.tolist(), net.end.tolist(), strict=True))
    rows = [(a, b, t, 9.0, 0) for a, b in turns for t in range(0, 900, 10)]
    stood = [(a, b, 450.0, 17.0, 1) for a, b in turns]
    found = measure.combine(net, np.array(rows + stood), 1800.0)
    np.testing.assert_allclose(found["speed"], 1.0, rtol=0.01)
    for few in (rows, rows[:5] + stood):
        with pytest.raises(CityloopError, match="measure more seeds"):
            measure.combine(net, np.array(few), 1800.0)


def test_legs_are_counted_by_what_they_were_for_and_by_the_hour():
    found = legs.table(np.array([[0, 0, 50, 60, 66], [3700, 1, 100, 100, 94], [9999, 1, 100, 100, 106.0]]), 7200.0)
    assert list(found) == ["all", "empty", "with riders", "hour 1", "hour 2"]
    assert found["empty"] == found["hour 1"]
    assert found["empty"]["error_pct"] == pytest.approx(10)
    assert found["with riders"] == {
        "legs": 2, "planned_s": 100, "way_s": 100, "driven_s": 100, "error_pct": pytest.approx(0), "rms_s": 6
    }  # fmt: skip
