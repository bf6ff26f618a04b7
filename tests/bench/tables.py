"""What the benchmarks share: their table as Markdown, the machine's peak rate, and medians of times.

A benchmark's ``measure()`` gives a frame with the columns ``what, unit, measured, limit, higher_is_better``; the limit
is NaN where there is none, the least value allowed where higher is better, else the largest.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable

import pandas as pd
import torch

COLUMNS = ["what", "unit", "measured", "limit", "higher_is_better"]
SIZES = (512, 1024, 2048)
REPEATS = 10
NONE = float("nan")
"""No limit."""


def table(lines: list[tuple]) -> pd.DataFrame:
    """A frame of ``COLUMNS`` from tuples in their order."""
    return pd.DataFrame(lines, columns=COLUMNS).astype({"measured": float, "limit": float, "higher_is_better": bool})


def markdown(frame: pd.DataFrame) -> str:
    """A GitHub table of a ``measure()`` frame, numbers to 3 significant digits."""
    lines = ["| what | measured | limit |", "| --- | --- | --- |"]
    for row in frame.itertuples():
        sign = "≥" if row.higher_is_better else "≤"
        limit = "" if math.isnan(row.limit) else f"{sign} {row.limit:g} {row.unit}".strip()
        what, measured = row.what.replace("|", r"\|"), f"{_three_digits(row.measured)} {row.unit}".strip()
        lines.append(f"| {what} | {measured} | {limit} |")
    return "\n".join(lines)


def wide(cells: pd.DataFrame, row: str, column: str, values: list[str], part: str | None = None) -> pd.DataFrame:
    """``row`` × ``column``, each cell the ``values`` to 3 digits, of every ``part`` if there are parts."""
    texts = cells[values].map(lambda value: f"{value:.3f}".removeprefix("0")).agg(", ".join, axis=1)
    order = [row, column] if part is None else [row, column, part]
    joined = cells[order].assign(text=texts).groupby([row, column], sort=False)["text"].agg("; ".join).unstack()
    return joined[cells[column].unique()].loc[cells[row].unique()].reset_index()


def pages(frames: dict[str, pd.DataFrame]) -> str:
    """GitHub tables of any frames, each under its heading."""
    return "\n".join(f"\n### {name}\n\n{frame.to_markdown(index=False)}" for name, frame in frames.items())


def missed(frame: pd.DataFrame) -> list[str]:
    """What in a ``measure()`` frame is beyond its limit."""
    short = (frame["measured"] < frame["limit"]) & frame["higher_is_better"]
    long = (frame["measured"] > frame["limit"]) & ~frame["higher_is_better"]
    return frame.loc[short | long, "what"].tolist()


def peak_flops(threads: int, device: str, dtype: torch.dtype = torch.float32) -> float:
    """The largest rate of ``torch.matmul`` over square ``SIZES``, best of ``REPEATS`` each, in FLOP/s."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return max(_matmul_rate(size, device, dtype) for size in SIZES)
    finally:
        torch.set_num_threads(before)


def median_seconds(function: Callable[[], object], repeats: int) -> float:
    """Median wall time of ``repeats`` calls, work that was handed to a GPU included."""
    return statistics.median(_seconds(function) for _ in range(repeats))


def _matmul_rate(size: int, device: str, dtype: torch.dtype) -> float:
    left, right = torch.ones(2, size, size, device=device, dtype=dtype)
    product = torch.empty_like(left)
    fastest = min(_seconds(lambda: torch.matmul(left, right, out=product)) for _ in range(REPEATS))
    return 2 * size**3 / fastest


def _seconds(function: Callable[[], object]) -> float:
    _wait()
    started = time.perf_counter()
    function()
    _wait()
    return time.perf_counter() - started


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _three_digits(value: float) -> str:
    """1234.5 → 1230, 12.345 → 12.3, 0.00012345 → 0.000123; powers of ten from a million up and below 0.0001."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if not 1e-4 <= abs(value) < 1e6:
        return f"{value:.2e}"
    digits = 2 - math.floor(math.log10(abs(float(f"{value:.2e}"))))
    return f"{round(value, digits):.{max(digits, 0)}f}"
