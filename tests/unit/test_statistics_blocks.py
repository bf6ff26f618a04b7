"""Adapters × seeds: the size of the tests under seed noise, planted differences, and the noise ceiling."""

from itertools import permutations, product

import numpy as np
import pytest
from scipy import stats

from dwatlas.seeds import rng
from dwatlas.statistics.blocks import (
    dispersion_p,
    f_test,
    noise_ceiling,
    permutation_p,
    profiles,
    pseudo_f,
    smallest_p,
    variance_shares,
)

ADAPTERS, SEEDS, COMPONENTS = 4, 5, 8
REPLICATES, PERMUTATIONS = 200, 39


def noise(name, replicate, components=COMPONENTS, seed_sd=1.0, adapters=ADAPTERS, seeds=SEEDS):
    """Seed noise alone: what all adapters share in a seed, and what is an adapter's own."""
    draw = rng("test", name, replicate)
    shared = seed_sd * draw.normal(size=(1, seeds, components))
    return shared + draw.normal(size=(adapters, seeds, components))


def share_significant(p_values):
    """Share of p ≤ 0.05, the rounding of 2/40 apart."""
    return np.mean(np.array(p_values) <= 0.05 + 1e-9)


def test_f_of_two_adapters_is_the_square_of_the_paired_t():
    """With two adapters F = t²: by hand, differences of 1, 2 and 0 have t = √3."""
    values = np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 3.0]])
    F, p = f_test(values)
    assert pytest.approx(3.0) == F
    assert p == pytest.approx(stats.ttest_rel(values[1], values[0]).pvalue)


def test_variance_components_of_a_balanced_layout():
    adapter, seed = np.array([0.0, 2.0, 4.0]), np.array([-1.0, 0.0, 1.0, 2.0])
    found = variance_shares(adapter[:, None] + seed)
    assert found.adapter_sd == pytest.approx(adapter.std(ddof=1))
    assert found.seed_sd == pytest.approx(seed.std(ddof=1))
    assert found.residual_sd == pytest.approx(0, abs=1e-12)
    assert found.adapter_share == pytest.approx(4 / (4 + 5 / 3))


def test_what_seeds_share_changes_no_test():
    values = noise("shared", 0)
    shifted = values + 100 * rng("test", "shift").normal(size=(1, SEEDS, COMPONENTS))
    assert pseudo_f(shifted) == pytest.approx(pseudo_f(values))


def test_anova_holds_its_size_under_seed_noise():
    found = [f_test(noise("anova", i, components=1)[..., 0])[1] for i in range(REPLICATES)]
    assert 0.02 <= share_significant(found) <= 0.08


@pytest.mark.parametrize("test", [permutation_p, dispersion_p])
def test_permutations_hold_their_size_under_seed_noise(test):
    null = (noise("null", i, components=11, adapters=6) for i in range(REPLICATES))
    found = [test(values, rng("test", "labels", i), PERMUTATIONS) for i, values in enumerate(null)]
    assert 0.02 <= share_significant(found) <= 0.08


def test_planted_differences_between_profiles_are_found():
    planted = rng("test", "profiles").normal(size=(ADAPTERS, 1, COMPONENTS))
    found = [permutation_p(planted + noise("planted", i), rng("test", i), PERMUTATIONS) for i in range(20)]
    assert share_significant(found) == 1


def test_unequal_scatter_is_found():
    scale = np.array([1.0, 1.0, 1.0, 8.0])[:, None, None]
    found = [dispersion_p(scale * noise("scatter", i, seed_sd=0), rng("test", i), PERMUTATIONS) for i in range(20)]
    assert share_significant(found) > 0.9


def test_few_labellings_are_enumerated_and_give_the_exact_p():
    values = noise("exact", 1, adapters=2, seeds=4)
    fs = [
        pseudo_f(np.stack([values[[order[s] for s in range(4)], range(4)] for order in (first, second)]))
        for first in product((0, 1), repeat=4)
        for second in [tuple(1 - label for label in first)]
    ]
    exact = np.mean(np.array(fs) >= pseudo_f(values) * (1 - 1e-9))
    assert permutation_p(values, rng("unused")) == pytest.approx(exact)


def test_no_p_is_below_the_smallest_that_labels_can_give():
    values = noise("few", 0, adapters=2) + 100 * np.arange(2)[:, None, None]
    assert smallest_p(2, SEEDS) == 1 / 16
    assert permutation_p(values, rng("unused")) == smallest_p(2, SEEDS)
    assert len(list(permutations(range(3)))) ** -4 == pytest.approx(smallest_p(3, 5))


def test_more_components_than_runs_change_nothing():
    values = noise("wide", 0, components=40)
    padded = np.concatenate([values, np.zeros((ADAPTERS, SEEDS, 1))], axis=2)
    rotation = np.linalg.qr(rng("test", "rotation").normal(size=(41, 41)))[0]
    one, two = (permutation_p(x, rng("test", "wide"), PERMUTATIONS) for x in (padded, padded @ rotation))
    assert one == two


def test_profiles_have_the_ratio_of_means_and_ignore_a_seed_that_is_stronger_as_a_whole():
    D = np.array([[1.0, 2.0, 3.0], [4.0, 4.0, 7.0]])
    shares = np.array([[0.2, 0.5, 0.9], [0.4, 0.1, 0.3]])
    found = profiles(D[..., None] * shares[:, None], D)
    assert found == pytest.approx(np.broadcast_to(shares[:, None], (2, 3, 3)))


def test_rho_is_one_under_seed_noise_and_less_where_profiles_differ():
    common = rng("test", "common").normal(size=COMPONENTS)
    ones = np.ones((ADAPTERS, SEEDS))
    planted = rng("test", "own").normal(size=(ADAPTERS, 1, COMPONENTS))
    alike = [noise_ceiling(common + 0.5 * noise("alike", i), ones).rho for i in range(50)]
    unlike = noise_ceiling(common + planted + 0.1 * noise("unlike", 0), ones)
    assert np.mean(alike) == pytest.approx(1, abs=0.05)
    assert unlike.within > 0.95 and unlike.hi < 0.9 and unlike.lo < unlike.rho < unlike.hi


def test_rho_is_null_where_profiles_do_not_agree_within_adapters():
    opposed = np.array([1.0, -1.0])[None, :, None] * rng("test", "opposed").normal(size=(2, 1, COMPONENTS))
    found = noise_ceiling(opposed, np.ones((2, 2)))
    assert found.within == pytest.approx(-1) and np.isnan([found.rho, found.lo, found.hi]).all()


def test_two_seeds_have_no_jackknife_interval():
    found = noise_ceiling(1 + np.arange(COMPONENTS) + 0.1 * noise("two", 0, seeds=2), np.ones((ADAPTERS, 2)))
    assert np.isfinite(found.rho) and np.isnan([found.lo, found.hi]).all()


def test_adapters_that_never_differ_have_no_p():
    assert np.isnan(permutation_p(np.ones((2, 3, 1)), rng("unused")))
    assert np.isnan(pseudo_f(np.ones((2, 3, 1))))
