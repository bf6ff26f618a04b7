"""Do parts add up? Additive shares of components against what is lost without them."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dwatlas.figures import marks, style
from dwatlas.figures.ratios import caption, ratios, tidy
from dwatlas.tables.present import VERDICTS, estimate, number
from dwatlas.tables.study import NOT_IDENTIFIED, StudyTables, contrasts, pick

SIZE = 2.9
NAMED = 8
CLOSE = 0.04
COLUMNS = ["model", "behaviour", "eval", "lens", "adapter", "component", "mode", "series", "seed", "share", "lost",
           "verdict", "g", "n_seeds", "n_items", "control", "spearman", "spearman_lo", "spearman_hi",
           "completeness"]  # fmt: skip


def data(tables: StudyTables, model: str, behaviour: str, eval: str, lens: str) -> pd.DataFrame:
    """One line per adapter and component: ``share`` and ``lost`` (1 − R_drop), both over the full effect, null where
    that is not identified or nothing is known, beside the lens's ``spearman`` and ``completeness``."""
    cell = {"model": model, "behaviour": behaviour, "eval": eval, "lens": lens}
    lines = pick(ratios(tables, **cell), series="estimate", mode="drop")
    share = pick(contrasts(tables, "share"), **cell).set_index(["adapter", "component"])["ratio"].rename("share")
    additive = pick(tables.additivity, **cell).set_index("adapter")
    additive = additive[["spearman", "lo", "hi", "completeness"]].rename(
        columns={"lo": "spearman_lo", "hi": "spearman_hi"}
    )
    lines = lines.assign(lost=(1 - lines["value"]).where(lines["unit"] == "ratio"))
    return tidy(lines.join(share, on=["adapter", "component"]).join(additive, on="adapter"), cell, COLUMNS)


def draw(data: pd.DataFrame) -> Figure:
    """One panel per adapter, both axes shared."""
    adapters = list(dict.fromkeys(data["adapter"]))
    columns = min(4, len(adapters))
    rows = -(-len(adapters) // columns)
    figure = style.blank(max(SIZE * columns + 0.4, 4.6), (SIZE + 0.35) * rows + 0.6)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    colours = style.colours(adapters)
    known = data.dropna(subset=["share", "lost"])
    values = [0.0, *known["share"], *known["lost"]]
    margin = 0.06 * (max(values) - min(values) or 1.0)
    limits = min(values) - margin, max(values) + margin
    for axes in grid.ravel()[len(adapters) :]:
        axes.set_axis_off()
    for axes, adapter in zip(grid.ravel(), adapters, strict=False):
        axes.set(xlim=limits, ylim=limits)
        axes.set_xlabel("lost without it, $1 - R_{\\mathrm{drop}}$")
        _panel(axes, pick(data, adapter=adapter), adapter, colours[adapter])
    for axes in grid[:, 0]:
        axes.set_ylabel("additive share of the full effect")
    style.below(figure, _legend(), caption(data))
    return figure


def _panel(axes: Axes, lines: pd.DataFrame, adapter: str, colour: str) -> None:
    style.faint_grid(axes, "both")
    first, known = lines.iloc[0], lines.dropna(subset=["share", "lost"])
    axes.set_title(_title(first, adapter), color=colour)
    if known.empty:
        unknown = first["verdict"] == NOT_IDENTIFIED
        marks.hatched_panel(axes, f"{VERDICTS[NOT_IDENTIFIED]} (g ≥ 1)" if unknown else "no additive shares")
        return
    axes.axline((0, 0), slope=1, color="#777777", linewidth=0.8, linestyle=(0, (4, 2)), zorder=1)
    axes.plot(known["lost"], known["share"], "o", color=colour, markersize=4, alpha=0.75, markeredgecolor="white",
              markeredgewidth=0.4, zorder=3)  # fmt: skip
    _name_largest(axes, known)


def _name_largest(axes: Axes, known: pd.DataFrame) -> None:
    """Names beside the dots furthest out, except where one would be written over another."""
    sizes = (known["share"] ** 2 + known["lost"] ** 2).sort_values(ascending=False, kind="stable")
    low, high = axes.get_xlim()
    written: list[tuple[float, bool]] = []
    for line in known.loc[sizes.index].itertuples():
        right = line.lost > (low + high) / 2
        crowded = any(side == right and abs(line.share - y) < CLOSE * (high - low) for y, side in written)
        if crowded or len(written) == NAMED:
            continue
        written.append((line.share, right))
        axes.annotate(line.component, (line.lost, line.share), (-4 if right else 4, 0), textcoords="offset points",
                      ha="right" if right else "left", va="center", fontsize=5.6, color="#444444")  # fmt: skip


def _title(line: pd.Series, adapter: str) -> str:
    if pd.isna(line["spearman"]):
        return adapter
    size = estimate(line["spearman"], line["spearman_lo"], line["spearman_hi"])
    whole = "" if pd.isna(line["completeness"]) else f", sum {number(line['completeness'])}"
    return f"{adapter}\nSpearman {size}{whole}"


def _legend() -> list:
    grey = "#555555"
    return [
        Line2D([], [], color=grey, marker="o", markersize=4, linestyle="", label="component, mean over seeds"),
        Line2D([], [], color="#777777", linewidth=0.8, linestyle=(0, (4, 2)), label="share = lost"),
    ]
