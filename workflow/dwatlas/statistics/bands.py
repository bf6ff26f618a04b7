r"""Bands that hold for a whole curve at once: max-T over the members of a nested family, such as top-1, top-2, top-4.

A curve's members are ratios R_k = N̄_k/D̄, with the contrasts X_k = N_k − R̂_k·D. The band is Fieller's interval for
each of them with one critical value c in place of the quantile of t: the 95 % quantile of

    max_k |X̄*_k − X̄_k| / √(s*²_k/S)

over bootstrap samples of seeds, each drawn once for all members, so that what they share is kept. It is never below the
quantile of t for a single member: seeds are few, and a band must not be narrower than the intervals.

References: Romano and Wolf (2005), "Exact and approximate stepdown methods for multiple hypothesis testing"; Efron and
Tibshirani (1993), "An introduction to the bootstrap", § 12.5 (bootstrap-t).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.special import stdtrit

from dwatlas.statistics.intervals import CONFIDENCE

FEWEST_SEEDS = 8
SAMPLES = 2000
_ROUNDING = 1e-12


def critical_value(
    X: Float[np.ndarray, "members seeds"], generator: np.random.Generator, number: int = SAMPLES
) -> float:
    """c of a simultaneous band for the contrasts ``X``; NaN below ``FEWEST_SEEDS`` seeds.

    Members that do not vary take no part. A sample in which a member has no variance counts as unbounded.
    """
    seeds = X.shape[1]
    if seeds < FEWEST_SEEDS:
        return np.nan
    single = float(stdtrit(seeds - 1, (1 + CONFIDENCE) / 2))
    varies = X.std(axis=1) > _ROUNDING * np.abs(X).max(axis=1)
    if not varies.any():
        return single
    deviations = X[varies] - X[varies].mean(axis=1, keepdims=True)
    weights = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=number) / seeds
    mean = weights @ deviations.T
    variance = np.maximum(weights @ (deviations**2).T - mean**2, 0.0) / (seeds - 1)
    flat = variance <= _ROUNDING * (deviations**2).mean(axis=1)
    t = np.divide(np.abs(mean), np.sqrt(variance), out=np.full_like(mean, np.inf), where=~flat)
    return max(single, float(np.quantile(t.max(axis=1), CONFIDENCE, method="higher")))
