"""Matrices of all (adapter, seed) units: one measure above the diagonal, another below, and each block's mean."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from dwatlas.figures import marks, style
from dwatlas.tables.order import natural
from dwatlas.tables.present import number

CELL_SIZE, WIDEST = 0.3, 6.0
SEEDS_SHOWN = 40

Unit = tuple[str, int]


def units_of(data: pd.DataFrame) -> list[Unit]:
    """The units that lines of pairs (``adapter, seed, other_adapter, other_seed``) name, by adapter and seed."""
    ends = [data[["adapter", "seed"]], data[["other_adapter", "other_seed"]].set_axis(["adapter", "seed"], axis=1)]
    both = pd.concat(ends).dropna().drop_duplicates()
    return [
        (name, int(seed)) for name in natural(both["adapter"]) for seed in sorted(both[both["adapter"] == name]["seed"])
    ]


def triangles(data: pd.DataFrame, units: list[Unit], column: str, is_above: pd.Series) -> np.ndarray:
    """``column`` of the pairs of units [units, units]: those of ``is_above`` in the upper triangle, others in the
    lower, NaN between."""
    place = {unit: rank for rank, unit in enumerate(units)}
    values = np.full((len(units), len(units)), np.nan)
    for line, above in zip(data.itertuples(), is_above, strict=True):
        low, high = sorted((place[line.adapter, line.seed], place[line.other_adapter, line.other_seed]))
        values[(low, high) if above else (high, low)] = getattr(line, column)
    return values


def draw(
    units: list[Unit], values: np.ndarray, averaged: np.ndarray, title: str, label: str, footer: str, empty: str
) -> Figure:
    """The matrix ``values`` [units, units] from −1 to 1, with the means of ``averaged``'s blocks; ``empty`` says why
    there is none."""
    side = min(CELL_SIZE * max(len(units), 6), WIDEST)
    figure = style.blank(side + 1.9, side + 2.0)
    axes = figure.subplots()
    style.below(figure, [], footer)
    if not units:
        marks.hatched_panel(axes, empty)
        axes.set(xticks=[], yticks=[])
        return figure
    scale = ScalarMappable(Normalize(-1, 1), "RdBu_r")
    axes.imshow(np.ma.masked_invalid(values), cmap=scale.cmap, norm=scale.norm, interpolation="none")
    axes.set_facecolor("#E8E8E8")
    _blocks(axes, units, averaged)
    axes.set_title(title, loc="left", fontsize=7)
    bar = figure.colorbar(scale, ax=axes, shrink=0.7, aspect=22, pad=0.02)
    bar.set_label(label)
    bar.outline.set_visible(False)
    return figure


def _blocks(axes: Axes, units: list[Unit], values: np.ndarray) -> None:
    """Adapters' names, lines between them, and each block's mean (of both triangles on the diagonal)."""
    adapters = [name for name, _ in units]
    names = list(dict.fromkeys(adapters))
    starts = {name: adapters.index(name) for name in names}
    ends = {name: starts[name] + adapters.count(name) for name in names}
    centres = {name: (starts[name] + ends[name] - 1) / 2 for name in names}
    for edge in (*starts.values(), len(units)):
        axes.axhline(edge - 0.5, color="white", linewidth=2.2)
        axes.axvline(edge - 0.5, color="white", linewidth=2.2)
    for row, column in product(names, names):
        block = values[starts[row] : ends[row], starts[column] : ends[column]]
        if row != column:
            _mean(axes, centres[column], centres[row], block)
        else:
            quarter = (ends[row] - starts[row]) / 4
            inside = np.ones_like(block, dtype=bool)
            for sign, triangle in ((1, np.triu(inside, 1)), (-1, np.tril(inside, -1))):
                x, y = centres[row] + sign * quarter, centres[row] - sign * quarter
                _mean(axes, x, y, np.where(triangle, block, np.nan))
    axes.set_xticks(list(centres.values()), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(list(centres.values()), names)
    if len(units) <= SEEDS_SHOWN:
        axes.xaxis.remove_overlapping_locs = False
        axes.set_xticks(range(len(units)), [str(seed) for _, seed in units], minor=True)
        axes.xaxis.set_tick_params(which="minor", labelsize=5, labeltop=True, labelbottom=False, pad=1)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)


def _mean(axes: Axes, x: float, y: float, values: np.ndarray) -> None:
    if np.isfinite(values).any():
        axes.text(x, y, number(np.nanmean(values)), ha="center", va="center", fontsize=6,
                  bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1})  # fmt: skip
