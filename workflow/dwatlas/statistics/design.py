"""D-study: what other numbers of seeds would give, at the study's items, from variance components.

``g_coefficient`` is Eρ² of a lens's profile (``statistics.reliability``). ``half_width`` is that of the full effect's
95 % t interval, t·√V in nats: for these rows (``fixed_rows``) V = (σ²_s + σ²_r/I)/S on S − 1 df, for new items too
(``new_items``) V = σ²_s/S + σ²_i/I + σ²_r/(S·I) on Satterthwaite's df of the mean squares that these components give.
At the study's own number of seeds they are the study's own intervals. They are estimates from as few seeds as there
are: from 5 seeds, the seeds' true variance may be 0.36 to 8.3 times the estimate.

Reference: Brennan (2001), "Generalizability theory", chapter 4.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from scipy.special import stdtrit

from dwatlas.statistics.arrays import FULL
from dwatlas.statistics.effects import Effects
from dwatlas.statistics.intervals import CONFIDENCE, ESTIMANDS, satterthwaite
from dwatlas.statistics.reliability import Variances
from dwatlas.statistics.variance import variance_components

MOST_SEEDS = 30


def design_records(effects: Effects, kind: str, reliability: Iterable[dict]) -> Iterator[dict]:
    """Records with the columns of ``DESIGN_SCHEMA``; ``reliability`` are the records of ``reliability_records`` of the
    same effects. There are none for the full dW below two seeds or items."""
    full = {"lens": FULL.lens, "mode": FULL.mode, "effect": kind, "quantity": "half_width"}
    D = effects.values[kind][effects.parts[FULL]]
    if min(D.shape) > 1:
        seed, item, residual = (facet.variance for facet in variance_components(D).values())
        for estimand in ESTIMANDS:
            for seeds in range(2, MOST_SEEDS + 1):
                value = half_width(seed, item, residual, seeds, D.shape[1], estimand)
                yield {**full, "estimand": estimand, "n_seeds": seeds, "value": value}
    for record in reliability:
        variances = Variances(*(record.get(f"{name}_variance", np.nan) for name in Variances._fields))
        about = {name: record[name] for name in ("lens", "mode", "effect")}
        if np.isnan(variances).any():
            continue
        for seeds in range(1, MOST_SEEDS + 1):
            value = variances.g_coefficient(seeds, record["n_items"])
            yield {**about, "quantity": "g_coefficient", "estimand": "", "n_seeds": seeds, "value": value}


def half_width(seed: float, item: float, residual: float, seeds: int, items: int, estimand: str) -> float:
    """Half-width of the mean's 95 % interval at so many seeds and items, from variances in nats².

    As in ``intervals.crossed_covariance``, an item variance below zero counts as zero and leaves the seeds' own.
    """
    V, df = (seed + residual / items) / seeds, float(seeds - 1)
    if estimand == "new_items" and item > 0:
        squares = np.array([items * seed + residual, seeds * item + residual, -residual])
        V, df = squares.sum() / (seeds * items), float(satterthwaite(squares, seeds, items))
    return float(stdtrit(df, (1 + CONFIDENCE) / 2) * np.sqrt(V))
