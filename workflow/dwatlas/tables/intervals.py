"""Student-t intervals over seeds for the plain means that the tables show."""

from __future__ import annotations

import pandas as pd

from dwatlas.statistics.intervals import mean_interval


def mean_intervals(frame: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """``mean, lo, hi`` (95 %, over seeds) of column ``value``, and ``n_seeds``, for each group, beside its keys."""
    return frame.groupby(by, sort=False)["value"].apply(_over_seeds).unstack().reset_index()


def _over_seeds(values: pd.Series) -> pd.Series:
    known = values.dropna().to_numpy()
    return pd.Series([*mean_interval(known), len(known)], index=["mean", "lo", "hi", "n_seeds"])
