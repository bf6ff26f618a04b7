"""Which components a figure shows where a lens has too many to read: those that differ most from their nulls."""

from __future__ import annotations

import pandas as pd

from dwatlas.tables.order import natural
from dwatlas.tables.study import StudyTables, contrasts, pick

MANY = 40
SHOWN = 30


def largest(data: pd.DataFrame, tables: StudyTables) -> pd.DataFrame:
    """``data`` (long form) with a column ``n_components``; of more than ``MANY`` components the ``SHOWN`` with the
    largest |excess|, kept or dropped, of any adapter."""
    names = natural(data.loc[data["component"] != "", "component"])
    data = data.assign(n_components=len(names))
    if len(names) <= MANY:
        return data
    cell = data.iloc[0][["model", "behaviour", "eval", "lens"]].to_dict()
    excess = pd.concat([pick(contrasts(tables, f"{side}_excess"), **cell) for side in ("keep", "drop")])
    value = "nats" if excess["ratio"].isna().all() else "ratio"
    sizes = excess[value].abs().groupby(excess["component"]).max().reindex(names).fillna(0)
    shown = sizes.sort_values(ascending=False, kind="stable").index[:SHOWN]
    return data[data["component"].isin(["", *shown])].reset_index(drop=True)


def left_out(data: pd.DataFrame) -> str:
    """A remark for the footer where ``largest`` has left components out."""
    shown, there = data.loc[data["component"] != "", "component"].nunique(), data["n_components"].iloc[0]
    return f"the {shown} of {there} components with the largest |excess|" if shown < there else ""
