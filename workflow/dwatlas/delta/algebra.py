"""Algebra of weight differences that keeps their structure: low-rank stays factored, nothing leaves float32.

A ``Delta`` maps tensor names of the base model to matrices [out, in], each ``Factored`` (L·R) or ``Dense``.
Norms and inner products of factored matrices are traces of small Gram matrices; the SVD is two thin QRs and a
small SVD (all in float64, returned in float32), so the dense matrix is never formed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class _Decomposed:
    """A matrix that remembers its SVD."""

    @cached_property
    def svd(self) -> SVD:
        return _svd(self)


@dataclass(frozen=True)
class Factored(_Decomposed):
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
        return self.left.numel() + self.right.numel()

    def dense(self) -> Float[Tensor, "out in"]:
        return self.left @ self.right


@dataclass(frozen=True)
class Dense(_Decomposed):
    """A matrix without usable structure, float32."""

    values: Float[Tensor, "out in"]

    @property
    def shape(self) -> tuple[int, int]:
        return tuple(self.values.shape)

    @property
    def rank_bound(self) -> int:
        return min(self.shape)

    @property
    def parameters(self) -> int:
        return self.values.numel()

    def dense(self) -> Float[Tensor, "out in"]:
        return self.values


Matrix = Factored | Dense
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
        return float(((first.values.double() @ second.right.double().T) * second.left.double()).sum())
    return float((first.values.double() * second.values.double()).sum())


def energy(matrix: Matrix) -> float:
    """‖X‖²_F."""
    return max(inner(matrix, matrix), 0.0)


def total_energy(delta: Delta) -> float:
    """‖dW‖²_F over all tensors."""
    return sum(energy(matrix) for matrix in delta.values())


def add(first: Matrix, second: Matrix, scale: float = 1.0) -> Matrix:
    """X + scale·Y; factored when both are."""
    if isinstance(first, Factored) and isinstance(second, Factored):
        left = torch.cat([first.left, scale * second.left], dim=1)
        return Factored(left, torch.cat([first.right, second.right]))
    return Dense(first.dense() + scale * second.dense())


def difference(first: Delta, second: Delta) -> Delta:
    """X − Y, tensor by tensor."""
    return {name: add(matrix, second[name], scale=-1.0) for name, matrix in first.items()}


def svd(matrix: Matrix) -> SVD:
    """Thin SVD without the singular values that are rounding errors, computed once per matrix.

    A factored matrix is exact, so only the error of its own computation is cut off: max(shape)·ε·‖L‖·‖R‖ with the
    float64 ε. A dense one has float32 entries: max(shape)·ε·s₁ with the float32 ε.
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
        u, s, vh = torch.linalg.svd(matrix.values.double(), full_matrices=False)
        noise = torch.finfo(torch.float32).eps * (float(s[0]) if len(s) else 0.0)
    rank = int((s > max(matrix.shape) * noise).sum())
    return SVD(u[:, :rank].float(), s[:rank].float(), vh[:rank].float())


def effective_rank(singular_values: Float[Tensor, " k"]) -> float:
    """(Σs)² / Σs²: k when all are equal, 1 when one dominates; 0 for a zero matrix."""
    s = singular_values.double()
    return float(s.sum() ** 2 / (s**2).sum()) if len(s) else 0.0
