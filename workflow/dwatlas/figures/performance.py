"""Performance profiles: the share of a lens's parts whose R is below τ, one line per adapter."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from dwatlas.figures import marks, style
from dwatlas.figures.ratios import MODES, span
from dwatlas.statistics.across import ALL, TAUS
from dwatlas.statistics.aggregates import performance
from dwatlas.statistics.blocks import profiles
from dwatlas.tables.order import natural
from dwatlas.tables.present import VERDICTS
from dwatlas.tables.study import NOT_IDENTIFIED, SHOWN_EFFECT, StudyTables, pick

TITLES = {"drop": "left without a part: $R_{\\mathrm{drop}}$", "keep": "left with a part alone: $R_{\\mathrm{keep}}$"}
BAND = "band: 95 %, pointwise percentiles over whole seeds resampled, too short at few seeds"
COLUMNS = ["model", "behaviour", "eval", "lens", "adapter", "mode", "series", "seed", "tau", "share", "lo", "hi",
           "verdict", "n_cells", "n_seeds", "n_components"]  # fmt: skip


def data(tables: StudyTables, model: str, behaviour: str, eval: str, lens: str) -> pd.DataFrame:
    """Per adapter, mode and τ: ``estimate`` with its band and, where identified, each ``seed``'s own profile; ``all``
    is the mean over all cells of the study. One line without values where there is nothing.
    """
    cell, where = {"model": model, "behaviour": behaviour}, {"eval": eval, "lens": lens}
    lines = pick(tables.performance, **where)
    own = pick(lines, **cell).assign(series="estimate")
    known = own.loc[own["verdict"] != NOT_IDENTIFIED, ["adapter", "mode", "verdict", "n_seeds"]].drop_duplicates()
    parts = pick(tables.seeds, **cell, **where, effect=SHOWN_EFFECT).merge(known, on=["adapter", "mode"])
    seeds = pd.DataFrame(_seed_records(parts), columns=["adapter", "mode", "seed", "tau", "share"])
    series = [own, seeds.assign(series="seed"), pick(lines, model=ALL).assign(series="all")]
    frame = pd.concat([some for some in series if len(some)] or [own]).assign(**cell, **where)
    frame = frame[frame["mode"].isin(MODES)].reindex(columns=COLUMNS)
    if frame.empty:
        frame = pd.DataFrame([cell | where]).reindex(columns=COLUMNS)
    frame["seed"] = frame["seed"].astype("Int64")
    place = {name: rank for rank, name in enumerate(natural(frame["adapter"].dropna()))}
    keys = frame.assign(adapter=frame["adapter"].map(place), seed=frame["seed"].fillna(-1)).reset_index(drop=True)
    order = keys.sort_values(["adapter", "mode", "series", "seed", "tau"], kind="stable").index
    return frame.iloc[order].reset_index(drop=True)


def _seed_records(parts: pd.DataFrame) -> Iterator[dict]:
    """The profile of each seed's linearised R, of lines of ``seeds``."""
    for (adapter, mode), own in parts.groupby(["adapter", "mode"]):
        wide = own.pivot(index="seed", columns="component", values="effect_nats").dropna(axis=1)
        D = own.drop_duplicates("seed").set_index("seed")["full_effect_nats"].loc[wide.index]
        shares = performance(profiles(wide.to_numpy()[None], D.to_numpy()[None])[0], TAUS)
        for seed, profile in zip(wide.index, shares, strict=True):
            yield from (
                {"adapter": adapter, "mode": mode, "seed": seed, "tau": tau, "share": share}
                for tau, share in zip(TAUS, profile, strict=True)
            )


def draw(data: pd.DataFrame) -> Figure:
    """Two panels: what is left without a part, what is left with it alone."""
    adapters = natural(data.loc[(data["series"] == "estimate"), "adapter"])
    colours = style.colours(adapters)
    figure = style.blank(6.4, 3.5)
    grid = figure.subplots(1, 2, sharey=True)
    for axes, mode in zip(grid, MODES, strict=True):
        lines = pick(data, mode=mode)
        axes.set_title(TITLES[mode], loc="left")
        axes.set(xlim=(TAUS[0], TAUS[-1]), ylim=(-0.03, 1.03), xlabel="τ")
        if lines["share"].notna().any():
            _panel(axes, lines, colours)
        else:
            marks.hatched_panel(axes, f"{VERDICTS[NOT_IDENTIFIED]} (g ≥ 1)" if len(lines) else "no parts")
    grid[0].set_ylabel("share of parts with R < τ")
    style.below(figure, _legend(data, colours), _footer(data))
    return figure


def _panel(axes: Axes, lines: pd.DataFrame, colours: dict[str, str]) -> None:
    style.faint_grid(axes, "both")
    for reference in (0, 1):
        axes.axvline(reference, color="#777777", linewidth=0.8, zorder=1)
    for adapter, colour in colours.items():
        own = pick(lines, adapter=adapter)
        for _, seed in pick(own, series="seed").groupby("seed"):
            axes.plot(seed["tau"], seed["share"], color=colour, alpha=0.35, linewidth=0.5)
        estimate = pick(own, series="estimate").dropna(subset="share")
        axes.fill_between(estimate["tau"], estimate["lo"], estimate["hi"], color=colour, alpha=0.18, linewidth=0)
        axes.plot(estimate["tau"], estimate["share"], color=colour, linewidth=1.6, zorder=4)
    everything = pick(lines, series="all")
    axes.plot(everything["tau"], everything["share"], color=style.INK, linewidth=1.2, linestyle=(0, (4, 2)), zorder=5)


def _legend(data: pd.DataFrame, colours: dict[str, str]) -> list:
    known = set(data.loc[(data["series"] == "estimate") & data["share"].notna(), "adapter"])
    if not known:
        return []
    handles = [
        Line2D([], [], color=colour, linewidth=1.6, label=name)
        if name in known
        else Patch(facecolor="#F2F2F2", edgecolor=style.HATCH, hatch="/////", linewidth=0,
                   label=f"{name}: {VERDICTS[NOT_IDENTIFIED]}")
        for name, colour in colours.items()
    ]  # fmt: skip
    handles.append(Line2D([], [], color="#555555", alpha=0.6, linewidth=0.5, label="one seed"))
    handles.append(Patch(facecolor="#555555", alpha=0.18, label="95 %, new seeds"))
    cells = pick(data, series="all")["n_cells"]
    if len(cells):
        label = f"mean of all {int(cells.max())} cells of the study"
        handles.append(Line2D([], [], color=style.INK, linewidth=1.2, linestyle=(0, (4, 2)), label=label))
    return handles


def _footer(data: pd.DataFrame) -> str:
    first, own = data.iloc[0], pick(data, series="estimate")
    where = f"{first['model']} · {first['behaviour']} · {first['eval']} · lens {first['lens']}"
    if own.empty:
        return where
    sizes = f"{span(own['n_seeds'])} seeds, {span(own['n_components'])} parts"
    return f"{where}\n{sizes} · R: ratio of means over seeds of ½[h(+1) − h(−1)] · {BAND}"
