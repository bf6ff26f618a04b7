"""Parts of a matrix by size, in doubling steps: the largest, the second, the third and fourth, the next four, …"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def steps(word: str, number: int) -> tuple[str, ...]:
    """Names of the steps for ``number`` parts: ``rank-1``, ``rank-2``, ``rank-3-4``, ``rank-5-8``, …, the last as long
    as there are parts."""
    names, first, last = [], 1, 1
    while first <= number:
        end = min(last, number)
        names.append(f"{word}-{first}" if first == end else f"{word}-{first}-{end}")
        first, last = last + 1, last * 2
    return tuple(names)


def in_step(component: str, sizes: Tensor) -> Tensor:
    """Indices of the parts that belong to a step, of parts with these ``sizes`` [n]; ascending.

    A step that ends beyond n holds what there is of it: nothing, perhaps.
    """
    first, *last = (int(part) for part in component.split("-") if part.isdigit())
    order = sizes.argsort(descending=True, stable=True)
    return order[first - 1 : last[0] if last else first].sort().values


SHARES = ("largest-1", "largest-10", "others")
"""The largest hundredth, the rest of the largest tenth, and all others."""


def shares(number: int) -> tuple[str, ...]:
    """Those of ``SHARES`` that hold something, of ``number`` parts."""
    ends = _ends(number)
    return tuple(name for place, name in enumerate(SHARES) if ends[place] < ends[place + 1])


def in_share(component: str, sizes: Tensor) -> Tensor:
    """Indices of the parts that belong to one of ``SHARES``, of parts with these ``sizes`` [n]; ascending."""
    ends, place = _ends(len(sizes)), SHARES.index(component)
    return sizes.argsort(descending=True, stable=True)[ends[place] : ends[place + 1]].sort().values


def _ends(number: int) -> tuple[int, ...]:
    """Where the shares begin and end in the order of size."""
    return 0, -(-number // 100), -(-number // 10), number
