"""Map of one lens: adapters × components, coloured by 1 − R_drop and by R_keep, with the spread over seeds beside."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from dwatlas.figures import style
from dwatlas.figures.ratios import MODES, caption, component_names, ratios
from dwatlas.tables.order import stem
from dwatlas.tables.present import number
from dwatlas.tables.study import NOT_IDENTIFIED, StudyTables, pick

SIGNIFICANT = 0.05
CELL_WIDTH, NARROW_CELL_WIDTH = 0.34, 0.2
CELL_HEIGHT = 0.3
ANNOTATED_COMPONENTS = 16
TITLES = {
    ("drop", "share"): "$1 - R_{\\mathrm{drop}}$: lost without it",
    ("drop", "sd"): "SD over seeds",
    ("keep", "share"): "$R_{\\mathrm{keep}}$: left with it alone",
    ("keep", "sd"): "SD over seeds",
}


def data(tables: StudyTables, model: str, behaviour: str, eval: str, lens: str) -> pd.DataFrame:
    """One line per (adapter, component, mode): ``share`` (1 − R_drop or R_keep), ``sd`` over seeds, q, verdict."""
    lines = ratios(tables, model, behaviour, eval, lens)
    keys = ["adapter", "component", "mode"]
    spread = pick(lines, series="seed").groupby(keys)["value"].std(ddof=1).rename("sd")
    cells = pick(lines, series="estimate").join(spread, on=keys)
    known = cells["verdict"] != NOT_IDENTIFIED
    share = cells["value"].where(cells["mode"] == "keep", 1 - cells["value"])
    cells = cells.assign(share=share.where(known), sd=cells["sd"].where(known))
    columns = ["model", "behaviour", "eval", "lens", *keys, "share", "sd", "q", "verdict", "g", "energy_frac",
               "n_seeds", "n_items", "series", "control"]  # fmt: skip
    return cells[columns].reset_index(drop=True)


def draw(data: pd.DataFrame) -> Figure:
    """Two rows of strips (drop, keep) and two columns (share, SD over seeds)."""
    adapters, components = list(dict.fromkeys(data["adapter"])), component_names(data)
    annotated = len(components) <= ANNOTATED_COMPONENTS
    width = (CELL_WIDTH if annotated else NARROW_CELL_WIDTH) * len(components) + 0.9
    figure = style.blank(2 * width + 1.2, 2 * (CELL_HEIGHT * len(adapters) + 0.35) + 1.9)
    grid = figure.subplots(2, 2, sharex=True, sharey=True)
    spread = np.nanmax([0.1, *data["sd"]])
    scales = {"share": share_scale(data), "sd": ScalarMappable(Normalize(0, spread), "Greys")}
    for row, mode in enumerate(MODES):
        for column, quantity in enumerate(("share", "sd")):
            strip(grid[row, column], pick(data, mode=mode), adapters, components, quantity, scales[quantity])
            grid[row, column].set_title(TITLES[mode, quantity], loc="left")
    for column, (quantity, label) in enumerate({"share": "share of the full effect", "sd": "SD of it"}.items()):
        bar = figure.colorbar(scales[quantity], ax=grid[:, column], shrink=0.8, aspect=16, pad=0.02)
        bar.set_label(label)
        bar.outline.set_visible(False)
    style.below(figure, legend(data), caption(data))
    return figure


def share_scale(data: pd.DataFrame) -> ScalarMappable:
    """Colours of shares of the full effect, diverging at 0."""
    reach = np.nanmax([1.0, *data["share"].abs()])
    return ScalarMappable(Normalize(-reach, reach), "RdBu_r")


def strip(axes: Axes, cells: pd.DataFrame, adapters: list[str], components: list[str], quantity: str, scale) -> None:
    """Adapters × components, coloured by ``quantity``; hatched where it is null, blank where there is no such part."""
    for cell in cells.itertuples():
        x, y = components.index(cell.component), adapters.index(cell.adapter)
        value = getattr(cell, quantity)
        if np.isnan(value):
            axes.add_patch(Rectangle((x - 0.48, y - 0.47), 0.96, 0.94, facecolor="#F2F2F2", edgecolor=style.HATCH,
                                     hatch="//////", linewidth=0))  # fmt: skip
            continue
        colour = scale.to_rgba(value)
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=colour, edgecolor="white", linewidth=0.6))
        ink = "white" if np.dot(colour[:3], (0.299, 0.587, 0.114)) < 0.5 else style.INK
        if len(components) <= ANNOTATED_COMPONENTS:
            axes.text(x, y, number(value), ha="center", va="center", fontsize=5.5, color=ink)
        if quantity == "share" and cell.q < SIGNIFICANT:
            axes.plot(x + 0.37, y - 0.34, "o", markersize=1.8, color=ink, markeredgewidth=0)
    for rank, (left, right) in enumerate(pairwise(components)):
        members = [stem(name) for name in components]
        if stem(left) != stem(right) and max(members.count(stem(left)), members.count(stem(right))) > 1:
            axes.axvline(rank + 0.5, color="white", linewidth=3)
    axes.set_xlim(-0.5, len(components) - 0.5)
    axes.set_ylim(len(adapters) - 0.5, -0.5)
    axes.set_xticks(range(len(components)), components, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(adapters)), adapters)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def legend(data: pd.DataFrame) -> list:
    """What dots and hatching mean, where there are any."""
    handles = []
    if (data["share"].notna() & (data["q"] < SIGNIFICANT)).any():
        label = f"differs from 0 (q < {SIGNIFICANT}, Benjamini–Hochberg)"
        handles.append(Line2D([], [], color=style.INK, marker="o", markersize=2.2, linestyle="", label=label))
    if data["share"].isna().any():
        handles.append(Patch(facecolor="#F2F2F2", edgecolor=style.HATCH, hatch="//////", linewidth=0,
                             label="not identified (g ≥ 1): no ratio"))  # fmt: skip
    return handles
