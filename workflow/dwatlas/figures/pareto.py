"""Effect against degradation: what the full dW does over the whole grid of α, and what each α costs."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dwatlas.figures import marks, style
from dwatlas.figures.ratios import span
from dwatlas.statistics.ranking import direction
from dwatlas.tables.order import natural
from dwatlas.tables.study import NOT_IDENTIFIED, StudyTables, full_effects, pick

LABELS = {"kl_base": "KL from base on {} (nats)", "accuracy_loss": "accuracy lost on {}"}
SIGNS = {1: ("o", "-", "α > 0"), -1: ("D", (0, (3, 1.5)), "α < 0")}
LIGHTEST = 0.3
PANEL = 3.1
COLUMNS = ["model", "behaviour", "eval", "adapter", "measure", "on", "series", "seed", "alpha", "degradation", "effect",
           "towards", "verdict", "n_seeds", "n_items"]  # fmt: skip


def data(tables: StudyTables, model: str, behaviour: str, eval: str) -> pd.DataFrame:
    """Per adapter and α: each ``seed`` and the ``mean``; ``effect`` in nats on ``eval``, ``degradation`` in the unit of
    ``measure`` on the eval ``on``.

    ``effect`` is h(α) − h(0) times sign(α) and ``towards``, the sign of the adapters' mean effect per α: positive where
    the edit does what its dose asks. Accuracy lost is that at α = 0 less that at α, seed by seed; one line without
    values where no eval measures a capability.
    """
    cell = {"model": model, "behaviour": behaviour}
    doses = pick(tables.doses, **cell, control="")
    shift = _wide(doses, eval, "effect")
    costs = {("kl_base", eval): _wide(doses, eval, "kl_base")}
    for name in natural(doses.loc[doses["metric"] == "accuracy", "eval"]):
        accuracy = _wide(doses, name, "accuracy")
        costs["accuracy_loss", name] = accuracy.rsub(accuracy[0.0], axis=0)
    signs = np.sign(shift.columns.to_numpy())
    towards = int(direction((shift * signs).to_numpy()))
    frames = [
        _long(shift * signs * towards, cost).assign(measure=measure, on=name) for (measure, name), cost in costs.items()
    ]
    if len(costs) == 1:
        frames.append(pd.DataFrame([{"measure": "accuracy_loss", "on": ""}]))
    full = pick(full_effects(tables.retained), **cell, eval=eval).set_index("adapter")[
        ["verdict", "n_seeds", "n_items"]
    ]
    frame = pd.concat(frames).join(full, on="adapter").assign(**cell, eval=eval, towards=towards)[COLUMNS]
    return frame.reset_index(drop=True)


def _wide(doses: pd.DataFrame, name: str, metric: str) -> pd.DataFrame:
    """Values of one metric, (adapter, seed) × α, adapters in natural order."""
    wide = pick(doses, eval=name, metric=metric).pivot(index=["adapter", "seed"], columns="alpha", values="value")
    return wide.loc[natural(wide.index.get_level_values("adapter"))]


def _long(effect: pd.DataFrame, degradation: pd.DataFrame) -> pd.DataFrame:
    seeds = pd.DataFrame({"effect": effect.stack(), "degradation": degradation.stack()}).dropna().reset_index()
    seeds["seed"] = seeds["seed"].astype("Int64")
    means = seeds.groupby(["adapter", "alpha"], sort=False, as_index=False)[["effect", "degradation"]].mean()
    order = {name: rank for rank, name in enumerate(natural(seeds["adapter"]))}
    both = pd.concat([means.assign(series="mean"), seeds.assign(series="seed")])
    keys = both.assign(place=both["adapter"].map(order), seed=both["seed"].fillna(-1)).reset_index(drop=True)
    return both.iloc[keys.sort_values(["place", "series", "seed", "alpha"], kind="stable").index]


def draw(data: pd.DataFrame) -> Figure:
    """One panel per cost; the darker, the larger |α|."""
    panels = data[["measure", "on"]].drop_duplicates().to_numpy().tolist()
    colours = style.colours(data["adapter"].dropna())
    figure = style.blank(PANEL * len(panels) + 0.4, 4.1)
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (measure, name) in zip(grid, panels, strict=True):
        lines = pick(data, measure=measure, on=name)
        if lines["effect"].isna().all():
            marks.hatched_panel(axes, "no eval measures a capability")
            axes.set(xticks=[])
            continue
        _panel(axes, lines, colours)
        axes.set_xlabel(LABELS[measure].format(name))
    grid[0].set_ylabel(f"effect on {data['eval'].iloc[0]} in α's direction (nats)")
    style.below(figure, _legend(data, colours), _footer(data))
    return figure


def _panel(axes: Axes, lines: pd.DataFrame, colours: dict[str, str]) -> None:
    style.faint_grid(axes, "both")
    for line in (axes.axhline, axes.axvline):
        line(0, color="#777777", linewidth=0.7, zorder=1)
    sizes = sorted(lines["alpha"].abs().unique())
    for adapter, colour in colours.items():
        own = pick(lines, adapter=adapter)
        for sign, (marker, dashes, _) in SIGNS.items():
            means = pick(own, series="mean")
            means = means[means["alpha"] * sign >= 0].sort_values("alpha", key=abs, kind="stable")
            axes.plot(means["degradation"], means["effect"], color=colour, linestyle=dashes, linewidth=1, zorder=3)
            there = own[own["alpha"] * sign > 0]
            shades = [shade(colour, abs(alpha), sizes) for alpha in there["alpha"]]
            for series, size, edge, width in (("seed", 7, "white", 0.2), ("mean", 26, style.INK, 0.7)):
                shown = (there["series"] == series).to_numpy()
                axes.scatter(there["degradation"][shown], there["effect"][shown], s=size, marker=marker, zorder=4,
                             c=[rgb for rgb, is_shown in zip(shades, shown, strict=True) if is_shown],
                             edgecolors=edge, linewidths=width)  # fmt: skip
    axes.margins(x=0.07, y=0.1)
    axes.text(0.03, 0.985, "↖ strong effect, little harm", transform=axes.transAxes, ha="left", va="top",
              fontsize=6.5, style="italic", color="#666666", zorder=6,
              bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 1})  # fmt: skip


def shade(colour: str, size: float, sizes: list[float]) -> tuple[float, ...]:
    """``colour`` mixed with white: all of it for the largest |α| of ``sizes``."""
    strength = LIGHTEST + (1 - LIGHTEST) * sizes.index(size) / max(len(sizes) - 1, 1)
    return tuple(1 - strength * (1 - part) for part in to_rgb(colour))


def _legend(data: pd.DataFrame, colours: dict[str, str]) -> list:
    grey = "#555555"
    sizes = sorted(data["alpha"].abs().dropna().unique())
    dose = [
        Line2D([], [], marker="s", linestyle="", markersize=5, color=shade(style.INK, size, sizes),
               label=f"|α| = {size:g}")
        for size in sizes if size
    ]  # fmt: skip
    return [
        *(Line2D([], [], color=colour, linewidth=1.6, label=name) for name, colour in colours.items()),
        *(Line2D([], [], color=grey, marker=marker, markersize=4, linestyle=dashes, linewidth=1, label=f"mean, {name}")
          for marker, dashes, name in SIGNS.values()),
        Line2D([], [], color=grey, marker="o", markersize=2.6, linestyle="", label="one seed"),
        *dose,
    ]  # fmt: skip


def _footer(data: pd.DataFrame) -> str:
    first, there = data.iloc[0], data.dropna(subset="adapter")
    direction = "" if first["towards"] > 0 else "; α = +1 lowers the score, so its sign is turned"
    told = [
        f"{first['model']} · {first['behaviour']} · {first['eval']}",
        f"full dW, {span(there['n_seeds'])} seeds, {span(there['n_items'])} items",
        f"sign(α)·[h(α) − h(0)]{direction}",
        "lines join means over seeds, no interval",
    ]
    unknown = natural(there.loc[there["verdict"] == NOT_IDENTIFIED, "adapter"])
    known = f"\nEffect at α = ±1 not identified: {', '.join(unknown)}." if unknown else ""
    return told[0] + "\n" + " · ".join(told[1:]) + known
