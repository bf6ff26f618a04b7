"""Does a part contribute? t-tests on linear contrasts (no test divides), adjusted within families."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import stdtr
from scipy.stats import false_discovery_control

from dwatlas.statistics.intervals import Array, Estimand


def p_value(contrast: Array, covariance: Estimand) -> float:
    """Two-sided p of the hypothesis that ``contrast`` (seeds × items) has mean zero; NaN where it is all zero."""
    return 2 * _upper_tail(abs(float(contrast.mean())), contrast, covariance)


def one_sided_p(contrast: Array, covariance: Estimand) -> float:
    """p of the hypothesis that the mean of ``contrast`` (seeds × items) is not above zero; NaN where it is all zero."""
    return _upper_tail(float(contrast.mean()), contrast, covariance)


def _upper_tail(mean: float, contrast: Array, covariance: Estimand) -> float:
    V, df = covariance(contrast, contrast)
    if V == 0:
        return float(mean < 0) if mean else np.nan
    return float(stdtr(df, -mean / np.sqrt(V)))


def benjamini_hochberg(p: pd.Series) -> pd.Series:
    """q of each p of one family; a null p has a null q and does not count as a test."""
    tested = p.dropna()
    q = false_discovery_control(tested, method="bh") if len(tested) else []
    return pd.Series(q, index=tested.index, dtype=float).reindex(p.index)
