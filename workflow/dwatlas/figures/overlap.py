"""Overlap of the leading directions of dW, between runs of one adapter and of two."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dwatlas.figures import marks, style
from dwatlas.tables.order import natural
from dwatlas.tables.present import number
from dwatlas.tables.study import StudyTables, pick

WIDTH, HEIGHT = 2.9, 2.9
SIDES = {"left": "outputs (left directions)", "right": "inputs (right directions)"}
SAME_SEED, OTHER_SEEDS = "two adapters, same seed", "two adapters, other seeds"
BETWEEN = {SAME_SEED: (style.INK, "-"), OTHER_SEEDS: ("#777777", (0, (4, 2)))}
COLUMNS = ["model", "behaviour", "measure", "k", "series", "adapter", "other_adapter", "seed", "other_seed", "value",
           "null"]  # fmt: skip


def data(tables: StudyTables, model: str, behaviour: str) -> pd.DataFrame:
    """The lines of the study's ``overlap`` with a ``series``: the adapter's name for two of its own runs, else whether
    the seed is the same. One line without values where there are no two runs."""
    cell = {"model": model, "behaviour": behaviour}
    lines = pick(tables.overlap, **cell)
    lines = lines[lines["measure"].isin([*SIDES, "cosine"])]
    within = lines["adapter"] == lines["other_adapter"]
    between = np.where(lines["seed"] == lines["other_seed"], SAME_SEED, OTHER_SEEDS)
    lines = lines.assign(series=lines["adapter"].where(within, between))[COLUMNS]
    return lines.reset_index(drop=True) if len(lines) else pd.DataFrame([cell]).reindex(columns=COLUMNS)


def draw(data: pd.DataFrame) -> Figure:
    """One panel per side, φ over the number of directions k."""
    figure = style.blank(WIDTH * len(SIDES) + 0.4, HEIGHT + 0.9)
    panels = figure.subplots(1, len(SIDES), sharey=True)
    colours = style.colours(pd.concat([data["adapter"], data["other_adapter"]]).dropna().unique())
    known = data.dropna(subset=["value"])
    for axes, (measure, title) in zip(panels, SIDES.items(), strict=True):
        axes.set(ylim=(-0.03, 1.03), xlabel="leading directions $k$")
        axes.set_title(title)
        _panel(axes, pick(known, measure=measure), colours)
    panels[0].set_ylabel("overlap $\\varphi(k)$ of two dW")
    style.below(figure, _legend(known, colours), _footer(data, known))
    return figure


def _panel(axes: Axes, lines: pd.DataFrame, colours: dict[str, str]) -> None:
    if lines.empty:
        axes.set(xticks=[], yticks=[])
        marks.hatched_panel(axes, "fewer than two runs")
        return
    style.faint_grid(axes, "both")
    axes.set_xscale("log", base=2)
    ks = sorted(lines["k"].unique())
    axes.set_xticks(ks, [str(k) for k in ks], minor=False)
    axes.minorticks_off()
    null = lines.groupby("k")["null"].mean()
    axes.plot(null.index, null, color="#777777", linewidth=0.8, linestyle=(0, (1, 1.5)), zorder=1)
    for series, own in lines.groupby("series"):
        colour, dashes = BETWEEN.get(series, (colours.get(series), "-"))
        axes.plot(own["k"], own["value"], "o", color=colour, markersize=2, alpha=0.3, markeredgewidth=0, zorder=2)
        mean = own.groupby("k")["value"].mean()
        axes.plot(mean.index, mean, color=colour, linestyle=dashes, linewidth=1.4, marker="o", markersize=3.5, zorder=3)


def _legend(lines: pd.DataFrame, colours: dict[str, str]) -> list[Line2D]:
    there = set(lines["series"])
    handles = [
        Line2D([], [], color=colours[name], linewidth=1.4, marker="o", markersize=3.5, label=f"{name}, other seeds")
        for name in natural(there - set(BETWEEN))
    ]
    handles += [
        Line2D([], [], color=colour, linestyle=dashes, linewidth=1.4, marker="o", markersize=3.5, label=series)
        for series, (colour, dashes) in BETWEEN.items()
        if series in there
    ]
    random = {"color": "#777777", "linewidth": 0.8, "linestyle": (0, (1, 1.5))}
    return [*handles, Line2D([], [], **random, label="random subspaces, $k/d$")]


def _footer(data: pd.DataFrame, known: pd.DataFrame) -> str:
    first, cosines = data.iloc[0], pick(known, measure="cosine").groupby("series")["value"].mean()
    order = [*natural(set(cosines.index) - set(BETWEEN)), *(name for name in BETWEEN if name in cosines.index)]
    told = "; ".join(f"{name} {number(cosines[name])}" for name in order)
    return f"{first['model']} · {first['behaviour']}\ndots: pairs of runs, means over tensors" + (
        f"\nmean cosine of whole dW: {told}" if told else ""
    )
