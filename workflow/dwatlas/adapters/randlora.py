r"""RandLoRA: a full-rank update from random bases (Albert et al. 2025, arXiv:2502.00987).

θ = W + s·Σ_n B_n·Λ_n·A·Γ_n with s = alpha / r. The bases B_n [large, r] and A [r, small] are random, frozen and shared
by all matrices. The diagonals Λ_n [r], zero at the start, and Γ_n [small], constant at the start, are trained. Here
``small`` is the smaller side of W, ``large`` the larger; the sum is transposed where W has more inputs than outputs.
There are ⌈small / r⌉ bases, so the update has full rank and dW is dense. A larger r means fewer bases and fewer
parameters. The checkpoint holds A and the B_n once; PEFT, which saves a copy with every module, shares them again when
it loads them, though it warns that the modules' copies are missing.

PEFT lays the columns of the B_n side by side, basis by basis, and the rows of the Λ_n·A·Γ_n rank by rank, and pairs
them as they come. So the column that meets Λ_n[k] need not be the k-th of B_n. All of them are independent random
draws, so nothing depends on it but the numbers, which are PEFT's here.

Coordinates. *Factors*, with Δ the difference and a bar the mean of the poles: dW = f(ΔΛ, Γ̄) + f(Λ̄, ΔΓ) exactly, because
the interaction of ΔΛ and ΔΓ is even under an exchange of the poles. *Bases*: the terms n of the sum, sorted in every
matrix by size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from dwatlas.adapters.base import Adapter, Pair
from dwatlas.delta.multilinear import one_difference
from dwatlas.delta.ranked import in_step, steps
from dwatlas.models.anatomy import Anatomy, Site
from dwatlas.seeds import torch_seed

if TYPE_CHECKING:
    from torch import Tensor

    from dwatlas.delta.algebra import Dense
    from dwatlas.train.checkpoint import Checkpoint

FACTORS = ("lambda", "gamma")


class RandLora(Adapter):
    """Trained diagonals around shared random bases."""

    kind: Literal["randlora"] = "randlora"
    r: int = Field(8, ge=1, description="Rank of each basis: a larger r means fewer bases and fewer parameters.")
    alpha: float = Field(16, gt=0, description="Scale numerator: s = alpha / r; 20·r is usual at low learning rates.")
    bases: Literal["dense", "sparse", "very-sparse"] = Field(
        "dense", description="Random bases: uniform, or of −1, 0 and 1 (two thirds of them 0, or nearly all)."
    )

    peft: ClassVar = "RandLoraConfig"
    size: ClassVar = "r"

    def trainable(self, site: Site) -> int:
        return self._number(site) * (self.r + min(site.shape))

    def settings(self, anatomy: Anatomy, seed: int) -> dict[str, object]:
        return {
            "r": self.r,
            "randlora_alpha": self.alpha,
            "sparse": self.bases == "sparse",
            "very_sparse": self.bases == "very-sparse",
            "projection_prng_key": torch_seed("projection", self.kind, seed),
        }

    def change(self, pole: Checkpoint, site: Site, weights: Mapping[str, Tensor]) -> Dense:
        return self._dense(pole, site, _terms(*self._diagonals(pole, site)))

    def contrast(self, pair: Pair, site: Site) -> Dense:
        return self._dense(pair.pos, site, self._difference(pair, site))

    def coordinates(self, anatomy: Anatomy) -> dict[str, tuple[str, ...]]:
        most = max(self._number(site) for site in self.sites(anatomy))
        return {"factors": FACTORS, "bases": steps("basis", most)}

    def part(self, component: str, pair: Pair, site: Site) -> Dense:
        import torch

        if component in FACTORS:
            poles = (self._diagonals(pole, site) for pole in (pair.pos, pair.neg))
            return self._dense(pair.pos, site, _terms(*one_difference(*poles, FACTORS.index(component))))
        difference = self._difference(pair, site)
        _, right = self._projections(pair.pos, site)
        index = in_step(component, (difference * right[:, None]).norm(dim=(0, 2)))
        chosen = torch.zeros_like(difference)
        chosen[:, index] = difference[:, index]
        return self._dense(pair.pos, site, chosen)

    def _number(self, site: Site) -> int:
        """How many bases a matrix takes."""
        return -(-min(site.shape) // self.r)

    def _difference(self, pair: Pair, site: Site) -> Tensor:
        """Λ⁺Γ⁺ − Λ⁻Γ⁻ [r, bases, small], float64."""
        pos, neg = (_terms(*self._diagonals(pole, site)) for pole in (pair.pos, pair.neg))
        return pos - neg

    def _dense(self, pole: Checkpoint, site: Site, terms: Tensor) -> Dense:
        """The matrix [out, in] of these products ``terms`` [r, bases, small] of the diagonals."""
        from dwatlas.delta.algebra import Dense

        left, right = self._projections(pole, site)
        matrix = self.alpha / self.r * left.flatten(1) @ (terms * right[:, None]).flatten(0, 1)
        return Dense((matrix if site.shape[0] >= site.shape[1] else matrix.T.contiguous()).float())

    def _projections(self, pole: Checkpoint, site: Site) -> tuple[Tensor, Tensor]:
        """The bases B [large, bases, r] and A [r, small], float64."""
        small, large = sorted(site.shape)
        return pole.shared("randlora_B")[:large, : self._number(site)], pole.shared("randlora_A")[:, 0, :small]

    @staticmethod
    def _diagonals(pole: Checkpoint, site: Site) -> tuple[Tensor, Tensor]:
        """Λ [r, bases] and Γ [bases, small], float64."""
        return pole.get(site.path, "randlora_lambda"), pole.get(site.path, "randlora_gamma")


def _terms(diagonal: Tensor, other: Tensor) -> Tensor:
    """Λ_n[k]·Γ_n[j] [r, bases, small]."""
    return diagonal[:, :, None] * other
