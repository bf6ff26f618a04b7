"""Adapters compared, from synthetic seeds and doses whose differences are known."""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from dwatlas.files import write_table
from dwatlas.seeds import rng
from dwatlas.statistics import schemas
from dwatlas.statistics.comparison import Comparison, compare

ADAPTERS = {"big": 6.0, "middle": 4.0, "small": 2.0}
TRAINABLE = {"tiny": {"big": 800, "middle": 80, "small": 8, "other": 1}}
SHARES = {"layer-0": 0.2, "layer-1": 0.5, "layer-2": 0.9}
SIZES = dict.fromkeys(("null_nats", "energy_frac", "rank_frac", "params_frac"), 1.0)
SEEDS = range(5)


def make_seeds(
    adapters=ADAPTERS, shares=lambda adapter: SHARES, seed_sd=0.2, evals=(("claims", 1.0), ("dilemmas", -0.5))
):
    """Full effects ``strength·scale + noise``, and the same share of them for each component kept."""
    lines = []
    for (adapter, strength), (name, scale), seed in product(adapters.items(), evals, SEEDS):
        noise = rng("test", adapter, name, seed).normal(size=4)
        full = scale * (strength + seed_sd * noise[0])
        cell = {"model": "tiny", "behaviour": "agreement", "adapter": adapter, "eval": name, "effect": "antisymmetric",
                "seed": seed, "full_effect_nats": full, **SIZES}  # fmt: skip
        lines.append({**cell, "lens": "anchors", "component": "full", "mode": "full", "effect_nats": full})
        lines += [
            {**cell, "lens": "layers", "component": component, "mode": "keep",
             "effect_nats": full * share + 0.05 * scale * noise[1 + rank % 3]}
            for rank, (component, share) in enumerate(shares(adapter).items())
        ]  # fmt: skip
    return pd.DataFrame(lines)[schemas.SEEDS_SCHEMA.names]


def make_doses(adapters=ADAPTERS):
    """Accuracy falls from 1 by strength/20 at α = +1 and half as much at −1; KL is strength at +1, 0 at −1."""
    lines = []
    for (adapter, strength), seed, alpha in product(adapters.items(), SEEDS, (-1.0, 0.0, 1.0)):
        cell = {"model": "tiny", "behaviour": "agreement", "adapter": adapter, "control": "", "draw": -1, "seed": seed,
                "alpha": alpha}  # fmt: skip
        loss = strength / 20 * {-1.0: 0.5, 0.0: 0.0, 1.0: 1.0}[alpha]
        lines.append({**cell, "eval": "knowledge", "metric": "accuracy", "value": 1 - loss})
        lines.append({**cell, "eval": "claims", "metric": "kl_base", "value": strength * (alpha == 1)})
        lines.append({**cell, "eval": "claims", "metric": "kl_base", "control": "norm", "draw": 0, "value": 99.0})
    return pd.DataFrame(lines).assign(unit=lambda found: found["seed"])[schemas.DOSES_SCHEMA.names]


def of(table, **where):
    return table[(table[list(where)] == pd.Series(where)).all(axis=1)]


def line(table, **where):
    (found,) = of(table, **where).index
    return table.loc[found]


@pytest.fixture(scope="module")
def compared() -> Comparison:
    return compare(make_seeds(), make_doses(), "claims", TRAINABLE)


def test_measures_are_means_over_seeds(compared):
    effects = of(make_seeds(), adapter="big", eval="claims", mode="full")["effect_nats"]
    effect = line(compared.adapters, adapter="big", measure="effect", eval="claims")
    assert effect["value"] == pytest.approx(effects.mean())
    assert effect["hi"] - effect["value"] == pytest.approx(2.7764451 * effects.std(ddof=1) / np.sqrt(5))
    assert (effect["verdict"], effect["trainable"], effect["n_seeds"]) == ("identified", 800, 5)


def test_costs_are_means_of_both_signs_and_of_the_trained_dw(compared):
    loss = line(compared.adapters, adapter="middle", measure="accuracy_loss")
    assert (loss["eval"], loss["value"]) == ("knowledge", pytest.approx(4 / 20 * 0.75))
    assert line(compared.adapters, adapter="middle", measure="kl_base")["value"] == pytest.approx(2.0)


def test_transfer_is_a_ratio_to_the_headline_eval(compared):
    transfer = line(compared.adapters, adapter="big", measure="transfer")
    assert transfer["eval"] == "dilemmas" and not transfer["headline"]
    assert transfer["lo"] < -0.5 < transfer["hi"] and transfer["hi"] - transfer["lo"] < 0.2


def test_transfer_of_an_effect_that_is_not_identified_is_no_ratio():
    adapters = {"big": 6.0, "other": 0.0}
    found = compare(make_seeds(adapters), make_doses(adapters), "claims", TRAINABLE)
    transfer = line(found.adapters, adapter="other", measure="transfer")
    assert transfer["verdict"] == "not_identified" and np.isnan(transfer[["value", "lo", "hi"]].astype(float)).all()


def test_the_strongest_adapter_ranks_first_whatever_the_sign(compared):
    for name in ("claims", "dilemmas"):
        ranks = of(compared.adapters, measure="mean_rank", eval=name).set_index("adapter")["value"]
        assert ranks.to_dict() == {"big": 1, "middle": 2, "small": 3}
        assert line(compared.adapters, adapter="big", measure="best", eval=name)["value"] == 1
        assert line(compared.adapters, adapter="small", measure="worst", eval=name)["value"] == 1
        assert set(of(compared.ranking, eval=name)["direction"]) == {1 if name == "claims" else -1}


def test_pairs_are_antisymmetric_and_planted_differences_found(compared):
    there = compared.ranking.set_index(["eval", "adapter", "rival"])
    back = there.rename_axis(["eval", "rival", "adapter"]).reorder_levels(["eval", "adapter", "rival"]).loc[there.index]
    assert len(there) == 2 * 3 * 2
    assert (there["improvement"] + back["improvement"]).to_numpy() == pytest.approx(1)
    assert (there["difference"] + back["difference"]).to_numpy() == pytest.approx(0)
    assert (there[["p", "q"]].to_numpy() == back[["p", "q"]].to_numpy()).all()
    assert (there["q"] < 0.05).all()
    assert there.loc[("claims", "big", "small"), "improvement"] == 1


def test_noise_tells_planted_strengths_from_equal_ones(compared):
    assert line(compared.noise, eval="claims", lens="anchors")["permutation_p"] < 0.05
    assert line(compared.noise, eval="claims", lens="anchors")["adapter_share"] > 0.9
    equal = compare(make_seeds(dict.fromkeys(ADAPTERS, 3.0)), make_doses(), "claims", TRAINABLE)
    assert line(equal.noise, eval="claims", lens="anchors")["permutation_p"] > 0.05


def test_profiles_are_compared_as_shapes_not_strengths(compared):
    """Strengths differ threefold, shares of components do not."""
    same = line(compared.noise, eval="claims", lens="layers")
    assert (same["verdict"], same["n_components"], same["left_out"]) == ("identified", 3, "")
    assert same["permutation_p"] > 0.05 and same["rho"] == pytest.approx(1, abs=0.05)
    turned = {"layer-0": 0.9, "layer-1": 0.5, "layer-2": 0.2}
    seeds = make_seeds(shares=lambda adapter: turned if adapter == "small" else SHARES)
    found = line(compare(seeds, make_doses(), "claims", TRAINABLE).noise, eval="claims", lens="layers")
    assert found["permutation_p"] < 0.05 and found["rho"] < 0.5


def test_adapters_without_an_identified_effect_are_left_out_of_profiles_and_named():
    adapters = {**ADAPTERS, "other": 0.0}
    found = compare(make_seeds(adapters), make_doses(adapters), "claims", TRAINABLE).noise
    profile = line(found, eval="claims", lens="layers")
    assert (profile["left_out"], profile["n_adapters"]) == ("other", 3)
    assert line(found, eval="claims", lens="anchors")["n_adapters"] == 4


@pytest.mark.parametrize(
    ("shares", "why"),
    [
        ({"layer-0": 0.2, "own": 0.5, "self": 0.9}, "the adapters share 1 component, fewer than 3"),
        ({"a": 0.2, "b": 0.5, "c": 0.9}, "the adapters share 0 components, fewer than 3"),
    ],
)
def test_too_few_common_components_are_not_identified(shares, why):
    seeds = make_seeds(shares=lambda adapter: shares if adapter == "small" else SHARES)
    found = line(compare(seeds, make_doses(), "claims", TRAINABLE).noise, eval="claims", lens="layers")
    assert (found["verdict"], found["why"]) == ("not_identified", why)
    assert found[["f", "permutation_p", "rho"]].isna().all()


def test_only_common_seeds_are_compared():
    seeds = make_seeds()
    found = compare(seeds[(seeds["adapter"] != "small") | (seeds["seed"] > 1)], make_doses(), "claims", TRAINABLE)
    assert line(found.noise, eval="claims", lens="anchors")["n_seeds"] == 3
    assert line(found.noise, eval="claims", lens="layers")["n_seeds"] == 3
    pairs = of(found.ranking, eval="claims").set_index(["adapter", "rival"])["n_seeds"]
    assert (pairs[("big", "middle")], pairs[("big", "small")]) == (5, 3)


def test_a_single_common_seed_tests_nothing():
    seeds = make_seeds()
    found = compare(seeds[seeds["seed"] == 0], make_doses(), "claims", TRAINABLE)
    assert set(found.noise["verdict"]) == {"not_identified"}
    assert found.ranking[["lo", "p", "q", "improvement_lo"]].isna().all(axis=None)
    assert of(found.adapters, measure="best")["value"].isna().all()


def test_one_adapter_is_measured_and_compared_with_nothing():
    found = compare(make_seeds({"big": 6.0}), make_doses({"big": 6.0}), "claims", TRAINABLE)
    assert set(found.adapters["measure"]) == {"effect", "transfer", "accuracy_loss", "kl_base"}
    assert found.ranking.empty and found.noise.empty
    assert list(found.noise) == schemas.NOISE_SCHEMA.names


def test_the_same_scores_in_any_order_give_the_same_bytes(compared, tmp_path):
    order = rng("test", "order").permutation(len(make_seeds()))
    again = compare(make_seeds().iloc[order], make_doses().iloc[::-1], "claims", TRAINABLE)
    for name, schema in (
        ("adapters", schemas.ADAPTERS_SCHEMA),
        ("ranking", schemas.RANKING_SCHEMA),
        ("noise", schemas.NOISE_SCHEMA),
    ):
        for folder, frames in (("one", compared), ("two", again)):
            write_table(tmp_path / folder / f"{name}.parquet", getattr(frames, name), schema, {})
        one, two = ((tmp_path / folder / f"{name}.parquet").read_bytes() for folder in ("one", "two"))
        assert one == two
