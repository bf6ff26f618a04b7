"""One order for components and adapters everywhere: by stem, then by the number or word of rank in the name."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pandas as pd

RANKED_WORDS = ("attention", "mlp", "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj",
                "up_proj", "down_proj", "read", "write", "query", "key", "value", "output", "head",
                "group")  # fmt: skip


def natural(names: Iterable[str]) -> list[str]:
    """Unique names so that ``top-2`` comes before ``top-16`` and ``read`` before ``write``."""
    return sorted(dict.fromkeys(names), key=_key)


def stem(name: str) -> str:
    """The family of a component: ``layer`` for ``layer-3``, ``top`` for ``top-16``."""
    return name.rpartition("-")[0] or name


def _key(name: str) -> list[tuple[int, float, str]]:
    return [_rank(part) for part in re.split(r"[-.]|(?<=[a-z])(?=\d)", name)]


def _rank(part: str) -> tuple[int, float, str]:
    if part.isdigit():
        return (0, int(part), part)
    if part in RANKED_WORDS:
        return (1, RANKED_WORDS.index(part), part)
    return (2, 0, part)


def in_order(frame: pd.DataFrame, names: Iterable[str]) -> pd.DataFrame:
    """Lines sorted by the columns ``names``: texts naturally, numbers by size."""
    keys = {
        name: frame[name]
        if pd.api.types.is_numeric_dtype(frame[name])
        else frame[name].map({value: rank for rank, value in enumerate(natural(frame[name]))})
        for name in names
    }
    return frame.loc[pd.DataFrame(keys, index=frame.index).sort_values(list(keys), kind="stable").index].reset_index(
        drop=True
    )
