"""Lenses that project dW on subspaces of a matrix's outputs, of its inputs, or of both.

    keep = P·dW·Q      P = B·Bᵀ with B [out, k] orthonormal, Q = C·Cᵀ with C [in, m] orthonormal

A side without a basis is not projected. A tensor without any basis is no part of the component.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from dwatlas.lenses.base import Given, Lens, Split, without

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float
    from torch import Tensor

    from dwatlas.delta.algebra import Matrix


class Sides(NamedTuple):
    """Orthonormal bases of the outputs [out, k] and the inputs [in, m] that one matrix is projected on."""

    outputs: Float[Tensor, "out k"] | None = None
    inputs: Float[Tensor, "in m"] | None = None


class Projection(Lens):
    """Base of the lenses that project."""

    def sides(self, given: Given, component: str, rng: np.random.Generator | None = None) -> dict[str, Sides]:
        """The bases by tensor name. With ``rng`` they are random, of the same dimensions, and as far as the component's
        own are shared between matrices, so are they."""
        raise NotImplementedError

    def split(self, given: Given, component: str) -> Split:
        return self._split(given, self.sides(given, component))

    def at_random(self, given: Given, component: str, rng: np.random.Generator) -> Split:
        return self._split(given, self.sides(given, component, rng))

    @staticmethod
    def _split(given: Given, sides: dict[str, Sides]) -> Split:
        keep = {name: project(matrix, sides[name]) for name, matrix in given.delta.items() if name in sides}
        return without(given.delta, keep)


def project(matrix: Matrix, sides: Sides) -> Matrix:
    """P·X·Q; a factored matrix stays factored, with the smallest rank of its own and the bases'. Float64 inside."""
    from dwatlas.delta.algebra import Factored, product

    outputs, inputs = (None if basis is None else basis.double() for basis in sides)
    if isinstance(matrix, Factored):
        left, right = matrix.left.double(), matrix.right.double()
        if outputs is not None:
            left, right = _shorter(outputs, outputs.T @ left, right)
        if inputs is not None:
            right, left = (side.T for side in _shorter(inputs, inputs.T @ right.T, left.T))
        return Factored(left.float(), right.float())
    middle = matrix.dense().double()
    if outputs is not None:
        middle = outputs.T @ middle
    if inputs is not None:
        middle = middle @ inputs
    if outputs is None:
        return product(middle, inputs.T)
    return product(outputs, middle if inputs is None else middle @ inputs.T)


def beyond(matrix: Matrix, sides: Sides) -> Matrix:
    """What a projection on one side leaves: X − B·Bᵀ·X of the outputs, or X − X·C·Cᵀ of the inputs."""
    from dwatlas.delta.algebra import Dense, Factored

    outputs, inputs = (None if basis is None else basis.double() for basis in sides)
    factored = isinstance(matrix, Factored)
    left, right = (matrix.left.double(), matrix.right.double()) if factored else (matrix.dense().double(), None)
    if outputs is not None:
        left = left - outputs @ (outputs.T @ left)
    elif factored:
        right = right - (right @ inputs) @ inputs.T
    else:
        left = left - (left @ inputs) @ inputs.T
    return Factored(left.float(), right.float()) if factored else Dense(left.float())


def _shorter(basis: Tensor, coordinates: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Two factors of basis · coordinates · other, the inner dimension as small as can be."""
    k, rank = coordinates.shape
    return (basis, coordinates @ other) if k < rank else (basis @ coordinates, other)
