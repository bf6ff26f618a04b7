"""Excess over the null: what each component carries alone, and what is lost without it, beyond random stand-ins."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from dwatlas.figures import marks, style
from dwatlas.figures.forest import ROW, row_positions, x_limits
from dwatlas.figures.largest import largest, left_out
from dwatlas.figures.map import SIGNIFICANT
from dwatlas.figures.ratios import caption, component_names, goes_beyond, tidy
from dwatlas.tables.present import VERDICTS, estimate, number
from dwatlas.tables.study import NOT_IDENTIFIED, SHOWN_EFFECT, StudyTables, contrasts, full_effects, pick

MODES = ("keep", "drop")
AXIS = {"keep": "keep excess (alone)", "drop": "drop excess (lost without it)"}
INTERVALS = "95 % Fieller intervals, t over seeds (these rows)"
COLUMNS = ["model", "behaviour", "eval", "lens", "adapter", "component", "mode", "series", "seed", "unit", "value",
           "lo", "hi", "q", "control", "verdict", "g", "n_seeds", "n_items"]  # fmt: skip


def data(tables: StudyTables, model: str, behaviour: str, eval: str, lens: str) -> pd.DataFrame:
    """Long form: ``series`` is ``full`` (nats), ``estimate`` or ``seed``; excesses are over the mean full effect, in
    nats where that is not identified."""
    cell = {"model": model, "behaviour": behaviour, "eval": eval}
    full = pick(full_effects(tables.retained), **cell)
    full = full.assign(component="", mode="full", series="full", unit="nats", value=full["effect_nats"],
                       lo=full["effect_lo"], hi=full["effect_hi"], control="", q=np.nan)  # fmt: skip
    series = [full, *(_estimates(tables, {**cell, "lens": lens}, mode) for mode in MODES)]
    known = pd.concat(series[1:])
    known = known.loc[known["unit"] == "ratio", ["adapter", "component", "mode"]]
    seeds = pick(tables.seeds, **cell, lens=lens, effect=SHOWN_EFFECT).merge(known)
    series.append(_seeds(seeds))
    return largest(tidy(pd.concat([frame for frame in series if len(frame)]), {**cell, "lens": lens}, COLUMNS), tables)


def _estimates(tables: StudyTables, cell: dict[str, str], mode: str) -> pd.DataFrame:
    lines = pick(contrasts(tables, f"{mode}_excess"), **cell)
    known = lines["verdict"] != NOT_IDENTIFIED
    unit = np.where(known, "ratio", "nats")
    return lines.assign(mode=mode, series="estimate", unit=unit, value=lines["ratio"].where(known, lines["nats"]))


def _seeds(lines: pd.DataFrame) -> pd.DataFrame:
    excess = (lines["effect_nats"] - lines["null_nats"]) * np.where(lines["mode"] == "drop", -1, 1)
    unit = lines.groupby(["adapter", "component", "mode"])["full_effect_nats"].transform("mean")
    return lines.assign(series="seed", unit="ratio", value=excess / unit).dropna(subset="value")


def draw(data: pd.DataFrame) -> Figure:
    """One block of two panels per adapter; components are rows, each seed is a dot."""
    adapters, rows = list(dict.fromkeys(data["adapter"])), row_positions(component_names(data))
    columns = min(2, len(adapters))
    blocks = -(-len(adapters) // columns)
    height = max(rows.values(), default=1.0) + 1
    figure = style.blank(4.9 * columns, blocks * (ROW * height + 0.95) + 0.75)
    grid = np.atleast_1d(figure.subfigures(blocks, columns, wspace=0.02)).ravel()
    known = pick(data, unit="ratio")
    limits = x_limits(known, references=(0.0,))
    colours = style.colours(adapters)
    for block, adapter in zip(grid, adapters, strict=False):
        lines = pick(data, adapter=adapter)
        block.suptitle(_title(lines, adapter), fontsize=8, color=colours[adapter])
        for axes, mode in zip(block.subplots(1, 2, sharey=True), MODES, strict=True):
            _panel(axes, pick(lines, mode=mode), rows, colours[adapter], limits)
            axes.set_xlabel(AXIS[mode])
    cut = "\nArrowheads: goes on beyond the axis." if goes_beyond(known, limits) else ""
    style.below(figure, _legend(), caption(data, INTERVALS, left_out(data), _against(data)) + cut)
    return figure


def _against(data: pd.DataFrame) -> str:
    controls = data.loc[data["series"] == "estimate", "control"].unique()
    return f"null: {', '.join(sorted(controls))}" if len(controls) else "no stand-ins"


def _panel(axes: Axes, lines: pd.DataFrame, rows: dict[str, float], colour: str, limits: tuple[float, float]) -> None:
    marks.named_rows(axes, rows, limits)
    axes.axvline(0, color="#777777", linewidth=0.8, zorder=1)
    if lines.empty:
        marks.hatched_panel(axes, "no stand-ins to drop")
    for line in lines.itertuples():
        y = rows[line.component]
        if line.unit == "nats":
            marks.hatched(axes, y, f"{number(line.value, sign=True)} nats")
        elif line.series == "seed":
            marks.dot(axes, line, y, colour)
        else:
            marks.bar(axes, line, y, colour)
            if line.q < SIGNIFICANT:
                axes.plot(1.02, y, marker="*", markersize=5, color=style.INK, markeredgewidth=0, clip_on=False,
                          transform=axes.get_yaxis_transform(), zorder=7)  # fmt: skip
    if (lines["unit"] == "nats").any():
        axes.set_title(f"{VERDICTS[NOT_IDENTIFIED]} (g ≥ 1)", color="#666666", style="italic", pad=2)


def _title(lines: pd.DataFrame, adapter: str) -> str:
    full = pick(lines, series="full").iloc[0]
    size = estimate(full["value"], full["lo"], full["hi"], sign=True)
    return f"{adapter}: full dW {size} nats, {VERDICTS[full['verdict']]} (g = {number(full['g'])})"


def _legend() -> list:
    grey = "#555555"
    return [
        Line2D([], [], color=grey, marker="o", markersize=3, linestyle="", label="one seed"),
        Line2D([], [], color=style.INK, marker="|", markersize=8, markeredgewidth=1.6, linestyle="", label="estimate"),
        Patch(facecolor=grey, alpha=0.45, label="95 %"),
        Line2D([], [], color=style.INK, marker="*", markersize=5, linestyle="", label=f"above 0, q < {SIGNIFICANT}"),
        Patch(facecolor="#F2F2F2", edgecolor=style.HATCH, hatch="/////", linewidth=0, label="not identified (g ≥ 1)"),
    ]
