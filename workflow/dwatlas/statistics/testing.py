"""Does a part contribute? t-tests on linear contrasts (no test divides), adjusted within families."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import stdtr
from scipy.stats import false_discovery_control

from dwatlas.statistics.intervals import Array, Estimand, PerPart


def p_value(contrast: Array, covariance: Estimand) -> PerPart:
    """Two-sided p that the mean of ``contrast`` [*parts, seeds, items] is zero; NaN where all of it is."""
    return 2 * _upper_tail(np.abs(contrast.mean(axis=(-2, -1))), contrast, covariance)


def one_sided_p(contrast: Array, covariance: Estimand) -> PerPart:
    """p that the mean of ``contrast`` [*parts, seeds, items] is not above zero; NaN where all of it is zero."""
    return _upper_tail(contrast.mean(axis=(-2, -1)), contrast, covariance)


def _upper_tail(mean: PerPart, contrast: Array, covariance: Estimand) -> PerPart:
    V, df = covariance(contrast, contrast)
    with np.errstate(divide="ignore", invalid="ignore"):
        tail = stdtr(df, -mean / np.sqrt(V))
    certain = np.where(mean == 0, np.nan, mean < 0)
    return np.where(V == 0, certain, tail)[()]


def benjamini_hochberg(p: pd.Series) -> pd.Series:
    """q of each p of one family; a null p has a null q and does not count as a test."""
    tested = p.dropna()
    q = false_discovery_control(tested, method="bh") if len(tested) else []
    return pd.Series(q, index=tested.index, dtype=float).reindex(p.index)
