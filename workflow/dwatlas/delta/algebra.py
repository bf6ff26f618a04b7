"""Algebra of weight differences that keeps their structure: low-rank stays factored, nothing leaves float32.

A ``Delta`` maps tensor names of the base model to matrices [out, in]; vectors (norm weights, biases) are matrices
[d, 1]. A matrix is ``Factored`` (L·R), ``Sparse``, ``Blocks`` (a block-diagonal matrix times the base weight: gates,
scales, rotations), ``Dense``, or a ``Sum`` of these. Norms and inner products of factored matrices are traces of small
Gram matrices; their SVD is two thin QRs and a small SVD (all in float64, returned in float32), so the dense matrix is
never formed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor


class Matrix:
    """Base of all structures. ``parameters`` counts the numbers that it holds, without the base weight's and those of
    rows and columns that are all zeros."""

    shape: tuple[int, int]
    parameters: int

    @property
    def rank_bound(self) -> int:
        return min(self.shape)

    @property
    def terms(self) -> tuple[Matrix, ...]:
        """The matrices whose sum it is, no two of one structure."""
        return (self,)

    @cached_property
    def svd(self) -> SVD:
        return _svd(self)

    def dense(self) -> Float[Tensor, "out in"]:
        raise NotImplementedError

    def scaled(self, scale: float) -> Matrix:
        """scale·X, in the same structure."""
        raise NotImplementedError

    def plus(self, other: Matrix) -> Matrix | None:
        """X + Y in their common structure; ``None`` when they have none."""
        raise NotImplementedError


@dataclass(frozen=True)
class Factored(Matrix):
    """L·R with L [out, k] and R [k, in], float32."""

    left: Float[Tensor, "out k"]
    right: Float[Tensor, "k in"]

    @property
    def shape(self) -> tuple[int, int]:
        return self.left.shape[0], self.right.shape[1]

    @property
    def rank_bound(self) -> int:
        return self.left.shape[1]

    @property
    def parameters(self) -> int:
        return self.rank_bound * (_nonzero(self.left, 0) + _nonzero(self.right, 1))

    def dense(self) -> Float[Tensor, "out in"]:
        return self.left @ self.right

    def scaled(self, scale: float) -> Factored:
        return Factored(scale * self.left, self.right)

    def plus(self, other: Matrix) -> Factored | None:
        if not isinstance(other, Factored):
            return None
        return Factored(torch.cat([self.left, other.left], dim=1), torch.cat([self.right, other.right]))


@dataclass(frozen=True)
class Sparse(Matrix):
    """``values`` [n] at ``indices`` [2, n] (row, column; no place twice), float32 and int64; zero elsewhere."""

    indices: Int[Tensor, "2 n"]
    values: Float[Tensor, " n"]
    shape: tuple[int, int]

    @property
    def parameters(self) -> int:
        return self.values.numel()

    def dense(self) -> Float[Tensor, "out in"]:
        matrix = torch.zeros(self.shape)
        matrix[self.indices[0], self.indices[1]] = self.values
        return matrix

    def scaled(self, scale: float) -> Sparse:
        return replace(self, values=scale * self.values)

    def plus(self, other: Matrix) -> Sparse | None:
        if not isinstance(other, Sparse):
            return None
        if torch.equal(self.indices, other.indices):
            return replace(self, values=self.values + other.values)
        indices = torch.cat([self.indices, other.indices], dim=1)
        values = torch.cat([self.values, other.values])
        both = torch.sparse_coo_tensor(indices, values, self.shape, check_invariants=True).coalesce()
        return Sparse(both.indices(), both.values(), self.shape)


@dataclass(frozen=True)
class Blocks(Matrix):
    """D·W (``side`` out) or W·D (``side`` in) with D block-diagonal, ``blocks`` [n, b, b], and W the base weight.

    Blocks of size 1 are a diagonal scale. D acts on the coordinates in the order ``order`` [n·b], by default as they
    are. Float32.
    """

    blocks: Float[Tensor, "n b b"]
    side: Literal["out", "in"]
    weight: Float[Tensor, "out in"]
    order: Int[Tensor, " d"] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        return tuple(self.weight.shape)

    @property
    def parameters(self) -> int:
        """Blocks of zeros do not count."""
        return int(self.blocks.flatten(1).any(1).sum()) * self.blocks[0].numel()

    def dense(self) -> Float[Tensor, "out in"]:
        weight, blocks = (self.weight, self.blocks) if self.side == "out" else (self.weight.T, self.blocks.mT)
        ordered = weight if self.order is None else weight[self.order]
        size = blocks.shape[1]
        product = torch.bmm(blocks, ordered.reshape(-1, size, ordered.shape[1])).reshape(ordered.shape)
        if self.order is not None:
            product = torch.empty_like(product).index_copy_(0, self.order, product)
        return product if self.side == "out" else product.T

    def scaled(self, scale: float) -> Blocks:
        return replace(self, blocks=scale * self.blocks)

    def plus(self, other: Matrix) -> Blocks | None:
        if not isinstance(other, Blocks) or (self.side, self.blocks.shape) != (other.side, other.blocks.shape):
            return None
        if not _same(self.weight, other.weight) or not _same(self.order, other.order):
            return None
        return replace(self, blocks=self.blocks + other.blocks)


@dataclass(frozen=True)
class Dense(Matrix):
    """A matrix without usable structure, float32."""

    values: Float[Tensor, "out in"]

    @property
    def shape(self) -> tuple[int, int]:
        return tuple(self.values.shape)

    @property
    def rank_bound(self) -> int:
        return min(_nonzero(self.values, 0), _nonzero(self.values, 1))

    @property
    def parameters(self) -> int:
        return _nonzero(self.values, 0) * _nonzero(self.values, 1)

    def dense(self) -> Float[Tensor, "out in"]:
        return self.values

    def scaled(self, scale: float) -> Dense:
        return Dense(scale * self.values)

    def plus(self, other: Matrix) -> Dense | None:
        return Dense(self.values + other.values) if isinstance(other, Dense) else None


@dataclass(frozen=True)
class Sum(Matrix):
    """A sum of matrices of different structures."""

    summands: tuple[Matrix, ...]

    @property
    def terms(self) -> tuple[Matrix, ...]:
        return self.summands

    @property
    def shape(self) -> tuple[int, int]:
        return self.summands[0].shape

    @property
    def rank_bound(self) -> int:
        return min(*self.shape, sum(term.rank_bound for term in self.terms))

    @property
    def parameters(self) -> int:
        return sum(term.parameters for term in self.terms)

    def dense(self) -> Float[Tensor, "out in"]:
        return sum(term.dense() for term in self.terms)

    def scaled(self, scale: float) -> Sum:
        return Sum(tuple(term.scaled(scale) for term in self.terms))


def _nonzero(values: Float[Tensor, "rows columns"], axis: Literal[0, 1]) -> int:
    """How many rows (axis 0) or columns (axis 1) are not all zeros."""
    return int(values.any(1 - axis).sum())


def _same(first: Tensor | None, second: Tensor | None) -> bool:
    return first is second or (first is not None and second is not None and torch.equal(first, second))


Delta = dict[str, Matrix]


class SVD(NamedTuple):
    """Thin singular value decomposition: U [out, k], S [k] descending, Vh [k, in]; k the numerical rank."""

    u: Float[Tensor, "out k"]
    s: Float[Tensor, " k"]
    vh: Float[Tensor, "k in"]

    def part(self, chosen: Tensor | slice) -> Factored:
        """Σ_{i in chosen} s_i·u_i·v_iᵀ, the scale shared evenly between the factors."""
        root = self.s[chosen].sqrt()
        return Factored(self.u[:, chosen] * root, root[:, None] * self.vh[chosen])


def inner(first: Matrix, second: Matrix) -> float:
    """Frobenius inner product ⟨X, Y⟩ = tr(XᵀY), accumulated in float64."""
    if isinstance(first, Factored) and isinstance(second, Factored):
        lefts = first.left.double().T @ second.left.double()
        rights = first.right.double() @ second.right.double().T
        return float((lefts * rights).sum())
    if isinstance(first, Factored):
        first, second = second, first
    if isinstance(second, Factored):
        return float(((first.dense().double() @ second.right.double().T) * second.left.double()).sum())
    return float((first.dense().double() * second.dense().double()).sum())


def energy(matrix: Matrix) -> float:
    """‖X‖²_F."""
    return max(inner(matrix, matrix), 0.0)


def total_energy(delta: Delta) -> float:
    """‖dW‖²_F over all tensors."""
    return sum(energy(matrix) for matrix in delta.values())


def product(left: Float[Tensor, "out k"], right: Float[Tensor, "k in"]) -> Matrix:
    """L·R of float64 factors: factored where that holds fewer numbers than the matrix itself, else dense."""
    if left.numel() + right.numel() < left.shape[0] * right.shape[1]:
        return Factored(left.float(), right.float())
    return Dense((left @ right).float())


def total(matrices: Iterable[Matrix]) -> Matrix:
    """The sum of matrices, in the structures that they have; dense as soon as one is. At least one is needed."""
    terms: list[Matrix] = []
    for matrix in (term for one in matrices for term in one.terms):
        for place, other in enumerate(terms):
            joined = other.plus(matrix)
            if joined is not None:
                terms[place] = joined
                break
        else:
            terms.append(matrix)
    if len(terms) > 1 and any(isinstance(term, Dense) for term in terms):
        return Dense(sum(term.dense() for term in terms))
    return terms[0] if len(terms) == 1 else Sum(tuple(terms))


def add(first: Matrix, second: Matrix, scale: float = 1.0) -> Matrix:
    """X + scale·Y."""
    return total([first, second.scaled(scale)])


def difference(first: Delta, second: Delta) -> Delta:
    """X − Y, tensor by tensor."""
    return {name: add(matrix, second[name], scale=-1.0) for name, matrix in first.items()}


def svd(matrix: Matrix) -> SVD:
    """Thin SVD without the singular values that are rounding errors, computed once per matrix.

    A factored matrix is exact, so only the error of its own computation is cut off: max(shape)·ε·‖L‖·‖R‖ with the
    float64 ε. Any other has float32 entries: max(shape)·ε·s₁ with the float32 ε.
    """
    return matrix.svd


def _svd(matrix: Matrix) -> SVD:
    if isinstance(matrix, Factored):
        q_left, r_left = torch.linalg.qr(matrix.left.double())
        q_right, r_right = torch.linalg.qr(matrix.right.double().T)
        u, s, vh = torch.linalg.svd(r_left @ r_right.T, full_matrices=False)
        u, vh = q_left @ u, vh @ q_right.T
        noise = torch.finfo(torch.float64).eps * float(r_left.norm() * r_right.norm())
    else:
        u, s, vh = torch.linalg.svd(matrix.dense().double(), full_matrices=False)
        noise = torch.finfo(torch.float32).eps * (float(s[0]) if len(s) else 0.0)
    rank = int((s > max(matrix.shape) * noise).sum())
    return SVD(u[:, :rank].float(), s[:rank].float(), vh[:rank].float())


def effective_rank(singular_values: Float[Tensor, " k"]) -> float:
    """(Σs)² / Σs²: k when all are equal, 1 when one dominates; 0 for a zero matrix."""
    s = singular_values.double()
    return float(s.sum() ** 2 / (s**2).sum()) if len(s) else 0.0
