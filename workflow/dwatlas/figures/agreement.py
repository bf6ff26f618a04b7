"""Do seeds and adapters agree on where the effect lies? Rank correlations between all (adapter, seed) units."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from dwatlas.figures import marks, style
from dwatlas.tables.order import natural
from dwatlas.tables.present import estimate, number, probability
from dwatlas.tables.study import StudyTables, pick

CELL_SIZE, WIDEST = 0.3, 6.0
SEEDS_SHOWN = 40
MODES = {"drop": "above the diagonal: lost without each part", "keep": "below: left with each part alone"}
_NOISE = ["verdict", "permutation_p", "rho", "rho_lo", "rho_hi"]


def data(tables: StudyTables, model: str, behaviour: str, eval: str, lens: str) -> pd.DataFrame:
    """The lines of the study's ``agreement`` with columns ``noise_…`` of each mode, where adapters are compared.

    One line without values where there are no two units.
    """
    cell = {"model": model, "behaviour": behaviour, "eval": eval, "lens": lens}
    noise = pick(tables.noise, **cell).set_index("mode")[_NOISE].add_prefix("noise_")
    lines = pick(tables.agreement, **cell).join(noise, on="mode").reset_index(drop=True)
    return lines if len(lines) else pd.DataFrame([cell]).reindex(columns=lines.columns)


def draw(data: pd.DataFrame) -> Figure:
    """One matrix: units by adapter and seed, dropped profiles above the diagonal and kept ones below."""
    units = _units(data)
    side = min(CELL_SIZE * max(len(units), 6), WIDEST)
    figure = style.blank(side + 1.9, side + 1.9)
    axes = figure.subplots()
    if not units:
        marks.hatched_panel(axes, "fewer than two profiles")
        axes.set(xticks=[], yticks=[])
        style.below(figure, [], _footer(data, units))
        return figure
    scale = ScalarMappable(Normalize(-1, 1), "RdBu_r")
    values = matrix(data, units)
    axes.imshow(np.ma.masked_invalid(values), cmap=scale.cmap, norm=scale.norm, interpolation="none")
    axes.set_facecolor("#E8E8E8")
    _blocks(axes, units, values)
    axes.set_title(_title(data), loc="left", fontsize=7)
    bar = figure.colorbar(scale, ax=axes, shrink=0.7, aspect=22, pad=0.02)
    bar.set_label("Spearman between profiles")
    bar.outline.set_visible(False)
    style.below(figure, [], _footer(data, units))
    return figure


def _units(data: pd.DataFrame) -> list[tuple[str, int]]:
    ends = [data[["adapter", "seed"]], data[["other_adapter", "other_seed"]].set_axis(["adapter", "seed"], axis=1)]
    both = pd.concat(ends).dropna().drop_duplicates()
    return [
        (name, int(seed)) for name in natural(both["adapter"]) for seed in sorted(both[both["adapter"] == name]["seed"])
    ]


def matrix(data: pd.DataFrame, units: list[tuple[str, int]]) -> np.ndarray:
    """Correlations of the units: dropped profiles in the upper triangle, kept ones in the lower, NaN between."""
    place = {unit: rank for rank, unit in enumerate(units)}
    values = np.full((len(units), len(units)), np.nan)
    for line in data.itertuples():
        low, high = sorted((place[line.adapter, line.seed], place[line.other_adapter, line.other_seed]))
        values[(low, high) if line.mode == "drop" else (high, low)] = line.spearman
    return values


def _blocks(axes: Axes, units: list[tuple[str, int]], values: np.ndarray) -> None:
    """Adapters' names, lines between them, and each block's mean (of both triangles on the diagonal)."""
    adapters = [name for name, _ in units]
    names = list(dict.fromkeys(adapters))
    starts = {name: adapters.index(name) for name in names}
    ends = {name: starts[name] + adapters.count(name) for name in names}
    centres = {name: (starts[name] + ends[name] - 1) / 2 for name in names}
    for edge in (*starts.values(), len(units)):
        axes.axhline(edge - 0.5, color="white", linewidth=2.2)
        axes.axvline(edge - 0.5, color="white", linewidth=2.2)
    for row, column in product(names, names):
        block = values[starts[row] : ends[row], starts[column] : ends[column]]
        if row != column:
            _mean(axes, centres[column], centres[row], block)
        else:
            quarter = (ends[row] - starts[row]) / 4
            inside = np.ones_like(block, dtype=bool)
            for sign, triangle in ((1, np.triu(inside, 1)), (-1, np.tril(inside, -1))):
                x, y = centres[row] + sign * quarter, centres[row] - sign * quarter
                _mean(axes, x, y, np.where(triangle, block, np.nan))
    axes.set_xticks(list(centres.values()), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(list(centres.values()), names)
    if len(units) <= SEEDS_SHOWN:
        axes.xaxis.remove_overlapping_locs = False
        axes.set_xticks(range(len(units)), [str(seed) for _, seed in units], minor=True)
        axes.xaxis.set_tick_params(which="minor", labelsize=5, labeltop=True, labelbottom=False, pad=1)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)


def _mean(axes: Axes, x: float, y: float, values: np.ndarray) -> None:
    if np.isfinite(values).any():
        axes.text(x, y, number(np.nanmean(values)), ha="center", va="center", fontsize=6,
                  bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1})  # fmt: skip


def _title(data: pd.DataFrame) -> str:
    told = []
    for mode, what in MODES.items():
        lines = pick(data, mode=mode, noise_verdict="identified")
        told.append(what + (f"; {_ceiling(lines.iloc[0])}" if len(lines) else ""))
    return "\n".join(told)


def _ceiling(line: pd.Series) -> str:
    p = probability(line["noise_permutation_p"])
    rho = estimate(line["noise_rho"], line["noise_rho_lo"], line["noise_rho_hi"])
    return f"ρ* {rho}, PERMANOVA p {p if p.startswith('<') else '= ' + p}"


def _footer(data: pd.DataFrame, units: list[tuple[str, int]]) -> str:
    first = data.iloc[0]
    where = f"{first['model']} · {first['behaviour']} · {first['eval']} · lens {first['lens']}"
    return f"{where}\n{len(units)} (adapter, seed) units · effect ½[h(+1) − h(−1)] in nats · numbers: means of blocks"
