r"""Do two dW do the same to what they are given? Centred kernel alignment of their outputs dW·x on the same inputs.

With Y = X·dWᵀ [n, out] the outputs on n inputs and K = Y·Yᵀ their Gram matrix, K̃ is K with the diagonal left out and
U-centred (Székely & Rizzo 2014, arXiv:1310.2926):

    K̃_ij = K_ij − Σ_l K_il/(n − 2) − Σ_l K_lj/(n − 2) + Σ_lm K_lm/((n − 1)(n − 2))     i ≠ j, all sums without diagonal
    CKA  = ⟨K̃, K̃'⟩ / (‖K̃‖·‖K̃'‖)

⟨K̃, K̃'⟩/(n(n − 3)) is the unbiased estimator of HSIC (Song et al. 2012, JMLR 13:1393), so outputs that have nothing
to do with each other have a CKA of 0 on average, where the plain one (Kornblith et al. 2019, arXiv:1905.00414) grows
with out/n (Nguyen et al. 2021, arXiv:2010.15327; Murphy et al. 2024, arXiv:2405.01012). It is 1 for the same dW, sees
neither the scale of outputs nor orthogonal maps of them, and can be negative.

What it cannot tell: any two linear maps of the same inputs agree somewhat, as inputs that are alike stay alike. The
null is therefore not 0 but the CKA of random dW of the same spectra, U·S·Vᵀ with Haar-random U and V. U drops out: only
V and S enter K.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from dwatlas.delta.algebra import Factored, Matrix, svd
from dwatlas.delta.bases import haar

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float
    from torch import Tensor

FEWEST = 4
"""Inputs below which U-centring leaves nothing."""
DRAWS = 4
"""Random dW for each dW; all of one are compared with all of the other."""
_ROUNDING = 1e-12


def outputs(matrix: Matrix, x: Float[Tensor, "n in"]) -> Float[Tensor, "n out"]:
    """X·dWᵀ in float64, without forming a factored dW."""
    return sum(
        x.double() @ term.right.double().T @ term.left.double().T
        if isinstance(term, Factored)
        else x.double() @ term.dense().double().T
        for term in matrix.terms
    )


def unit_gram(y: Float[Tensor, "n out"]) -> Float[Tensor, " pairs"] | None:
    """K̃ of outputs above the diagonal, at length 1: inner products are CKA. ``None`` for outputs that do not vary,
    and below four inputs."""
    n = len(y)
    if n < FEWEST:
        return None
    centred = y.double() - y.double().mean(0)
    gram = centred @ centred.T
    size = gram.norm()
    gram.fill_diagonal_(0)
    rows = gram.sum(1)
    gram += rows.sum() / ((n - 1) * (n - 2)) - (rows[:, None] + rows) / (n - 2)
    above = gram[tuple(torch.triu_indices(n, n, 1))]
    length = above.norm()
    return above / length if length > _ROUNDING * size else None


def random_gram(matrix: Matrix, x: Float[Tensor, "n in"], rng: np.random.Generator) -> Float[Tensor, " pairs"]:
    """The mean ``unit_gram`` of ``DRAWS`` random dW with the singular values of ``matrix``, whose own outputs vary.

    The inner product of two such means is the mean CKA over all pairs of draws.
    """
    s = svd(matrix).s.double()
    return sum(unit_gram(x.double() @ haar(matrix.shape[1], len(s), rng) * s) for _ in range(DRAWS)) / DRAWS
