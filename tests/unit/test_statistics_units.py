"""What an interval is made from: draws of the data, more than rounding, a whole curve, seeds and items at once."""

import numpy as np
import pytest
from scipy import stats
from test_statistics_tables import ITEMS, NULLS, make_scores, retained, summarise, typed

from dwatlas.seeds import rng
from dwatlas.statistics import retained as statistics
from dwatlas.statistics.intervals import crossed_covariance, gate, seed_covariance


def test_trainings_that_share_their_data_are_no_independent_seeds():
    """Ten seeds, two trainings a draw: the interval is that of five draws' means, and the variance is told apart."""
    scores = make_scores({"layer-0": 0.25}, seeds=range(10), seed_sd=0.5)
    units = statistics.summarise(scores, nulls=NULLS, trainings=2)
    full = retained(units, "full", "full")
    assert (full.n_seeds, full.n_trainings) == (5, 10)
    means = [np.mean([3.0 + 0.5 * rng("test", "seed", 2 * k + j).normal() for j in (0, 1)]) for k in range(5)]
    item_part = 0.1 * rng("test", "items").normal(size=(2, ITEMS))[1].mean()
    half = stats.t.ppf(0.975, 4) * stats.sem(means)
    expected = np.mean(means) + item_part + np.array([-half, half])
    assert [full.effect_lo, full.effect_hi] == pytest.approx(expected, abs=1e-5)
    facets = set(units.variance.query("effect == 'antisymmetric'")["facet"])
    assert facets == {"data", "training", "item", "data_item", "residual"}
    assert len(units.seeds.query("component == 'full' and effect == 'antisymmetric'")) == 10, "every training is a dot"


def test_a_part_that_is_all_of_dw_retains_one_where_a_training_is_missing():
    """Eight seeds, two trainings a draw, the lens absent in seeds 5 and 7: both draws of these are left out, paired."""
    scores = make_scores({"layer-0": 1.0, "layer-1": 0.5}, seeds=range(8), seed_sd=0.8)
    gap = scores.drop(scores.query("lens == 'layers' and seed in (5, 7)").index)
    absent = {("tiny", "agreement", "lora-r1", seed, "layers") for seed in (5, 7)}
    tables = statistics.summarise(gap, absent, nulls=NULLS, trainings=2)
    for estimand in ("fixed_rows", "new_items"):
        part = retained(tables, "layer-0", "keep", estimand=estimand)
        assert [part.retained, part.lo, part.hi] == pytest.approx([1, 1, 1], abs=1e-5)
        assert (part.n_seeds, part.n_trainings) == (2, 4)
    assert tables.contrasts.query("contrast == 'interaction'")["ratio"].abs().max() < 1e-5


def test_what_rounding_makes_of_nothing_has_no_p():
    """Six layers that do nothing, up to 1e-7 nats, beside two that do something."""
    kept = {f"layer-{k}": 0.0 for k in range(6)} | {"layer-6": 0.4, "layer-7": 0.6}
    scores = make_scores(kept)
    dead = scores["component"].isin(list(kept)[:6]) & (scores["control"] == "")
    scores["lr"] = scores["lr"].astype(float) + np.where(dead, 1e-7 * scores["alpha"] * scores["label"], 0.0)
    tables = statistics.summarise(scores, nulls=NULLS)
    table = tables.retained.query("lens == 'layers' and effect == 'antisymmetric'")
    real = table["component"].isin(["layer-6", "layer-7"])
    assert table.loc[~real, ["p", "p_moderated", "q"]].isna().all(axis=None)
    assert (table.loc[real, "q"] < 0.01).all()


def test_what_is_not_identified_on_these_rows_is_not_identified_for_new_items():
    random, better = rng("test", "gate"), 0
    for _ in range(60):
        D = 0.7 + 0.5 * random.normal(size=(3, 1)) + random.normal(size=20)
        own, new = (gate(D, covariance) for covariance in (seed_covariance, crossed_covariance))
        assert new >= own
        better += own >= 1
    assert better, "some are not identified"


def test_nested_families_have_bands_from_eight_seeds_on():
    kept = {"top-1": 0.2, "top-2": 0.5, "top-4": 0.8, "rest": 0.2}
    noise = rng("test", "bands").normal(size=10)

    def of(seeds):
        scores = make_scores(kept, seeds=range(seeds))
        scores["energy_frac"] = scores["component"].map(kept).fillna(0.5)
        scores["lr"] += scores["alpha"] * scores["label"] * (0.2 * noise[scores["seed"]] * scores["energy_frac"])
        return summarise(typed(scores)).retained.query("effect == 'antisymmetric' and estimand == 'fixed_rows'")

    table = of(8).set_index(["component", "mode"])
    for name in ("top-1", "top-2", "top-4"):
        line = table.loc[name, "keep"]
        assert line.band_lo <= line.lo <= line.retained <= line.hi <= line.band_hi
    assert np.isnan(table.loc["rest", "keep"].band_lo)
    assert of(7)["band_lo"].isna().all()


def test_the_crossed_bootstrap_stands_beside_the_intervals_for_new_items():
    scores = make_scores({"layer-0": 0.3, "layer-1": 0.7})
    scores["lr"] += (0.3 * rng("test", "boot").normal(size=len(scores))).astype("float32")
    table = summarise(scores).retained.query("effect == 'antisymmetric' and lens == 'layers'")
    new, fixed = (table[table["estimand"] == name] for name in ("new_items", "fixed_rows"))
    assert ((new["bootstrap_lo"] < new["retained"]) & (new["retained"] < new["bootstrap_hi"])).all()
    assert fixed["bootstrap_lo"].isna().all()
    again = summarise(scores).retained.query("effect == 'antisymmetric' and lens == 'layers'")
    assert np.array_equal(again["bootstrap_lo"], table["bootstrap_lo"], equal_nan=True)
