"""Likeness of dW against its ceiling and its null: by hand, by simulation, and where nothing can be said."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

from dwatlas.delta.table import OVERLAP_SCHEMA
from dwatlas.statistics.geometry import geometry
from dwatlas.statistics.jackknife import half_width


def overlap(value, adapters=("a", "b"), seeds=range(5), measure="cosine", null=0.0, k=0) -> pd.DataFrame:
    """The frame of all pairs; ``value(adapter, seed, other_adapter, other_seed)``."""
    units = [(adapter, seed) for adapter in adapters for seed in seeds]
    lines = [
        {
            "model": "m", "behaviour": "b", "adapter": one[0], "seed": one[1], "other_adapter": other[0],
            "other_seed": other[1], "measure": measure, "k": k, "value": value(*one, *other), "null": null,
        }
        for one, other in combinations(units, 2)
    ]  # fmt: skip
    return pd.DataFrame(lines)[OVERLAP_SCHEMA.names]


def line(frame, adapter="a", other="b") -> pd.Series:
    return frame[(frame["adapter"] == adapter) & (frame["other_adapter"] == other)].iloc[0]


def within(likeness: dict, between: float, same_seed: float = 0.0):
    def value(adapter, seed, other, other_seed):
        if adapter == other:
            return likeness[adapter]
        return same_seed if seed == other_seed else between

    return value


def test_values_ceiling_and_share_by_hand():
    """Above a null of .1: .4 and .1 within, so .2 is as alike as two adapters can be, and they have half of it."""
    found = geometry(overlap(within({"a": 0.5, "b": 0.2}, between=0.2, same_seed=0.9), null=0.1))
    assert len(found) == 3
    pair, own = line(found), line(found, "a", "a")
    assert (pair["value"], pair["null"], pair["ceiling"], pair["share"]) == pytest.approx((0.2, 0.1, 0.3, 0.5))
    assert (pair["n_seeds"], pair["n_pairs"]) == (5, 20)
    assert (own["value"], own["ceiling"], own["share"], own["n_pairs"]) == pytest.approx((0.5, 0.5, 1, 10))
    assert np.isnan(own["share_lo"])


def test_angles_are_alike_where_they_are_small():
    found = line(geometry(overlap(within({"a": 40.0, "b": 70.0}, 70.0), measure="angle-left", null=80.0, k=1)))
    assert (found["ceiling"], found["share"]) == pytest.approx((80 - np.sqrt(40 * 10), 10 / 20))


def test_the_interval_is_the_jackknife_written_out():
    generator = np.random.default_rng(0)
    table = {pair: generator.normal(0.5, 0.1) for pair in combinations(range(5), 2)}
    found = line(geometry(overlap(lambda a, s, b, o: table[s, o], adapters=["a"])), "a", "a")
    without = [np.mean([value for pair, value in table.items() if seed not in pair]) for seed in range(5)]
    half = t.ppf(0.975, 4) * np.sqrt(4 / 5 * np.sum((np.array(without) - np.mean(without)) ** 2))
    assert (found["hi"] - found["value"], found["value"] - found["lo"]) == pytest.approx((half, half))


def test_the_jackknife_of_a_mean_is_the_t_interval():
    values = np.random.default_rng(1).standard_normal(6)
    without = np.array([np.delete(values, place).mean() for place in range(6)])
    assert half_width(without) == pytest.approx(t.ppf(0.975, 5) * values.std(ddof=1) / np.sqrt(6))
    assert np.isnan(half_width(without[:2])) and np.isnan(half_width(np.ones((2, 3)))).all()


def test_two_seeds_have_no_interval_and_no_share_and_one_seed_no_line():
    two = line(geometry(overlap(within({"a": 0.5, "b": 0.5}, 0.5), seeds=range(2))))
    assert two["value"] == 0.5 and two["ceiling"] == pytest.approx(0.5)
    assert two[["lo", "hi", "share", "share_lo", "share_hi"]].isna().all()
    assert geometry(overlap(within({}, 0.5), seeds=[0])).empty


def test_there_is_no_ceiling_where_seeds_of_one_adapter_are_no_more_alike_than_random_dw():
    found = line(geometry(overlap(within({"a": 0.5, "b": 0.05}, 0.3), null=0.1)))
    assert found[["ceiling", "share"]].isna().all() and found["value"] == pytest.approx(0.3)


def test_there_is_no_share_where_the_ceiling_cannot_be_told_from_the_null():
    """b's own seeds are alike by .2 on average, but only because of one of them."""
    found = line(geometry(overlap(lambda a, s, b, o: 0.5 if s == 0 and a == b == "b" else 0.5 * (a == "a"))))
    assert found["ceiling"] > 0 and np.isnan(found["share"])


def test_there_is_no_ceiling_at_more_directions_than_an_adapter_has():
    frame = overlap(within({"a": 0.5, "b": 0.5}, 0.5), measure="left", k=2)
    found = line(geometry(frame[(frame["adapter"] != "a") | (frame["other_adapter"] != "a")]))
    assert np.isnan(found["ceiling"]) and np.isnan(found["share"]) and found["value"] == 0.5


def test_seeds_that_share_their_data_are_one_unit():
    frame = overlap(lambda a, s, b, o: 1.0 if s // 2 == o // 2 else 0.3, seeds=range(8))
    found = line(geometry(frame, trainings=2), "a", "a")
    assert (found["value"], found["n_seeds"], found["n_pairs"]) == pytest.approx((0.3, 4, 24))


@pytest.mark.parametrize("cosine", [0.6, 1.0])
def test_share_is_the_cosine_of_what_seeds_have_in_common_whatever_their_noise(cosine):
    """Simulated dW of two adapters: common parts with this cosine, noise of .8 and 1.5 of their size in each run."""
    generator, shares, covered = np.random.default_rng(2), [], 0
    for _ in range(100):
        common = np.eye(200)[0], cosine * np.eye(200)[0] + np.sqrt(1 - cosine**2) * np.eye(200)[1]
        runs = {
            (name, seed): part + size * generator.standard_normal(200) / np.sqrt(200)
            for name, part, size in zip("ab", common, (0.8, 1.5), strict=True)
            for seed in range(5)
        }
        unit = {key: value / np.linalg.norm(value) for key, value in runs.items()}
        found = line(geometry(overlap(lambda a, s, b, o, unit=unit: unit[a, s] @ unit[b, o])))
        shares.append(found["share"])
        covered += found["share_lo"] <= cosine <= found["share_hi"]
    assert np.mean(shares) == pytest.approx(cosine, abs=0.03)
    assert covered >= 88
