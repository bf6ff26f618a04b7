"""Variance components from closed forms, simulation with stated error, and statsmodels' REML."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from effects_made import effects_of

from dwatlas.seeds import rng
from dwatlas.statistics import schemas
from dwatlas.statistics.intervals import crossed_covariance
from dwatlas.statistics.variance import variance_components, variance_records


def crossed(g, seeds, items, sds=(0.8, 0.5, 0.3)):
    seed, item, rest = (
        sd * g.normal(size=shape) for sd, shape in zip(sds, ((seeds, 1), (1, items), (seeds, items)), strict=True)
    )
    return 2 + seed + item + rest


def nested(g, units, items, sds=(0.9, 0.5, 0.7, 0.4, 0.3)):
    data, training, item, both, rest = sds
    number = max(units) + 1
    of_data, of_both = g.normal(size=number)[units, None], g.normal(size=(number, items))[units]
    seeds = (len(units), items)
    return (
        data * of_data
        + training * g.normal(size=(seeds[0], 1))
        + item * g.normal(size=(1, items))
        + (both * of_both + rest * g.normal(size=seeds))
    )


def test_seeds_and_items_agree_with_mixed_model_reml_to_a_thousandth():
    D = crossed(rng("test", "reml"), 6, 25)
    frame = pd.DataFrame([{"s": s, "i": i, "y": D[s, i], "all": 1} for s, i in product(range(6), range(25))])
    parts = {"seed": "0 + C(s)", "item": "0 + C(i)"}
    fit = smf.mixedlm("y ~ 1", frame, groups="all", vc_formula=parts, re_formula="0").fit(reml=True, method="bfgs")
    reml = dict(zip(fit.model.exog_vc.names, fit.vcomp, strict=True)) | {"residual": fit.scale}
    found = variance_components(D)
    assert all(facet.variance > 0 for facet in found.values())
    assert {name: facet.variance for name, facet in found.items()} == pytest.approx(reml, rel=1e-3)


def test_trainings_nested_in_data_agree_with_mixed_model_reml_to_a_thousandth():
    units = np.repeat(range(5), 2)
    D = nested(rng("test", "nested reml", 1), units, 12)
    cells = list(product(range(10), range(12)))
    frame = pd.DataFrame([{"t": t, "d": units[t], "i": i, "y": D[t, i], "all": 1} for t, i in cells])
    parts = {"data": "0 + C(d)", "training": "0 + C(t)", "item": "0 + C(i)", "data_item": "0 + C(d):C(i)"}
    fit = smf.mixedlm("y ~ 1", frame, groups="all", vc_formula=parts, re_formula="0").fit(reml=True, method="bfgs")
    reml = dict(zip(fit.model.exog_vc.names, fit.vcomp, strict=True)) | {"residual": fit.scale}
    found = variance_components(D, units)
    assert all(facet.variance > 0 for facet in found.values())
    assert {name: facet.variance for name, facet in found.items()} == pytest.approx(reml, rel=1e-3)


@pytest.mark.parametrize("units", [[0, 0, 1, 1, 2, 2, 3, 3], [0, 0, 0, 0, 1, 1, 2, 3]], ids=["balanced", "unbalanced"])
def test_planted_nested_components_come_back_without_bias(units):
    """Means of 800 simulations within four of their standard errors."""
    g, units = rng("test", "planted", *units), np.array(units)
    found = np.array(
        [[facet.variance for facet in variance_components(nested(g, units, 6), units).values()] for _ in range(800)]
    )
    planted = np.array([0.9, 0.5, 0.7, 0.4, 0.3]) ** 2
    assert (np.abs(found.mean(axis=0) - planted) < 4 * found.std(axis=0) / 800**0.5).all()


def test_intervals_of_the_seeds_spread_hold_it_as_often_as_they_say():
    """600 simulations of 5 seeds: at least 93 % (the standard error is under one per cent)."""
    g, held = rng("test", "spread"), 0
    for _ in range(600):
        lines = pd.DataFrame(variance_records(effects_of(crossed(g, 5, 40)), "antisymmetric")).set_index("facet")
        held += lines["sd_lo"]["seed"] <= 0.8 <= lines["sd_hi"]["seed"]
    assert held / 600 == pytest.approx(0.95, abs=0.02)


def test_what_facets_add_to_the_mean_is_the_crossed_variance():
    D = crossed(rng("test", "mean"), 5, 20)
    frame = pd.DataFrame(variance_records(effects_of(D), "antisymmetric"))
    assert frame["of_mean"].sum() == pytest.approx(crossed_covariance(D, D).value)
    assert frame["share"].sum() == pytest.approx(1)
    assert set(frame.columns) | {"model", "behaviour", "adapter", "eval"} == set(schemas.VARIANCE_SCHEMA.names)


def test_what_nested_facets_add_is_the_variance_of_the_mean_of_the_datas_means():
    """Balanced: the crossed variance of the means over trainings, exactly."""
    units = np.repeat(range(4), 3)
    D = nested(rng("test", "nested mean"), units, 15)
    found = variance_components(D, units)
    means = D.reshape(4, 3, 15).mean(axis=1)
    added = sum(facet.variance / facet.averaged for facet in found.values())
    assert added == pytest.approx(crossed_covariance(means, means).value)


def test_a_negative_estimate_is_reported_and_counts_as_zero():
    D = np.array([[1.0, 3.0], [3.0, 1.0]])
    frame = pd.DataFrame(variance_records(effects_of(D), "antisymmetric")).set_index("facet")
    assert frame["variance"].to_dict() == {"seed": -2.0, "item": -2.0, "residual": 4.0}
    assert frame["share"].to_dict() == {"seed": 0.0, "item": 0.0, "residual": 1.0}
    assert frame["sd_lo"].isna().to_dict() == {"seed": True, "item": True, "residual": False}


def test_what_the_design_cannot_tell_is_null():
    one_seed = pd.DataFrame(variance_records(effects_of(np.ones((1, 5))), "antisymmetric"))
    assert one_seed[["variance", "sd", "share", "of_mean"]].isna().all(axis=None)
    of_one_draw = variance_components(crossed(rng("test", "draw"), 4, 10), np.zeros(4, dtype=int))
    assert list(of_one_draw) == ["training", "item", "residual"]
    assert list(variance_components(np.ones((3, 4)), np.arange(3))) == ["seed", "item", "residual"]
