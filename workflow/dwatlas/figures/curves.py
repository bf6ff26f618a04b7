"""Retained effect against size: does a part of dW do more than its size would suggest?

R_keep and 1 − R_drop of each component over three sizes: energy e = ‖dW_c‖²/‖dW‖², rank over the effective rank
(Σs)²/Σs² of dW, and parameters over those of dW. References in the first: y = e is what a dW aligned with the gradient
gives (and the mean of a random partition), y = √e a uniform shrink of the same direction, the nuclear fraction
Σs_c/Σs what directions of equal gradient give on average.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from dwatlas.figures import marks, style
from dwatlas.figures.labels import name_above
from dwatlas.figures.largest import MANY
from dwatlas.figures.ratios import caption, goes_beyond, ratios, tidy
from dwatlas.statistics.families import nested_families
from dwatlas.tables.present import VERDICTS, estimate
from dwatlas.tables.study import NOT_IDENTIFIED, StudyTables, components, contrasts, pick

WIDTH, HEIGHT = 2.75, 2.6
NAMES_HEIGHT, AREAS_WIDTH = 0.55, 1.6
SIZES = {
    "energy_frac": "energy, $e$",
    "rank_frac": "rank / effective rank of dW",
    "params_frac": "parameters",
}
INTERVALS = "bars: 95 % Fieller, t over seeds (these rows)"
NUCLEAR = "#9467BD"
_DRAWN = ["full", "estimate", "seed", "control"]


def data(tables: StudyTables, model: str, behaviour: str, eval: str, lens: str) -> pd.DataFrame:
    """The lens in long form (``ratios``), drop lines turned into ``value`` = 1 − R_drop; fixed rows only.

    Series ``band`` has the bands that hold for all members of a nested family at once, where there are seeds enough.
    Series ``area`` has the AUC excess of each nested family (its stem as ``component``) over its structural null.
    """
    lines = ratios(tables, model, behaviour, eval, lens)
    cell = {"model": model, "behaviour": behaviour, "eval": eval, "lens": lens}
    bands = components(tables.retained).pipe(pick, **cell).dropna(subset="band_lo").drop(columns=["lo", "hi"])
    bands = bands.rename(columns={"retained": "value", "band_lo": "lo", "band_hi": "hi"}).assign(
        series="band", unit="ratio"
    )
    drawn = [lines[lines["series"].isin(_DRAWN)], bands.reindex(columns=lines.columns)]
    lines = pd.concat([frame for frame in drawn if len(frame)], ignore_index=True)
    lost = (lines["mode"] == "drop") & (lines["unit"] == "ratio")
    turned = 1 - lines[["value", "hi", "lo"]].set_axis(["value", "lo", "hi"], axis=1)
    lines.loc[lost, ["value", "lo", "hi"]] = turned[lost]
    areas = [
        pick(contrasts(tables, f"auc_{mode}"), **cell).assign(mode=mode, series="area", unit="ratio")
        for mode in ("keep", "drop")
    ]
    areas = pd.concat(areas).rename(columns={"ratio": "value"}).dropna(subset="value")
    return tidy(pd.concat([lines, areas]) if len(areas) else lines, cell, list(lines.columns))


def draw(data: pd.DataFrame) -> Figure:
    """One row of three panels per adapter, y shared by all."""
    adapters = list(dict.fromkeys(data["adapter"]))
    beside = AREAS_WIDTH if (data["series"] == "area").any() else 0
    figure = style.blank(WIDTH * len(SIZES) + 0.5 + beside, (HEIGHT + NAMES_HEIGHT) * len(adapters) + 0.75)
    grid = figure.subplots(len(adapters), len(SIZES), sharex="col", sharey=True, squeeze=False)
    colours = style.colours(adapters)
    known = data[(data["unit"] == "ratio") & (data["series"] != "area")]
    reaches = {size: _reach(pick(known, series="estimate")[size], size) for size in SIZES}
    limits = _y_limits(known, reaches["energy_frac"])
    for row, adapter in zip(grid, adapters, strict=True):
        lines = pick(data, adapter=adapter)
        for axes, (size, label) in zip(row, SIZES.items(), strict=True):
            axes.set_xlim(-0.02 * reaches[size], 1.04 * reaches[size])
            axes.set_ylim(limits)
            axes.set_xlabel(label)
            axes.tick_params(labelbottom=True)
            axes.locator_params(axis="x", nbins=6)
            _panel(axes, lines, colours[adapter], size, reaches[size])
        row[0].set_ylabel("share of the full effect")
        row[1].set_title(adapter, color=colours[adapter])
        _areas(row[-1], pick(lines, series="area"))
    cut = "\nSome seeds, intervals or stand-ins go on beyond the axis." if goes_beyond(known, limits) else ""
    style.below(figure, _legend(data), caption(data, INTERVALS) + cut)
    return figure


def _reach(sizes: pd.Series, size: str) -> float:
    """The right end of an x-axis: all of dW, or less when every part is small, or more where ranks go on."""
    most = sizes.max()
    if np.isnan(most):
        return 1.0
    return max(1.0, most) if most > 0.5 else 1.3 * most or 1.0


def _y_limits(lines: pd.DataFrame, reach: float) -> tuple[float, float]:
    centres = [0.0, np.sqrt(reach), *lines.loc[lines["series"] == "estimate", "value"]]
    ends = [*centres, *lines[["value", "lo", "hi"]].replace([np.inf, -np.inf], np.nan).stack()]
    low, high = max(min(ends), min(centres) - 1), min(max(ends), max(centres) + 1)
    margin = 0.05 * (high - low)
    return low - margin, high + margin


def _panel(axes: Axes, lines: pd.DataFrame, colour: str, size: str, reach: float) -> None:
    style.faint_grid(axes, "both")
    estimates = pick(lines, series="estimate")
    if (estimates["verdict"] == NOT_IDENTIFIED).all():
        marks.hatched_panel(axes, f"{VERDICTS[NOT_IDENTIFIED]} (g ≥ 1)\nno ratio is drawn")
        return
    kept = pick(estimates, mode="keep", unit="ratio")
    families = nested_families(kept.set_index("component")["energy_frac"].to_dict()).values()
    if size == "energy_frac":
        _references(axes, kept, families, reach)
    for mode in ("drop", "keep"):
        _ribbon(axes, pick(lines, series="control", mode=mode), mode, size)
        if len(kept) <= MANY:
            _seeds(axes, pick(lines, series="seed", mode=mode), families, mode, colour, size)
        _estimates(axes, pick(estimates, mode=mode, unit="ratio"), families, mode, colour, size)
        _bands(axes, pick(lines, series="band", mode=mode), families, colour, size)
    if size == "energy_frac":
        name_above(axes, kept.set_index("component")[size])


def _references(axes: Axes, kept: pd.DataFrame, families, reach: float) -> None:
    energy = reach * np.linspace(0, 1, 101) ** 2
    axes.plot(energy, energy, color="#777777", linewidth=0.8, linestyle=(0, (1, 1.5)), zorder=1)
    axes.plot(energy, np.sqrt(energy), color="#777777", linewidth=0.8, linestyle=(0, (4, 2)), zorder=1)
    known = kept.dropna(subset="nuclear_frac")
    for family in families:
        line = known[known["component"].isin(family)].sort_values("energy_frac", kind="stable")
        axes.plot(line["energy_frac"], line["nuclear_frac"], color=NUCLEAR, linewidth=0.8, zorder=2)
    axes.plot(known["energy_frac"], known["nuclear_frac"], "x", color=NUCLEAR, markersize=3.5, markeredgewidth=0.9,
              zorder=2)  # fmt: skip


def _areas(axes: Axes, areas: pd.DataFrame) -> None:
    """The AUC excess of each family with its interval, beside the panel."""
    told = [
        f"{line.component} {'kept' if line.mode == 'keep' else 'dropped'}: "
        f"{estimate(line.value, line.lo, line.hi, sign=True)}"
        for line in areas.sort_values(["component", "mode"], ascending=[True, False], kind="stable").itertuples()
    ]
    if told:
        text = "\n".join(["AUC excess over the null", *told])
        axes.text(1.03, 1.0, text, transform=axes.transAxes, ha="left", va="top", fontsize=5.6)


def _ribbon(axes: Axes, controls: pd.DataFrame, mode: str, size: str) -> None:
    controls = controls.groupby(size)[["lo", "hi"]].mean()
    if mode == "keep":
        axes.fill_between(controls.index, controls["lo"], controls["hi"], color=style.CONTROL, alpha=0.45, linewidth=0)
    else:
        for end in ("lo", "hi"):
            axes.plot(controls.index, controls[end], color="#8A8A8A", linewidth=0.7, linestyle=(0, (2, 2)))


def _seeds(axes: Axes, seeds: pd.DataFrame, families, mode: str, colour: str, size: str) -> None:
    for family in families:
        for _, line in seeds[seeds["component"].isin(family)].groupby("seed"):
            line = line.sort_values(size, kind="stable")
            axes.plot(line[size], line["value"], color=colour, alpha=0.3, linewidth=0.6, zorder=3)
    face = colour if mode == "keep" else "none"
    axes.scatter(seeds[size], seeds["value"], s=5, facecolors=face, edgecolors=colour, alpha=0.45, linewidths=0.5,
                 zorder=3)  # fmt: skip


def _estimates(axes: Axes, lines: pd.DataFrame, families, mode: str, colour: str, size: str) -> None:
    solid = mode == "keep"
    for family in families:
        line = lines[lines["component"].isin(family)].sort_values(size, kind="stable")
        axes.plot(line[size], line["value"], color=colour, linewidth=1.3, linestyle="-" if solid else "--",
                  zorder=5)  # fmt: skip
    bounds = lines[["lo", "hi"]].clip(*axes.get_ylim())
    axes.vlines(lines[size], bounds["lo"], bounds["hi"], color=colour, linewidth=1.0, alpha=0.8, zorder=4)
    axes.plot(lines[size], lines["value"], linestyle="", marker="o" if solid else "D", color=colour,
              markersize=4 if solid else 3.5, markerfacecolor=colour if solid else "white", zorder=6)  # fmt: skip
    for edge, beyond, marker in zip(axes.get_ylim(), (bounds["lo"] > lines["lo"], bounds["hi"] < lines["hi"]), "v^",
                                    strict=True):  # fmt: skip
        x = lines.loc[beyond, size]
        if len(x):
            axes.plot(x, np.full(len(x), edge), linestyle="", marker=marker, color=colour, markersize=4, clip_on=False)


def _bands(axes: Axes, lines: pd.DataFrame, families, colour: str, size: str) -> None:
    for family in families:
        line = lines[lines["component"].isin(family)].sort_values(size, kind="stable")
        axes.fill_between(line[size], line["lo"], line["hi"], color=colour, alpha=0.12, linewidth=0, zorder=2)


def _legend(data: pd.DataFrame) -> list:
    grey = "#555555"
    bands = [Patch(facecolor=grey, alpha=0.2, label="95 % band of the whole curve")]
    nuclear = [Line2D([], [], color=NUCLEAR, marker="x", markersize=3.5, linewidth=0.8, label="nuclear fraction")]
    return [
        Line2D([], [], color=grey, marker="o", markersize=4.5, linewidth=1.3, label="$R_{\\mathrm{keep}}$"),
        Line2D([], [], color=grey, marker="D", markersize=4, markerfacecolor="white", linestyle="--", linewidth=1.3,
               label="$1 - R_{\\mathrm{drop}}$"),
        Line2D([], [], color=grey, marker="o", markersize=2.2, alpha=0.5, linewidth=0.6, label="one seed"),
        Patch(facecolor=style.CONTROL, alpha=0.45, label="stand-ins kept, 5–95 %"),
        Line2D([], [], color="#8A8A8A", linewidth=0.7, linestyle=(0, (2, 2)), label="stand-ins dropped, 5–95 %"),
        Line2D([], [], color="#777777", linewidth=0.8, linestyle=(0, (1, 1.5)), label="$y = e$"),
        Line2D([], [], color="#777777", linewidth=0.8, linestyle=(0, (4, 2)), label="$y = \\sqrt{e}$"),
        *(bands if (data["series"] == "band").any() else []),
        *(nuclear if data["nuclear_frac"].notna().any() else []),
    ]  # fmt: skip
