"""Where the full effect's variance comes from: seeds, items, and both together.

Two-way random effects, E_si = μ + s + i + ε (items are scored without error, so ε is seed × item). Mean squares have
the expectations

    MS_seed = σ²_r + I·σ²_s      MS_item = σ²_r + S·σ²_i      MS_residual = σ²_r

Where several trainings t share a draw of the data d, seeds are nested, E_dti = μ + d + t(d) + i + d·i + ε, and with
n_d trainings of each of U data, S in all, n₀ = (S − Σn_d²/S)/(U − 1),

    MS_data = σ²_r + I·σ²_t + n₀·(σ²_di + I·σ²_d)     MS_training = σ²_r + I·σ²_t     MS_data×item = σ²_r + n₀·σ²_di
    MS_item = σ²_r + S·σ²_i + Σn_d²/S·σ²_di           MS_residual = σ²_r

Balanced or not, the estimates solve these equations (Henderson's method I) and are unbiased; one may be below zero.
Intervals are Satterthwaite's: σ̂²·df/χ², df = (Σ a·MS)²/Σ((a·MS)²/df).

References: Searle, Casella and McCulloch (1992), "Variance components", chapters 4 and 5; Satterthwaite (1946), "An
approximate distribution of estimates of variance components".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.special import chdtri

from dwatlas.statistics.arrays import FULL
from dwatlas.statistics.effects import Effects
from dwatlas.statistics.intervals import CONFIDENCE, Array, mean_products

Units = Int[np.ndarray, " seeds"]


class Facet(NamedTuple):
    """A source of variance: its estimate σ̂² (nats², as estimated, so it may be below zero), Satterthwaite's degrees of
    freedom, and how many independent draws of it the mean over the study's design averages."""

    variance: float
    df: float
    averaged: float


class _Squares(NamedTuple):
    """Mean squares of the layout and their degrees of freedom, in the order of its facets."""

    values: Float[np.ndarray, " facets"]
    dfs: Float[np.ndarray, " facets"]


def variance_records(effects: Effects, kind: str, units: Units | None = None) -> Iterator[dict]:
    """One record per facet of the full effect's variance; columns of ``VARIANCE_SCHEMA``.

    ``units`` is the draw of the data of each seed of the full dW, seeds ascending, where several share one.
    """
    D = effects.values[kind][effects.parts[FULL]]
    facets = variance_components(D, units)
    total = sum(max(facet.variance, 0.0) for facet in facets.values())
    for name, facet in facets.items():
        clipped = facet.variance if np.isnan(facet.variance) else max(facet.variance, 0.0)
        lo, hi = _interval(facet)
        yield {
            "effect": kind,
            "facet": name,
            "n_seeds": D.shape[0] if units is None else len(np.unique(units)),
            "n_trainings": D.shape[0],
            "n_items": D.shape[1],
            "full_effect_nats": D.mean(),
            "variance": facet.variance,
            "df": facet.df,
            "sd": np.sqrt(clipped),
            "sd_lo": np.sqrt(lo),
            "sd_hi": np.sqrt(hi),
            "share": clipped / total if total else np.nan,
            "of_mean": clipped / facet.averaged,
        }


def variance_components(D: Array, units: Units | None = None) -> dict[str, Facet]:
    """Facets ``seed``, ``item`` and ``residual`` of ``D`` (nats), or where seeds share ``units`` (a draw of the data
    each) ``data``, ``training``, ``item``, ``data_item`` and ``residual``; null (NaN) where the design cannot tell.

    All trainings of one draw tell nothing of data: they are its facets ``training``, ``item`` and ``residual``.
    """
    if units is None or len(np.unique(units)) == len(units):
        return _crossed(D, "seed")
    return _nested(D, units) if len(np.unique(units)) > 1 else _crossed(D, "training")


def _crossed(D: Array, name: str) -> dict[str, Facet]:
    seeds, items = D.shape
    averaged = {name: seeds, "item": items, "residual": seeds * items}
    if min(D.shape) < 2:
        return {facet: Facet(np.nan, np.nan, number) for facet, number in averaged.items()}
    squares = _Squares(
        np.array(mean_products(D, D)), np.array([seeds - 1, items - 1, (seeds - 1) * (items - 1)], dtype=float)
    )
    expected = np.array([[items, 0, 1], [0, seeds, 1], [0, 0, 1]], dtype=float)
    return _solved(squares, expected, averaged)


def _nested(D: Array, units: Units) -> dict[str, Facet]:
    names, of_seed, trainings = np.unique(units, return_inverse=True, return_counts=True)
    data, (seeds, items) = len(names), D.shape
    uneven = np.sum(1 / trainings) / data**2
    averaged = {"data": data, "training": 1 / uneven, "item": items, "data_item": data * items,
                "residual": items / uneven}  # fmt: skip
    if items < 2:
        return {facet: Facet(np.nan, np.nan, number) for facet, number in averaged.items()}
    typical, heavy = (seeds - np.sum(trainings**2) / seeds) / (data - 1), np.sum(trainings**2) / seeds
    expected = np.array(
        [
            [typical * items, items, 0, typical, 1],
            [0, items, 0, 0, 1],
            [0, 0, seeds, heavy, 1],
            [0, 0, 0, typical, 1],
            [0, 0, 0, 0, 1],
        ]
    )
    return _solved(_nested_squares(D, of_seed, trainings), expected, averaged)


def _nested_squares(D: Array, of_seed: Units, trainings: Units) -> _Squares:
    (seeds, items), data = D.shape, len(trainings)
    centred = D - D.mean()
    by_data = np.zeros((data, items))
    np.add.at(by_data, of_seed, centred)
    by_data /= trainings[:, None]
    of_data, of_item = by_data.mean(axis=1), centred.mean(axis=0)
    within = centred - by_data[of_seed]
    of_training = within.mean(axis=1)
    both = by_data - of_data[:, None] - of_item
    sums = np.array(
        [
            items * trainings @ of_data**2,
            items * np.sum(of_training**2),
            seeds * np.sum(of_item**2),
            trainings @ np.sum(both**2, axis=1),
            np.sum((within - of_training[:, None]) ** 2),
        ]
    )
    free = np.array([data - 1, seeds - data, items - 1, (data - 1) * (items - 1), (seeds - data) * (items - 1)])
    return _Squares(sums / free, free.astype(float))


def _solved(
    squares: _Squares, expected: Float[np.ndarray, "facets facets"], averaged: dict[str, float]
) -> dict[str, Facet]:
    """Variances whose expected mean squares (``expected`` × variances) are those observed."""
    found = {}
    for (name, number), weights in zip(averaged.items(), np.linalg.inv(expected), strict=True):
        parts = weights * squares.values
        spread = np.sum(parts**2 / squares.dfs)
        found[name] = Facet(float(parts.sum()), float(parts.sum() ** 2 / spread) if spread else np.nan, number)
    return found


def _interval(facet: Facet) -> tuple[float, float]:
    """Interval of a variance; null where it is estimated at or below zero, or on less than one degree of freedom."""
    if not (facet.variance > 0 and facet.df >= 1):
        return np.nan, np.nan
    tail = (1 - CONFIDENCE) / 2
    scale = facet.df * facet.variance
    return scale / chdtri(facet.df, tail), scale / chdtri(facet.df, 1 - tail)
