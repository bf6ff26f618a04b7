"""Marks of forest plots: bars with a tick, seed dots, hatched rows, arrowheads at what goes on beyond the axis."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from dwatlas.figures import style


def named_rows(axes: Axes, rows: dict[str, float], limits: tuple[float, float]) -> None:
    """Axes of a forest plot: ``rows`` is name → y, from the top down."""
    axes.set_xlim(limits)
    axes.set_ylim(max(rows.values(), default=0.0) + 0.6, -0.6)
    axes.set_yticks(list(rows.values()), list(rows))
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    style.faint_grid(axes, "x")


def bar(axes: Axes, line, y: float, colour: str) -> None:
    """The interval of ``line`` (``value``, ``lo``, ``hi``) as a bar, if it has one, and a tick at its value."""
    if not np.isnan(line.lo):
        axes.barh(y, line.hi - line.lo, left=line.lo, height=0.42, color=colour, alpha=0.45, linewidth=0, zorder=3)
        arrows(axes, line.lo, line.hi, y, colour)
    axes.plot([line.value] * 2, [y - 0.3, y + 0.3], color=style.INK, linewidth=1.6, zorder=6, solid_capstyle="butt")


def dot(axes: Axes, line, y: float, colour: str) -> None:
    """The ``value`` of one ``seed`` as a dot, a little above or below ``y`` so that seeds can be told apart."""
    offset = 0.11 * ((line.seed * 2) % 5 - 2)
    low, high = axes.get_xlim()
    if low <= line.value <= high:
        axes.plot(line.value, y + offset, "o", markersize=2.6, color=colour, markeredgecolor="white",
                  markeredgewidth=0.35, zorder=5)  # fmt: skip
    else:
        arrows(axes, line.value, line.value, y + offset, colour)


def hatched(axes: Axes, y: float, text: str) -> None:
    """A row without a ratio, and in words what is known instead."""
    low, high = axes.get_xlim()
    axes.add_patch(Rectangle((low, y - 0.42), high - low, 0.84, facecolor="#F2F2F2", edgecolor=style.HATCH,
                             hatch="/////", linewidth=0, zorder=2))  # fmt: skip
    axes.text((low + high) / 2, y, text, ha="center", va="center", fontsize=5.8, zorder=6,
              bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8})  # fmt: skip


def hatched_panel(axes: Axes, text: str) -> None:
    """A panel with nothing to draw, and why."""
    axes.grid(visible=False)
    axes.set_facecolor("#F2F2F2")
    axes.patch.set(hatch="/////", edgecolor=style.HATCH, linewidth=0)
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes,
              bbox={"facecolor": "white", "edgecolor": "none", "pad": 3})  # fmt: skip


def arrows(axes: Axes, lo: float, hi: float, y: float, colour: str) -> None:
    """An arrowhead at each edge of the axis that ``lo`` or ``hi`` lies beyond."""
    low, high = axes.get_xlim()
    for beyond, edge, marker in ((lo < low, low, "<"), (hi > high, high, ">")):
        if beyond:
            axes.plot(edge, y, marker=marker, color=colour, markersize=4, clip_on=False, zorder=7)
