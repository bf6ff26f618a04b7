"""Map of one lens: adapters × components, coloured by 1 − R_drop and by R_keep, with the spread over seeds beside.

A lens whose components are places in the model, ``layer-3.q_proj`` or ``layer-3.head-1``, gets a map of the model for
each adapter instead: layers × projections, or layers × heads for each kind of slice.
"""

from __future__ import annotations

import re
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
from dwatlas.figures.largest import largest, left_out
from dwatlas.figures.ratios import MODES, caption, component_names, ratios
from dwatlas.models.anatomy import NORMS, PROJECTIONS
from dwatlas.tables.order import natural, stem
from dwatlas.tables.present import number
from dwatlas.tables.study import NOT_IDENTIFIED, StudyTables, pick

SIGNIFICANT = 0.05
CELL_WIDTH, NARROW_CELL_WIDTH = 0.34, 0.2
CELL_HEIGHT = 0.3
ANNOTATED_COMPONENTS = 16
PLACE = re.compile(r"layer-(?P<layer>\d+)\.(?P<kind>.+?)(-(?P<number>\d+))?")
PLACE_CELL = 0.19
SMALLEST_REACH = 0.1
TITLES = {
    ("drop", "share"): "$1 - R_{\\mathrm{drop}}$: lost without it",
    ("drop", "sd"): "SD over seeds",
    ("keep", "share"): "$R_{\\mathrm{keep}}$: left with it alone",
    ("keep", "sd"): "SD over seeds",
}


def data(tables: StudyTables, model: str, behaviour: str, eval: str, lens: str) -> pd.DataFrame:
    """One line per (adapter, component, mode): ``share`` (1 − R_drop or R_keep), ``sd`` over seeds, q, verdict."""
    lines = ratios(tables, model, behaviour, eval, lens)
    names = component_names(lines)
    return cells(lines.assign(n_components=len(names)) if are_places(names) else largest(lines, tables))


def cells(lines: pd.DataFrame) -> pd.DataFrame:
    """The map's cells from the long form (``ratios``) with the column ``n_components``."""
    keys = ["adapter", "component", "mode"]
    spread = pick(lines, series="seed").groupby(keys)["value"].std(ddof=1).rename("sd")
    estimates = pick(lines, series="estimate").join(spread, on=keys)
    known = estimates["verdict"] != NOT_IDENTIFIED
    share = estimates["value"].where(estimates["mode"] == "keep", 1 - estimates["value"])
    estimates = estimates.assign(share=share.where(known), sd=estimates["sd"].where(known))
    columns = ["model", "behaviour", "eval", "lens", *keys, "share", "sd", "q", "verdict", "g", "energy_frac",
               "n_seeds", "n_items", "series", "control", "n_components"]  # fmt: skip
    return estimates[columns].reset_index(drop=True)


def are_places(components: list[str]) -> bool:
    """Whether all components are places in the model."""
    return all(PLACE.fullmatch(name) for name in components)


def draw(data: pd.DataFrame) -> Figure:
    """Two rows of strips (drop, keep) and two columns (share, SD over seeds); or a map of the model."""
    adapters, components = list(dict.fromkeys(data["adapter"])), component_names(data)
    if are_places(components):
        return _of_the_model(data, adapters)
    annotated = len(components) <= ANNOTATED_COMPONENTS
    width = (CELL_WIDTH if annotated else NARROW_CELL_WIDTH) * len(components) + 0.9
    figure = style.blank(2 * width + 1.2, 2 * (CELL_HEIGHT * len(adapters) + 0.35) + 1.9)
    grid = figure.subplots(2, 2, sharex=True, sharey=True)
    scales = {"share": share_scale(data), "sd": sd_scale(data)}
    for row, mode in enumerate(MODES):
        for column, quantity in enumerate(("share", "sd")):
            strip(grid[row, column], pick(data, mode=mode), adapters, components, quantity, scales[quantity])
            grid[row, column].set_title(TITLES[mode, quantity], loc="left")
    for column, (quantity, label) in enumerate({"share": "share of the full effect", "sd": "SD of it"}.items()):
        bar = figure.colorbar(scales[quantity], ax=grid[:, column], shrink=0.8, aspect=16, pad=0.02)
        bar.set_label(label)
        bar.outline.set_visible(False)
    style.below(figure, legend(data), caption(data, left_out(data)))
    return figure


def _of_the_model(data: pd.DataFrame, adapters: list[str]) -> Figure:
    """Layers downwards; projections, with their spread beside, or one panel of heads for each kind of slice."""
    data = _placed(data)
    panels = {name: _columns(data.loc[data["panel"] == name, "at"]) for name in natural(data["panel"])}
    whole = list(panels) == [""]
    rows = [[(adapter, mode, "", quantity) for mode in MODES for quantity in ("share", "sd")] for adapter in adapters]
    if not whole:
        rows = [[(adapter, mode, panel, "share") for panel in panels] for adapter in adapters for mode in MODES]
    layers, widths = natural(data["layer"]), [max(len(panels[panel]), 2) for _, _, panel, _ in rows[0]]
    figure = style.blank(
        max(PLACE_CELL * sum(widths) + 0.45 * len(widths) + 1.6, 5.0),
        (PLACE_CELL * len(layers) + (0.85 if whole else 0.65)) * len(rows) + 0.9,
    )
    grid = figure.subplots(len(rows), len(widths), squeeze=False, width_ratios=widths)
    scales, colours = {"share": _scale(data["share"], SMALLEST_REACH), "sd": sd_scale(data)}, style.colours(adapters)
    for line, specs in zip(grid, rows, strict=True):
        for axes, (adapter, mode, panel, quantity) in zip(line, specs, strict=True):
            there = pick(data, adapter=adapter, mode=mode, panel=panel)
            _fill(axes, there, layers, panels[panel], quantity, scales[quantity], ("layer", "at"), annotated=False)
            if panel:
                axes.set_xticks(range(len(panels[panel])), panels[panel], rotation=0, ha="center")
                axes.set_xlabel(panel)
        line[0].set_ylabel("layer")
        for axes, (adapter, mode, _, quantity) in zip(line if whole else line[:1], specs, strict=False):
            name = f"{adapter}, " if axes is line[0] else ""
            axes.set_title(name + TITLES[mode, quantity], loc="left", color=colours[adapter], fontsize=7)
    for quantity, label in {"share": "share of the full effect", **({"sd": "SD of it"} if whole else {})}.items():
        _colour_bar(figure, scales[quantity], grid, label)
    style.below(figure, legend(data), caption(data))
    return figure


def _placed(data: pd.DataFrame) -> pd.DataFrame:
    """Columns ``layer``, ``panel`` (a kind of slice, empty for projections) and ``at`` (a head or a projection)."""
    places = data["component"].str.extract(f"^{PLACE.pattern}$")
    heads = places["number"].notna()
    at = places["number"].where(heads, places["kind"])
    return data.assign(layer=places["layer"], panel=places["kind"].where(heads, ""), at=at)


def _columns(places: pd.Series) -> list[str]:
    """Projections and norms in the order of a block; heads by number."""
    block = [name for name in (*PROJECTIONS, *NORMS) if name in set(places)]
    return block + [name for name in natural(places) if name not in block]


def _colour_bar(figure: Figure, scale: ScalarMappable, grid: np.ndarray, label: str) -> None:
    bar = figure.colorbar(scale, ax=grid, shrink=min(1.0, 2.2 / figure.get_size_inches()[1]), aspect=18, pad=0.02)
    bar.set_label(label)
    bar.outline.set_visible(False)


def share_scale(data: pd.DataFrame) -> ScalarMappable:
    """Colours of shares of the full effect, diverging at 0."""
    return _scale(data["share"], 1.0)


def _scale(shares: pd.Series, least: float) -> ScalarMappable:
    reach = np.nanmax([least, *shares.abs()])
    return ScalarMappable(Normalize(-reach, reach), "RdBu_r")


def sd_scale(data: pd.DataFrame) -> ScalarMappable:
    """Greys for standard deviations over seeds."""
    return ScalarMappable(Normalize(0, np.nanmax([0.1, *data["sd"]])), "Greys")


def strip(axes: Axes, cells: pd.DataFrame, adapters: list[str], components: list[str], quantity: str, scale) -> None:
    """Adapters × components, coloured by ``quantity``; hatched where it is null, blank where there is no such part."""
    annotated = len(components) <= ANNOTATED_COMPONENTS
    _fill(axes, cells, adapters, components, quantity, scale, ("adapter", "component"), annotated)
    for rank, (left, right) in enumerate(pairwise(components)):
        members = [stem(name) for name in components]
        if stem(left) != stem(right) and max(members.count(stem(left)), members.count(stem(right))) > 1:
            axes.axvline(rank + 0.5, color="white", linewidth=3)


def _fill(
    axes: Axes,
    cells: pd.DataFrame,
    rows: list[str],
    columns: list[str],
    quantity: str,
    scale: ScalarMappable,
    at: tuple[str, str],
    annotated: bool,
) -> None:
    """Cells at the row and column that their columns ``at`` name, with ticks."""
    for cell in cells.to_dict("records"):
        y, x = rows.index(cell[at[0]]), columns.index(cell[at[1]])
        value = cell[quantity]
        if np.isnan(value):
            axes.add_patch(Rectangle((x - 0.48, y - 0.47), 0.96, 0.94, facecolor="#F2F2F2", edgecolor=style.HATCH,
                                     hatch="//////", linewidth=0))  # fmt: skip
            continue
        colour = scale.to_rgba(value)
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=colour, edgecolor="white", linewidth=0.6))
        ink = "white" if np.dot(colour[:3], (0.299, 0.587, 0.114)) < 0.5 else style.INK
        if annotated:
            axes.text(x, y, number(value), ha="center", va="center", fontsize=5.5, color=ink)
        if quantity == "share" and cell["q"] < SIGNIFICANT:
            axes.plot(x + 0.37, y - 0.34, "o", markersize=1.8, color=ink, markeredgewidth=0)
    axes.set_xlim(-0.5, len(columns) - 0.5)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xticks(range(len(columns)), columns, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def legend(data: pd.DataFrame) -> list:
    """What dots and hatching mean, where there are any."""
    handles = []
    if (data["share"].notna() & (data["q"] < SIGNIFICANT)).any():
        label = f"differs from 0 (q < {SIGNIFICANT}, within the lens)"
        handles.append(Line2D([], [], color=style.INK, marker="o", markersize=2.2, linestyle="", label=label))
    if data["share"].isna().any():
        handles.append(Patch(facecolor="#F2F2F2", edgecolor=style.HATCH, hatch="//////", linewidth=0,
                             label="not identified (g ≥ 1): no ratio"))  # fmt: skip
    return handles
