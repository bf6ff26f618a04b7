"""A figure as files: PNG, SVG and PDF, and the CSV of exactly what it shows; equal input gives equal bytes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from dwatlas.figures import style
from dwatlas.files import atomic
from dwatlas.provenance import blank_sealed, file_sha256
from dwatlas.seals import seal

DPI = 200


def save(figure: Figure, data: pd.DataFrame, stem: str | Path, provenance: Mapping[str, object] | None = None) -> None:
    """Write ``stem.png``, ``.svg``, ``.pdf`` and ``.csv``; the provenance goes into the pictures' keywords, with the
    hash of the CSV, which has no room for its own."""
    stem = Path(stem)
    table = _with_ending(stem, "csv")
    with atomic(table) as temporary:
        data.to_csv(temporary, index=False, lineterminator="\n")
    keywords = blank_sealed({**(provenance or {}), "beside": {table.name: file_sha256(table)}})
    about = {"Title": stem.name, "Keywords": keywords}
    without_clock = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with style.context():
        _lay_out(figure)
    for kind, absent in without_clock.items():
        with atomic(_with_ending(stem, kind)) as temporary:
            with style.context():
                figure.savefig(temporary, format=kind, dpi=DPI, metadata={**about, **absent})
            seal(temporary)


def _lay_out(figure: Figure) -> None:
    """Fix where the panels are, to a millionth: the solver's last digits differ from time to time."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        place = axes.get_position(original=True)
        axes.set_position([round(edge, 6) for edge in place.bounds], which="original")


def _with_ending(stem: Path, kind: str) -> Path:
    return stem.with_name(f"{stem.name}.{kind}")
