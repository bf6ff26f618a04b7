"""How every figure looks: Okabe–Ito colours fixed per adapter, fonts, legend and footer below the panels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from textwrap import fill

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dwatlas.tables.order import natural

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F6A00", "#000000")
INK = "#222222"
CONTROL = "#B8B8B8"
HATCH = "#9A9A9A"
LEGEND_LINE = 0.165
LEGEND_COLUMN = 1.6
FOOTER_LINE = 0.145
FOOTER_CHARACTER = 0.052
RC = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "axes.linewidth": 0.7,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "hatch.linewidth": 0.5,
    "svg.hashsalt": "dwatlas",
    "pdf.fonttype": 42,
    "savefig.facecolor": "white",
}


def context():
    """The style, for the duration of a ``with`` block."""
    return matplotlib.rc_context({**matplotlib.rcParamsDefault, **RC})


def colours(adapters: Iterable[str]) -> dict[str, str]:
    """One colour per adapter, by natural order, so that an adapter looks the same in all figures of a study."""
    return {name: OKABE_ITO[rank % len(OKABE_ITO)] for rank, name in enumerate(natural(adapters))}


def blank(width: float, height: float) -> Figure:
    """An empty figure (inches) whose panels are laid out without overlaps."""
    return Figure(figsize=(width, height), layout="constrained")


def below(figure: Figure, handles: Sequence[Artist], footer: str) -> None:
    """Put a legend of ``handles`` and then ``footer`` under the panels, and keep the panels clear of both."""
    width, height = figure.get_size_inches()
    footer = "\n".join(fill(line, int(width / FOOTER_CHARACTER)) for line in footer.split("\n"))
    columns = min(len(handles), int(width / LEGEND_COLUMN))
    text = FOOTER_LINE * (footer.count("\n") + 1) + 0.08
    rows = -(-len(handles) // columns) if handles else 0
    bottom = (text + rows * LEGEND_LINE + 0.05) / height
    figure.get_layout_engine().set(rect=(0, bottom, 1, 1 - bottom))
    figure.text(0.012, 0.05 / height, footer, ha="left", va="bottom", fontsize=6, color="#666666", linespacing=1.35)
    if not handles:
        return
    figure.legend(
        handles=handles,
        loc="lower center",
        bbox_to_anchor=(0.5, text / height),
        ncols=columns,
        frameon=False,
        handlelength=1.8,
        columnspacing=1.6,
        borderaxespad=0,
    )


def faint_grid(axes: Axes, axis: str) -> None:
    """Light lines behind the data along ``axis``."""
    axes.grid(axis=axis, color="#E6E6E6", linewidth=0.6)
