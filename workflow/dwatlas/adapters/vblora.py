r"""VB-LoRA: LoRA factors mixed from a bank of vectors that the whole model shares (Li et al. 2024, arXiv:2405.15179).

θ = W + B·A, where A [r, in] and B [out, r] are cut into pieces of length b, and each piece is a mixture of the
``topk`` vectors of the bank V [h, b] with the largest logits: piece = Σ_j w_j·V_j, w the softmax over those logits.
Bank and logits are trained. dW = B⁺A⁺ − B⁻A⁻ has rank ≤ 2r.

Start: the bank is drawn from ±``start``. A product of two factors from one bank is zero only where its gradient is zero
too; with the default, τ is less than a hundred-thousandth of W at the start.

Coordinates. *Ranks* and *sides*: LoRA's. *Origin*: each factor is the product of mixture and bank, so with Δ and bar as
in ``delta.factors`` its change is w̄·ΔV + Δw·V̄, and dW = ΔB·Ā + B̄·ΔA the sum of ``bank`` (what ΔV adds to both sides)
and ``mixture`` (what Δw adds).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from dwatlas.adapters._products import ProductAdapter, two_factors
from dwatlas.adapters.base import Pair
from dwatlas.errors import UserError
from dwatlas.models.anatomy import Anatomy, Site

if TYPE_CHECKING:
    from torch import Tensor

    from dwatlas.delta.algebra import Matrix
    from dwatlas.delta.factors import Product
    from dwatlas.train.checkpoint import Checkpoint

ORIGIN = ("bank", "mixture")


class VbLora(ProductAdapter):
    """LoRA factors mixed from one bank of vectors."""

    kind: Literal["vblora"] = "vblora"
    r: int = Field(4, ge=1, description="Rank.")
    vectors: int = Field(32, ge=1, description="Vectors in the bank, h.")
    vector_length: int = Field(8, ge=1, description="Length of a vector, b; divides both sides of every weight.")
    topk: int = Field(2, ge=1, description="Vectors in a mixture; at most as many as the bank has.")
    start: float = Field(5e-4, gt=0, description="Bound of the bank's entries at the start.")
    logits_std: float = Field(0.1, gt=0, description="Standard deviation of the logits at the start.")

    peft: ClassVar = "VBLoRAConfig"

    def trainable(self, site: Site) -> int:
        return self.r * sum(site.shape) // self.vector_length * self.vectors

    def parameters(self, anatomy: Anatomy) -> int:
        return self.vectors * self.vector_length + super().parameters(anatomy)

    def check(self, anatomy: Anatomy) -> None:
        if self.topk > self.vectors:
            raise UserError(f"topk: {self.topk} is more than vectors, {self.vectors}; change one")
        for side in sorted({side for site in self.sites(anatomy) for side in site.shape}):
            if side % self.vector_length:
                raise UserError(f"vector_length: {self.vector_length} does not divide {side}, a side of a weight")

    def settings(self, anatomy: Anatomy, seed: int) -> dict[str, object]:
        return {
            "r": self.r,
            "num_vectors": self.vectors,
            "vector_length": self.vector_length,
            "topk": self.topk,
            "init_vector_bank_bound": self.start,
            "init_logits_std": self.logits_std,
        }

    def product(self, pole: Checkpoint, site: Site, weights: Mapping[str, Tensor]) -> Product:
        return two_factors(*_mixed(self._mixtures(pole, site), pole.shared("vblora_vector_bank")))

    def coordinates(self, anatomy: Anatomy) -> dict[str, tuple[str, ...]]:
        return super().coordinates(anatomy) | {"origin": ORIGIN}

    def part(self, component: str, pair: Pair, site: Site) -> Matrix:
        import torch

        from dwatlas.delta.algebra import product

        if component not in ORIGIN:
            return super().part(component, pair, site)
        plus, minus = (self._mixtures(pole, site) for pole in (pair.pos, pair.neg))
        bank, minus_bank = (pole.shared("vblora_vector_bank") for pole in (pair.pos, pair.neg))
        if component == "bank":
            left, right = _mixed([(one + other) / 2 for one, other in zip(plus, minus, strict=True)], bank - minus_bank)
        else:
            left, right = _mixed([one - other for one, other in zip(plus, minus, strict=True)], (bank + minus_bank) / 2)
        poles = (_mixed(plus, bank), _mixed(minus, minus_bank))
        mean_left, mean_right = ((one + other) / 2 for one, other in zip(*poles, strict=True))
        return product(torch.cat([left, mean_left], dim=1), torch.cat([mean_right, right]))

    def _mixtures(self, pole: Checkpoint, site: Site) -> list[Tensor]:
        """Weights of the bank's vectors in the pieces of B [out/b, r, h] and A [r, in/b, h], float64."""
        import torch

        mixtures = []
        for side in "BA":
            logits = pole.get(site.path, f"vblora_logits_{side}")
            largest = logits.topk(self.topk, dim=-1)
            mixtures.append(torch.zeros_like(logits).scatter(-1, largest.indices, largest.values.softmax(-1)))
        return mixtures


def _mixed(mixtures: list[Tensor], bank: Tensor) -> tuple[Tensor, Tensor]:
    """B [out, r] and A [r, in] as mixtures of a bank's vectors."""
    left, right = (mixture @ bank for mixture in mixtures)
    rank = right.shape[0]
    return left.transpose(1, 2).reshape(-1, rank), right.reshape(rank, -1)
