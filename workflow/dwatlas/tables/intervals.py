"""Student-t intervals over seeds for the plain means that tables and dose figures show."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import t

CONFIDENCE = 0.95


def mean_interval(values: pd.Series) -> pd.Series:
    """Mean, ``lo`` and ``hi`` (95 %, t with S − 1 degrees of freedom) and S; no interval for a single seed."""
    values = values.dropna()
    n = len(values)
    mean = values.mean()
    half = t.ppf(0.5 + CONFIDENCE / 2, n - 1) * values.std(ddof=1) / np.sqrt(n) if n > 1 else np.nan
    return pd.Series({"mean": mean, "lo": mean - half, "hi": mean + half, "n_seeds": n})


def mean_intervals(frame: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """``mean_interval`` of column ``value`` for each group, as columns beside the group's keys."""
    return frame.groupby(by, sort=False)["value"].apply(mean_interval).unstack().reset_index()
