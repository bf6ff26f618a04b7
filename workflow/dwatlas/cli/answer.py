"""What a command answers: content for machines, text for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """``content`` is what ``--json`` prints, ``text`` what people read."""

    content: object
    text: str
    exit_code: int = 0


def table(rows: Iterable[Sequence[object]], heads: Sequence[str]) -> str:
    """Plain columns for a terminal."""
    from tabulate import tabulate

    return tabulate(list(rows), heads, tablefmt="plain", disable_numparse=True)


def size(number: int) -> str:
    """Bytes as a person reads them."""
    value = float(number)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def plural(number: int, noun: str) -> str:
    """``1 job``, ``2 jobs``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
