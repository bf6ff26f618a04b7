"""Alignment of outputs: identities, the unbiased estimator written out, its bias, and its null."""

from itertools import permutations

import numpy as np
import pytest
import torch

from dwatlas.delta.algebra import Blocks, Dense, Factored, Sparse, total
from dwatlas.delta.cka import DRAWS, outputs, random_gram, unit_gram
from dwatlas.seeds import rng


def noise(*shape, seed=0):
    return torch.from_numpy(rng("cka test", str(seed)).standard_normal(shape)).float()


def cka(first, second) -> float:
    return float(unit_gram(first) @ unit_gram(second))


def biased(first, second) -> float:
    one, two = ((y - y.mean(0)).double() for y in (first, second))
    return float(((one.T @ two).norm() ** 2) / ((one.T @ one).norm() * (two.T @ two).norm()))


def test_it_is_one_for_the_same_outputs_and_sees_no_scale_shift_or_rotation():
    y, other = noise(20, 6), noise(20, 6, seed=1)
    turn = torch.linalg.qr(noise(6, 6, seed=2))[0]
    assert cka(y, y) == pytest.approx(1)
    assert cka(y, -3 * y @ turn + 5) == pytest.approx(1, abs=1e-6)
    assert cka(-3 * y @ turn + 5, other) == pytest.approx(cka(y, other), abs=1e-6)


def test_planted_outputs_at_right_angles_have_none():
    """Two factors of a balanced design: exactly nothing in common, as no term is left out but the diagonal."""
    design = torch.tensor([[a, b] for a in (-1.0, 1.0) for b in (-1.0, 1.0)] * 64)
    assert abs(cka(design[:, :1], design[:, 1:])) < 0.01
    assert biased(design[:, :1], design[:, 1:]) == pytest.approx(0, abs=1e-12)


def test_it_is_songs_unbiased_estimator():
    """HSIC₁ = [tr(KL) + ΣK·ΣL/((n−1)(n−2)) − 2·1ᵀKL1/(n−2)]/(n(n−3)) with empty diagonals, and as sums over distinct
    inputs."""
    n, first, second = 6, noise(6, 3).double(), noise(6, 2, seed=1).double()

    def hsic(K, L):
        sums = torch.trace(K @ L) + K.sum() * L.sum() / ((n - 1) * (n - 2)) - 2 * (K @ L).sum() / (n - 2)
        return float(sums / (n * (n - 3)))

    K, L = (y @ y.T * (1 - torch.eye(n)) for y in (first, second))
    assert cka(first, second) == pytest.approx(hsic(K, L) / (hsic(K, K) * hsic(L, L)) ** 0.5)
    quadruples = [float(K[i, j] * (L[i, j] + L[q, r] - 2 * L[i, q])) for i, j, q, r in permutations(range(n), 4)]
    assert hsic(K, L) == pytest.approx(np.mean(quadruples))


def test_inputs_in_every_other_order_have_none_on_average_exactly():
    y, other = noise(6, 3), noise(6, 4, seed=1)
    assert np.mean([cka(y, other[list(order)]) for order in permutations(range(6))]) == pytest.approx(0, abs=1e-9)


def test_independent_outputs_have_none_on_average_where_the_biased_one_finds_some():
    pairs = [noise(2, 32, 48, seed=draw) for draw in range(300)]
    values = [cka(*pair) for pair in pairs]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(len(values)) < 0.01
    assert np.mean([biased(*pair) for pair in pairs]) > 0.5


def test_outputs_that_do_not_vary_or_too_few_inputs_have_none():
    assert unit_gram(torch.ones(10, 4)) is None
    assert unit_gram(torch.zeros(10, 4)) is None
    assert unit_gram(noise(3, 4)) is None


def test_outputs_of_every_structure_are_those_of_the_dense_matrix():
    x, weight = noise(5, 8), noise(6, 8, seed=1)
    low = Factored(noise(6, 2, seed=2), noise(2, 8, seed=3))
    sparse = Sparse(torch.tensor([[0, 5], [1, 7]]), torch.tensor([2.0, -1.0]), (6, 8))
    scale = Blocks(noise(6, 1, 1, seed=4), "out", weight)
    for matrix in (low, sparse, scale, Dense(weight), total([low, sparse, scale])):
        torch.testing.assert_close(outputs(matrix, x), x.double() @ matrix.dense().double().T, rtol=1e-5, atol=1e-5)


def test_the_null_is_the_mean_alignment_of_random_dw_of_the_same_spectrum():
    """Maps of the same inputs agree by chance, the more the fewer directions the inputs vary in: against random dW
    drawn in full, U and all."""
    x = noise(40, 12) * torch.logspace(0, -2, 12)
    one, two = (Factored(noise(10, 3, seed=seed), noise(3, 12, seed=seed + 1)) for seed in (1, 3))
    nulls = [float(random_gram(one, x, rng("a", draw)) @ random_gram(two, x, rng("b", draw))) for draw in range(30)]
    drawn = [cka(outputs(alike(one, draw), x), outputs(alike(two, 1000 + draw), x)) for draw in range(300)]
    error = np.hypot(np.std(nulls) / np.sqrt(len(nulls)), np.std(drawn) / np.sqrt(len(drawn)))
    assert abs(np.mean(nulls) - np.mean(drawn)) < 3 * error
    assert np.mean(drawn) > 0.2
    assert np.std(nulls) < np.std(drawn) * 2 / np.sqrt(DRAWS)


def alike(matrix, seed):
    """A random matrix of the same singular values."""
    s = torch.linalg.svdvals(matrix.dense())[:3]
    u, v = (torch.linalg.qr(noise(size, 3, seed=(seed, size)))[0] for size in matrix.shape)
    return Factored(u * s, v.T)
