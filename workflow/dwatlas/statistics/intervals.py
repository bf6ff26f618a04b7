"""Means over seeds (and items), ratios of means, and their intervals.

Two estimands: ``fixed_rows`` (these rows, new seeds: the seed means are the sample) and ``new_items`` (new seeds and
new items, crossed: two-way random-effects ANOVA with Satterthwaite's degrees of freedom). Arrays are
[*parts, seeds, items]: any number of parts is estimated at once, and seeds × items alone are one part.

References: Fieller (1954), "Some problems in interval estimation"; Satterthwaite (1946), "An approximate distribution
of estimates of variance components".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import stdtrit

Array = Float[np.ndarray, "*parts seeds items"]
PerPart = Float[np.ndarray, "*parts"]
Squares = Float[np.ndarray, "squares *parts"]

CONFIDENCE = 0.95
WEAK_FROM_G = 0.25
RESOLUTION = 1e-6
"""An effect in nats that float32 log-probabilities cannot tell from zero."""
VERDICTS = ("identified", "weak", "not_identified")


class Interval(NamedTuple):
    """Ratios of means with their intervals [*parts]; null (NaN) where the denominator is not identified."""

    estimate: PerPart
    lo: PerPart
    hi: PerPart
    g: PerPart
    verdict: np.ndarray


class Covariance(NamedTuple):
    """Covariances of two means and their degrees of freedom; null (NaN) where the design cannot estimate them."""

    value: PerPart
    df: PerPart


Estimand = Callable[[Array, Array], Covariance]


def seed_covariance(x: Array, y: Array) -> Covariance:
    """Covariance of the means of ``x`` and ``y`` over new seeds, items fixed: cov_s(x̄_s, ȳ_s)/S on S − 1 df."""
    xs, ys = (values.mean(axis=-1) for values in (x, y))
    seeds = xs.shape[-1]
    if seeds < 2:
        return _unknown(xs, ys)
    products = _centred(xs) * _centred(ys)
    value = products.sum(axis=-1) / (seeds - 1) / seeds
    return Covariance(value, np.full_like(value, seeds - 1)[()])


def mean_products(x: Array, y: Array) -> tuple[PerPart, PerPart, PerPart]:
    """Mean products of a balanced two-way layout: between seeds, between items, residual (MS where x is y).

    With x = y: σ²_seed = (MS_seed − MS_residual)/I, σ²_item = (MS_item − MS_residual)/S, σ²_residual = MS_residual.
    """
    seeds, items = x.shape[-2:]
    (xs, xi, xr), (ys, yi, yr) = _deviations(x), _deviations(y)
    return (
        items * (xs * ys).sum(axis=-1) / (seeds - 1),
        seeds * (xi * yi).sum(axis=-1) / (items - 1),
        (xr * yr).sum(axis=(-2, -1)) / ((seeds - 1) * (items - 1)),
    )


def crossed_covariance(x: Array, y: Array) -> Covariance:
    """Covariance of the means over new seeds and new items: (MS_s + MS_i − MS_r)/(S·I), Satterthwaite's df.

    An item variance estimated below zero counts as zero, which leaves MS_s/(S·I) on S − 1 df. Never fewer df than
    min(S, I) − 1, as Satterthwaite's formula tends to 0 where a seed variance is estimated below zero; and with two
    seeds no more, as one df says too little about seeds for items to make up for it.
    """
    seeds, number = x.shape[-2:]
    if min(seeds, number) < 2:
        return _unknown(x[..., 0], y[..., 0])
    between_seeds, between_items, residual = mean_products(x, y)
    own = [(between_items, residual)] if x is y else [mean_products(one, one)[1:] for one in (x, y)]
    varies = np.all(np.broadcast_arrays(*(items > rest for items, rest in own)), axis=0)
    products = np.stack(np.broadcast_arrays(between_seeds, between_items * varies, -residual * varies))
    return Covariance(products.sum(axis=0) / (seeds * number), satterthwaite(products, seeds, number)[()])


def satterthwaite(products: Squares, seeds: int, items: int) -> PerPart:
    """Degrees of freedom of MS_s + MS_i − MS_r, given as ``products`` with their signs; see ``crossed_covariance``."""
    dfs = np.array([seeds - 1, items - 1, (seeds - 1) * (items - 1)])
    total, spread = products.sum(axis=0), np.tensordot(1 / dfs, products**2, axes=1)
    fewest = min(seeds, items) - 1
    if fewest == 1:
        return np.ones_like(total)
    return np.maximum(np.divide(total**2, spread, out=np.zeros_like(total), where=spread > 0), fewest)


ESTIMANDS: dict[str, Estimand] = {"fixed_rows": seed_covariance, "new_items": crossed_covariance}


def fieller(N: Array, D: Array, covariance: Estimand, critical: float | None = None) -> Interval:
    """Intervals of R = N̄/D̄: all R for which a t-test does not reject that N − R·D has mean zero.

    Solved around the estimate: with X = N − R̂·D and δ = R − R̂, δ²(D̄² − t²V_D) + 2δt²C_XD − t²V_X ≤ 0. The gate
    g = t²V_D/D̄² asks of D alone, with its own df, whether it differs from zero (g < 1).

    ``N`` (parts) and ``D`` (the full dW, which has no axis for parts where it is that of all) are effects in nats,
    paired by seed and item. ``critical`` takes the place of t's quantile, for simultaneous intervals. Bounds are NaN
    where the interval is unbounded.
    """
    g = gate(D, covariance)
    verdict = verdict_of(g)
    mean = D.mean(axis=(-2, -1))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(verdict == "not_identified", np.nan, N.mean(axis=(-2, -1)) / mean + 0.0)
        X = N - ratio[..., None, None] * D
        V_X, df = covariance(X, X)
        V_D, C = covariance(D, D).value, covariance(X, D).value
        t2 = _t2(df) if critical is None else critical**2
        a = mean**2 - t2 * V_D
        root = np.sqrt((t2 * C) ** 2 + a * t2 * V_X)
        lo, hi = (np.where(a > 0, ratio + (-t2 * C + side * root) / a, np.nan) for side in (-1, 1))
    g, verdict = (np.broadcast_to(one, ratio.shape)[()] for one in (g, verdict))
    return Interval(ratio[()], lo[()], hi[()], g, verdict)


def fieller_seeds(N: Array, D: Array) -> Interval:
    """Intervals of N̄/D̄ for new seeds on these rows."""
    return fieller(N, D, seed_covariance)


def fieller_crossed(N: Array, D: Array) -> Interval:
    """Intervals of N̄/D̄ for new seeds and new items."""
    return fieller(N, D, crossed_covariance)


def gate(D: Array, covariance: Estimand) -> PerPart:
    """g = t²V_D/D̄²: below 1 where a two-sided t-test finds D̄ ≠ 0; NaN where that cannot be tested (one seed), and where
    D̄ is no larger than what rounding makes of nothing.

    An effect that is not there for new seeds on these items is not there for new items: g is the larger of the two.
    """
    mean = D.mean(axis=(-2, -1))
    found = []
    for one in {covariance, seed_covariance}:
        V_D, df = one(D, D)
        found.append(_t2(df) * V_D)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.abs(mean) <= RESOLUTION, np.nan, np.max(found, axis=0) / mean**2)[()]


def verdict_of(g: PerPart) -> np.ndarray:
    """Whether an effect can stand below a ratio; a g that is null is not identified."""
    identified, weak, unknown = VERDICTS
    return np.where(g < WEAK_FROM_G, identified, np.where(g < 1, weak, unknown))[()]


def mean_interval(values: Float[np.ndarray, " seeds"]) -> tuple[float, float, float]:
    """Mean over seeds with its t interval on S − 1 df (bounds NaN for one seed)."""
    return effect_interval(np.asarray(values, dtype=float)[:, None], seed_covariance)


def effect_interval(values: Array, covariance: Estimand) -> tuple[PerPart, PerPart, PerPart]:
    """Means of ``values`` with their t intervals for the estimand, in the unit of ``values``."""
    mean = values.mean(axis=(-2, -1))
    V, df = covariance(values, values)
    half = np.sqrt(_t2(df) * V)
    return mean, mean - half, mean + half


def _t2(df: PerPart) -> PerPart:
    return stdtrit(df, (1 + CONFIDENCE) / 2) ** 2


def _unknown(*values: np.ndarray) -> Covariance:
    nothing = np.full(np.broadcast_shapes(*(one.shape[:-1] for one in values)), np.nan)[()]
    return Covariance(nothing, nothing)


def _centred(values: np.ndarray) -> np.ndarray:
    return values - values.mean(axis=-1, keepdims=True)


def _deviations(x: Array) -> tuple[np.ndarray, np.ndarray, Array]:
    mean = x.mean(axis=(-2, -1), keepdims=True)
    seed, item = x.mean(axis=-1, keepdims=True) - mean, x.mean(axis=-2, keepdims=True) - mean
    return seed[..., 0], item[..., 0, :], x - mean - seed - item
