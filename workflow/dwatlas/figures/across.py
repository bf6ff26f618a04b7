"""Forest plot over all trained cells of a study: the interquartile mean of R of each part of one lens."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from dwatlas.figures import marks, style
from dwatlas.figures.forest import AXIS, ROW, row_positions, x_limits
from dwatlas.figures.largest import MANY, SHOWN
from dwatlas.figures.ratios import MODES, goes_beyond, span
from dwatlas.statistics.across import CELL, FEWEST_CELLS
from dwatlas.statistics.blocks import profiles
from dwatlas.tables.order import natural
from dwatlas.tables.present import ABSENT, estimate
from dwatlas.tables.study import NOT_IDENTIFIED, SHOWN_EFFECT, StudyTables, pick

GREY = "#555555"
COLUMNS = ["eval", "lens", "component", "mode", "series", *CELL, "seed", "value", "lo", "hi", "beats", "beats_lo",
           "beats_hi", "n_cells", "n_blocks", "n_seeds", "left_out", "n_components"]  # fmt: skip


def data(tables: StudyTables, eval: str, lens: str) -> pd.DataFrame:
    """Per component and mode: the ``estimate`` (interquartile mean of R over cells and seeds) with its interval, and
    the linearised R of each ``seed`` of each cell that takes part.

    Of more than ``MANY`` components those ``SHOWN`` whose R is furthest from no effect.
    """
    where = {"eval": eval, "lens": lens}
    lines = pick(tables.across, **where)
    estimates = lines[lines["mode"].isin(MODES)].rename(columns={"iqm": "value"}).assign(series="estimate")
    frame = pd.concat([estimates, _seeds(tables, where)]).assign(**where)
    names = natural(estimates["component"])
    frame = frame.assign(n_components=len(names)).reindex(columns=COLUMNS)
    frame["seed"] = frame["seed"].astype("Int64")
    ranks = {"component": names, "mode": MODES, "adapter": natural(frame["adapter"].dropna())}
    keys = frame.assign(
        **{name: frame[name].map({value: rank for rank, value in enumerate(order)}) for name, order in ranks.items()}
    ).reset_index(drop=True)
    order = ["component", "mode", "series", "model", "behaviour", "adapter", "seed"]
    frame = frame.iloc[keys.sort_values(order, kind="stable").index].reset_index(drop=True)
    return frame[frame["component"].isin(_furthest(estimates, names))].reset_index(drop=True)


def _seeds(tables: StudyTables, where: dict[str, str]) -> pd.DataFrame:
    part = ["component", "mode"]
    lines = pick(tables.seeds, **where, effect=SHOWN_EFFECT)
    gates = pick(tables.performance, **where)[[*CELL, "mode", "verdict"]].drop_duplicates()
    known = lines.merge(gates[gates["verdict"] != NOT_IDENTIFIED], on=[*CELL, "mode"])
    found = []
    for _, own in known[known["mode"].isin(MODES)].groupby([*CELL, *part]):
        N, D = own["effect_nats"].to_numpy(), own["full_effect_nats"].to_numpy()
        found.append(own[[*CELL, *part, "seed"]].assign(value=profiles(N[None, :, None], D[None])[0, :, 0]))
    columns = [*CELL, *part, "seed", "value"]
    return (pd.concat(found) if found else pd.DataFrame(columns=columns)).assign(series="seed")


def _furthest(estimates: pd.DataFrame, names: list[str]) -> list[str]:
    if len(names) <= MANY:
        return names
    from_nothing = (estimates["value"] - (estimates["mode"] == "drop")).abs().groupby(estimates["component"]).max()
    return from_nothing.reindex(names).sort_values(ascending=False, kind="stable").index[:SHOWN].tolist()


def draw(data: pd.DataFrame) -> Figure:
    """Two panels, components as rows; each dot is one seed of one cell, in the colour of its adapter."""
    names = natural(data["component"])
    if not names:
        figure = style.blank(4, 2)
        marks.hatched_panel(figure.subplots(), "no parts")
        return figure
    rows = row_positions(names)
    colours = style.colours(data["adapter"].dropna())
    figure = style.blank(8.2, ROW * (max(rows.values()) + 1) + 1.9)
    cut = False
    for axes, mode in zip(figure.subplots(1, 2, sharey=True), MODES, strict=True):
        lines = pick(data, mode=mode)
        limits = x_limits(lines)
        cut |= goes_beyond(lines, limits)
        _panel(axes, lines, rows, colours, limits)
        axes.set_xlabel(AXIS[mode])
    style.below(figure, _legend(colours), _footer(data) + ("\nArrowheads: goes on beyond the axis." if cut else ""))
    return figure


def _panel(
    axes: Axes, lines: pd.DataFrame, rows: dict[str, float], colours: dict[str, str], limits: tuple[float, float]
) -> None:
    marks.named_rows(axes, rows, limits)
    for reference in (0, 1):
        axes.axvline(reference, color="#777777", linewidth=0.8, zorder=1)
    axes.text(1.02, -0.75, "P(beats stand-in)", transform=axes.get_yaxis_transform(), fontsize=6, color="#666666",
              va="bottom")  # fmt: skip
    for line in lines.itertuples():
        y = rows[line.component]
        if line.series == "seed":
            marks.dot(axes, line, y, colours[line.adapter])
            continue
        told = estimate(line.beats, line.beats_lo, line.beats_hi)
        if np.isnan(line.value):
            marks.hatched(axes, y, "")
            told = f"{line.n_cells:.0f} cells, needs {FEWEST_CELLS}"
        else:
            marks.bar(axes, line, y, GREY)
        axes.text(1.02, y, told, transform=axes.get_yaxis_transform(), fontsize=6, va="center",
                  color="#999999" if told == ABSENT else style.INK)  # fmt: skip


def _legend(colours: dict[str, str]) -> list:
    return [
        *(Line2D([], [], color=colour, marker="o", markersize=3, linestyle="", label=f"{name}, one seed of one cell")
          for name, colour in colours.items()),
        Line2D([], [], color=style.INK, marker="|", markersize=8, markeredgewidth=1.6, linestyle="",
               label="interquartile mean"),
        Patch(facecolor=GREY, alpha=0.45, label="95 %, new seeds"),
        Patch(facecolor="#F2F2F2", edgecolor=style.HATCH, hatch="/////", linewidth=0,
              label=f"fewer than {FEWEST_CELLS} identified cells"),
    ]  # fmt: skip


def _footer(data: pd.DataFrame) -> str:
    first, estimates = data.iloc[0], pick(data, series="estimate")
    counts = [span(estimates[name]) for name in ("n_cells", "n_blocks", "n_seeds")]
    told = [
        "{} cells (model, behaviour, adapter) of {} (model, behaviour), at least {} seeds".format(*counts),
        "R: linearised ratio of ½[h(+1) − h(−1)]",
        "intervals: percentile bootstrap of whole seeds, the same for all adapters of a (model, behaviour); too short "
        "at few seeds",
    ]
    shown = estimates["component"].nunique()
    if shown < first["n_components"]:
        told.append(f"the {shown} of {first['n_components']} components furthest from no effect")
    unknown = sorted({name for text in estimates["left_out"] for name in text.split(", ") if name})
    left_out = f"\nLeft out, not identified: {', '.join(unknown)}." if unknown else ""
    return f"all cells · {first['eval']} · lens {first['lens']}\n" + " · ".join(told) + left_out
