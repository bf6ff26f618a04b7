"""Names of parts above a panel, each with a thin line down to its place on the x-axis."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

FONT_SIZE = 5.8
GAP = 0.032
FURTHEST = 0.15
FOOT, HEAD = 1.0, 1.035
POINTS_PER_CHARACTER = 3.6


def name_above(axes: Axes, x: pd.Series) -> None:
    """Write the index of ``x`` upright above ``axes`` and raise the title over it; a crowd of names is left out."""
    x = x.sort_values(kind="stable")
    low, high = axes.get_xlim()
    feet = ((x - low) / (high - low)).tolist()
    heads = spread(feet)
    if any(abs(head - foot) > FURTHEST for head, foot in zip(heads, feet, strict=True)):
        return
    for name, foot, head in zip(x.index, feet, heads, strict=True):
        axes.plot([foot, foot, head], [0, FOOT, HEAD], transform=axes.transAxes, color="#BBBBBB", linewidth=0.4,
                  clip_on=False, zorder=0.5)  # fmt: skip
        axes.text(head, HEAD + 0.01, name, transform=axes.transAxes, rotation=90, ha="center", va="bottom",
                  fontsize=FONT_SIZE, color="#444444")  # fmt: skip
    axes.set_title(
        axes.get_title(), color=axes.title.get_color(), pad=14 + POINTS_PER_CHARACTER * x.index.str.len().max()
    )


def spread(places: list[float]) -> list[float]:
    """Ascending ``places`` moved apart to at least ``GAP``, within 0 and 1."""
    moved: list[float] = []
    for place in places:
        moved.append(max(place, moved[-1] + GAP) if moved else place)
    limit = 1.0
    for rank in reversed(range(len(moved))):
        moved[rank] = min(moved[rank], limit)
        limit = moved[rank] - GAP
    return moved
