"""Sensors that are silent or stuck, and forecasts that are perfect, wrong or absent."""

import numpy as np
import pytest

from envs import load_scenario
from envs.drainage.scenarios import Forecast
from envs.drainage.sensing import EpisodeFaults, Forecaster
from envs.drainage.site import LEADS_MIN

TABLE = np.arange(60.0).reshape(30, 2)
"""Rain of 30 rows of five minutes at two gauges."""


def test_a_perfect_forecast_is_the_rain_to_come():
    ahead = Forecaster(Forecast(), TABLE, 300, seed=1)(4).reshape(2, -1)
    rows = [lead // 5 for lead in LEADS_MIN]
    np.testing.assert_allclose(ahead, [[TABLE[4 : 4 + r, gauge].sum() for r in rows] for gauge in (0, 1)])


def test_nothing_is_expected_after_the_end():
    assert not Forecaster(Forecast(), TABLE, 300, seed=1)(30).any()


def test_no_rounding_makes_a_forecast_below_zero():
    table = np.random.default_rng(3).gamma(0.3, 3.0, (72, 40)).round(2)
    table[40:] = 0.0
    said = Forecaster(Forecast(), table, 700, seed=1).forecast_mm
    assert (said >= 0).all()


def test_a_forecast_may_be_absent():
    assert np.isnan(Forecaster(Forecast(kind="none"), TABLE, 300, seed=1)(0)).all()


def test_a_degraded_forecast_errs_more_with_the_lead_time_and_is_right_on_average():
    factors = np.array(
        [
            Forecaster(Forecast(kind="degraded", error=0.4), np.ones((30, 1)), 300, seed)(0) / [3, 6, 12, 24]
            for seed in range(400)
        ]
    )
    spread = np.log(factors).std(axis=0)
    assert spread[0] == pytest.approx(0.2, rel=0.1)  # a quarter of an hour: half of what it is at an hour
    assert (np.diff(spread[[0, 2]]) > 0).all()
    assert factors.mean(axis=0) == pytest.approx(1.0, abs=0.06)
    assert (np.diff(factors * [3, 6, 12, 24], axis=1) >= -1e-9).all(), "later sums hold earlier ones"


def test_a_degraded_forecast_of_a_short_burst_is_right_on_average_at_every_lead_time():
    """The mean over seeds is unbiased, though a sum is never less than those of shorter lead times."""
    table = np.zeros((30, 1))
    table[1] = 10.0
    forecast = Forecast(kind="degraded", error=0.5)
    said = np.array([Forecaster(forecast, table, 300, seed)(0) for seed in range(2000)])
    assert said.mean(axis=0) == pytest.approx(10.0, rel=0.02)


def faults(**sensors):
    scenario = load_scenario("drainage/astlingen").override({f"sensors.{k}": v for k, v in sensors.items()})
    return EpisodeFaults(scenario, tanks=200, gates=4, seed=5)


def read(depth):
    return {"depth_m": np.full(200, depth), "flow_cms": np.ones(4)}


def test_silent_sensors_say_nothing_in_the_share_that_was_asked_for():
    silent = np.isnan(faults(dropout=0.25).apply(read(1.0))["depth_m"])
    assert 0.15 < silent.mean() < 0.35


def test_stuck_sensors_repeat_what_they_said_first():
    broken = faults(stuck=0.5)
    broken.apply(read(1.0))
    later = broken.apply(read(2.0))["depth_m"]
    assert set(later) == {1.0, 2.0}


def test_noise_is_relative_and_never_below_empty():
    seen = faults(noise=0.5).apply(read(2.0))["depth_m"]
    assert seen.min() >= 0
    assert seen.std() == pytest.approx(1.0, rel=0.2)
