"""Retained effect against energy: does a part of dW do more than its share of ‖dW‖² would suggest?

R_keep and 1 − R_drop of each component over e = ‖dW_c‖²/‖dW‖². References: y = e is what a dW aligned with the
gradient gives (and the mean of a random partition), y = √e is a uniform shrink of the same direction.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from dwatlas.figures import style
from dwatlas.figures.labels import name_above
from dwatlas.figures.ratios import caption, goes_beyond, ratios
from dwatlas.tables.order import natural, stem
from dwatlas.tables.present import VERDICTS
from dwatlas.tables.study import NOT_IDENTIFIED, StudyTables, pick

WIDTH, HEIGHT = 3.7, 3.4
INTERVALS = "bars: 95 % Fieller, t over seeds (these rows)"


def data(tables: StudyTables, model: str, behaviour: str, eval: str, lens: str) -> pd.DataFrame:
    """The lens in long form (``ratios``), drop lines turned into ``value`` = 1 − R_drop; fixed rows only."""
    lines = ratios(tables, model, behaviour, eval, lens)
    lines = lines[lines["series"].isin(["full", "estimate", "seed", "control"])].reset_index(drop=True)
    lost = (lines["mode"] == "drop") & (lines["unit"] == "ratio")
    turned = 1 - lines[["value", "hi", "lo"]].set_axis(["value", "lo", "hi"], axis=1)
    lines.loc[lost, ["value", "lo", "hi"]] = turned[lost]
    return lines


def draw(data: pd.DataFrame) -> Figure:
    """One panel per adapter, y shared."""
    adapters = list(dict.fromkeys(data["adapter"]))
    columns = min(4, len(adapters))
    rows = -(-len(adapters) // columns)
    figure = style.blank(max(WIDTH * columns + 0.4, 5.2), HEIGHT * rows + 0.75)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    colours = style.colours(adapters)
    known = pick(data, unit="ratio")
    reach = _reach(known["energy_frac"])
    limits = _y_limits(known, reach)
    for axes in grid.ravel()[len(adapters) :]:
        axes.set_axis_off()
    for axes, adapter in zip(grid.ravel(), adapters, strict=False):
        axes.set_xlim(-0.02 * reach, 1.04 * reach)
        axes.set_ylim(limits)
        axes.set_title(adapter, color=colours[adapter])
        axes.set_xlabel("energy of the part, $e$")
        _panel(axes, pick(data, adapter=adapter), colours[adapter], reach)
    for axes in grid[:, 0]:
        axes.set_ylabel("share of the full effect")
    cut = "\nSome seeds, intervals or stand-ins go on beyond the axis." if goes_beyond(known, limits) else ""
    style.below(figure, _legend(), caption(data, INTERVALS) + cut)
    return figure


def _reach(energy: pd.Series) -> float:
    """The right end of the x-axis: all of dW, or less when every part is small."""
    return 1.0 if energy.empty or energy.max() > 0.5 else 1.3 * energy.max()


def _y_limits(lines: pd.DataFrame, reach: float) -> tuple[float, float]:
    centres = [0.0, np.sqrt(reach), *lines.loc[lines["series"] == "estimate", "value"]]
    ends = [*centres, *lines[["value", "lo", "hi"]].replace([np.inf, -np.inf], np.nan).stack()]
    low, high = max(min(ends), min(centres) - 1), min(max(ends), max(centres) + 1)
    margin = 0.05 * (high - low)
    return low - margin, high + margin


def _panel(axes: Axes, lines: pd.DataFrame, colour: str, reach: float) -> None:
    style.faint_grid(axes, "both")
    estimates = pick(lines, series="estimate")
    if (estimates["verdict"] == NOT_IDENTIFIED).all():
        axes.grid(visible=False)
        axes.set_facecolor("#F2F2F2")
        axes.patch.set(hatch="/////", edgecolor=style.HATCH, linewidth=0)
        axes.text(0.5, 0.5, f"{VERDICTS[NOT_IDENTIFIED]} (g ≥ 1)\nno ratio is drawn", ha="center", va="center",
                  transform=axes.transAxes, bbox={"facecolor": "white", "edgecolor": "none", "pad": 3})  # fmt: skip
        return
    energy = reach * np.linspace(0, 1, 101) ** 2
    axes.plot(energy, energy, color="#777777", linewidth=0.8, linestyle=(0, (1, 1.5)), zorder=1)
    axes.plot(energy, np.sqrt(energy), color="#777777", linewidth=0.8, linestyle=(0, (4, 2)), zorder=1)
    for mode in ("drop", "keep"):
        _ribbon(axes, pick(lines, series="control", mode=mode), mode)
        _seeds(axes, pick(lines, series="seed", mode=mode), estimates, mode, colour)
        _estimates(axes, pick(estimates, mode=mode, unit="ratio"), mode, colour)
    name_above(axes, pick(estimates, mode="keep").set_index("component")["energy_frac"])


def _ribbon(axes: Axes, controls: pd.DataFrame, mode: str) -> None:
    controls = controls.groupby("energy_frac")[["lo", "hi"]].mean()
    if mode == "keep":
        axes.fill_between(controls.index, controls["lo"], controls["hi"], color=style.CONTROL, alpha=0.45, linewidth=0)
    else:
        for end in ("lo", "hi"):
            axes.plot(controls.index, controls[end], color="#8A8A8A", linewidth=0.7, linestyle=(0, (2, 2)))


def _seeds(axes: Axes, seeds: pd.DataFrame, estimates: pd.DataFrame, mode: str, colour: str) -> None:
    for family in nested_families(estimates):
        for _, line in seeds[seeds["component"].isin(family)].groupby("seed"):
            line = line.sort_values("energy_frac", kind="stable")
            axes.plot(line["energy_frac"], line["value"], color=colour, alpha=0.3, linewidth=0.6, zorder=3)
    face = colour if mode == "keep" else "none"
    axes.scatter(seeds["energy_frac"], seeds["value"], s=5, facecolors=face, edgecolors=colour, alpha=0.45,
                 linewidths=0.5, zorder=3)  # fmt: skip


def _estimates(axes: Axes, lines: pd.DataFrame, mode: str, colour: str) -> None:
    solid = mode == "keep"
    for family in nested_families(lines):
        line = lines[lines["component"].isin(family)].sort_values("energy_frac", kind="stable")
        axes.plot(line["energy_frac"], line["value"], color=colour, linewidth=1.3, linestyle="-" if solid else "--",
                  zorder=5)  # fmt: skip
    bounds = lines[["lo", "hi"]].clip(*axes.get_ylim())
    axes.vlines(lines["energy_frac"], bounds["lo"], bounds["hi"], color=colour, linewidth=1.1, alpha=0.8, zorder=4)
    axes.plot(lines["energy_frac"], lines["value"], linestyle="", marker="o" if solid else "D", color=colour,
              markersize=4.5 if solid else 4, markerfacecolor=colour if solid else "white", zorder=6)  # fmt: skip
    for edge, beyond, marker in zip(axes.get_ylim(), (bounds["lo"] > lines["lo"], bounds["hi"] < lines["hi"]), "v^",
                                    strict=True):  # fmt: skip
        x = lines.loc[beyond, "energy_frac"]
        if len(x):
            axes.plot(x, np.full(len(x), edge), linestyle="", marker=marker, color=colour, markersize=4, clip_on=False)


def nested_families(lines: pd.DataFrame) -> list[list[str]]:
    """Families such as ``top-1, top-2, …`` whose energies rise with their number and add up to more than all of dW.

    Parts that share energies beyond 1 overlap, so a line through them follows one growing part.
    """
    energy = lines.groupby("component")["energy_frac"].mean()
    families: dict[str, list[str]] = {}
    for name in natural(energy.index):
        families.setdefault(stem(name), []).append(name)
    return [
        names
        for names in families.values()
        if len(names) > 1 and energy[names].is_monotonic_increasing and energy[names].sum() > 1
    ]


def _legend() -> list:
    grey = "#555555"
    return [
        Line2D([], [], color=grey, marker="o", markersize=4.5, linewidth=1.3, label="$R_{\\mathrm{keep}}$"),
        Line2D([], [], color=grey, marker="D", markersize=4, markerfacecolor="white", linestyle="--", linewidth=1.3,
               label="$1 - R_{\\mathrm{drop}}$"),
        Line2D([], [], color=grey, marker="o", markersize=2.2, alpha=0.5, linewidth=0.6, label="one seed"),
        Patch(facecolor=style.CONTROL, alpha=0.45, label="stand-ins kept, 5–95 %"),
        Line2D([], [], color="#8A8A8A", linewidth=0.7, linestyle=(0, (2, 2)), label="stand-ins dropped, 5–95 %"),
        Line2D([], [], color="#777777", linewidth=0.8, linestyle=(0, (1, 1.5)), label="$y = e$"),
        Line2D([], [], color="#777777", linewidth=0.8, linestyle=(0, (4, 2)), label="$y = \\sqrt{e}$"),
    ]  # fmt: skip
