"""Aggregates over several trainings: the interquartile mean and the performance profile, in bootstrap samples.

A bootstrap sample is a row of integer weights: how often it has each value. A row of ones is the sample itself.

Reference: Agarwal et al. (2021), arXiv:2108.13264.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

TRIMMED = 0.25


def interquartile_mean(
    values: Float[np.ndarray, " n"], weights: Int[np.ndarray, "*samples n"]
) -> Float[np.ndarray, "*samples"]:
    """Mean of the middle half of each sample: ⌊n/4⌋ of its n values are left out at either end, as by scipy's
    ``trim_mean(·, 0.25)``.
    """
    order = np.argsort(values, kind="stable")
    times = weights[..., order]
    upto = np.cumsum(times, axis=-1)
    number = upto[..., -1:]
    cut = (TRIMMED * number).astype(int)
    kept = np.clip(upto, cut, number - cut) - np.clip(upto - times, cut, number - cut)
    return np.sum(kept * values[order], axis=-1) / (number - 2 * cut)[..., 0]


def performance(
    ratios: Float[np.ndarray, "*samples components"], taus: Float[np.ndarray, " taus"]
) -> Float[np.ndarray, "*samples taus"]:
    """Performance profile: the share of components whose ratio R is below τ, for each τ."""
    return np.stack([(ratios < tau).mean(axis=-1) for tau in taus], axis=-1)
