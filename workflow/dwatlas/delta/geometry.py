"""Geometry of a delta: each tensor's norm, energy share and effective rank, and how the two poles lie.

The poles' own differences from the base are τ⁺ = θ⁺ − θ₀ and τ⁻ = θ⁻ − θ₀. ``pole_cosine`` is cos(τ⁺, τ⁻):
−1 when they are opposite, +1 when training drifted the same way; ``common_drift`` is ‖½(τ⁺ + τ⁻)‖ / ‖½(τ⁺ − τ⁻)‖.
"""

from __future__ import annotations

import math

import pandas as pd

from dwatlas.delta.algebra import Delta, Matrix, effective_rank, energy, inner, svd
from dwatlas.delta.table import DELTA_SCHEMA, WHOLE
from dwatlas.models.anatomy import Site


def geometry(delta: Delta, pos: Delta, neg: Delta, sites: tuple[Site, ...]) -> pd.DataFrame:
    """One line per tensor and a last one, ``(all)``, for the whole delta: ranks, effective ranks and nuclear norms are
    sums there (columns of ``DELTA_SCHEMA``)."""
    whole = sum(energy(matrix) for matrix in delta.values())
    lines = []
    for site in sites:
        spectrum = svd(delta[site.name]).s
        lines.append(
            {
                "tensor": site.name,
                "layer": site.layer,
                "module": site.module,
                "out_features": site.shape[0],
                "in_features": site.shape[1],
                "rank": len(spectrum),
                "effective_rank": effective_rank(spectrum),
                "nuclear_norm": float(spectrum.sum()),
                **_norms({site.name: delta[site.name]}, pos, neg, whole),
            }
        )
    sums = {column: sum(line[column] for line in lines) for column in ("rank", "effective_rank", "nuclear_norm")}
    total = {"tensor": WHOLE, **sums, **_norms(delta, pos, neg, whole)}
    return pd.DataFrame([*lines, total]).reindex(columns=DELTA_SCHEMA.names)


def _norms(delta: Delta, pos: Delta, neg: Delta, whole: float) -> dict[str, float]:
    own = sum(energy(matrix) for matrix in delta.values())
    plus, minus, cross = (_sum_inner(delta, first, second) for first, second in ((pos, pos), (neg, neg), (pos, neg)))
    scale = math.sqrt(plus * minus)
    return {
        "norm": math.sqrt(own),
        "energy_frac": own / whole if whole else math.nan,
        "pos_norm": math.sqrt(plus),
        "neg_norm": math.sqrt(minus),
        "pole_cosine": cross / scale if scale else math.nan,
        "common_drift": math.sqrt(max(plus + minus + 2 * cross, 0) / own) if own else math.nan,
    }


def _sum_inner(names: Delta, first: dict[str, Matrix], second: dict[str, Matrix]) -> float:
    return sum(inner(first[name], second[name]) for name in names)
