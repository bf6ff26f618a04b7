"""Forest plot of one lens: what is left without each component (R_drop) and with it alone (R_keep), per adapter."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from dwatlas.figures import marks, style
from dwatlas.figures.largest import largest, left_out
from dwatlas.figures.ratios import MODES, caption, component_names, goes_beyond, ratios
from dwatlas.tables.order import stem
from dwatlas.tables.present import VERDICTS, estimate, number
from dwatlas.tables.study import NOT_IDENTIFIED, StudyTables, pick

ROW = 0.24
FAMILY_GAP = 0.5
BEYOND = 1.0
INTERVALS = "95 % Fieller intervals: t over seeds (these rows), crossed over seeds and items (new items)"
AXIS = {"drop": "$R_{\\mathrm{drop}}$ (left without it)", "keep": "$R_{\\mathrm{keep}}$ (left with it alone)"}


def data(tables: StudyTables, model: str, behaviour: str, eval: str, lens: str) -> pd.DataFrame:
    """The lens in long form (``ratios``), at most as many components as can be read."""
    return largest(ratios(tables, model, behaviour, eval, lens), tables)


def draw(data: pd.DataFrame) -> Figure:
    """One block of two panels per adapter; components are rows, each seed is a dot."""
    adapters = list(dict.fromkeys(data["adapter"]))
    rows = row_positions(component_names(data))
    columns = min(2, len(adapters))
    blocks = -(-len(adapters) // columns)
    figure = style.blank(4.9 * columns, blocks * (ROW * (max(rows.values()) + 1) + 0.95) + 0.75)
    grid = np.atleast_1d(figure.subfigures(blocks, columns, wspace=0.02)).ravel()
    limits = {mode: x_limits(pick(data, mode=mode, unit="ratio")) for mode in MODES}
    colours = style.colours(adapters)
    for block, adapter in zip(grid, adapters, strict=False):
        lines = pick(data, adapter=adapter)
        block.suptitle(_title(lines, adapter), fontsize=8, color=colours[adapter])
        for axes, mode in zip(block.subplots(1, 2, sharey=True), MODES, strict=True):
            _panel(axes, pick(lines, mode=mode), rows, colours[adapter], limits[mode])
            axes.set_xlabel(AXIS[mode])
    style.below(figure, _legend(), caption(data, INTERVALS, left_out(data)) + _clipping(data, limits))
    return figure


def row_positions(components: list[str]) -> dict[str, float]:
    """Height of each component's row, with a gap between families that have several members."""
    positions, height = {}, 0.0
    stems = [stem(name) for name in components]
    for rank, name in enumerate(components):
        new_family = rank > 0 and stems[rank] != stems[rank - 1]
        if new_family and max(stems.count(stems[rank]), stems.count(stems[rank - 1])) > 1:
            height += FAMILY_GAP
        positions[name] = height
        height += 1
    return positions


def x_limits(lines: pd.DataFrame, references: tuple[float, ...] = (0.0, 1.0)) -> tuple[float, float]:
    """Limits that hold the references and every estimate; intervals and dots much further out end in an arrow."""
    estimates = lines.loc[lines["series"] == "estimate", "value"]
    everything = pd.concat([lines[name] for name in ("value", "lo", "hi")]).replace([np.inf, -np.inf], np.nan).dropna()
    low = max(min([*references, *everything]), min([*references, *estimates]) - BEYOND)
    high = min(max([*references, *everything]), max([*references, *estimates]) + BEYOND)
    margin = 0.05 * (high - low or 1.0)
    return low - margin, high + margin


def _panel(axes: Axes, lines: pd.DataFrame, rows: dict[str, float], colour: str, limits: tuple[float, float]) -> None:
    marks.named_rows(axes, rows, limits)
    for reference in (0, 1):
        axes.axvline(reference, color="#777777", linewidth=0.8, zorder=1)
    for line in lines.itertuples():
        _MARKS[line.unit, line.series](axes, line, rows[line.component], colour)
    if (lines["unit"] == "nats").any():
        axes.set_title(f"{VERDICTS[NOT_IDENTIFIED]} (g ≥ 1)", color="#666666", style="italic", pad=2)


def _control(axes: Axes, line, y: float, colour: str) -> None:
    width = line.hi - line.lo
    axes.add_patch(Rectangle((line.lo, y - 0.42), width, 0.84, color=style.CONTROL, alpha=0.45, linewidth=0, zorder=2))


def _thin(axes: Axes, line, y: float, colour: str) -> None:
    axes.plot([line.lo, line.hi], [y, y], color=colour, linewidth=0.9, zorder=4, solid_capstyle="butt")
    marks.arrows(axes, line.lo, line.hi, y, colour)


def _hatched(axes: Axes, line, y: float, colour: str) -> None:
    marks.hatched(axes, y, f"effect {estimate(line.value, line.lo, line.hi, sign=True)} nats")


_MARKS = {
    ("ratio", "control"): _control,
    ("ratio", "estimate"): marks.bar,
    ("ratio", "new_items"): _thin,
    ("ratio", "seed"): marks.dot,
    ("nats", "estimate"): _hatched,
}


def _title(lines: pd.DataFrame, adapter: str) -> str:
    full = pick(lines, series="full").iloc[0]
    size = estimate(full["value"], full["lo"], full["hi"], sign=True)
    title = f"{adapter}: full dW {size} nats, {VERDICTS[full['verdict']]} (g = {number(full['g'])})"
    new_items = pick(lines, series="full_new_items")["verdict"].tolist()
    only_here = new_items == [NOT_IDENTIFIED] and full["verdict"] != NOT_IDENTIFIED
    return title + ("; not identified for new items" if only_here else "")


def _clipping(data: pd.DataFrame, limits: dict[str, tuple[float, float]]) -> str:
    cut = any(goes_beyond(pick(data, mode=mode, unit="ratio"), limits[mode]) for mode in MODES)
    return "\nArrowheads: goes on beyond the axis." if cut else ""


def _legend() -> list:
    grey = "#555555"
    return [
        Line2D([], [], color=grey, marker="o", markersize=3, linestyle="", label="one seed"),
        Line2D([], [], color=style.INK, marker="|", markersize=8, markeredgewidth=1.6, linestyle="", label="estimate"),
        Patch(facecolor=grey, alpha=0.45, label="95 %, these rows"),
        Line2D([], [], color=grey, linewidth=0.9, label="95 %, new items too"),
        Patch(facecolor=style.CONTROL, alpha=0.45, label="random stand-ins, 5–95 %"),
        Patch(facecolor="#F2F2F2", edgecolor=style.HATCH, hatch="/////", linewidth=0, label="not identified (g ≥ 1)"),
    ]
