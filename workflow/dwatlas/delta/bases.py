"""Random orthonormal bases."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float
    from torch import Tensor


def haar(rows: int, columns: int, rng: np.random.Generator) -> Float[Tensor, "rows columns"]:
    """A Haar-random orthonormal basis [rows, columns], float64: the Q of a Gaussian matrix, signs by R's diagonal
    (Mezzadri 2007, arXiv:math-ph/0609050)."""
    q, r = torch.linalg.qr(torch.from_numpy(rng.standard_normal((rows, columns))))
    return q * torch.sign(torch.diagonal(r))
