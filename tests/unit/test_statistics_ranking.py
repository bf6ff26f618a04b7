"""Which adapter is better: P(improvement), ranks and their bootstraps."""

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from dwatlas.seeds import rng
from dwatlas.statistics.ranking import (
    direction,
    improvement,
    improvement_interval,
    mean_rank_intervals,
    ranks,
    resamples,
    shares_of_extremes,
)

LOW, HIGH = np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0, 6.0])
WEIGHTS = resamples(rng("test", "ranking"), 3)


def test_improvement_of_separated_samples_is_certain():
    assert (improvement(HIGH, LOW), improvement(LOW, HIGH)) == (1, 0)
    assert improvement_interval(HIGH, LOW, WEIGHTS) == (1, 1)


def test_ties_count_half():
    assert improvement(LOW, LOW) == 0.5
    assert improvement(np.array([1.0, 2.0]), np.array([2.0])) == 0.25


def test_improvement_is_mann_whitneys_u_over_all_pairs():
    a, b = rng("test", "u").normal(size=(2, 6))
    assert improvement(a, b) == pytest.approx(mannwhitneyu(a, b).statistic / 36)


def test_improvement_is_antisymmetric_with_its_interval():
    a, b = rng("test", "pair").normal(size=(2, 3))
    assert improvement(a, b) + improvement(b, a) == 1
    low, high = improvement_interval(a, b, WEIGHTS)
    assert improvement_interval(b, a, WEIGHTS) == pytest.approx((1 - high, 1 - low))


def test_improvement_interval_resamples_whole_seeds_jointly():
    """By hand for two seeds: both once, the first twice, the second twice, each against the same seeds of the rival."""
    a, b = np.array([1.0, 4.0]), np.array([3.0, 2.0])
    both, first, second = (improvement_interval(a, b, np.array([w])) for w in ([1, 1], [2, 0], [0, 2]))
    assert (both, first, second) == ((0.5, 0.5), (0, 0), (1, 1))


def test_better_is_larger_in_the_direction_of_most_effects():
    assert direction(np.array([[-3.0, -2.0], [1.0, 0.5]])) == -1
    assert direction(np.zeros((2, 2))) == 1


def test_ranks_are_within_seeds_and_ties_share():
    assert ranks(np.array([[3.0, 1.0], [2.0, 1.0], [1.0, 0.0]])).tolist() == [[1, 1.5], [2, 1.5], [3, 3]]


def test_shares_of_best_and_worst_add_up_and_ties_share_them():
    best, worst = shares_of_extremes(np.array([HIGH, LOW, LOW]), WEIGHTS)
    assert best.tolist() == [1, 0, 0]
    assert worst == pytest.approx([0, 0.5, 0.5])


def test_mean_rank_interval_holds_the_mean_rank():
    strengths = rng("test", "strengths").normal(size=(4, 3))
    low, high = mean_rank_intervals(strengths, WEIGHTS)
    mean = ranks(strengths).mean(axis=1)
    assert (low <= mean).all() and (mean <= high).all() and (low < high).any()
