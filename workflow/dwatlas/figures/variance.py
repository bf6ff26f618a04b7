"""Variance components of the full effect: how much seeds, items and both together vary, and what limits the mean."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from dwatlas.figures import marks, style
from dwatlas.figures.ratios import span
from dwatlas.tables.order import in_order, natural
from dwatlas.tables.present import number
from dwatlas.tables.reliability import FACETS
from dwatlas.tables.study import CELL, NOT_IDENTIFIED, SHOWN_EFFECT, StudyTables, full_effects, pick

BAR, GAP, BEYOND = 0.15, 0.6, 1.6
SHADES = {"seed": 1.0, "data": 1.0, "training": 0.75, "item": 0.5, "data_item": 0.35, "residual": 0.22}
COLUMNS = ["model", "behaviour", "eval", "adapter", "facet", "series", "seed", "value", "lo", "hi", "of_mean",
           "full_effect_nats", "verdict", "n_seeds", "n_items"]  # fmt: skip


def data(tables: StudyTables, model: str, behaviour: str) -> pd.DataFrame:
    """One line per eval, adapter and facet: its SD in nats with its interval, and what it adds to the variance of the
    mean; for the first facet also each ``seed``'s distance from the mean over seeds."""
    cell = {"model": model, "behaviour": behaviour, "effect": SHOWN_EFFECT}
    lines = pick(tables.variance, **cell).merge(full_effects(tables.retained)[[*CELL, "verdict"]], on=CELL)
    lines = lines.assign(series="estimate", value=lines["sd"], lo=lines["sd_lo"], hi=lines["sd_hi"])
    lines = lines.sort_values("facet", key=lambda names: names.map(list(FACETS).index), kind="stable")
    first = lines.drop_duplicates(CELL)[[*CELL, "facet", "verdict", "n_seeds", "n_items", "full_effect_nats"]]
    seeds = pick(tables.seeds, **cell, lens="anchors", mode="full")[[*CELL, "seed", "effect_nats"]]
    seeds = seeds.merge(first, on=CELL).assign(series="seed")
    seeds["value"] = (seeds["effect_nats"] - seeds["full_effect_nats"]).abs()
    frame = pd.concat([lines, seeds], ignore_index=True).reindex(columns=COLUMNS)
    frame["seed"] = frame["seed"].astype("Int64")
    return in_order(frame, ["eval", "adapter"])


def draw(data: pd.DataFrame) -> Figure:
    """A row of panels per eval: SDs of one score, and what the variance of the mean is made of."""
    evals, adapters = natural(data["eval"]), natural(data["adapter"])
    facets = [facet for facet in FACETS if facet in set(data["facet"])]
    block = len(facets) + GAP
    figure = style.blank(6.6, len(evals) * (BAR * block * len(adapters) + 0.75) + 0.9)
    grid = figure.subplots(len(evals), 2, squeeze=False, width_ratios=[1.5, 1])
    colours, cut = style.colours(adapters), False
    for (left, right), name in zip(grid, evals, strict=True):
        lines = pick(data, eval=name)
        cut |= _spreads(left, lines, adapters, facets, colours)
        _of_mean(right, lines, adapters, facets, colours)
        left.set_title(name, loc="left")
    grid[-1][0].set_xlabel("SD (nats)")
    grid[-1][1].set_xlabel("share of the variance of the mean")
    footer = _caption(data) + ("\nArrowheads: goes on beyond the axis." if cut else "")
    style.below(figure, _legend(data, facets), footer)
    return figure


def _spreads(axes: Axes, lines: pd.DataFrame, adapters: list[str], facets: list[str], colours: dict[str, str]) -> bool:
    """Draw the SDs; whether an interval goes on beyond the axis."""
    farthest = BEYOND * lines["value"].max() if lines["value"].notna().any() else 1.0
    limits = (0, min(1.03 * np.nanmax([farthest / BEYOND, *lines["hi"]]), farthest) or 1.0)
    axes.set_xlim(limits)
    block = len(facets) + GAP
    _rows(axes, adapters, block, len(facets))
    style.faint_grid(axes, "x")
    for line in lines.itertuples():
        y = adapters.index(line.adapter) * block + facets.index(line.facet)
        look = _look(line, colours[line.adapter])
        if line.series == "seed":
            axes.plot(line.value, y + 0.1 * ((line.seed * 2) % 5 - 2), "o", markersize=2.4, color=style.INK,
                      markerfacecolor="white", markeredgewidth=0.6, zorder=5)  # fmt: skip
        elif np.isnan(line.value):
            marks.hatched(axes, y, "fewer than two seeds or items")
        else:
            axes.barh(y, line.value, height=0.84, zorder=2, **look)
            if line.value == 0:
                axes.text(limits[1] * 0.008, y, "estimated at or below 0", fontsize=5.5, va="center", color="#666666")
            if not np.isnan(line.lo):
                axes.plot([line.lo, min(line.hi, limits[1])], [y, y], color=style.INK, linewidth=0.8, zorder=4)
                marks.arrows(axes, line.lo, line.hi, y, style.INK)
    return bool((lines["hi"] > limits[1]).any())


def _of_mean(axes: Axes, lines: pd.DataFrame, adapters: list[str], facets: list[str], colours: dict[str, str]) -> None:
    axes.set_xlim(0, 1)
    block = len(facets) + GAP
    _rows(axes, adapters, block, len(facets))
    axes.set_yticks([])
    for adapter, own in pick(lines, series="estimate").groupby("adapter"):
        y, total, left = adapters.index(adapter) * block + (len(facets) - 1) / 2, own["of_mean"].sum(), 0.0
        if not total > 0:
            continue
        for line in own.itertuples():
            share = line.of_mean / total
            axes.barh(y, share, left=left, height=1.1, zorder=2, **_look(line, colours[adapter]))
            axes.plot([left, left], [y - 0.55, y + 0.55], color="white", linewidth=0.8, zorder=3)
            left += share
        effect = number(own["full_effect_nats"].iloc[0], sign=True)
        axes.text(0, y - 0.75, f"D̄ {effect} nats, standard error {number(total**0.5)}", fontsize=6, va="bottom")


def _rows(axes: Axes, adapters: list[str], block: float, bars: int) -> None:
    axes.set_ylim(len(adapters) * block - GAP - 0.4, -0.6)
    axes.set_yticks([rank * block + (bars - 1) / 2 for rank in range(len(adapters))], adapters)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _look(line, colour: str) -> dict:
    if line.verdict == NOT_IDENTIFIED:
        return {"facecolor": "#F2F2F2", "edgecolor": style.HATCH, "hatch": "/////", "linewidth": 0}
    return {"color": _tint(colour, line.facet), "linewidth": 0}


def _tint(colour: str, facet: str) -> tuple[float, ...]:
    return tuple(1 - SHADES[facet] * (1 - part) for part in to_rgb(colour))


def _caption(data: pd.DataFrame) -> str:
    first, lines = data.iloc[0], pick(data, series="estimate")
    return (
        f"{first['model']} · {first['behaviour']} · {span(lines['n_seeds'])} seeds, {span(lines['n_items'])} items\n"
        "effect ½[h(+1) − h(−1)] · 95 % intervals: Satterthwaite, none where a variance is estimated below zero"
    )


def _legend(data: pd.DataFrame, facets: list[str]) -> list:
    handles = [Patch(facecolor=_tint("#333333", facet), linewidth=0, label=FACETS[facet]) for facet in facets]
    handles += [
        Line2D([], [], color=style.INK, linewidth=0.8, label="95 %"),
        Line2D([], [], color=style.INK, marker="o", markersize=3, markerfacecolor="white", linestyle="",
               label="one seed's distance from the mean"),
    ]  # fmt: skip
    if (data["verdict"] == NOT_IDENTIFIED).any():
        handles.append(Patch(facecolor="#F2F2F2", edgecolor=style.HATCH, hatch="/////", linewidth=0,
                             label="full effect not identified (g ≥ 1)"))  # fmt: skip
    return handles
