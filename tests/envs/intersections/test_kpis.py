"""Indicators from SUMO's reports, by hand."""

import numpy as np
import pytest

from envs.intersections.detection import Vehicles
from envs.intersections.kpis import KPIS, GridlockWatch, read_kpis

END_S = 1000.0
COLUMNS = ("id", "depart", "departDelay", "arrival", "duration", "waitingTime", "waitingCount", "timeLoss")
TRIPS = [
    ("a", 100, 0, 300, 200, 20, 1, 50),  # arrived
    ("b", 200, 30, -1, 800, 100, 3, 400),  # still driving
    ("c", -1, 500, -1, 0, 0, 0, 0),  # never entered
]
STATISTICS = '<statistics><safety emergencyStops="2"/><teleports total="1"/></statistics>'


def watched(*waiting_s):
    watch = GridlockWatch()
    zero = np.zeros(len(waiting_s))
    watch.see(Vehicles(zero.astype(np.int64), zero, zero, np.array(waiting_s, dtype=float)))
    return watch


@pytest.fixture
def folder(tmp_path):
    attributes = [" ".join(f'{name}="{v}"' for name, v in zip(COLUMNS, trip, strict=True)) for trip in TRIPS]
    rows = "".join(f"<tripinfo {text}/>" for text in attributes)
    (tmp_path / "trips.xml").write_text(f"<tripinfos>{rows}</tripinfos>")
    (tmp_path / "statistics.xml").write_text(STATISTICS)
    return tmp_path


def kpis(folder, routes, additional=""):
    paths = {"demand.rou.xml": routes, "more.add.xml": additional}
    for name, content in paths.items():
        (folder / name).write_text(f"<routes>{content}</routes>")
    routes, additional = ([folder / name] for name in paths)
    return read_kpis(folder, routes, additional, END_S, watched(1.0, 2.0))


def test_indicators_by_hand(folder):
    found = kpis(folder, "")
    assert set(found) == set(KPIS)
    assert found["delay_s"] == pytest.approx((50 + 430 + 500) / 3)
    assert found["travel_time_s"] == pytest.approx((200 + 800) / 2)
    assert found["waiting_s"] == pytest.approx((20 + 100) / 2)
    assert found["stops"] == pytest.approx(2)
    assert found["queue_veh"] == 2
    assert (found["throughput_veh"], found["due_veh"], found["undeparted_veh"]) == (1, 3, 1)
    assert (found["emergency_stops"], found["teleports"], found["gridlock"]) == (2, 1, 0)


def test_resco_counts_no_trip_that_never_entered(folder):
    assert kpis(folder, '<trip depart="500"/>')["resco_delay_s"] == pytest.approx((50 + 430) / 2)


def test_resco_counts_vehicles_due_after_the_last_that_entered(folder):
    # The last one that entered was due at 200 - 30 = 170 s: one due at 600 s waits for 400 s, one at 150 s is missed.
    routes = '<vehicle depart="150"/><vehicle depart="600"/><vehicle depart="2000"/>'
    assert kpis(folder, routes)["resco_delay_s"] == pytest.approx((50 + 430 + 400) / 3)


@pytest.mark.parametrize("word", ["triggered", "containerTriggered"])
@pytest.mark.parametrize("where", ["routes", "additional"])
def test_who_waits_for_a_passenger_who_never_comes_is_not_due(folder, word, where):
    """SUMO says that such a vehicle has waited since 0 s, whenever the episode began."""
    waiting = f'<vehicle id="c" depart="{word}"/>'
    found = kpis(folder, **{"routes": "", where: waiting})
    assert found["delay_s"] == pytest.approx((50 + 430) / 2)
    assert (found["due_veh"], found["undeparted_veh"]) == (2, 0)


def test_who_left_with_a_passenger_counts(folder):
    assert kpis(folder, '<vehicle id="b" depart="triggered"/>')["due_veh"] == 3


def test_an_empty_report_is_no_error(folder):
    (folder / "trips.xml").write_text("<tripinfos/>")
    found = kpis(folder, "")
    assert found["delay_s"] == found["resco_delay_s"] == found["due_veh"] == 0


@pytest.mark.parametrize(
    ("waiting_s", "gridlocked"),
    [([300.0] * 10, True), ([300.0] * 9 + [299.0] * 5, False), ([], False)],
)
def test_gridlock_is_ten_vehicles_for_five_minutes(waiting_s, gridlocked):
    assert watched(*waiting_s).gridlocked is gridlocked


@pytest.mark.parametrize(
    ("waiting_s", "locked"),
    [([300.0] * 10 + [0.0] * 10, True), ([300.0] * 10 + [0.0] * 11, False), ([300.0] * 9, False)],
)
def test_locked_is_a_gridlock_of_half_of_all_vehicles(waiting_s, locked):
    assert watched(*waiting_s).locked is locked


def test_gridlock_is_remembered():
    watch = watched(*[400.0] * 10)
    watch.see(Vehicles(np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0), np.zeros(0)))
    assert watch.gridlocked
    assert watch.mean_queue_veh == 5
