"""The demand forecast: what it says without counts, how it follows them, and that it beats the past's mean."""

import numpy as np
import pytest

from agents.monitors.demand import DemandForecast, Levels
from agents.monitors.demand.compare import compare
from agents.monitors.demand.forecast import levels_after
from envs import CityloopError

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
