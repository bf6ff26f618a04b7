"""How many seeds would be needed? The full effect's interval, and how dependable profiles are."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from dwatlas.figures import marks, style
from dwatlas.figures.ratios import MODES, span
from dwatlas.statistics.design import MOST_SEEDS
from dwatlas.statistics.reliability import DEPENDABLE
from dwatlas.tables.order import in_order, natural
from dwatlas.tables.study import (
    NOT_IDENTIFIED,
    SEEDS_AND_ITEMS,
    SEEDS_ONLY,
    SHOWN_EFFECT,
    StudyTables,
    full_effects,
    pick,
)

WIDTH, ROW = 6.6, 1.55
OFFSET, SPREAD = 0.35, 1.5
TICKS, MOST_TICKS = [digit * 10.0**power for power in range(-6, 7) for digit in (1, 2, 5)], 9
INTERVALS = {SEEDS_ONLY: "these rows", SEEDS_AND_ITEMS: "new items too"}
PROFILES = {"drop": "lost without each part", "keep": "left with each part alone"}
COLUMNS = ["model", "behaviour", "eval", "adapter", "lens", "mode", "quantity", "estimand", "n_seeds", "value", "lo",
           "hi", "own", "verdict", "n_items"]  # fmt: skip


def data(tables: StudyTables, model: str, behaviour: str, eval: str) -> pd.DataFrame:
    """The study's ``design`` with half-widths over |D̄|; ``own`` marks the study's number of seeds, where Eρ² has its
    interval. One line without values where nothing can be estimated."""
    cell = {"model": model, "behaviour": behaviour, "eval": eval}
    full = pick(full_effects(tables.retained), **cell).set_index("adapter")
    lines = pick(tables.design, **cell, effect=SHOWN_EFFECT).copy()
    if lines.empty:
        return pd.DataFrame([cell]).reindex(columns=COLUMNS)
    lines["own"] = lines["n_seeds"] == lines["adapter"].map(full["n_seeds"])
    for name in ("verdict", "n_items"):
        lines[name] = lines["adapter"].map(full[name])
    unit = lines["adapter"].map(full["full_effect_nats"].abs())
    lines["value"] = lines["value"].where(lines["quantity"] != "half_width", lines["value"] / unit)
    keys = ["adapter", "lens", "mode"]
    known = pick(tables.reliability, **cell, effect=SHOWN_EFFECT)[[*keys, "g_coefficient_lo", "g_coefficient_hi"]]
    lines = lines.merge(known.set_axis([*keys, "lo", "hi"], axis=1), how="left", on=keys)
    lines.loc[~lines["own"], ["lo", "hi"]] = np.nan
    return in_order(lines[COLUMNS], ["lens", "mode", "adapter", "estimand", "n_seeds"])


def draw(data: pd.DataFrame) -> Figure:
    """The interval of the full effect in the first row, then a row of two profiles per lens; one line per adapter."""
    lenses = natural(data.loc[data["quantity"] == "g_coefficient", "lens"])
    figure = style.blank(WIDTH, ROW * (1 + max(len(lenses), 1)) + 1.0)
    grid = figure.subplots(1 + len(lenses), 2, squeeze=False, sharex=True)
    colours = style.colours(data["adapter"].dropna())
    limits = _limits(pick(data, quantity="half_width")["value"])
    for axes, (estimand, words) in zip(grid[0], INTERVALS.items(), strict=True):
        _half_widths(axes, pick(data, quantity="half_width", estimand=estimand), colours, limits)
        axes.set_title(f"full effect, {words}", loc="left")
    grid[0][0].set_ylabel("half-width of 95 %\nover |D̄|")
    for row, lens in zip(grid[1:], lenses, strict=True):
        lowest = min(0.7, pick(data, lens=lens)[["value", "lo"]].min(axis=None))
        for axes, mode in zip(row, MODES, strict=True):
            _profiles(axes, pick(data, lens=lens, mode=mode), colours, np.floor(10 * lowest) / 10)
            axes.set_title(f"{lens}: {PROFILES[mode]}", loc="left")
        row[0].set_ylabel("Eρ²")
    for axes in grid[-1]:
        axes.set_xlabel("number of seeds")
    style.below(figure, _legend(data, colours), _caption(data))
    return figure


def _limits(values: pd.Series) -> tuple[float, float]:
    """Limits of a logarithmic axis that holds all values, and 0.1 to 2."""
    known = values[values > 0]
    return 1 / 1.3 * min([0.1, *known]), 1.3 * max([1.6, *known])


def _half_widths(axes: Axes, lines: pd.DataFrame, colours: dict[str, str], limits: tuple[float, float]) -> None:
    if not _start(axes, lines):
        return
    axes.set_yscale("log")
    axes.set_ylim(limits)
    ticks = [tick for tick in TICKS if limits[0] <= tick <= limits[1]]
    axes.set_yticks(ticks if len(ticks) < MOST_TICKS else ticks[::3], minor=False)
    axes.set_yticklabels([f"{tick:g}" for tick in axes.get_yticks()])
    axes.minorticks_off()
    unknown = Rectangle((1, 1), MOST_SEEDS - 1, limits[1], facecolor="#F2F2F2", edgecolor=style.HATCH, hatch="/////",
                        linewidth=0, zorder=0)  # fmt: skip
    axes.add_patch(unknown)
    axes.axhline(0.5, color="#777777", linewidth=0.8, linestyle=(0, (1, 1.5)), zorder=1)
    _lines(axes, lines, colours)


def _profiles(axes: Axes, lines: pd.DataFrame, colours: dict[str, str], low: float) -> None:
    if not _start(axes, lines):
        return
    axes.set_ylim(low - 0.03, 1.03)
    axes.axhline(DEPENDABLE, color="#777777", linewidth=0.8, linestyle=(0, (1, 1.5)), zorder=1)
    _lines(axes, lines, colours)


def _start(axes: Axes, lines: pd.DataFrame) -> bool:
    """Set the axis of seeds; whether there is anything to draw on it."""
    axes.set_xlim(1, MOST_SEEDS)
    axes.set_xticks([1, 5, 10, 15, 20, 25, 30])
    if lines["value"].notna().any():
        style.faint_grid(axes, "both")
        return True
    axes.set_yticks([])
    marks.hatched_panel(axes, "fewer than two seeds, items or parts")
    return False


def _lines(axes: Axes, lines: pd.DataFrame, colours: dict[str, str]) -> None:
    for adapter, own in lines.groupby("adapter"):
        offset = min(OFFSET, SPREAD / len(colours)) * (list(colours).index(adapter) - (len(colours) - 1) / 2)
        unknown = (own["verdict"] == NOT_IDENTIFIED).any()
        axes.plot(own["n_seeds"], own["value"], color=colours[adapter], linewidth=1.3,
                  linestyle=(0, (3, 1.5)) if unknown else "-", zorder=3)  # fmt: skip
        for line in own[own["own"]].itertuples():
            axes.plot(line.n_seeds, line.value, "o", color=colours[adapter], markersize=4, markeredgecolor="white",
                      markeredgewidth=0.5, zorder=5)  # fmt: skip
            place = [line.n_seeds + offset] * 2
            axes.plot(place, [line.lo, line.hi], color=colours[adapter], linewidth=2.4, alpha=0.45, zorder=2,
                      solid_capstyle="butt")  # fmt: skip


def _legend(data: pd.DataFrame, colours: dict[str, str]) -> list:
    unknown = set(data.loc[data["verdict"] == NOT_IDENTIFIED, "adapter"])
    grey, dotted = "#555555", {"color": "#777777", "linewidth": 0.8, "linestyle": (0, (1, 1.5))}
    return [
        *(
            Line2D([], [], color=colour, linewidth=1.3, linestyle=(0, (3, 1.5)) if name in unknown else "-",
                   label=f"{name}, not identified" if name in unknown else name)
            for name, colour in colours.items()
        ),
        Line2D([], [], color=grey, marker="o", markersize=4, linestyle="", label="this study"),
        Line2D([], [], color=grey, linewidth=2.4, alpha=0.45, label="95 %, jackknife over seeds"),
        Line2D([], [], **dotted, label=f"g = 0.25; Eρ² = {DEPENDABLE:g}"),
        Patch(facecolor="#F2F2F2", edgecolor=style.HATCH, hatch="/////", linewidth=0, label="not identified (g ≥ 1)"),
    ]  # fmt: skip


def _caption(data: pd.DataFrame) -> str:
    first, own = data.iloc[0], data[data["own"] == True]  # noqa: E712
    sizes = f" · {span(own['n_seeds'])} seeds, {span(own['n_items'])} items" if len(own) else ""
    return (
        f"{first['model']} · {first['behaviour']} · {first['eval']}{sizes}\n"
        "variance components of ½[h(+1) − h(−1)] in nats, at the study's items"
    )
