"""Does a part contribute? Two-sided t-tests on linear contrasts (no test divides), adjusted within families."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control
from scipy.stats import t as student

from dwatlas.statistics.intervals import Array, Estimand


def p_value(contrast: Array, covariance: Estimand) -> float:
    """Two-sided p of the hypothesis that ``contrast`` (seeds × items) has mean zero; NaN where it is all zero."""
    V, df = covariance(contrast, contrast)
    mean = abs(float(contrast.mean()))
    if V == 0:
        return 0.0 if mean else np.nan
    return float(2 * student.sf(mean / np.sqrt(V), df))


def benjamini_hochberg(p: pd.Series) -> pd.Series:
    """q of each p of one family; a null p has a null q and does not count as a test."""
    tested = p.dropna()
    q = false_discovery_control(tested, method="bh") if len(tested) else []
    return pd.Series(q, index=tested.index, dtype=float).reindex(p.index)
