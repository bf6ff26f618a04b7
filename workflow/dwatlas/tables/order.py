"""One order for components and adapters everywhere: by stem, then by the number or word of rank in the name."""

from __future__ import annotations

import re
from collections.abc import Iterable

RANKED_WORDS = ("attention", "mlp", "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj",
                "up_proj", "down_proj", "read", "write")  # fmt: skip


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
