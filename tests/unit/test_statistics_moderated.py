"""Moderated t and false discovery rates: the formula by hand, its limits, and errors by simulation."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.optimize import brentq
from scipy.special import polygamma, psi

from bench.error_rates import RULE, families, simulate
from dwatlas.seeds import rng
from dwatlas.statistics.moderated import (
    FEWEST_COMPONENTS,
    adjust,
    moderate,
    one_sided_p,
    pooled_df,
    shared_correlation,
    trigamma_inverse,
    two_sided_p,
)


def unequal(name, components=40, seeds=4):
    """Contrasts whose variances differ by more than chance."""
    draw = rng("test", "moderated", name)
    return (1 + np.arange(components) % 5)[:, None] * draw.normal(size=(components, seeds)) + 1.0


def factor(seeds, components=60, loading=1.0):
    """Components that follow one factor of the seed, half of them upside down, and noise of their own."""
    draw = rng("test", "factor", seeds, components)
    sign = (-1.0) ** np.arange(components)[:, None]
    return sign * loading * draw.normal(size=seeds) + draw.normal(size=(components, seeds))


def test_variances_are_shrunk_as_in_the_paper():
    L = unequal("paper")
    d, s2 = 3, L.var(axis=1, ddof=1)
    e = np.log(s2) - psi(d / 2) + np.log(d / 2)
    d0 = 2 * brentq(lambda x: polygamma(1, x) - (e.var(ddof=1) - polygamma(1, d / 2)), 1e-3, 1e3, xtol=1e-13)
    s02 = np.exp(e.mean() + psi(d0 / 2) - np.log(d0 / 2))
    found = moderate(L)
    assert (found.prior_df, found.prior_variance) == pytest.approx((d0, s02))
    assert found.mean == pytest.approx(L.mean(axis=1))
    assert found.variance == pytest.approx((d0 * s02 + d * s2) / (d0 + d) / 4)
    assert found.df == pytest.approx(min(d0 + d, pooled_df(L)))
    assert two_sided_p(found) == pytest.approx(2 * stats.t.sf(np.abs(found.mean / np.sqrt(found.variance)), found.df))


def test_the_prior_is_found_again():
    draw = rng("test", "prior")
    sigma2 = 2.0 * 4 / draw.chisquare(4, size=20000)
    found = moderate(np.sqrt(sigma2)[:, None] * draw.normal(size=(20000, 5)))
    assert found.prior_df == pytest.approx(4, rel=0.1)
    assert found.prior_variance == pytest.approx(2, rel=0.05)


def test_equal_variances_are_pooled():
    deviations = np.array([[-1.0, 0.0, 1.0], [1.0, -2.0, 1.0]]) / np.array([[1], [np.sqrt(3)]])
    L = np.tile(deviations, (10, 1)) + np.arange(20)[:, None]
    found = moderate(L)
    assert np.isinf(found.prior_df)
    assert found.variance == pytest.approx(np.full(20, L.var(axis=1, ddof=1).mean() / 3))
    assert found.df == pytest.approx(4), "two directions, each of two degrees of freedom, shared by ten components"


def test_with_many_seeds_it_is_the_plain_t_test():
    L = unequal("many seeds", components=20, seeds=3000) - 0.95
    assert two_sided_p(moderate(L)) == pytest.approx(stats.ttest_1samp(L, 0, axis=1).pvalue, rel=0.02, abs=1e-6)


@pytest.mark.parametrize("shape", [(FEWEST_COMPONENTS - 1, 4), (30, 2)])
def test_few_components_or_two_seeds_are_the_plain_t_test(shape):
    L = unequal("few", *shape)
    found = moderate(L)
    assert found.prior_df == 0 and np.isnan(found.prior_variance)
    assert two_sided_p(found) == pytest.approx(stats.ttest_1samp(L, 0, axis=1).pvalue)


def test_one_seed_has_means_and_no_test():
    found = moderate(np.ones((6, 1)))
    assert found.mean == pytest.approx(1)
    assert np.isnan(found.variance).all() and np.isnan(two_sided_p(found)).all()


def test_components_that_hardly_vary_or_lack_a_seed_change_nothing_for_the_others():
    L = unequal("odd ones")
    rounding = 1e-7 * (1 + np.arange(4))
    odd = np.array([[0.0] * 4, [0.1] * 4, [1.0, np.nan, 2.0, 3.0], rounding, -rounding[::-1]])
    found, alone = moderate(np.concatenate([odd, L])), moderate(L)
    assert found.variance[5:] == pytest.approx(alone.variance) and found.df == pytest.approx(alone.df)
    p = two_sided_p(found)
    assert np.isnan(p[[0, 2]]).all() and 0 < p[1] < 1 and (p[3:5] > 0.99).all()
    q, _ = adjust(p, np.concatenate([odd, L]))
    assert np.flatnonzero(np.isnan(q)).tolist() == [0, 2]


def test_a_family_in_which_nothing_varies():
    p = two_sided_p(moderate(np.repeat([[0.0], [2.0]], 3, axis=0).repeat(3, axis=1)))
    assert np.isnan(p[:3]).all() and (p[3:] == 0).all()


def test_families_at_once_are_families_one_by_one():
    L = np.stack([unequal("one"), 3 * unequal("two"), factor(4, 40)])
    at_once = two_sided_p(moderate(L))
    assert at_once == pytest.approx(np.stack([two_sided_p(moderate(family)) for family in L]))


def test_one_sided_p_is_half_in_the_direction_of_the_effect():
    found = moderate(unequal("sides"))
    half = two_sided_p(found) / 2
    assert one_sided_p(found) == pytest.approx(np.where(found.mean > 0, half, 1 - half))


def test_trigamma_inverse():
    x = np.array([1e-3, 0.1, 1.0, 17.0, 1e4])
    assert trigamma_inverse(polygamma(1, x)) == pytest.approx(x, rel=1e-8)


def test_many_components_are_worth_no_more_than_the_dimensions_of_their_residuals():
    independent = rng("test", "dimensions").normal(size=(5000, 4))
    assert pooled_df(independent) == pytest.approx(9, rel=0.05)
    copies = np.outer((-1.0) ** np.arange(50), independent[0])
    assert pooled_df(copies) == pytest.approx(3)
    assert pooled_df(independent[:1]) == pytest.approx(3)


def test_correlation_is_that_beyond_few_seeds():
    for seeds in (3, 4, 5):
        draw = rng("test", "independent", seeds)
        found = [shared_correlation(draw.normal(size=(40, seeds))) for _ in range(50)]
        assert np.median(found) < 0.2
    assert shared_correlation(factor(400)) == pytest.approx(0.5, abs=0.06)
    assert shared_correlation(np.outer([1.0, -2.0, 3.0], [1.0, 5.0, 2.0])) == pytest.approx(1)
    assert np.isnan(shared_correlation(factor(2)))


def test_shared_noise_or_two_seeds_are_adjusted_under_any_dependence():
    for L, method in ((unequal("alone"), "bh"), (factor(8, loading=3.0), "by"), (unequal("two", seeds=2), "by")):
        p = two_sided_p(moderate(L))
        q, used = adjust(p, L)
        assert used == method
        assert q == pytest.approx(stats.false_discovery_control(p, method=method))


def test_null_p_are_not_counted():
    L = unequal("nulls")
    p = two_sided_p(moderate(L))
    p[::2] = np.nan
    q, method = adjust(p, L)
    assert np.isnan(q[::2]).all()
    assert q[1::2] == pytest.approx(stats.false_discovery_control(p[1::2], method=method))
    assert adjust(np.full(2, np.nan), L[:2])[1] == "bh"


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("correlation", [0.0, 0.7])
def test_true_hypotheses_are_rejected_at_the_level_of_the_test(seeds, correlation):
    L, true = simulate(400, 60, seeds, correlation, rng("test", "level", seeds, str(correlation)))
    rejected = two_sided_p(moderate(L))[:, ~true] < 0.05
    assert 0.015 <= rejected.mean() <= 0.075


def test_false_discoveries_stay_rare_and_power_rises():
    """60 families a cell: the Monte Carlo SE of a false discovery rate of 5 % is 2 % with 24 components."""
    found = pd.DataFrame(families(60)).set_index(["procedure", "components", "correlation", "seeds"]).sort_index()
    assert (found.loc[RULE, "fdr"] <= 0.1).all()
    many = [300, 0.0]
    for seeds, least in ((3, 0.05), (5, 0.15)):
        gain = found.loc[(RULE, *many, seeds), "power"] - found.loc[("plain t, BH", *many, seeds), "power"]
        assert gain > least
