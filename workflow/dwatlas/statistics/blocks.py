"""Adapters × seeds as a randomised block design: is the difference between adapters more than seed noise?

All adapters of a seed share its training data, so a seed is a block. Arrays are adapters × seeds × components; a plain
effect has one component. Permutations exchange the adapters' labels within each seed, which is exact where adapters
differ in nothing, and cannot give a p below ``smallest_p``.

References: Anderson (2001), "A new method for non-parametric multivariate analysis of variance" (PERMANOVA); Anderson
(2006), "Distance-based tests for homogeneity of multivariate dispersions" (PERMDISP); Searle, Casella and McCulloch
(1992), "Variance components".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import permutations, product
from math import factorial
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.stats import f as fisher

from dwatlas.statistics.jackknife import half_width, without_each

Blocks = Float[np.ndarray, "adapters seeds components"]

PERMUTATIONS = 999
ENUMERATED = 2000
FEWEST_COMPONENTS = 3
_ROUNDING = 1e-10


class MeanSquares(NamedTuple):
    """Mean squares of adapters, seeds and what is left, summed over components."""

    adapter: float
    seed: float
    residual: float


class VarianceShares(NamedTuple):
    """Standard deviations between adapters, between seeds, of the residual, and the adapters' share of the variance."""

    adapter_sd: float
    seed_sd: float
    residual_sd: float
    adapter_share: float


class NoiseCeiling(NamedTuple):
    """Mean correlations of profiles within and between adapters, their ratio ρ*, and its jackknife interval."""

    within: float
    between: float
    rho: float
    lo: float
    hi: float


def mean_squares(values: Blocks) -> MeanSquares:
    """Two-way ANOVA without replication: adapters on A − 1 df, seeds on S − 1, residual on (A − 1)(S − 1)."""
    adapters, seeds, _ = values.shape
    grand = values.mean(axis=(0, 1))
    adapter, seed = values.mean(axis=1) - grand, values.mean(axis=0) - grand
    residual = values - grand - adapter[:, None] - seed[None]
    return MeanSquares(
        seeds * float(np.sum(adapter**2)) / (adapters - 1),
        adapters * float(np.sum(seed**2)) / (seeds - 1),
        float(np.sum(residual**2)) / ((adapters - 1) * (seeds - 1)),
    )


def pseudo_f(values: Blocks) -> float:
    """F = MS_adapter/MS_residual in Euclidean distance; with one component, ANOVA's F. NaN where nothing varies."""
    squares = mean_squares(values)
    if squares.residual == 0:
        return np.inf if squares.adapter else np.nan
    return squares.adapter / squares.residual


def f_test(values: Float[np.ndarray, "adapters seeds"]) -> tuple[float, float]:
    """F of the adapters, seeds as blocks, and its p under normal errors of equal variance."""
    adapters, seeds = values.shape
    F = pseudo_f(values[..., None])
    return F, float(fisher.sf(F, adapters - 1, (adapters - 1) * (seeds - 1)))


def variance_shares(values: Float[np.ndarray, "adapters seeds"]) -> VarianceShares:
    """Variance components of E_as = μ + a + s + ε, in the unit of ``values``; one estimated below zero counts as zero.

    σ²_adapter = (MS_adapter − MS_residual)/S, σ²_seed = (MS_seed − MS_residual)/A, σ²_residual = MS_residual.
    """
    adapters, seeds = values.shape
    squares = mean_squares(values[..., None])
    variances = [
        max(squares.adapter - squares.residual, 0) / seeds,
        max(squares.seed - squares.residual, 0) / adapters,
        squares.residual,
    ]
    total = sum(variances)
    return VarianceShares(*np.sqrt(variances).tolist(), variances[0] / total if total else np.nan)


def permutation_p(values: Blocks, generator: np.random.Generator, number: int = PERMUTATIONS) -> float:
    """PERMANOVA: p of the pseudo-F among permutations of the adapters' labels within seeds.

    Within blocks SS_adapter + SS_residual is fixed, so SS_adapter orders permutations as F does. NaN where the adapters
    differ in no seed.
    """
    adapters, seeds, components = values.shape
    centred = values - values.mean(axis=0)
    total = float(np.sum(centred**2))
    if total == 0:
        return np.nan
    if components > adapters * seeds:
        centred = _rotated(centred.reshape(adapters * seeds, components)).reshape(adapters, seeds, -1)
    return _share_as_large(centred / np.sqrt(total), _between, generator, number)


def dispersion_p(values: Blocks, generator: np.random.Generator, number: int = PERMUTATIONS) -> float:
    """PERMDISP: do adapters scatter unequally about their own means? p of F on distances to the adapter's mean.

    Deviations are permuted within seeds and centred anew, as permuting the distances themselves finds unequal scatter
    too often at few seeds (in 13 % of null studies of 6 adapters and 5 seeds, at the level of 5 %). A small p says that
    the other p-values are approximate: with one of 6 adapters scattering 3 times as far as the others, PERMANOVA finds
    a difference in 14 % of studies without one, with 10 times in 19 %.
    """
    deviations = values - values.mean(axis=1, keepdims=True)
    return _share_as_large(deviations, _scatter, generator, number)


def _share_as_large(
    values: Blocks, statistic: Callable[[Blocks], float], generator: np.random.Generator, number: int
) -> float:
    """p of ``statistic`` among labellings: all where no more than ``ENUMERATED`` differ, else ``number`` random ones.

    Random ones give (1 + #{as large})/(1 + number). NaN where the statistic is.
    """
    adapters, seeds, _ = values.shape
    observed = statistic(values)
    exact = factorial(adapters) ** (seeds - 1) <= ENUMERATED
    labels = _all_labels(adapters, seeds) if exact else _random_labels(adapters, seeds, generator, number)
    if np.isnan(observed):
        return np.nan
    limit = observed - _ROUNDING * max(observed, 1.0) if np.isfinite(observed) else observed
    as_large = [statistic(values[shuffled, np.arange(seeds)]) >= limit for shuffled in labels]
    return float(np.mean(as_large)) if exact else (1 + sum(as_large)) / (1 + number)


def _all_labels(adapters: int, seeds: int) -> Iterator[np.ndarray]:
    """Every labelling within seeds, adapters × seeds; the first seed keeps its own, as names alone change nothing."""
    orders = list(permutations(range(adapters)))
    for others in product(orders, repeat=seeds - 1):
        yield np.array([orders[0], *others]).T


def _random_labels(adapters: int, seeds: int, generator: np.random.Generator, number: int) -> np.ndarray:
    labels = np.broadcast_to(np.arange(adapters)[:, None], (number, adapters, seeds))
    return generator.permuted(labels, axis=1)


def smallest_p(adapters: int, seeds: int) -> float:
    """The smallest p that labels permuted within seeds can give: A!/(A!)^S, as all orders of adapters are alike."""
    return float(factorial(adapters)) ** (1 - seeds)


def profiles(N: Blocks, D: Float[np.ndarray, "adapters seeds"]) -> Blocks:
    """Retained profile of each seed, R̂ + (N_s − R̂·D_s)/D̄ with R̂ = N̄/D̄: Fieller's contrast in units of R.

    Its mean over seeds is R̂; no seed's own effect is divided by, and a seed that is stronger as a whole moves nothing.
    """
    mean = D.mean(axis=1)[:, None, None]
    ratio = N.mean(axis=1, keepdims=True) / mean
    return ratio + (N - ratio * D[..., None]) / mean


def noise_ceiling(N: Blocks, D: Float[np.ndarray, "adapters seeds"]) -> NoiseCeiling:
    """ρ* = mean r of profiles between adapters over mean r within adapters, both between different seeds.

    1 where adapters differ by seed noise alone, less where their profiles differ. Two adapters are compared in
    different seeds only, as one seed's data are shared. The interval is the delete-one-seed jackknife's (t on S − 1
    df; null below three seeds); ρ* is null where profiles do not agree within adapters.
    """
    within, between = _agreement(profiles(N, D))
    rho, seeds = _ratio(within, between), D.shape[1]
    half = float(half_width(without_each(lambda kept: _ratio(*_agreement(profiles(N[:, kept], D[:, kept]))), seeds)))
    return NoiseCeiling(within, between, rho, rho - half, rho + half)


def _ratio(within: float, between: float) -> float:
    return between / within if within > 0 else np.nan


def _agreement(values: Blocks) -> tuple[float, float]:
    adapters, seeds, _ = values.shape
    if seeds < 2:
        return np.nan, np.nan
    centred = values - values.mean(axis=2, keepdims=True)
    norms = np.linalg.norm(centred, axis=2, keepdims=True)
    unit = np.divide(centred, norms, out=np.full_like(centred, np.nan), where=norms > 0)
    r = np.einsum("asc,btc->abst", unit, unit)[:, :, ~np.eye(seeds, dtype=bool)].mean(axis=2)
    return float(np.diagonal(r).mean()), float(r[~np.eye(adapters, dtype=bool)].mean())


def _between(centred: Blocks) -> float:
    return float(np.sum(centred.sum(axis=1) ** 2))


def _scatter(values: Blocks) -> float:
    return pseudo_f(np.linalg.norm(values - values.mean(axis=1, keepdims=True), axis=2, keepdims=True))


def _rotated(rows: Float[np.ndarray, "n components"]) -> Float[np.ndarray, "n n"]:
    """Coordinates with the same distances in as few dimensions as there are rows."""
    left, sizes, _ = np.linalg.svd(rows, full_matrices=False)
    return left * sizes
