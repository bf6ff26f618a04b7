"""Where each adapter's effect lies: adapters × components of one lens, with the noise ceiling of the comparison."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from dwatlas.figures import map, style
from dwatlas.figures.largest import largest, left_out
from dwatlas.figures.ratios import MODES, caption, component_names, ratios
from dwatlas.tables.comparison import by_effect
from dwatlas.tables.present import estimate, number, probability
from dwatlas.tables.study import StudyTables, pick

_NOISE = ["verdict", "why", "permutation_p", "smallest_p", "rho", "rho_lo", "rho_hi", "n_adapters"]


def data(tables: StudyTables, model: str, behaviour: str, eval: str, lens: str) -> pd.DataFrame:
    """The cells of the lens's map without spread, strongest adapter first, and columns ``noise_…`` of each mode."""
    cell = {"model": model, "behaviour": behaviour}
    cells = map.cells(largest(ratios(tables, **cell, eval=eval, lens=lens), tables)).drop(columns="sd")
    noise = pick(tables.noise, **cell, eval=eval, lens=lens).set_index("mode")[_NOISE].add_prefix("noise_")
    place = {name: rank for rank, name in enumerate(by_effect(pick(tables.adapters, **cell)))}
    order = cells["adapter"].map(place).sort_values(kind="stable").index
    return cells.loc[order].join(noise, on="mode").reset_index(drop=True)


def draw(data: pd.DataFrame) -> Figure:
    """Two strips side by side: what is lost without a component, what is left with it alone."""
    adapters, components = list(dict.fromkeys(data["adapter"])), component_names(data)
    annotated = len(components) <= map.ANNOTATED_COMPONENTS
    width = max((map.CELL_WIDTH if annotated else map.NARROW_CELL_WIDTH) * len(components), 2.3)
    figure = style.blank(2 * width + 2.4, map.CELL_HEIGHT * len(adapters) + 2.3)
    grid = figure.subplots(1, 2, sharey=True)
    scale = map.share_scale(data)
    for axes, mode in zip(grid, MODES, strict=True):
        cells = pick(data, mode=mode)
        map.strip(axes, cells, adapters, components, "share", scale)
        axes.set_title(f"{map.TITLES[mode, 'share']}\n{_ceiling(cells.iloc[0])}", loc="left")
    bar = figure.colorbar(scale, ax=grid.tolist(), shrink=0.8, aspect=16, pad=0.02)
    bar.set_label("share of the full effect")
    bar.outline.set_visible(False)
    style.below(figure, map.legend(data), caption(data, left_out(data), _reasons(data)))
    return figure


def _reasons(data: pd.DataFrame) -> str:
    why = data.loc[data["noise_why"] != "", "noise_why"].unique()
    return f"comparison not identified: {'; '.join(why)}" if len(why) else ""


def _ceiling(line: pd.Series) -> str:
    if line["noise_verdict"] != "identified":
        return "comparison not identified"
    rho = f"ρ* {estimate(line['noise_rho'], line['noise_rho_lo'], line['noise_rho_hi'])}"
    least = f", least possible {number(line['noise_smallest_p'], 3)}" if line["noise_smallest_p"] > 0.05 else ""
    p = probability(line["noise_permutation_p"])
    return f"{rho}\nPERMANOVA p {p if p.startswith('<') else '= ' + p}{least}"
