"""Some rows or columns of a matrix, zero elsewhere, in the matrix's own structure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import torch

from dwatlas.delta.algebra import Blocks, Dense, Factored, Matrix, Sparse, total

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

Axis = Literal[0, 1]
"""0 for rows, 1 for columns."""


def restricted(matrix: Matrix, axis: Axis, chosen: Bool[Tensor, " d"]) -> Matrix:
    """The matrix with zeros outside the chosen rows or columns.

    A factored matrix stays factored, with the number of chosen rows as its rank where that is the smaller. Blocks that
    act on the other side become dense. At least one row or column must be chosen.
    """
    return total([_restricted(term, axis, chosen) for term in matrix.terms])


def _restricted(term: Matrix, axis: Axis, chosen: Tensor) -> Matrix:
    if isinstance(term, Factored):
        return _factored(term, axis, chosen)
    if isinstance(term, Sparse):
        inside = chosen[term.indices[axis]]
        return replace(term, indices=term.indices[:, inside], values=term.values[inside])
    if isinstance(term, Blocks) and (term.side == "out") == (axis == 0):
        ordered = chosen if term.order is None else chosen[term.order]
        inside = ordered.reshape(term.blocks.shape[:2])
        return replace(term, blocks=term.blocks * inside.unsqueeze(2 - axis))
    return Dense(term.dense() * chosen.unsqueeze(1 - axis))


def _factored(matrix: Factored, axis: Axis, chosen: Tensor) -> Factored:
    left, right = matrix.left, matrix.right
    if int(chosen.sum()) >= matrix.rank_bound:
        return Factored(left * chosen[:, None], right) if axis == 0 else Factored(left, right * chosen)
    if axis == 0:
        return Factored(_places(chosen), (left[chosen].double() @ right.double()).float())
    return Factored((left.double() @ right[:, chosen].double()).float(), _places(chosen).T)


def _places(chosen: Bool[Tensor, " d"]) -> Float[Tensor, "d n"]:
    """The columns of the identity that belong to the n chosen places."""
    indices = chosen.nonzero().flatten()
    places = torch.zeros(len(chosen), len(indices))
    places[indices, torch.arange(len(indices))] = 1.0
    return places
