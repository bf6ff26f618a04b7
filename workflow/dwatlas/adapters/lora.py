r"""LoRA: low-rank adaptation (Hu et al. 2021, arXiv:2106.09685).

θ = W + s·B·A with A [r, in], B [out, r] and s = alpha / r. A is drawn at random, B is zero, so the adapter is no change
at the start. One pole's change τ = s·B·A is exactly of rank r, and the difference of a pair keeps the factors. With Δ
the difference and a bar the mean of the poles:

    dW = s·(B⁺A⁺ − B⁻A⁻) = s·[ΔB, B̄] · [Ā; ΔA]        rank ≤ 2r

``initialisation`` draws A as PEFT does (Kaiming uniform), from a Gaussian of deviation 1/r, or, ``orthogonal``, A and B
both at random with row space of A orthogonal to that of B in the r dimensions between them, so that B·A = 0.

Coordinates. *Ranks*: s·(b_i⁺a_i⁺ − b_i⁻a_i⁻) for each i, sorted in every matrix by size; both poles start from one A,
so the index i means the same in both. *Sides*, with Δ the difference and a bar the mean of the poles:

    dW = s·ΔB·Ā + s·B̄·ΔA        the B-side and the A-side

exactly: the interaction ΔB·ΔA is even under an exchange of the poles, so it is in their common drift ½(τ⁺ + τ⁻) and has
no part in dW.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from dwatlas.adapters._products import ProductAdapter
from dwatlas.errors import UserError
from dwatlas.models.anatomy import Anatomy, Site

if TYPE_CHECKING:
    from torch import Tensor

    from dwatlas.delta.factors import Product
    from dwatlas.train.checkpoint import Checkpoint


class TwoFactors(ProductAdapter):
    """What all methods that train s·B·A have in common."""

    alpha: float = Field(16, gt=0, description="Scale numerator: s = alpha / r.")

    peft: ClassVar = "LoraConfig"

    @property
    def scale(self) -> float:
        """s, the factor in front of B·A."""
        return self.alpha / self.r

    def trainable(self, site: Site) -> int:
        return self.r * sum(site.shape)

    def settings(self, anatomy: Anatomy, seed: int) -> dict[str, object]:
        return {"r": self.r, "lora_alpha": self.alpha}

    def product(self, pole: Checkpoint, site: Site, weights: Mapping[str, Tensor]) -> Product:
        """s·B·A of a pole."""
        return self.scaled(pole.get(site.path, "lora_B.weight"), pole.get(site.path, "lora_A.weight"))

    def scaled(self, left: Tensor, right: Tensor) -> Product:
        """s·L·R of factors [out, r] and [r, in]."""
        from dwatlas.delta.factors import Product

        return Product(left, left.new_full(left.shape[1:], self.scale), right)


class Lora(TwoFactors):
    """Low-rank adaptation."""

    kind: Literal["lora"] = "lora"
    initialisation: Literal["kaiming", "gaussian", "orthogonal"] = Field(
        "kaiming", description="How A is drawn; orthogonal draws B too, with B·A = 0, and needs an even rank."
    )

    def sizes(self, anatomy: Anatomy) -> Sequence[int]:
        sizes = super().sizes(anatomy)
        return sizes[1::2] if self.initialisation == "orthogonal" else sizes

    def check(self, anatomy: Anatomy) -> None:
        if self.initialisation == "orthogonal" and self.r % 2:
            raise UserError(f"r: orthogonal initialisation needs an even rank, given {self.r}; give {self.r + 1}")

    def settings(self, anatomy: Anatomy, seed: int) -> dict[str, object]:
        drawn = True if self.initialisation == "kaiming" else self.initialisation
        return super().settings(anatomy, seed) | {"init_lora_weights": drawn}
