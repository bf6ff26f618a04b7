"""Publication tables of variance components and of how far seeds agree on profiles."""

from __future__ import annotations

import pandas as pd

from dwatlas.tables.order import in_order
from dwatlas.tables.study import CELL, SHOWN_EFFECT, StudyTables, pick

FACETS = {
    "seed": "seed",
    "data": "data",
    "training": "training",
    "item": "item",
    "data_item": "data × item",
    "residual": "seed × item",
}
"""Facets of ``statistics.variance`` in the order in which they are shown, in words; the last takes in the residual."""


def variance(tables: StudyTables) -> pd.DataFrame:
    """One line per (model, behaviour, adapter, eval) and facet of the full effect's variance."""
    lines = pick(tables.variance, effect=SHOWN_EFFECT)
    lines = lines.sort_values("facet", key=lambda names: names.map(list(FACETS).index), kind="stable")
    whole = lines.groupby(CELL)["of_mean"].transform("sum")
    return in_order(lines.assign(of_mean_share=lines["of_mean"] / whole.where(whole > 0)), CELL)


def reliability(tables: StudyTables) -> pd.DataFrame:
    """One line per lens and mode: do seeds agree on what the parts do, and how many seeds would be needed?"""
    return in_order(pick(tables.reliability, effect=SHOWN_EFFECT), [*CELL, "lens", "mode"])
