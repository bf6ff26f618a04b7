r"""LoRA: low-rank adaptation (Hu et al. 2021, arXiv:2106.09685).

θ = W + s·B·A with A [r, in], B [out, r] and s = alpha / r. A is drawn at random, B is zero, so the adapter is no change
at the start. One pole's change τ = s·B·A is exactly of rank r, and the difference of a pair keeps the factors:

    dW = s·(B⁺A⁺ − B⁻A⁻) = [s·B⁺, −s·B⁻] · [A⁺; A⁻]        rank ≤ 2r

Coordinates. *Ranks*: s·(b_i⁺a_i⁺ − b_i⁻a_i⁻) for each i, sorted in every matrix by size; both poles start from one A,
so the index i means the same in both. *Sides*, with Δ the difference and a bar the mean of the poles:

    dW = s·ΔB·Ā + s·B̄·ΔA        the B-side and the A-side

exactly: the interaction ΔB·ΔA is even under an exchange of the poles, so it is in their common drift ½(τ⁺ + τ⁻) and has
no part in dW.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from dwatlas.adapters.base import Adapter, Pair
from dwatlas.delta.ranked import in_step, steps
from dwatlas.models.anatomy import Anatomy, Site

if TYPE_CHECKING:
    from torch import Tensor

    from dwatlas.delta.algebra import Factored, Matrix
    from dwatlas.train.checkpoint import Checkpoint


class Lora(Adapter):
    """Low-rank adaptation."""

    kind: Literal["lora"] = "lora"
    r: int = Field(8, ge=1, description="Rank.")
    alpha: float = Field(16, gt=0, description="Scale numerator: s = alpha / r.")

    peft: ClassVar = "LoraConfig"
    size: ClassVar = "r"

    @property
    def scale(self) -> float:
        """s, the factor in front of B·A."""
        return self.alpha / self.r

    def rank(self, site: Site) -> int:
        return min(2 * self.r, *site.shape)

    def trainable(self, site: Site) -> int:
        return self.r * sum(site.shape)

    def settings(self, anatomy: Anatomy, seed: int) -> dict[str, object]:
        return {"r": self.r, "lora_alpha": self.alpha}

    def factors(self, pole: Checkpoint, site: Site) -> tuple[Tensor, Tensor]:
        """s·B [out, r] and A [r, in], float64."""
        return self.scale * pole.get(site.path, "lora_B.weight"), pole.get(site.path, "lora_A.weight")

    def change(self, pole: Checkpoint, site: Site, weights: Mapping[str, Tensor]) -> Factored:
        from dwatlas.delta.algebra import Factored

        left, right = self.factors(pole, site)
        return Factored(left.float(), right.float())

    def coordinates(self, anatomy: Anatomy) -> dict[str, tuple[str, ...]]:
        return {"ranks": steps("rank", self.r), "sides": ("A-side", "B-side")}

    def part(self, component: str, pair: Pair, site: Site) -> Matrix:
        import torch

        from dwatlas.delta.algebra import Factored

        (left, right), (minus_left, minus_right) = (self.factors(pole, site) for pole in (pair.pos, pair.neg))
        if component == "A-side":
            return Factored((left + minus_left).float() / 2, (right - minus_right).float())
        if component == "B-side":
            return Factored((left - minus_left).float(), (right + minus_right).float() / 2)
        grams = left.square().sum(0) * right.square().sum(1) + minus_left.square().sum(0) * minus_right.square().sum(1)
        energies = grams - 2 * (left * minus_left).sum(0) * (right * minus_right).sum(1)
        index = in_step(component, energies)
        lefts = torch.cat([left[:, index], -minus_left[:, index]], dim=1)
        return Factored(lefts.float(), torch.cat([right[index], minus_right[index]]).float())
