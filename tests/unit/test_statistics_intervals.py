"""Known answers for the intervals: closed forms and other libraries' results."""

import warnings

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import stats

from dwatlas.seeds import rng
from dwatlas.statistics.intervals import (
    crossed_covariance,
    effect_interval,
    fieller_crossed,
    fieller_seeds,
    mean_interval,
    mean_products,
    seed_covariance,
)
from dwatlas.statistics.testing import p_value

BOTH = pytest.mark.parametrize("fieller", [fieller_seeds, fieller_crossed])


def noisy_pair(*names, seeds=5, items=20, ratio=0.6, effect=1.0):
    """Effects of a part and of the full dW, seeds × items, with seed, item and residual noise."""
    g = rng("test", *names)
    D = effect + 0.2 * g.normal(size=(seeds, 1)) + 0.5 * g.normal(size=(1, items)) + 0.3 * g.normal(size=(seeds, items))
    noise = 0.1 * g.normal(size=(seeds, 1)) + 0.2 * g.normal(size=(1, items)) + 0.2 * g.normal(size=(seeds, items))
    return ratio * D + noise, D


@BOTH
@pytest.mark.parametrize("ratio", [0.6, 1.0, 0.0, -0.3])
def test_a_part_proportional_to_the_whole_has_an_interval_of_width_zero(fieller, ratio):
    _, D = noisy_pair("proportional")
    R = fieller(ratio * D, D)
    assert R.verdict == "identified"
    assert [R.estimate, R.lo, R.hi] == pytest.approx([ratio] * 3, abs=1e-12)


@BOTH
def test_full_against_full_is_exactly_one(fieller):
    _, D = noisy_pair("full")
    assert fieller(D, D)[:3] == (1.0, 1.0, 1.0)


def test_bounds_are_the_ratios_that_a_t_test_just_rejects():
    N, D = noisy_pair("inversion")
    R = fieller_seeds(N, D)
    assert R.lo < R.estimate < R.hi
    for bound in (R.lo, R.hi):
        contrast = N - bound * D
        assert stats.ttest_1samp(contrast.mean(axis=1), 0).pvalue == pytest.approx(0.05, abs=1e-9)
        assert p_value(contrast, seed_covariance) == pytest.approx(0.05, abs=1e-9)


def test_gate_opens_exactly_where_a_t_test_of_the_full_effect_rejects():
    verdicts = set()
    for k in range(200):
        N, D = noisy_pair("gate", k, effect=0.25)
        R = fieller_seeds(N, D)
        assert (R.g < 1) == (stats.ttest_1samp(D.mean(axis=1), 0).pvalue < 0.05) == (R.verdict != "not_identified")
        verdicts.add(R.verdict)
    assert verdicts == {"identified", "weak", "not_identified"}


@pytest.mark.parametrize(
    ("g", "verdict"), [(0.24, "identified"), (0.26, "weak"), (0.99, "weak"), (1.01, "not_identified")]
)
def test_verdict_follows_g(g, verdict):
    spread = np.array([-1.0, 0.0, 1.0])
    D = (1 + spread * np.sqrt(g * 3) / stats.t.ppf(0.975, 2))[:, None]
    R = fieller_seeds(0.5 * D, D)
    assert R.g == pytest.approx(g)
    assert R.verdict == verdict
    assert np.isnan(R[:3]).all() == (verdict == "not_identified")


def test_without_variance_in_the_full_effect_it_is_the_t_interval_over_the_effect():
    N, _ = noisy_pair("constant")
    R = fieller_seeds(N, np.full_like(N, 2.0))
    half = stats.t.ppf(0.975, 4) * stats.sem(N.mean(axis=1)) / 2
    assert [R.estimate, R.lo, R.hi] == pytest.approx([N.mean() / 2, N.mean() / 2 - half, N.mean() / 2 + half])
    assert R.g == 0


def test_mean_interval_is_the_t_interval():
    values = np.array([1.0, 2.0, 4.0])
    expected = stats.t.interval(0.95, 2, loc=values.mean(), scale=stats.sem(values))
    assert mean_interval(values) == pytest.approx((values.mean(), *expected))


def test_variance_components_equal_reml():
    seeds, items = 5, 12
    g = rng("test", "components")
    y = g.normal(size=(seeds, 1)) + g.normal(size=(1, items)) + 0.5 * g.normal(size=(seeds, items))
    between_seeds, between_items, residual = mean_products(y, y)
    anova = [(between_seeds - residual) / items, (between_items - residual) / seeds, residual]
    assert min(anova) > 0

    s, i = np.indices(y.shape)
    frame = pd.DataFrame({"y": y.ravel(), "s": s.ravel(), "i": i.ravel(), "all": 1})
    parts = {"seed": "0 + C(s)", "item": "0 + C(i)"}
    model = smf.mixedlm("y ~ 1", frame, groups="all", vc_formula=parts, re_formula="0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reml = model.fit(reml=True)
    variances = dict(zip(model.exog_vc.names, reml.vcomp, strict=True))
    assert anova == pytest.approx([variances["seed"], variances["item"], reml.scale], abs=1e-3)
    assert crossed_covariance(y, y).value == pytest.approx(reml.bse_fe.iloc[0] ** 2, rel=1e-3)


def test_identical_items_leave_the_standard_error_over_seeds():
    values = np.array([1.0, 3.0, 4.0, 8.0])
    y = np.repeat(values[:, None], 7, axis=1)
    variance, df = crossed_covariance(y, y)
    assert variance == pytest.approx(values.var(ddof=1) / 4)
    assert df == pytest.approx(3)
    assert effect_interval(y, crossed_covariance) == pytest.approx(mean_interval(values))


@BOTH
def test_one_seed_gives_no_interval(fieller):
    N, D = noisy_pair("lonely", seeds=1)
    R = fieller(N, D)
    assert R.verdict == "not_identified"
    assert np.isnan(R[:4]).all()
    mean, lo, hi = mean_interval(np.array([1.5]))
    assert mean == 1.5
    assert np.isnan([lo, hi]).all()


@BOTH
def test_no_full_effect_at_all_is_not_identified(fieller):
    N, D = noisy_pair("nothing")
    R = fieller(N, np.zeros_like(D))
    assert R.verdict == "not_identified"
    assert np.isnan(R.g)


def test_p_is_null_where_there_is_nothing_and_zero_where_there_is_no_doubt():
    assert np.isnan(p_value(np.zeros((3, 4)), seed_covariance))
    assert p_value(np.ones((3, 4)), seed_covariance) == 0


def test_new_items_widen_the_interval():
    N, D = noisy_pair("wider", items=10)
    fixed, new = fieller_seeds(N, D), fieller_crossed(N, D)
    assert fixed.estimate == new.estimate
    assert new.hi - new.lo > fixed.hi - fixed.lo
