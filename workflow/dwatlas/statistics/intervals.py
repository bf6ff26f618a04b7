"""Means over seeds (and items), ratios of means, and their intervals.

Two estimands: ``fixed_rows`` (these rows, new seeds: the seed means are the sample) and ``new_items`` (new seeds and
new items, crossed: two-way random-effects ANOVA with Satterthwaite's degrees of freedom). Arrays are seeds × items.

References: Fieller (1954), "Some problems in interval estimation"; Satterthwaite (1946), "An approximate distribution
of estimates of variance components".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import stdtrit

Verdict = Literal["identified", "weak", "not_identified"]
Array = Float[np.ndarray, "seeds items"]

CONFIDENCE = 0.95
WEAK_FROM_G = 0.25


class Interval(NamedTuple):
    """A ratio of means with its interval; null (NaN) where the denominator is not identified."""

    estimate: float
    lo: float
    hi: float
    g: float
    verdict: Verdict


class Covariance(NamedTuple):
    """Covariance of two means and its degrees of freedom; null (NaN) where the design cannot estimate it."""

    value: float
    df: float


Estimand = Callable[[Array, Array], Covariance]


def seed_covariance(x: Array, y: Array) -> Covariance:
    """Covariance of the means of ``x`` and ``y`` over new seeds, items fixed: cov_s(x̄_s, ȳ_s)/S on S − 1 df."""
    seeds = len(x)
    if seeds < 2:
        return Covariance(np.nan, np.nan)
    xs, ys = x.mean(axis=1), y.mean(axis=1)
    return Covariance(float((xs - xs.mean()) @ (ys - ys.mean())) / (seeds - 1) / seeds, seeds - 1)


def mean_products(x: Array, y: Array) -> tuple[float, float, float]:
    """Mean products of a balanced two-way layout: between seeds, between items, residual (MS where x is y).

    With x = y: σ²_seed = (MS_seed − MS_residual)/I, σ²_item = (MS_item − MS_residual)/S, σ²_residual = MS_residual.
    """
    seeds, items = x.shape
    (xs, xi, xr), (ys, yi, yr) = _deviations(x), _deviations(y)
    return (
        items * (xs @ ys) / (seeds - 1),
        seeds * (xi @ yi) / (items - 1),
        np.sum(xr * yr) / ((seeds - 1) * (items - 1)),
    )


def crossed_covariance(x: Array, y: Array) -> Covariance:
    """Covariance of the means over new seeds and new items: (MS_s + MS_i − MS_r)/(S·I), Satterthwaite's df.

    An item variance estimated below zero counts as zero, which leaves MS_s/(S·I) on S − 1 df.
    """
    seeds, number = x.shape
    if min(seeds, number) < 2:
        return Covariance(np.nan, np.nan)
    between_seeds, between_items, residual = mean_products(x, y)
    own = [(between_items, residual)] if x is y else [mean_products(one, one)[1:] for one in (x, y)]
    if not all(items > rest for items, rest in own):
        return Covariance(between_seeds / (seeds * number), seeds - 1)
    products = np.array([between_seeds, between_items, -residual])
    dfs = np.array([seeds - 1, number - 1, (seeds - 1) * (number - 1)])
    return Covariance(products.sum() / (seeds * number), products.sum() ** 2 / np.sum(products**2 / dfs))


ESTIMANDS: dict[str, Estimand] = {"fixed_rows": seed_covariance, "new_items": crossed_covariance}


def fieller(N: Array, D: Array, covariance: Estimand) -> Interval:
    """Interval of R = N̄/D̄: all R for which a t-test does not reject that N − R·D has mean zero.

    Solved around the estimate: with X = N − R̂·D and δ = R − R̂, δ²(D̄² − t²V_D) + 2δt²C_XD − t²V_X ≤ 0. The gate
    g = t²V_D/D̄² asks of D alone, with its own df, whether it differs from zero (g < 1).

    ``N`` (the part) and ``D`` (the full dW) are effects in nats, paired by seed and item. Bounds are NaN where the
    interval is unbounded.
    """
    g = gate(D, covariance)
    verdict = verdict_of(g)
    if verdict == "not_identified":
        return Interval(np.nan, np.nan, np.nan, g, verdict)
    ratio = float(N.mean() / D.mean()) + 0.0
    X = N - ratio * D
    V_X, df = covariance(X, X)
    V_D, C = covariance(D, D).value, covariance(X, D).value
    t2 = _t2(df)
    a = D.mean() ** 2 - t2 * V_D
    if a <= 0:
        return Interval(ratio, np.nan, np.nan, g, verdict)
    root = np.sqrt((t2 * C) ** 2 + a * t2 * V_X)
    return Interval(ratio, float(ratio + (-t2 * C - root) / a), float(ratio + (-t2 * C + root) / a), g, verdict)


def fieller_seeds(N: Array, D: Array) -> Interval:
    """Interval of N̄/D̄ for new seeds on these rows."""
    return fieller(N, D, seed_covariance)


def fieller_crossed(N: Array, D: Array) -> Interval:
    """Interval of N̄/D̄ for new seeds and new items."""
    return fieller(N, D, crossed_covariance)


def gate(D: Array, covariance: Estimand) -> float:
    """g = t²V_D/D̄²: below 1 where a two-sided t-test finds D̄ ≠ 0; NaN where that cannot be tested."""
    V_D, df = covariance(D, D)
    return float(_t2(df) * V_D / D.mean() ** 2) if D.mean() else np.nan


def verdict_of(g: float) -> Verdict:
    """Whether an effect can stand below a ratio; a g that is null is not identified."""
    return "identified" if g < WEAK_FROM_G else "weak" if g < 1 else "not_identified"


def mean_interval(values: Float[np.ndarray, " seeds"]) -> tuple[float, float, float]:
    """Mean over seeds with its t interval on S − 1 df (bounds NaN for one seed)."""
    return effect_interval(np.asarray(values, dtype=float)[:, None], seed_covariance)


def effect_interval(values: Array, covariance: Estimand) -> tuple[float, float, float]:
    """Mean of ``values`` with its t interval for the estimand, in the unit of ``values``."""
    mean = float(values.mean())
    V, df = covariance(values, values)
    half = float(np.sqrt(_t2(df) * V))
    return mean, mean - half, mean + half


def _t2(df: float) -> float:
    return float(stdtrit(df, (1 + CONFIDENCE) / 2)) ** 2


def _deviations(x: Array) -> tuple[np.ndarray, np.ndarray, Array]:
    seed, item = x.mean(axis=1) - x.mean(), x.mean(axis=0) - x.mean()
    return seed, item, x - x.mean() - seed[:, None] - item
