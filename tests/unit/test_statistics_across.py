"""Aggregates over independently trained cells, from planted effects."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy.stats import trim_mean

from dwatlas.files import write_table
from dwatlas.seeds import rng
from dwatlas.statistics import schemas
from dwatlas.statistics.across import ALL, TAUS, across
from dwatlas.statistics.aggregates import interquartile_mean, performance
from dwatlas.statistics.blocks import profiles
from dwatlas.statistics.ranking import improvements, percentile_interval, resamples

CELLS = list(product(("one", "two"), ("agreement",), ("big", "small")))
PARTS = {"layer-0": 0.1, "layer-1": 0.3, "layer-2": 0.9}
SIZES = dict.fromkeys(("energy_frac", "rank_frac", "params_frac"), 1.0)
BEATS = ["beats", "beats_lo", "beats_hi"]


def make_seeds(cells=CELLS, size=8, noise=0.05, strengths=None, shared=False, seeds=None):
    """Full effects about 4 (or ``strengths`` of adapters); dropped and kept parts; a stand-in carries .2 of the effect.

    ``shared`` gives every cell the numbers of the first.
    """
    lines = []
    for cell in cells:
        draw = rng("test", *(cells[0] if shared else cell))
        name = dict(zip(("model", "behaviour", "adapter"), cell, strict=True))
        for seed in range(size) if seeds is None else seeds[cell]:
            full = (strengths or {}).get(cell[2], 4.0) + 0.5 * draw.normal()
            key = {**name, "eval": "claims", "effect": "antisymmetric", "seed": seed, "full_effect_nats": full, **SIZES}
            lines.append({**key, "lens": "anchors", "component": "full", "mode": "full", "effect_nats": full,
                          "null_nats": 0.0})  # fmt: skip
            for part, share in PARTS.items():
                kept = full * share + noise * draw.normal()
                for mode, nats, null in (("keep", kept, 0.2 * full), ("drop", full - kept, 0.8 * full)):
                    lines.append({**key, "lens": "layers", "component": part, "mode": mode, "effect_nats": nats,
                                  "null_nats": null})  # fmt: skip
    return pd.DataFrame(lines)[schemas.SEEDS_SCHEMA.names]


def of(table, **where):
    return table[(table[list(where)] == pd.Series(where)).all(axis=1)]


def line(table, **where):
    (found,) = of(table, **where).to_dict("records")
    return found


@pytest.fixture(scope="module")
def found():
    return across(make_seeds())


def test_interquartile_mean_leaves_out_a_quarter_at_either_end():
    assert interquartile_mean(np.array([100.0, 3, 1, 2, -50, 4, 5, 6]), np.ones(8, dtype=int)) == (2 + 3 + 4 + 5) / 4


@pytest.mark.parametrize("size", [3, 5, 10, 15])
def test_interquartile_mean_of_a_bootstrap_sample_is_scipys(size):
    values, weights = rng("test", "iqm").normal(size=size), resamples(rng("test", "weights"), size, 20)
    expected = [trim_mean(np.repeat(values, times), 0.25) for times in weights]
    assert interquartile_mean(values, weights) == pytest.approx(expected)


def test_improvement_in_each_sample_is_that_of_the_repeated_seeds():
    a, b = rng("test", "pair").normal(size=(2, 4))
    weights = np.array([[1, 1, 1, 1], [4, 0, 0, 0], [0, 0, 0, 0]])
    assert improvements(a, b, weights, weights) == pytest.approx(
        [np.mean(a[:, None] > b), float(a[0] > b[0]), np.nan], nan_ok=True
    )


def test_iqm_is_over_cells_and_seeds_of_linearised_ratios(found):
    lines = of(make_seeds(), lens="layers", component="layer-1", mode="keep")
    values = [
        profiles(own[["effect_nats"]].to_numpy()[None], own["full_effect_nats"].to_numpy()[None])[0, :, 0]
        for _, own in lines.groupby(["model", "behaviour", "adapter"])
    ]
    known = line(found.across, component="layer-1", mode="keep")
    assert known["iqm"] == pytest.approx(trim_mean(np.concatenate(values), 0.25))
    assert known["lo"] < known["iqm"] < known["hi"]
    assert (known["n_cells"], known["n_blocks"], known["n_seeds"], known["left_out"]) == (4, 2, 8, "")


def test_adapters_of_a_block_are_resampled_together():
    """Cells that are equal seed by seed tell no more than one of them: its bootstrap has the same interval."""
    cells = [("one", "agreement", adapter) for adapter in ("a", "b", "c")]
    seeds = make_seeds(cells, shared=True)
    known = line(across(seeds).across, component="layer-2", mode="keep")
    own = of(seeds, adapter="a", lens="layers", component="layer-2", mode="keep")
    values = profiles(own[["effect_nats"]].to_numpy()[None], own["full_effect_nats"].to_numpy()[None])[0, :, 0]
    weights = resamples(rng("across", "one", "agreement", *range(8)), 8)
    expected = percentile_interval(interquartile_mean(values, weights))
    assert [known["iqm"], known["lo"], known["hi"]] == pytest.approx([trim_mean(values, 0.25), *expected])
    apart = [(name, "agreement", "a") for name in ("one", "two", "three")]
    independent = line(across(make_seeds(apart, shared=True)).across, component="layer-2", mode="keep")
    assert independent["hi"] - independent["lo"] < 0.9 * (known["hi"] - known["lo"])


def test_a_part_beats_its_stand_in_by_carrying_more_or_by_leaving_less(found):
    for mode in ("keep", "drop"):
        assert [line(found.across, component="layer-2", mode=mode)[name] for name in BEATS] == [1, 1, 1]
        assert [line(found.across, component="layer-0", mode=mode)[name] for name in BEATS] == [0, 0, 0]
    flipped = make_seeds().assign(**{name: -make_seeds()[name] for name in
                                     ("effect_nats", "full_effect_nats", "null_nats")})  # fmt: skip
    assert across(flipped).across[BEATS].equals(found.across[BEATS])


def test_fewer_than_three_cells_have_no_aggregate():
    known = line(across(make_seeds(CELLS[:2])).across, component="layer-0", mode="keep")
    assert known["n_cells"] == 2
    assert np.isnan([known[name] for name in ("iqm", "lo", "hi", *BEATS)]).all()


def test_cells_that_are_not_identified_are_left_out_and_named():
    cells = [*CELLS, ("three", "agreement", "none")]
    found = across(make_seeds(cells, strengths={"none": 0.0}))
    known = line(found.across, component="layer-1", mode="drop")
    assert (known["n_cells"], known["left_out"]) == (4, "three/agreement/none")
    assert known["iqm"] == line(across(make_seeds()).across, component="layer-1", mode="drop")["iqm"]
    unknown = of(found.performance, adapter="none", mode="drop")
    assert set(unknown["verdict"]) == {"not_identified"} and unknown[["share", "lo", "hi"]].isna().all(axis=None)


def test_a_profile_steps_at_the_planted_ratios():
    assert performance(np.array([0.1, 0.5, 0.5, 2.0]), np.array([0.0, 0.2, 0.5, 0.6, 3.0])).tolist() == [
        0, 0.25, 0.25, 0.75, 1
    ]  # fmt: skip


def test_profile_of_exact_shares_has_no_band():
    """N = ρ·D exactly: the share of components with R < τ is known at every τ and in every sample."""
    table = across(make_seeds(noise=0.0)).performance
    for adapter in ("big", ALL):
        own = of(table, adapter=adapter, mode="keep").drop_duplicates("tau").sort_values("tau")
        expected = [np.mean([share < tau - 1e-9 for share in PARTS.values()]) for tau in TAUS]
        sure = [min(abs(tau - share) for share in PARTS.values()) > 1e-9 for tau in TAUS]
        for name in ("share", "lo", "hi"):
            assert own[name].to_numpy()[sure] == pytest.approx(np.array(expected)[sure])
    assert set(of(table, adapter=ALL)["n_cells"]) == {4}


def test_larger_effects_win_in_every_cell_and_equal_ones_tie():
    apart = across(make_seeds(strengths={"big": 9.0})).improvement
    win, loss = (line(apart, adapter=one) for one in ("big", "small"))
    assert (win["improvement"], win["lo"], win["hi"], loss["improvement"]) == (1, 1, 1, 0)
    assert (win["n_cells"], win["n_seeds"]) == (2, 8)
    equal = make_seeds(shared=True)
    assert line(across(equal).improvement, adapter="big")["improvement"] == 0.5
    assert across(make_seeds(CELLS[:2])).improvement.empty


def test_negative_effects_win_where_effects_are_negative():
    seeds = make_seeds(strengths={"big": 9.0})
    nats = ["effect_nats", "full_effect_nats", "null_nats"]
    flipped = seeds.assign(**{name: -seeds[name] for name in nats})
    assert line(across(flipped).improvement, adapter="big")["improvement"] == 1


def test_cells_without_any_identified_effect_do_not_count_as_wins():
    cells = [*CELLS, ("three", "agreement", "big"), ("three", "agreement", "small")]
    seeds = make_seeds(cells)
    noise = seeds["model"] == "three"
    seeds.loc[noise, "full_effect_nats"] -= 4
    seeds.loc[noise & (seeds["lens"] == "anchors"), "effect_nats"] -= 4
    found = line(across(seeds).improvement, adapter="big")
    assert (found["n_cells"], found["left_out"]) == (2, "three/agreement")


def test_cells_may_have_different_seeds():
    seeds = dict(zip(CELLS, ([0, 1, 2], [2, 3, 4, 5], range(5), range(5)), strict=True))
    found = across(make_seeds(seeds=seeds))
    known = line(found.across, component="layer-1", mode="keep")
    assert known["n_seeds"] == 3 and known["lo"] < known["iqm"] < known["hi"]
    assert found.performance["lo"].notna().all() and len(found.improvement) == 2


def test_one_seed_and_no_parts_give_no_aggregates():
    found = across(make_seeds(size=1))
    assert set(found.across["n_cells"]) == {0} and found.improvement.empty
    assert set(found.performance["verdict"]) == {"not_identified"}
    assert across(make_seeds().iloc[:0]).across.empty


def test_the_same_seeds_in_any_order_give_the_same_bytes(tmp_path):
    seeds = make_seeds()
    shuffled = seeds.iloc[rng("test", "order").permutation(len(seeds))]
    for folder, frame in (("one", seeds), ("two", shuffled)):
        for name, table in vars(across(frame)).items():
            write_table(tmp_path / folder / f"{name}.parquet", table, schemas.SCHEMAS[name])
    for name in ("across", "improvement", "performance"):
        one, two = ((tmp_path / folder / f"{name}.parquet").read_bytes() for folder in ("one", "two"))
        assert one == two


def test_iqm_interval_covers_less_than_it_says_at_five_seeds():
    """As the module's text says (88–92 % at 5 seeds): R of six cells spread by .3, 300 studies; ±2.5 SE."""
    generator, truth = rng("test", "coverage"), np.array([0.1, 0.3, 0.5, 0.6, 0.8, 1.2])

    def studies(number, seeds):
        block = np.repeat(generator.normal(size=(2, number, 3, seeds)), 2, axis=2)
        z = np.sqrt(0.5) * (block + generator.normal(size=(2, number, 6, seeds)))
        D = 1 + 0.3 * z[0]
        N = truth[:, None] * D + 0.2 * z[1]
        R = N.mean(axis=2, keepdims=True) / D.mean(axis=2, keepdims=True)
        return (R + (N - R * D) / D.mean(axis=2, keepdims=True)).reshape(number, -1)

    large = studies(1, 100_000)[0]
    target = interquartile_mean(large, np.ones(len(large), dtype=int))
    covered = []
    for values in studies(300, 5):
        weights = np.hstack([np.tile(resamples(generator, 5, 400), 2) for _ in range(3)])
        low, high = percentile_interval(interquartile_mean(values, weights))
        covered.append(low <= target <= high)
    assert 0.84 < np.mean(covered) < 0.96
