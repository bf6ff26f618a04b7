"""Do seeds and adapters agree on where the effect lies? Rank correlations between all (adapter, seed) units."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dwatlas.figures.matrix import Unit, triangles, units_of
from dwatlas.figures.matrix import draw as draw_matrix
from dwatlas.tables.present import estimate, probability
from dwatlas.tables.study import StudyTables, pick

MODES = {"drop": "above the diagonal: lost without each part", "keep": "below: left with each part alone"}
_NOISE = ["verdict", "permutation_p", "rho", "rho_lo", "rho_hi"]


def data(tables: StudyTables, model: str, behaviour: str, eval: str, lens: str) -> pd.DataFrame:
    """The lines of the study's ``agreement`` with columns ``noise_…`` of each mode, where adapters are compared.

    One line without values where there are no two units.
    """
    cell = {"model": model, "behaviour": behaviour, "eval": eval, "lens": lens}
    noise = pick(tables.noise, **cell).set_index("mode")[_NOISE].add_prefix("noise_")
    lines = pick(tables.agreement, **cell)
    if lines.empty:
        return pd.DataFrame([cell]).reindex(columns=[*lines.columns, *noise.columns])
    return lines.join(noise, on="mode").reset_index(drop=True)


def draw(data: pd.DataFrame) -> Figure:
    """One matrix: units by adapter and seed, dropped profiles above the diagonal and kept ones below."""
    units = units_of(data)
    values = matrix(data, units) if units else np.empty((0, 0))
    label, empty = "Spearman between profiles", "fewer than two profiles"
    return draw_matrix(units, values, values, _title(data), label, _footer(data, units), empty)


def matrix(data: pd.DataFrame, units: list[Unit]) -> np.ndarray:
    """Correlations of the units: dropped profiles in the upper triangle, kept ones in the lower, NaN between."""
    return triangles(data, units, "spearman", data["mode"] == "drop")


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


def _footer(data: pd.DataFrame, units: list[Unit]) -> str:
    first = data.iloc[0]
    where = f"{first['model']} · {first['behaviour']} · {first['eval']} · lens {first['lens']}"
    return f"{where}\n{len(units)} (adapter, seed) units · effect ½[h(+1) − h(−1)] in nats · numbers: means of blocks"
