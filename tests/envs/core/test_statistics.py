"""Quantiles and paired bootstrap intervals, compared with hand calculations."""

import numpy as np
import pytest

from envs.core.statistics import Summary, bootstrap_median, compare, geometric_mean, seed_ratios, stand, summarise


def test_summary_of_known_values():
    summary = summarise(list(range(1, 12)))
    assert (summary.median, summary.mean, summary.p90, summary.worst) == (6, 6, 10, 11)


def test_difference_is_the_median_of_pairs_not_of_groups():
    paired = compare([1, 10, 100], [2, 12, 50])
    assert paired.ratio == pytest.approx(10 / 12)
    assert paired.difference == -1
    assert paired.wins == 2


def test_equal_rows_differ_by_nothing():
    paired = compare([3.0, 4.0, 5.0], [3.0, 4.0, 5.0])
    assert (paired.difference, paired.low, paired.high, paired.wins) == (0, 0, 0, 0)


def test_one_seed_has_no_width():
    paired = compare([3.0], [5.0])
    assert (paired.difference, paired.low, paired.high) == (-2, -2, -2)


def test_interval_holds_the_median_and_lies_within_the_values():
    values = np.random.default_rng(3).normal(5, 2, 30)
    low, high = bootstrap_median(values)
    assert values.min() <= low <= np.median(values) <= high <= values.max()
    assert bootstrap_median(values) == (low, high)


def test_interval_of_three_values_is_known():
    # A resample's median is the least value with probability 7/27, far more than the 2.5 % of the tail.
    assert bootstrap_median(np.array([1.0, 2.0, 4.0])) == (1.0, 4.0)


@pytest.mark.slow
def test_interval_covers_the_true_median_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        low, high = bootstrap_median(rng.exponential(1.0, 20))
        hits += low <= np.log(2) <= high
    assert 0.88 <= hits / 200 <= 1.0


def test_standing_against_the_best_of_the_others():
    def summary(median, mean):
        return Summary(median, mean, median, mean)

    standing = stand(
        {"policy": (summary(8, 9), 0), "steady": (summary(10, 10), 0), "quick but frail": (summary(9, 90), 3)},
        ratios=[0.5, 1.5, 0.4],
    )
    assert (standing.rival, standing.rival_failures) == ("quick but frail", 3)
    assert standing.median_ratio == pytest.approx(8 / 9)
    assert (standing.mean_rival, standing.mean_ratio, standing.failures) == ("steady", 0.9, 0)
    assert (standing.seed_mean, standing.seed_worst) == (pytest.approx(0.8), 1.5)


def test_seed_ratios_are_to_whoever_is_best_on_that_seed():
    ratios = seed_ratios([8.0, 6.0, 0.0, 3.0], [[10.0, 12.0, 0.0, 0.5], [16.0, 3.0, 4.0, 9.0]])
    assert ratios == pytest.approx([0.8, 2.0, 1.0, 6.0])


def test_what_is_negligible_makes_no_ratio():
    assert seed_ratios([8.0, 20.0], [[0.5, 10.0]], negligible=10.0) == pytest.approx([1.0, 2.0])


def test_ratios_of_nothing():
    zero = Summary(0.0, 0.0, 0.0, 0.0)
    assert stand({"a": (zero, 0), "b": (zero, 0)}, [1.0]).median_ratio == 1.0


def test_geometric_mean():
    assert geometric_mean([0.5, 2.0]) == pytest.approx(1.0)
