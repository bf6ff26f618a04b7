"""Read a user's own tables: CSV, Parquet or JSON Lines, every fault with its file, column and row."""

from __future__ import annotations

import json
from collections.abc import Sequence
from numbers import Number
from pathlib import Path
from typing import TYPE_CHECKING

from dwatlas.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

RECORDS = (".csv", ".parquet", ".jsonl")
"""Endings of a user's own tables."""


def read_records(path: str | Path, needed: Sequence[str] = (), optional: Sequence[str] = ()) -> pd.DataFrame:
    """Read a user's own table: CSV, Parquet or JSON Lines by its ending.

    ``needed`` columns must be there without a gap; they and the ``optional`` ones are read as text as it stands, so
    ``01`` and ``NA`` stay what they are. Raises ``UserError`` for a table that is not so, and for one without rows.
    """
    path, text = Path(path), (*needed, *optional)
    if path.suffix not in RECORDS:
        raise UserError(f"{path}: give a {', '.join(RECORDS)} file")
    if not path.is_file():
        raise UserError(f"{path}: {'is a folder' if path.is_dir() else 'no such file'}; give a {path.suffix} file")
    if not path.stat().st_size:
        raise UserError(f"{path}: is empty; put a table into it")
    frame = _parsed(path, text)
    if missing := [name for name in needed if name not in frame]:
        raise UserError(f"{path}: lacks the column(s) {', '.join(missing)}; it has {_names(frame)}")
    if frame.empty:
        raise UserError(f"{path}: has no rows; give at least one")
    for name in text:
        if name in frame:
            frame[name] = _as_text(path, frame[name], gaps=name in optional)
    return frame


def _parsed(path: Path, text: Sequence[str]) -> pd.DataFrame:
    import pandas as pd
    from pyarrow import ArrowException

    kind = path.suffix[1:]
    try:
        if kind == "csv":
            return _parsed_csv(path, text)
        return pd.read_parquet(path) if kind == "parquet" else _parsed_lines(path)
    except UnicodeDecodeError as fault:
        raise UserError(f"{path}: is not UTF-8 text; save it as UTF-8 {kind}") from fault
    except (ArrowException, OSError, ValueError) as fault:
        reason = " ".join(str(fault).split()).removeprefix("Error tokenizing data. C error: ")
        raise UserError(f"{path}: not a whole {kind} file ({reason}); mend it") from fault


def _parsed_csv(path: Path, text: Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    if b"\0" in path.read_bytes():
        raise UserError(f"{path}: is not text; save it as UTF-8 csv")
    frame = pd.read_csv(path, dtype=dict.fromkeys(text, "str"), keep_default_na=False, na_values=[""])
    if not isinstance(frame.index, pd.RangeIndex):
        raise UserError(f"{path}: its first row has more cells than the header; put text with commas in quotes")
    return frame


def _parsed_lines(path: Path) -> pd.DataFrame:
    import pandas as pd

    records = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), start=1):
        if line.strip():
            try:
                records.append(json.loads(line))
            except ValueError as fault:
                raise UserError(f"{path}: line {number} is no JSON; give one object in each line") from fault
            if not isinstance(records[-1], dict):
                raise UserError(f"{path}: line {number} is no JSON object; give one in each line")
    return pd.DataFrame(records)


def _as_text(path: Path, column: pd.Series, gaps: bool) -> pd.Series:
    """The column as text; ``UserError`` for a list or a mapping and, where there may be no ``gaps``, an empty cell."""
    cells = column.where(column.notna(), "").tolist()
    for number, cell in enumerate(cells, start=1):
        if not isinstance(cell, str | Number):
            raise UserError(f"{path}: column {column.name}, row {number}: give text, not {cell!r:.40}")
        if not gaps and not str(cell).strip():
            raise UserError(f"{path}: column {column.name}, row {number}: is empty; fill it or delete the row")
    return column.where(column.notna(), "").astype("str")


def _names(frame: pd.DataFrame) -> str:
    return ", ".join(map(repr, frame.columns[:8])) or "none"
