"""The demand forecast: what it says without counts, how it follows them, and that it beats the past's mean."""

import json

import numpy as np
import pytest

from agents.monitors.demand import DemandForecast, Levels
from agents.monitors.demand.forecast import levels_after
from envs import CityloopError
from envs.core.registry import load_scenario
from training.bench.forecast import bench_forecast, compare

USUAL = 3.0 + 2.0 * np.sin(np.arange(24) / 4)[:, None] * np.array([1.0, 0.5, 0.0])


def days(rng, count, spread=0.4):
    """Days whose level differs from each other by so much."""
    level = rng.gamma(1 / spread**2, spread**2, size=(count, 1, 1))
    return rng.poisson(level * USUAL).astype(float)


@pytest.fixture(scope="module")
def learned():
    return DemandForecast.learn(["a", "b", "c"], days(np.random.default_rng(1), 40), 300.0)


def test_without_counts_it_is_the_mean_of_the_past(learned):
    nothing = learned.forecast(np.full((8, 3), np.nan), 900.0)
    np.testing.assert_allclose(nothing.mean, np.array(learned.usual)[8:11].sum(axis=0))
    np.testing.assert_allclose(learned.forecast(np.zeros((0, 3)), 900.0).mean, np.array(learned.usual)[:3].sum(axis=0))


def test_levels_are_the_posterior_of_a_gamma_prior():
    # One zone with a town that hardly varies: (shape + counted) / (shape + usual), older counts worth less.
    levels = Levels(town=1e9, zone=10, memory_s=300)
    factor, _ = levels_after(np.array([[8.0], [6.0]]), np.array([[4.0], [4.0]]), np.array([300.0, 0.0]), levels)
    worth = np.exp(-1)
    assert factor[0] == pytest.approx((10 + 6 + 8 * worth) / (10 + 4 + 4 * worth))


def test_it_follows_a_busy_day(learned):
    usual = np.array(learned.usual)
    busy = learned.forecast(2.0 * usual[:12], 900.0)
    assert (busy.mean > 1.5 * usual[12:15].sum(axis=0)).all()
    part = 2.0 * usual[:12]
    part[:, 1] = np.nan
    assert learned.forecast(part, 900.0).mean[1] > 1.3 * usual[12:15, 1].sum(), "the town tells of a silent zone"


def test_it_beats_the_past_and_knows_how_sure_it_is(learned):
    rng = np.random.default_rng(2)
    past, others = days(np.random.default_rng(1), 40), days(rng, 60)
    scores = compare(learned, past, others, 3)
    for name in ("log_score", "pinball", "absolute"):
        assert scores[name][:, 0].mean() < 0.97 * scores[name][:, 1].mean()
    assert 0.78 < scores["within"][:, 0].mean() < 0.93, "central 80 % of whole numbers hold a little more"


def test_days_alike_need_no_correction():
    flat = DemandForecast.learn(["a", "b", "c"], days(np.random.default_rng(3), 40, spread=1e-3), 300.0)
    busy = flat.forecast(1.3 * np.array(flat.usual)[:12], 900.0)
    assert (busy.mean < 1.12 * np.array(flat.usual)[12:15].sum(axis=0)).all()


def test_it_is_kept_as_json(learned, tmp_path):
    learned.save(tmp_path / "demand.json")
    assert DemandForecast.load(tmp_path / "demand.json") == learned
    (tmp_path / "demand.json").write_text("{}")
    with pytest.raises(CityloopError, match="is missing"):
        DemandForecast.load(tmp_path / "demand.json")
    with pytest.raises(CityloopError, match="learn it again"):
        DemandForecast.load(tmp_path / "nothing.json")


def test_what_does_not_fit_is_refused(learned):
    with pytest.raises(CityloopError, match="give \\(slots so far, 3 zones\\)"):
        learned.forecast(np.zeros((4, 2)), 900.0)
    with pytest.raises(CityloopError, match="two days or more"):
        DemandForecast.learn(["a"], np.zeros((1, 12, 1)), 300.0)


def test_a_quantile_is_of_a_share(learned):
    forecast = learned.forecast(np.zeros((0, len(learned.usual[0]))), 900.0)
    assert (forecast.quantile(0.9) >= forecast.quantile(0.5)).all()
    with pytest.raises(CityloopError, match="share is 90: give a probability from 0 to 1"):
        forecast.quantile(90)


def test_two_days_alike_do_not_look_different_for_want_of_a_third():
    found = []
    for seed in range(6):
        counts = np.random.default_rng([11, seed]).poisson([3.0, 2.0, 1.0, 2.0], (2, 48, 4)).astype(float)
        found.append(DemandForecast.learn(["a", "b", "c", "d"], counts, 900.0).levels.zone ** -0.5)
    assert np.mean(found) < 0.12, "days differ by nothing but chance"


@pytest.mark.filterwarnings("error")
def test_slots_that_are_missing_cost_only_themselves(learned):
    counts = days(np.random.default_rng(1), 40)
    counts[:, ::3] = np.nan  # every quarter of an hour holds one of them
    found = DemandForecast.learn(["a", "b", "c"], counts, 300.0).levels
    assert found.town**-0.5 == pytest.approx(learned.levels.town**-0.5, rel=0.3)


def test_after_a_whole_day_another_follows_and_after_a_shorter_one_nothing():
    whole = DemandForecast(zones=("a",), slot_s=3600.0, usual=tuple((float(k + 1),) for k in range(24)))
    late = np.full((23, 1), np.nan)
    assert whole.forecast(late, 7200.0).mean == pytest.approx(24.0 + 1.0)
    assert whole.forecast(np.full((24, 1), np.nan), 3600.0).mean == pytest.approx(1.0)
    shift = DemandForecast(zones=("a",), slot_s=3600.0, usual=whole.usual[:12])
    assert shift.forecast(late[:11], 7200.0).mean == pytest.approx(12.0)


@pytest.mark.parametrize(
    ("counts", "seconds", "sentence"),
    [
        (np.full((4, 3), -2.0), 900.0, "counts hold -2: give 0 or more"),
        ([["a", "b", "c"]], 900.0, "counts are no table of numbers"),
        ([[1, 2, 3], [1, 2]], 900.0, "counts are no table of numbers"),
        (np.zeros((4, 3)), 0.0, "seconds is 0: give more than 0"),
        (np.zeros((4, 3)), float("nan"), "seconds is nan: give more than 0"),
        (np.zeros((25, 3)), 900.0, "24 slots at most"),
    ],
)
def test_counts_and_times_that_cannot_be_are_refused(learned, counts, seconds, sentence):
    with pytest.raises(CityloopError, match=sentence):
        learned.forecast(counts, seconds)


def test_lists_and_whole_numbers_are_counts(learned):
    told = learned.forecast([[1, 2, 0], [3, 1, 0]], 900.0)
    np.testing.assert_array_equal(told.mean, learned.forecast(np.array([[1.0, 2.0, 0.0], [3.0, 1.0, 0.0]]), 900.0).mean)


def test_days_that_teach_nothing_of_a_zone_are_refused():
    counts = days(np.random.default_rng(1), 4)
    counts[:, :, 1] = np.nan
    with pytest.raises(CityloopError, match="zone 'b' are unknown on all days"):
        DemandForecast.learn(["a", "b", "c"], counts, 300.0)
    with pytest.raises(CityloopError, match="counts hold -1"):
        DemandForecast.learn(["a", "b", "c"], np.full((4, 24, 3), -1.0), 300.0)
    with pytest.raises(CityloopError, match="give more than 0"):
        DemandForecast.learn(["a", "b", "c"], days(np.random.default_rng(1), 4), 0.0)


@pytest.mark.parametrize("usual", [[[1.0, 2.0, 3.0], [1.0, 2.0]], [[1.0, 2.0]], [[-1.0, 2.0, 3.0]]])
def test_a_file_that_was_altered_is_refused(learned, tmp_path, usual):
    path = tmp_path / "demand.json"
    learned.save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"usual": usual}))
    with pytest.raises(CityloopError, match="usual does not hold 3 numbers of 0 or more"):
        DemandForecast.load(path)


def test_the_bench_compares_it_with_the_mean_of_the_past():
    found = bench_forecast(load_scenario("transit/hcmc", duration_s=3000.0), train=3, test=1)
    losses = ("log score", "pinball", "absolute")
    assert set(found["ratios"]) == {f"15 min: {name}, forecast / mean of the past" for name in losses}
    for name in losses:
        mine, theirs = (found["figures"][f"15 min: {name}, {whose}"] for whose in ("forecast", "mean of the past"))
        assert found["ratios"][f"15 min: {name}, forecast / mean of the past"] == mine / theirs
        assert found["figures"][f"15 min: {name}, difference"] == pytest.approx(mine - theirs)
