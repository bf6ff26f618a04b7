r"""Rotations: from skew-symmetric parameters, and the rotation that lies between two poles.

Two poles' rotations Q⁺ and Q⁻ have a mean rotation C, half way from one to the other, and Q± = C·P^{±½} with
P = Q⁻ᵀQ⁺ the rotation of the pair. Undoing C leaves that rotation, half of it on either side of none:

    Cᵀ(Q⁺ − Q⁻) = P^{½} − P^{−½}        skew-symmetric, zero for equal poles, changes sign when they are exchanged

C is the orthogonal polar factor of Q⁺ + Q⁻ = C·(P^{½} + P^{−½}), whose second factor is symmetric and positive definite
as long as nothing is turned by half a turn from one pole to the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def skew(entries: Float[Tensor, "*n k"], size: int) -> Float[Tensor, "*n b b"]:
    """Skew-symmetric matrices of ``size`` b from the k = b(b − 1)/2 entries above the diagonal, row by row."""
    rows, columns = torch.triu_indices(size, size, 1)
    upper = entries.new_zeros(*entries.shape[:-1], size, size)
    upper[..., rows, columns] = entries
    return upper - upper.mT


def cayley(generator: Float[Tensor, "*n b b"]) -> Float[Tensor, "*n b b"]:
    """Cayley transform (I − A)(I + A)⁻¹ of a skew-symmetric A: a rotation."""
    identity = torch.eye(generator.shape[-1], dtype=generator.dtype)
    return torch.linalg.solve(identity + generator, identity - generator, left=False)


def between(pos: Float[Tensor, "*n b b"], neg: Float[Tensor, "*n b b"]) -> Float[Tensor, "*n b b"]:
    """Cᵀ(Q⁺ − Q⁻): the difference of two rotations with their mean rotation C undone."""
    u, _, vh = torch.linalg.svd(pos + neg)
    return (u @ vh).mT @ (pos - neg)
