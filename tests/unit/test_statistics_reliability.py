"""Agreement of seeds and the D-study from published examples, other libraries, closed forms and simulation."""

import time
import tracemalloc
from itertools import product

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from effects_made import effects_of
from scipy import stats

from dwatlas.seeds import rng
from dwatlas.statistics import schemas
from dwatlas.statistics.design import design_records, half_width
from dwatlas.statistics.intervals import ESTIMANDS, effect_interval
from dwatlas.statistics.reliability import Variances, layout, reliability_records

SHROUT_AND_FLEISS = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]])
PLANTED = Variances(1.0, 0.5, 0.3, 0.4)


def everyone(seeds):
    return np.ones(seeds, dtype=bool)


def made(g, components=12, seeds=5, items=8, planted=PLANTED):
    """Components × seeds × items with planted variances, and effects of seeds and items that all components share."""
    own, with_seed, with_item, rest = np.sqrt(planted)
    return (
        own * g.normal(size=(components, 1, 1))
        + with_seed * g.normal(size=(components, seeds, 1))
        + with_item * g.normal(size=(components, 1, items))
        + rest * g.normal(size=(components, seeds, items))
        + g.normal(size=(1, seeds, 1))
        + g.normal(size=(1, 1, items))
        + 0.5 * g.normal(size=(1, seeds, items))
    )


def lens_of(profiles, dropped=False):
    """Effects of a lens whose profile (what is kept, or lost without it) is ``profiles``."""
    D = 3 + rng("test", "full").normal(size=profiles.shape[1:])
    parts = {("layers", f"layer-{c}", "keep"): own for c, own in enumerate(profiles)}
    if dropped:
        parts |= {("layers", f"layer-{c}", "drop"): D - own for c, own in enumerate(profiles)}
    return effects_of(D, parts)


def reliability(effects):
    return pd.DataFrame(reliability_records(effects, "antisymmetric")).set_index(["lens", "mode"])


def test_icc_of_shrout_and_fleiss():
    """Six targets, four judges: ICC(2,1) = .29 and ICC(2,4) = .62 in their 1979 paper."""
    sums = layout(SHROUT_AND_FLEISS[:, :, None].astype(float))
    assert sums.icc(everyone(4), 1) == pytest.approx(0.29, abs=0.005)
    assert sums.icc(everyone(4), 4) == pytest.approx(0.62, abs=0.005)


def test_icc_of_the_mean_is_mcgraw_and_wongs():
    values = made(rng("test", "icc"))[:, :, 0]
    (n, k), grand = values.shape, values.mean()
    rows, columns = values.mean(axis=1) - grand, values.mean(axis=0) - grand
    MSR, MSC = k * rows @ rows / (n - 1), n * columns @ columns / (k - 1)
    MSE = np.sum((values - grand - rows[:, None] - columns) ** 2) / ((n - 1) * (k - 1))
    sums = layout(values[:, :, None])
    assert sums.icc(everyone(k), k) == pytest.approx((MSR - MSE) / (MSR + (MSC - MSE) / n))
    assert sums.icc(everyone(k), 1) == pytest.approx((MSR - MSE) / (MSR + (k - 1) * MSE + k * (MSC - MSE) / n))


@pytest.mark.parametrize("digits", [0, 6], ids=["ties", "no ties"])
def test_concordance_is_friedmans(digits):
    profiles = np.round(made(rng("test", "friedman"), items=2), digits).mean(axis=2, keepdims=True)
    lens = reliability(lens_of(profiles)).loc["layers", "keep"]
    friedman = stats.friedmanchisquare(*profiles[:, :, 0])
    seeds, components = 5, 12
    assert lens["kendall_w"] == pytest.approx(friedman.statistic / (seeds * (components - 1)))
    assert lens["friedman_p"] == pytest.approx(friedman.pvalue)


def test_g_study_agrees_with_mixed_model_reml_to_a_thousandth():
    profiles = made(rng("test", "g reml", 3), 6, 4, 5)
    cells = list(product(*map(range, profiles.shape)))
    frame = pd.DataFrame([{"c": c, "s": s, "i": i, "y": profiles[c, s, i], "all": 1} for c, s, i in cells])
    parts = {name: f"0 + {':'.join(f'C({axis})' for axis in name)}" for name in ("c", "s", "i", "cs", "ci", "si")}
    fit = smf.mixedlm("y ~ 1", frame, groups="all", vc_formula=parts, re_formula="0").fit(reml=True, method="bfgs")
    reml = dict(zip(fit.model.exog_vc.names, fit.vcomp, strict=True))
    assert min(reml.values()) > 1e-3
    found = layout(profiles).variances(everyone(4))
    assert found == pytest.approx([reml["c"], reml["cs"], reml["ci"], fit.scale], rel=1e-3)


def test_planted_components_of_the_g_study_come_back_without_bias():
    """Means of 400 simulations within four of their standard errors."""
    g = rng("test", "g planted")
    found = np.array([layout(made(g)).variances(everyone(5)) for _ in range(400)])
    assert (np.abs(found.mean(axis=0) - PLANTED) < 4 * found.std(axis=0) / 400**0.5).all()


def test_leaving_out_a_seed_is_the_layout_without_it():
    profiles, kept = made(rng("test", "left out")), np.arange(5) != 2
    whole, less = layout(profiles), layout(profiles[:, kept])
    assert whole.variances(kept) == pytest.approx(less.variances(everyone(4)))
    assert whole.icc(kept, 5) == pytest.approx(less.icc(everyone(4), 5))
    assert whole.concordance(kept, 4) == pytest.approx(less.concordance(everyone(4), 4))


@pytest.mark.parametrize("seeds", [5, 10])
def test_jackknife_intervals_hold_the_g_coefficient_of_these_components(seeds):
    """250 simulations of new seeds for 15 components and 8 items: about 95 % (the standard error is 1.4 %)."""
    g, held = rng("test", "g coverage", seeds), 0
    fixed = g.normal(size=(15, 1, 1)) + 0.5 * g.normal(size=(15, 1, 8))
    means = fixed.mean(axis=2, keepdims=True)
    with_item = np.sum((fixed - means - (fixed - means).mean(axis=0)) ** 2) / (14 * 7)
    truth = Variances(means.var(ddof=1) - with_item / 8, 0.5, with_item, 0.4).g_coefficient(seeds, 8)
    for _ in range(250):
        (line,) = reliability_records(lens_of(fixed + made(g, 15, seeds, 8, (0, 0.5, 0, 0.4))), "antisymmetric")
        held += line["g_coefficient_lo"] <= truth <= line["g_coefficient_hi"]
    assert held / 250 == pytest.approx(0.95, abs=0.045)


def test_seeds_that_agree_exactly_are_wholly_reliable():
    profiles = np.repeat(rng("test", "same").normal(size=(6, 1, 1)), 4, axis=1) + np.zeros((6, 4, 7))
    line = reliability(lens_of(profiles)).loc["layers", "keep"]
    for name in ("icc", "icc_mean", "kendall_w", "g_coefficient"):
        assert [line[name + end] for end in ("", "_lo", "_hi")] == pytest.approx([1, 1, 1])
    assert line["seeds_needed"] == 1


def test_noise_is_not_reliable():
    lines = reliability(lens_of(rng("test", "noise").normal(size=(40, 6, 20)))).loc["layers", "keep"]
    assert abs(lines["icc"]) < 0.15 and lines["kendall_w_lo"] < 1 / 6 and lines["friedman_p"] > 0.05
    assert not lines["seeds_needed"] <= 6


def test_a_dropped_profile_is_what_is_lost():
    both = reliability(lens_of(made(rng("test", "lost")), dropped=True))
    pd.testing.assert_series_equal(
        both.loc["layers", "keep"].drop("effect"), both.loc["layers", "drop"].drop("effect"), check_names=False,
        check_dtype=False, rtol=1e-9,
    )  # fmt: skip


def test_few_seeds_have_no_interval_and_one_seed_nothing():
    two = reliability(lens_of(made(rng("test", "two"), seeds=2))).loc["layers", "keep"]
    assert np.isfinite(two["icc"]) and np.isnan(two[["icc_lo", "icc_hi", "g_coefficient_lo"]].to_list()).all()
    one = pd.DataFrame(reliability_records(lens_of(made(rng("test", "one"), seeds=1)), "antisymmetric"))
    assert one[["n_seeds", "n_components"]].to_numpy().tolist() == [[1, 12]] and "icc" not in one
    assert not list(design_records(lens_of(made(rng("test", "one"), seeds=1)), "antisymmetric", one.to_dict("records")))


def test_the_closed_form_of_the_d_study():
    """σ² = 1, .5, .3, .4 at 10 items: Eρ² = 1/(1.03 + .54/S), so 1/.8 = 1.25 needs S = .54/.22, three seeds."""
    for seeds in (1, 3, 30):
        assert PLANTED.g_coefficient(seeds, 10) == pytest.approx(1 / (1.03 + 0.54 / seeds))
    assert PLANTED.seeds_needed(10) == 3
    assert np.isnan(PLANTED.seeds_needed(1)), "at one item, 1/1.3 is out of reach"
    assert Variances(1.0, 0.5, 0.0, 0.0).seeds_needed(10) == 2, "1/(1 + .5/2) is .8 to the dot"


def test_at_the_studys_seeds_the_d_study_is_the_study():
    effects = lens_of(made(rng("test", "study")))
    reliable = list(reliability_records(effects, "antisymmetric"))
    design = pd.DataFrame(design_records(effects, "antisymmetric", reliable))
    own = design[design["n_seeds"] == 5].set_index(["quantity", "estimand"])["value"]
    assert own["g_coefficient", ""] == reliable[0]["g_coefficient"]
    for estimand, covariance in ESTIMANDS.items():
        mean, _, hi = effect_interval(effects.values["antisymmetric"][:5], covariance)
        assert own["half_width", estimand] == pytest.approx(hi - mean)
    assert design.groupby("quantity")["n_seeds"].agg(["min", "max"]).to_numpy().tolist() == [[1, 30], [2, 30]]


def test_an_item_variance_below_zero_leaves_the_seeds_own():
    assert half_width(0.4, -0.1, 0.2, 5, 10, "new_items") == half_width(0.4, -0.1, 0.2, 5, 10, "fixed_rows")


def test_half_widths_of_the_d_study_are_those_of_larger_studies():
    """The root mean square of 2000 studies' half-widths, to 3 %."""
    g = rng("test", "half-width")
    seed, item, rest = 0.6, 0.0, 0.9
    studies = seed**0.5 * g.normal(size=(2000, 6, 1)) + rest**0.5 * g.normal(size=(2000, 6, 10))
    halves = [np.ptp(effect_interval(study, ESTIMANDS["fixed_rows"])[1:]) / 2 for study in studies]
    expected = np.mean(np.square(halves)) ** 0.5
    assert half_width(seed, item, rest, 6, 10, "fixed_rows") == pytest.approx(expected, rel=0.03)


def test_the_columns_are_the_schemas():
    effects = lens_of(made(rng("test", "columns")))
    reliable = list(reliability_records(effects, "antisymmetric"))
    group = {"model", "behaviour", "adapter", "eval"}
    assert {*reliable[0]} | group == set(schemas.RELIABILITY_SCHEMA.names)
    assert {*next(design_records(effects, "antisymmetric", reliable))} | group == set(schemas.DESIGN_SCHEMA.names)


def test_three_hundred_components_take_little_time_and_memory():
    """300 components × 10 seeds × 438 items, kept and dropped: at most 3 s and five times one mode's scores."""
    effects = lens_of(rng("test", "large").normal(size=(300, 10, 438)), dropped=True)
    tracemalloc.start()
    started = time.process_time()
    design = list(design_records(effects, "antisymmetric", list(reliability_records(effects, "antisymmetric"))))
    assert time.process_time() - started < 3
    assert tracemalloc.get_traced_memory()[1] < 5 * 300 * 10 * 438 * 8
    tracemalloc.stop()
    assert len(design) == 2 * 30 + 2 * 29
