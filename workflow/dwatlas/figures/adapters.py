"""Adapters of one (model, behaviour) side by side: effect, transfer to other evals, and what it costs."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from dwatlas.figures import marks, style
from dwatlas.figures.ratios import span
from dwatlas.statistics.measures import seed_measures
from dwatlas.tables.comparison import by_effect
from dwatlas.tables.order import natural
from dwatlas.tables.present import VERDICTS
from dwatlas.tables.study import NOT_IDENTIFIED, StudyTables, pick

ROW = 0.26
PANEL = 2.2
LABELS = {
    "effect": "effect on {} (nats)",
    "transfer": "transfer to {}",
    "accuracy_loss": "accuracy lost on {}",
    "kl_base": "KL on {} (nats)",
}
REFERENCES = {"transfer": (0, 1)}
COLUMNS = ["model", "behaviour", "adapter", "measure", "eval", "headline", "series", "seed", "value", "lo", "hi",
           "verdict", "n_seeds", "trainable"]  # fmt: skip
INTERVALS = "95 % intervals over seeds: t, Fieller for transfer"


def data(tables: StudyTables, model: str, behaviour: str) -> pd.DataFrame:
    """Per panel (measure and eval) and adapter, strongest first: the ``estimate`` and each ``seed``.

    Effect and divergence are those on the headline eval; a seed's transfer is its effect over the mean headline effect.
    """
    cell = {"model": model, "behaviour": behaviour}
    lines = pick(tables.adapters, **cell)
    shown = lines["measure"].isin(["transfer", "accuracy_loss"])
    shown |= lines["measure"].isin(["effect", "kl_base"]) & lines["headline"]
    estimates = lines[shown].assign(series="estimate")
    values = _with_transfer(seed_measures(pick(tables.seeds, **cell), pick(tables.doses, **cell)), estimates)
    keys = ["adapter", "measure", "eval"]
    about = estimates[[*keys, "headline", "verdict", "n_seeds", "trainable"]]
    seeds = values.merge(about, on=keys).assign(series="seed", lo=np.nan, hi=np.nan)
    unknown = (seeds["measure"] == "transfer") & (seeds["verdict"] == NOT_IDENTIFIED)
    frame = pd.concat([estimates, seeds[~unknown]]).assign(**cell)[COLUMNS]
    frame["seed"] = frame["seed"].astype("Int64")
    return _sorted(frame, by_effect(lines))


def _with_transfer(values: pd.DataFrame, estimates: pd.DataFrame) -> pd.DataFrame:
    (headline,) = estimates.loc[estimates["headline"], "eval"].unique()
    effects = pick(values, measure="effect")
    own = pick(effects, eval=headline).set_index(["adapter", "seed"])["value"]
    others = effects[effects["eval"] != headline].join(own.rename("unit"), on=["adapter", "seed"]).dropna()
    unit = others.groupby(["adapter", "eval"])["unit"].transform("mean")
    return pd.concat([values, others.assign(measure="transfer", value=others["value"] / unit).drop(columns="unit")])


def _sorted(frame: pd.DataFrame, adapters: list[str]) -> pd.DataFrame:
    orders = {"measure": list(LABELS), "eval": natural(frame["eval"]), "adapter": adapters}
    ranks = {name: frame[name].map({value: rank for rank, value in enumerate(order)}) for name, order in orders.items()}
    keys = pd.DataFrame({**ranks, "series": frame["series"], "seed": frame["seed"].fillna(-1)}).reset_index(drop=True)
    return frame.iloc[keys.sort_values(list(keys.columns), kind="stable").index].reset_index(drop=True)


def draw(data: pd.DataFrame) -> Figure:
    """Rows are adapters, panels are measures, each seed is a dot."""
    adapters = list(dict.fromkeys(data["adapter"]))
    panels = data[["measure", "eval"]].drop_duplicates().to_numpy().tolist()
    figure = style.blank(PANEL * len(panels) + 2.2, ROW * len(adapters) + 1.75)
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    colours = style.colours(adapters)
    cut = False
    for axes, (measure, name) in zip(grid, panels, strict=True):
        lines = pick(data, measure=measure, eval=name)
        cut |= _panel(axes, lines, adapters, colours)
        axes.set_xlabel(LABELS[measure].format(name))
    grid[0].set_yticks(range(len(adapters)), adapters)
    _trainable(grid[-1], data.drop_duplicates("adapter").set_index("adapter")["trainable"], adapters)
    style.below(figure, _legend(data), _caption(data) + ("\nArrowheads: goes on beyond the axis." if cut else ""))
    return figure


def _panel(axes: Axes, lines: pd.DataFrame, adapters: list[str], colours: dict[str, str]) -> bool:
    """Draw one measure; whether something goes on beyond its axis."""
    references = REFERENCES.get(lines["measure"].iloc[0], (0,))
    limits = x_limits(lines, references)
    axes.set_xlim(limits)
    axes.set_ylim(len(adapters) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.locator_params(axis="x", nbins=5)
    style.faint_grid(axes, "x")
    for reference in references:
        axes.axvline(reference, color="#777777", linewidth=0.8, zorder=1)
    for line in lines.itertuples():
        y, colour = adapters.index(line.adapter), colours[line.adapter]
        if line.series == "seed":
            marks.dot(axes, line, y, colour)
        elif np.isnan(line.value):
            marks.hatched(axes, y, VERDICTS[NOT_IDENTIFIED])
        else:
            marks.bar(axes, line, y, colour)
    drawn = lines[["value", "lo", "hi"]]
    return bool(((drawn < limits[0]) | (drawn > limits[1])).any(axis=None))


def x_limits(lines: pd.DataFrame, references: tuple[float, ...]) -> tuple[float, float]:
    """Limits that hold the references, estimates and seeds; intervals that reach much further end in an arrow."""
    values = [*references, *lines["value"].dropna()]
    low, high = min(values), max(values)
    beyond = (high - low or 1.0) / 2
    ends = lines[["lo", "hi"]]
    low = max(np.nanmin([low, *ends["lo"]]), low - beyond)
    high = min(np.nanmax([high, *ends["hi"]]), high + beyond)
    margin = 0.05 * (high - low or 1.0)
    return low - margin, high + margin


def _trainable(axes: Axes, trainable: pd.Series, adapters: list[str]) -> None:
    place = axes.get_yaxis_transform()
    axes.text(1.04, -0.75, "trainable", transform=place, fontsize=6, color="#666666", va="bottom")
    for y, adapter in enumerate(adapters):
        axes.text(1.04, y, f"{trainable[adapter]:,}", transform=place, fontsize=6.5, va="center")


def _caption(data: pd.DataFrame) -> str:
    first = data.iloc[0]
    return (
        f"{first['model']} · {first['behaviour']} · {span(data['n_seeds'])} seeds\n{INTERVALS} · costs: mean of α = ±1"
    )


def _legend(data: pd.DataFrame) -> list:
    grey = "#555555"
    handles = [
        Line2D([], [], color=grey, marker="o", markersize=3, linestyle="", label="one seed"),
        Line2D([], [], color=style.INK, marker="|", markersize=8, markeredgewidth=1.6, linestyle="", label="estimate"),
        Patch(facecolor=grey, alpha=0.45, label="95 %, new seeds"),
    ]
    if data["value"].isna().any():
        handles.append(Patch(facecolor="#F2F2F2", edgecolor=style.HATCH, hatch="/////", linewidth=0,
                             label="not identified (g ≥ 1)"))  # fmt: skip
    return handles
