"""The delete-one-seed jackknife: intervals of statistics over pairs of seeds, which are not independent."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.stats import t as student

from dwatlas.statistics.intervals import CONFIDENCE

FEWEST_SEEDS = 3
"""Seeds below which there is no interval: with one of two left out no pair is left."""


def without_each(of: Callable[[np.ndarray], float], seeds: int) -> np.ndarray:
    """The statistic ``of`` (a mask of seeds) without each seed; too few below three seeds for an interval."""
    kept = ~np.eye(seeds, dtype=bool) if seeds >= FEWEST_SEEDS else []
    return np.array([of(mask) for mask in kept])


def half_width(replicates: np.ndarray) -> np.ndarray:
    """Half of the 95 % interval from the statistic without each of S seeds, ``replicates`` [S, …].

    t on S − 1 degrees of freedom, variance (S − 1)/S·Σ(θ_s − θ̄)² (Efron & Stein 1981); NaN below three seeds.
    """
    seeds = len(replicates)
    if seeds < FEWEST_SEEDS:
        return np.full(np.shape(replicates)[1:], np.nan)
    variance = (seeds - 1) * np.var(replicates, axis=0)
    return student.ppf((1 + CONFIDENCE) / 2, seeds - 1) * np.sqrt(variance)
