"""Detection: what is counted where, and what broken detectors report."""

from types import SimpleNamespace

import numpy as np
import pytest

from envs import load_scenario
from envs.intersections.detection import Detection, Vehicles
from envs.intersections.junction import Phase
from envs.intersections.network.read import load_site
from envs.intersections.readings import READINGS
from envs.intersections.scenarios import Sensors
from envs.intersections.sensing import EpisodeFaults
from tests.envs.intersections.small import crossroads, junction, movement, site


def vehicles(*rows):
    """Vehicles from (piece, position_m, speed_mps, waiting_s)."""
    piece, position, speed, waiting = np.array(rows, dtype=float).T
    return Vehicles(piece.astype(np.int64), position, speed, waiting)


def test_counts_by_hand():
    # Approach in0 is piece 0 and in1 is piece 1, 100 m each; out0 and out1 follow.
    seen = Detection(crossroads()).measure(
        vehicles(
            (0, 95, 0.0, 20), (0, 80, 5.0, 0), (0, 10, 10.0, 0), (1, 50, 0.05, 3), (2, 5, 0.0, 9), (-1, 0, 0.0, 50)
        )
    )
    assert seen["count_veh"].tolist() == [3, 1]
    assert seen["queue_veh"].tolist() == [1, 1]
    assert seen["near_veh"].tolist() == [2, 1]
    assert seen["arrivals_veh"].tolist() == [2, 0]  # 20 m at 5 m/s and 90 m at 10 m/s: within 12 s
    assert seen["speed_mps"] == pytest.approx([5.0, 0.05])
    assert seen["waiting_s"].tolist() == [20, 3]
    assert seen["occupancy"] == pytest.approx([3 * 7.5 / 100, 7.5 / 100])
    assert seen["exit_count_veh"].tolist() == [1, 0]
    assert seen["exit_queue_veh"].tolist() == [1, 0]


def test_a_green_of_the_networks_own_program_is_its_safe_stage():
    """It is reported as that stage from when it is shown, and not as clearing."""
    turn = junction(("Gr", "gG"), [movement(0), movement(1)], foes=[(0, 1)], yields=[(0, 1)])
    turn = turn.model_copy(update={"program": tuple(Phase(state=s, duration_s=30) for s in ("Gr", "yy", "GG"))})
    lamps = {5.0: "Gr", 10.0: "yy", 15.0: "GG", 20.0: "GG"}
    now = SimpleNamespace(time_s=0.0)
    sumo = SimpleNamespace(
        simulation=SimpleNamespace(getTime=lambda: now.time_s),
        trafficlight=SimpleNamespace(getRedYellowGreenState=lambda light: lamps[now.time_s]),
    )
    detection = Detection(site(turn))
    detection._roads = SimpleNamespace()
    detection.start(sumo)
    seen = []
    for now.time_s in lamps:
        shown = detection.shown(sumo, now.time_s)
        seen.append(tuple(float(shown[name][0]) for name in ("stage", "clearing_s", "green_s")))
    assert seen == [(0, 0, 5), (0, 1, 0), (1, 0, 0), (1, 0, 5)]


def test_an_empty_approach_has_its_speed_limit():
    place = crossroads()
    seen = Detection(place).measure(Vehicles(np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0), np.zeros(0)))
    assert seen["speed_mps"] == pytest.approx([approach.speed_mps for approach in place.approaches])
    assert seen["count_veh"].tolist() == [0, 0]


def test_detection_reaches_past_fragments_of_edges():
    site = load_site(load_scenario("intersections/ingolstadt7"))
    short = [approach for approach in site.approaches if approach.segments[0].length_m < 1]
    assert short, "ingolstadt7 has stop-line edges of less than a metre"
    detection = Detection(site)
    for approach in short:
        assert approach.length_m > 40
        upstream = next(segment for segment in approach.segments[1:] if not segment.lane.startswith(":"))
        piece = detection._piece[upstream.lane]
        seen = detection.measure(vehicles((piece, upstream.length_m - 5, 0.0, 10)))
        k = site.approaches.index(approach)
        assert seen["queue_veh"][k] > 0
        assert seen["near_veh"][k] > 0
        assert seen["queue_veh"].sum() == pytest.approx(1), "one vehicle counts once, whoever shares it"


def test_nothing_beyond_the_range_is_seen():
    place = crossroads().model_copy(update={"range_m": 30.0})
    seen = Detection(place).measure(vehicles((0, 60, 0.0, 5), (0, 80, 0.0, 5)))
    assert seen["count_veh"].tolist() == [1, 0]


def readings(value, approaches=200):
    names = [column.name for column in READINGS.columns if column.axis in ("approach", "exit")]
    return {name: np.full(approaches, min(value, 1.0) if name == "occupancy" else value) for name in names}


def test_perfect_sensors_change_nothing():
    true = readings(4.0)
    assert EpisodeFaults(Sensors(), 5.0, 1, 200).apply(true) is true


def test_dead_detectors_are_silent_all_episode_and_only_on_approaches():
    faults = EpisodeFaults(Sensors(dropout=0.3), 5.0, 1, 200)
    first, second = faults.apply(readings(4.0)), faults.apply(readings(4.0))
    dead = np.isnan(first["count_veh"])
    assert 0.2 < dead.mean() < 0.4
    assert (np.isnan(second["queue_veh"]) == dead).all()
    assert (np.isnan(first["inside_veh"]) == dead).all()
    assert (first["count_veh"][~dead] == 4.0).all()
    assert not np.isnan(first["exit_count_veh"]).any()


def test_noise_is_relative_unbiased_and_never_negative():
    seen = EpisodeFaults(Sensors(noise=0.2), 5.0, 1, 20_000).apply(readings(10.0, 20_000))
    assert seen["count_veh"].mean() == pytest.approx(10.0, rel=0.01)
    assert seen["count_veh"].std() == pytest.approx(2.0, rel=0.05)
    assert min(values.min() for values in seen.values()) >= 0
    assert seen["occupancy"].max() <= 1.0


def test_delay_is_the_age_of_the_values():
    faults = EpisodeFaults(Sensors(delay_s=10.0), 5.0, 1, 2)
    seen = [faults.apply(readings(float(k), 2))["count_veh"][0] for k in range(5)]
    assert seen == [0, 0, 0, 1, 2]  # the oldest there is, then two decisions old


def test_faults_follow_the_seed():
    one, two, other = (
        EpisodeFaults(Sensors(noise=0.1, dropout=0.2), 5.0, seed, 50).apply(readings(4.0, 50)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one["count_veh"], two["count_veh"])
    assert not np.array_equal(one["count_veh"], other["count_veh"], equal_nan=True)
