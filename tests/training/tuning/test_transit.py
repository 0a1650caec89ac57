"""Trials of settings of transit's rules."""

from envs import load_scenario
from envs.transit.standby import StandbyModel
from training.tuning.transit import SHOWN, tune, tune_standby


def test_tuning_tries_every_pair_and_puts_the_best_last():
    scenario = load_scenario("transit/hcmc", duration_s=3600.0)
    rows = tune(scenario, scenario.seeds.train.take(1), ((1.0, 1.0, 1.0, 1.0), (0.3, 1.0, 0.3, 0.5)), (300.0, 900.0))
    assert len(rows) == 4
    assert rows[-1]["wait_min"] == min(row["wait_min"] for row in rows)
    assert set(SHOWN) <= set(rows[0])


def test_tuning_of_standing_by_tries_every_model():
    scenario = load_scenario("transit/hcmc", duration_s=3600.0)
    rows = tune_standby(
        scenario, scenario.seeds.train.take(1), (StandbyModel(), StandbyModel(moving=1.0, least_s=30.0))
    )
    assert [row["wait_min"] for row in rows] == sorted((row["wait_min"] for row in rows), reverse=True)
    assert {row["tried"] for row in rows} == {StandbyModel(), StandbyModel(moving=1.0, least_s=30.0)}
