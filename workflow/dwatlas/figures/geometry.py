"""How alike are the dW of all runs, against what an adapter's own seeds allow and what random dW give?"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dwatlas.figures.matrix import draw as draw_matrix
from dwatlas.figures.matrix import triangles, units_of
from dwatlas.tables.present import estimate, number
from dwatlas.tables.study import StudyTables, pick

ABOVE = "cosine"
MEASURES = {ABOVE: "above the diagonal: cosine of dW", "cka": "below: CKA of dW·x"}
_KEYS = ["adapter", "other_adapter", "measure"]
_RUNS = ["adapter", "seed", "other_adapter", "other_seed"]
_BLOCK = ["n_pairs", "value", "lo", "hi", "null", "ceiling", "share", "share_lo", "share_hi"]


def data(tables: StudyTables, model: str, behaviour: str) -> pd.DataFrame:
    """The study's ``overlap`` of whole dW, with columns ``block_…`` of the two adapters' line of ``geometry``.

    One line without values where there are no two runs.
    """
    cell = {"model": model, "behaviour": behaviour}
    blocks = pick(tables.geometry, **cell).set_index([*_KEYS, "k"])[_BLOCK].add_prefix("block_")
    lines = pick(tables.overlap, **cell)
    lines = lines[lines["measure"].isin(MEASURES)]
    columns = ["model", "behaviour", "measure", *_RUNS, "value", "null", *blocks.columns]
    if lines.empty:
        return pd.DataFrame([cell]).reindex(columns=columns)
    return lines.join(blocks, on=[*_KEYS, "k"])[columns].reset_index(drop=True)


def draw(data: pd.DataFrame) -> Figure:
    """One matrix: units by adapter and seed, cosines above the diagonal and alignment of outputs below."""
    lines = data.dropna(subset=["value"])
    units = units_of(lines)
    values = triangles(lines, units, "value", lines["measure"] == ABOVE)
    seeds = np.array([seed for _, seed in units])
    averaged = np.where(seeds[:, None] == seeds, np.nan, values)
    title = "\n".join(_told(what, pick(lines, measure=measure)) for measure, what in MEASURES.items())
    label, empty = "likeness of two dW", "fewer than two runs"
    return draw_matrix(units, values, averaged, title, label, _footer(data, units), empty)


def _told(what: str, lines: pd.DataFrame) -> str:
    """What stands for a measure, with ceiling, null and share: of two adapters, or of the only one."""
    blocks = lines.drop_duplicates(["adapter", "other_adapter"])
    between = blocks[blocks["adapter"] != blocks["other_adapter"]]
    blocks = between if len(between) else blocks
    told = [f"{name} {_range(blocks[f'block_{name}'])}" for name in ("ceiling", "null")]
    if len(between) == 1:
        line = between.iloc[0]
        known = estimate(line["block_share"], line["block_share_lo"], line["block_share_hi"])
        told.append("share not identified" if pd.isna(line["block_share"]) else f"share {known}")
    elif len(between):
        told.append(f"share {_range(between['block_share'])}")
    return f"{what}; {', '.join(told)}"


def _range(values: pd.Series) -> str:
    """The least and the largest of the known ones, one where they print alike."""
    if values.isna().all():
        return "not identified"
    return " to ".join(dict.fromkeys(number(value) for value in (values.min(), values.max())))


def _footer(data: pd.DataFrame, units: list[tuple[str, int]]) -> str:
    first = data.iloc[0]
    where = f"{first['model']} · {first['behaviour']}"
    return f"{where}\n{len(units)} (adapter, seed) units · numbers: means of blocks over pairs of different seeds"
