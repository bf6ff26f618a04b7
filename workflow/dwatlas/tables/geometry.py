"""How alike dW are between runs, as a table."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dwatlas.tables.order import in_order
from dwatlas.tables.study import StudyTables

MEASURES = ("cosine", "cka", "left", "right", "angle-left", "angle-right")
"""Measures in the order of lines."""
_GROUP = ["model", "behaviour"]
_PAIR = [*_GROUP, "adapter", "other_adapter"]


def geometry(tables: StudyTables) -> pd.DataFrame:
    """Lines of the frame ``geometry`` for every two adapters, those of subspaces at one direction and at the most that
    both have."""
    lines = tables.geometry
    if lines.empty:
        return lines
    own = lines[lines["adapter"] == lines["other_adapter"]]
    most = own.groupby([*_GROUP, "adapter", "measure"])["k"].max().rename("most")
    for name in ("adapter", "other_adapter"):
        lines = lines.join(most.rename(f"most_{name}"), on=[*_GROUP, name, "measure"])
    largest = np.minimum(lines["most_adapter"], lines["most_other_adapter"])
    shown = lines[(lines["k"] <= 1) | (lines["k"] == largest)]
    shown = shown.assign(rank=shown["measure"].map({name: rank for rank, name in enumerate(MEASURES)}))
    return in_order(shown, [*_PAIR, "rank", "k"])[tables.geometry.columns]
