r"""A product of factors, taken apart around the midpoint of the poles.

Let f be linear in each of its n factors, Δ the difference of the poles in a factor and a bar their mean. Then

    f(x⁺) − f(x⁻) = Σ over the odd sets S of factors of 2^(1−|S|) · f(Δ in S, mean elsewhere)

because the even terms are the same for both poles. One factor at a time (|S| = 1) is exact for two factors. For three
and four the sets of three are left over: the interaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Factors = tuple["Tensor", ...]


def one_difference(pos: Sequence[Tensor], neg: Sequence[Tensor], place: int) -> Factors:
    """The factors of f with Δ at one place and the means elsewhere."""
    return _differences(pos, neg, (place,))


def three_differences(pos: Sequence[Tensor], neg: Sequence[Tensor]) -> list[Factors]:
    """The factors of each term of the interaction of three or four factors, the weight ¼ in the first."""
    return [_differences(pos, neg, places) for places in combinations(range(len(pos)), 3)]


def _differences(pos: Sequence[Tensor], neg: Sequence[Tensor], places: tuple[int, ...]) -> Factors:
    both = enumerate(zip(pos, neg, strict=True))
    first, *others = [plus - minus if place in places else (plus + minus) / 2 for place, (plus, minus) in both]
    return 2.0 ** (1 - len(places)) * first, *others
