r"""WaveFT: a few coefficients of the weight change's wavelet transform (Bilican et al. 2025, arXiv:2505.12532).

θ = W + s·IDWT(C): C holds n trained coefficients, zero at the start, at random places that are drawn once and are the
same for all matrices of one shape; IDWT is one level of the inverse discrete wavelet transform. With the wavelet's
low-pass and high-pass synthesis filters f and g, both of length L, a coefficient c is one small patch, L by L,

    s·c·a[i − 2k]·b[j − 2l],  a and b of f and g,

where the quarter of C in which it stands says which: f and f top left, g and f top right, f and g bottom left, g and g
bottom right, and (k, l) is its place in that quarter. A filter longer than 2 reaches over the edge: PEFT pads C by
L − 2 in each direction (one more where the size is odd) and cuts what is too much off the patches. dW has at most n·L²
entries that are not zero. It is sparse where that saves memory, else dense, and of a rank of at most n.

Not every wavelet of PEFT is offered: its tables for coif4 and coif5 are not orthonormal (off by 1e-2), and it has none
for longer ones.

Coordinates: the coefficients, sorted in every matrix by |Δc|: the largest hundredth, the rest of the largest tenth, and
all others.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from dwatlas.adapters.fourierft import FourierFt
from dwatlas.models.anatomy import Anatomy, Site

if TYPE_CHECKING:
    from torch import Tensor

    from dwatlas.delta.algebra import Dense, Sparse
    from dwatlas.train.checkpoint import Checkpoint

MEMORY = 5
"""A sparse entry takes as much memory as this many dense ones: two int64 and a float32."""


class WaveFt(FourierFt):
    """Trained wavelet coefficients at random places."""

    kind: Literal["waveft"] = "waveft"
    n_frequency: int = Field(256, ge=1, description="Coefficients of each matrix.")
    scaling: float = Field(2, gt=0, description="Factor s; the paper's 25 is for learning rates near 1e-4.")
    wavelet: str = Field(
        "db1",
        pattern=r"^(db([1-9]|10)|sym([2-9]|10)|coif[1-3])$",
        description="Wavelet: db1 (Haar) to db10, sym2 to sym10, coif1 to coif3.",
    )

    peft: ClassVar = "WaveFTConfig"
    spectrum: ClassVar = "waveft_spectrum"

    def rank(self, site: Site) -> int:
        return min(self.n_frequency, *site.shape)

    def settings(self, anatomy: Anatomy, seed: int) -> dict[str, object]:
        return super().settings(anatomy, seed) | {"wavelet_family": self.wavelet}

    def matrix(
        self, pole: Checkpoint, site: Site, values: Tensor, index: Tensor | slice = slice(None)
    ) -> Sparse | Dense:
        import torch
        from peft.tuners.waveft.wavelet import Wavelet

        from dwatlas.delta.algebra import Dense, Sparse

        wavelet = Wavelet(self.wavelet)
        filters = torch.tensor([wavelet.rec_lo, wavelet.rec_hi], dtype=torch.float64)
        bands, places, inside = zip(
            *(
                _patches(place, length, filters.shape[1])
                for place, length in zip(self.places(pole, site)[:, index], site.shape, strict=True)
            ),
            strict=True,
        )
        patches = filters[bands[1]][:, :, None] * filters[bands[0]][:, None]
        entries = self.scaling * values[index][:, None, None] * patches
        kept = inside[0][:, :, None] & inside[1][:, None]
        at = torch.stack(torch.broadcast_tensors(places[0][:, :, None], places[1][:, None]))[:, kept]
        sparse = torch.sparse_coo_tensor(at, entries[kept], site.shape).coalesce()
        if MEMORY * len(sparse.values()) < math.prod(site.shape):
            return Sparse(sparse.indices(), sparse.values().float(), site.shape)
        return Dense(sparse.to_dense().float())


def _patches(place: Tensor, length: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Along one direction of a matrix: the half of C [n] that each coefficient stands in, the entries [n, width] that
    its patch covers, and which of them are inside the matrix."""
    import torch

    padded = length + width - 2 + length % 2
    place = place + (padded - length) // 2
    half = place // (padded // 2)
    covered = (2 * (place % (padded // 2)) - (width - 2))[:, None] + torch.arange(width)
    return half, covered, (covered >= 0) & (covered < length)
