"""P(improvement) of every adapter over every other, one matrix for each yes-or-no eval."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from dwatlas.figures import style
from dwatlas.figures.ratios import span
from dwatlas.tables.comparison import by_effect
from dwatlas.tables.order import natural
from dwatlas.tables.present import number
from dwatlas.tables.study import StudyTables, pick

SIGNIFICANT = 0.05
CELL = 0.3
COLUMNS = ["model", "behaviour", "eval", "adapter", "rival", "improvement", "improvement_lo", "improvement_hi",
           "difference", "lo", "hi", "q", "direction", "n_seeds"]  # fmt: skip


def data(tables: StudyTables, model: str, behaviour: str) -> pd.DataFrame:
    """One line per eval and ordered pair of adapters, strongest on the headline eval first."""
    cell = {"model": model, "behaviour": behaviour}
    measures = pick(tables.adapters, **cell)
    place = {name: rank for rank, name in enumerate(by_effect(measures))}
    evals = natural(measures.loc[measures["measure"] == "effect", "eval"])
    lines = pick(tables.ranking, **cell)
    keys = pd.DataFrame(
        {
            "eval": lines["eval"].map({name: rank for rank, name in enumerate(evals)}),
            **{name: lines[name].map(place) for name in ("adapter", "rival")},
        }
    )
    return lines.loc[keys.sort_values(list(keys.columns), kind="stable").index, COLUMNS].reset_index(drop=True)


def draw(data: pd.DataFrame) -> Figure:
    """Rows are adapters, columns their rivals."""
    adapters, evals = list(dict.fromkeys(data["adapter"])), list(dict.fromkeys(data["eval"]))
    side = max(CELL * len(adapters), 1.2)
    figure = style.blank(max((side + 0.15) * len(evals) + 2.2, 5.2), side + 2.1)
    grid = figure.subplots(1, len(evals), sharey=True, squeeze=False)[0]
    scale = ScalarMappable(Normalize(0, 1), "RdBu_r")
    for axes, name in zip(grid, evals, strict=True):
        _matrix(axes, pick(data, eval=name), adapters, scale)
        axes.set_title(name, loc="left")
    bar = figure.colorbar(scale, ax=grid.tolist(), shrink=0.8, aspect=16, pad=0.02, ticks=[0, 0.5, 1])
    bar.set_label("P(row is stronger)")
    bar.outline.set_visible(False)
    style.below(figure, _legend(data), _caption(data))
    return figure


def _matrix(axes: Axes, lines: pd.DataFrame, adapters: list[str], scale: ScalarMappable) -> None:
    for line in lines.itertuples():
        x, y = adapters.index(line.rival), adapters.index(line.adapter)
        colour = scale.to_rgba(line.improvement)
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=colour, edgecolor="white", linewidth=0.6))
        ink = "white" if np.dot(colour[:3], (0.299, 0.587, 0.114)) < 0.5 else style.INK
        axes.text(x, y, number(line.improvement), ha="center", va="center", fontsize=5.5, color=ink)
        if line.q < SIGNIFICANT:
            axes.plot(x + 0.37, y - 0.34, "o", markersize=1.8, color=ink, markeredgewidth=0)
    axes.set_xlim(-0.5, len(adapters) - 0.5)
    axes.set_ylim(len(adapters) - 0.5, -0.5)
    axes.set_xticks(range(len(adapters)), adapters, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(adapters)), adapters)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _caption(data: pd.DataFrame) -> str:
    first, least = data.iloc[0], int(data["n_seeds"].min())
    signs = ", ".join(
        f"{line.eval} {'−' if line.direction < 0 else '+'}" for line in data.drop_duplicates("eval").itertuples()
    )
    return (
        f"{first['model']} · {first['behaviour']} · {span(data['n_seeds'])} common seeds\n"
        f"P = U/S², ties half, in steps of 1/{least**2} · stronger: larger effect in the mean direction ({signs})"
    )


def _legend(data: pd.DataFrame) -> list:
    if not (data["q"] < SIGNIFICANT).any():
        return []
    label = f"paired difference differs from 0 (q < {SIGNIFICANT}, Benjamini–Hochberg)"
    return [Line2D([], [], color=style.INK, marker="o", markersize=2.2, linestyle="", label=label)]
