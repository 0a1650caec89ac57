"""Indicators from events by hand."""

import numpy as np
import pytest

from envs.transit import kpis
from envs.transit.kernel.events import (
    DROPPED_OFF,
    DROVE,
    PICKED_UP,
    PROMISED,
    REFUSED,
    TOO_LARGE,
    TOO_LATE,
    new_log,
    rows,
)
from envs.transit.kernel.fleet import new_fleet, new_riders
from envs.transit.kernel.motion import write
from envs.transit.record.ledger import REFUSED_MIN
from envs.transit.record.periods import by_period

ZONE_OF = np.array([0, 0, 1])


def episode(asked, events):
    """Riders who want to go at ``asked``, all from node 0 to 2 (100 s); events as (time, kind, rider, metres, load)."""
    count = len(asked)
    times = np.array(asked, float)
    riders = new_riders(
        np.zeros(count),
        np.full(count, 2),
        times,
        times,
        times + 300,
        np.full(count, 100.0),
        np.full(count, 200.0),
        np.tile([1, 0], (count, 1)),
    )
    log = new_log()
    for time_s, kind, r, metres, load in events:
        write(log, time_s, kind, 0, r, 0, metres, load)
    fleet = new_fleet(np.array([0]), np.array([[4, 0]]), np.array([[0.0, 1e7]]))
    return rows(log), fleet, riders


def test_waits_rides_and_kilometres():
    log, fleet, riders = episode(
        [0, 60, 70],
        [
            (0, PROMISED, 0, 0, 0),
            (60, PROMISED, 1, 0, 0),
            (70, REFUSED, 2, 0, TOO_LATE),
            (30, DROVE, -1, 200, 0),
            (30, PICKED_UP, 0, 0, 0),
            (80, DROVE, -1, 300, 1),
            (80, PICKED_UP, 1, 0, 0),
            (180, DROVE, -1, 500, 2),
            (180, DROPPED_OFF, 0, 0, 0),
            (180, DROPPED_OFF, 1, 0, 0),
        ],
    )
    found = kpis.indicators(log, fleet, riders, ZONE_OF, 3600.0)
    assert found["served_pct"] == pytest.approx(200 / 3)
    assert found["wait_mean_min"] == pytest.approx((30 + 20) / 120)
    assert found["wait_min"] == pytest.approx((0.5 + 20 / 60 + 30) / 3)
    assert found["ride_min"] == pytest.approx((150 + 100) / 120)
    assert found["detour"] == pytest.approx(250 / 200)
    assert found["occupancy"] == pytest.approx((300 + 2 * 500) / 1000)
    assert (found["total_km"], found["empty_km"], found["empty_pct"]) == (1.0, 0.2, 20)
    assert found["parties_per_veh_h"] == 2
    assert (found["refused_too_late"], found["refused_too_large"], found["broken"]) == (1, 0, 0)


def test_a_party_belongs_to_the_period_in_which_it_wants_to_go():
    log, _, riders = episode(
        [0, 890, 2000],
        [
            (890, REFUSED, 1, 0, TOO_LATE),
            (920, DROVE, -1, 400, 0),
            (920, PICKED_UP, 0, 0, 0),
            (1100, DROPPED_OFF, 0, 0, 0),
        ],
    )
    riders.cancel_s[2] = 2100.0  # means to withdraw: is compared with nobody
    first = np.array([True, False, False])
    found = by_period(log, riders, {"peak": first, "off-peak": ~first})
    assert found["peak"] == pytest.approx(
        {
            "wait_min": (920 / 60 + REFUSED_MIN) / 2,
            "served_pct": 50,
            "empty_km": 0,
            "asked": 2,
            "wait_mean_min": 920 / 60,
            "ride_min": 3,
        }
    )
    assert "off-peak" not in found, "nobody asked then"


def test_refusing_makes_nobody_better():
    served = [(60, PROMISED, 0, 0, 0), (299, PICKED_UP, 0, 0, 0), (399, DROPPED_OFF, 0, 0, 0)]
    long_wait = kpis.indicators(*episode([0], served), ZONE_OF, 3600.0)
    refused = kpis.indicators(*episode([0], [(0, REFUSED, 0, 0, TOO_LARGE)]), ZONE_OF, 3600.0)
    assert long_wait["wait_min"] < refused["wait_min"] == REFUSED_MIN
    assert refused["wait_mean_min"] == 0, "which alone would look better"


def test_who_means_to_withdraw_is_compared_with_nobody():
    log, fleet, riders = episode(
        [0, 0], [(0, PROMISED, 0, 0, 0), (250, PICKED_UP, 0, 0, 0), (350, DROPPED_OFF, 0, 0, 0)]
    )
    riders.cancel_s[0] = 400.0
    found = kpis.indicators(log, fleet, riders, ZONE_OF, 3600.0)
    assert (found["asked"], found["wait_min"], found["broken"]) == (0, 0, 0)


def test_busy_and_quiet_times():
    # Twelve parts of 100 s; most ask in the first, then in the fifth; of those with one the earliest is the eighth.
    asked = [0, 10, 20, 400, 410, 700, 900, 1200]
    events = [(t + 6 * (k + 1), PICKED_UP, k, 0, 0) for k, t in enumerate(asked)]
    found = kpis.indicators(*episode(asked, events), ZONE_OF, 3600.0)
    assert found["busy_wait_min"] == pytest.approx(0.1 * np.mean([1, 2, 3, 4, 5, 6]))
    assert found["quiet_wait_min"] == pytest.approx(0.1 * np.mean([7, 8]))


@pytest.mark.parametrize(
    ("events", "broken"),
    [
        ([(0, PROMISED, 0, 0, 0), (300, PICKED_UP, 0, 0, 0), (500, DROPPED_OFF, 0, 0, 0)], 0),
        ([(0, PROMISED, 0, 0, 0), (301, PICKED_UP, 0, 0, 0), (500, DROPPED_OFF, 0, 0, 0)], 1),  # late
        ([(0, PROMISED, 0, 0, 0), (100, PICKED_UP, 0, 0, 0), (301, DROPPED_OFF, 0, 0, 0)], 1),  # long
        ([(0, PROMISED, 0, 0, 0)], 1),  # forgotten
    ],
)
def test_a_broken_promise_is_counted(events, broken):
    found = kpis.indicators(*episode([0], events), ZONE_OF, 3600.0)
    assert (found["broken"], found["failed"]) == (broken, broken)


def test_an_empty_day_has_indicators():
    found = kpis.indicators(*episode([], []), ZONE_OF, 3600.0)
    assert np.isfinite(list(found.values())).all()
    assert set(found) == set(kpis.KPIS)
