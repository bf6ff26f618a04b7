"""A figure as files: PNG, SVG and PDF, and the CSV of exactly what it shows; equal input gives equal bytes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from dwatlas.figures import style
from dwatlas.files import atomic, canonical_json

DPI = 200


def save(figure: Figure, data: pd.DataFrame, stem: str | Path, metadata: Mapping[str, object] | None = None) -> None:
    """Write ``stem.png``, ``.svg``, ``.pdf`` and ``.csv``; ``metadata`` (JSON values) goes into the keywords."""
    stem = Path(stem)
    about = {"Title": stem.name, "Keywords": canonical_json(metadata or {})}
    without_clock = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with style.context():
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    for kind, absent in without_clock.items():
        with atomic(_with_ending(stem, kind)) as temporary, style.context():
            figure.savefig(temporary, format=kind, dpi=DPI, metadata={**about, **absent})
    with atomic(_with_ending(stem, "csv")) as temporary:
        data.to_csv(temporary, index=False, lineterminator="\n")


def _with_ending(stem: Path, kind: str) -> Path:
    return stem.with_name(f"{stem.name}.{kind}")
