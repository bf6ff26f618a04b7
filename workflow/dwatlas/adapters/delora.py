r"""DeLoRA: decoupled low-rank adaptation (Bini, Girrbach and Akata 2025, arXiv:2503.18225).

θ = W + (λ/r)·B̂·Â·diag(w), where w [in] are the norms of W's columns at the start, b̂_i = b_i / max(‖b_i‖, 10⁻⁴) the
normalised columns of B [out, r], â_i the normalised rows of A [r, in] likewise, and λ one trained strength per matrix:
a matrix's directions and its strength are trained apart. B starts as zero, so the adapter is no change at the start.
One pole's change is of rank r. As soon as B has moved, its size is set by λ and not by how far B moved: with
directions near orthogonal ‖τ‖ is about λ·‖W‖/√(r·in), so what suits a width of 1024 is four times too much for 64. The
difference of a pair keeps the factors:

    dW = (1/r)·(λ⁺B̂⁺Â⁺ − λ⁻B̂⁻Â⁻)·diag(w)        rank ≤ 2r

Coordinates, with Δ the difference and a bar the mean of the poles. *Strengths*, exact as there are two factors:

    dW = (Δλ/r)·½(B̂⁺Â⁺ + B̂⁻Â⁻)·diag(w) + (λ̄/r)·(B̂⁺Â⁺ − B̂⁻Â⁻)·diag(w)        strengths and directions

*Factors*, one at a time around the midpoint: ``lambda`` Δλ, ``output-directions`` ΔB̂, ``input-directions`` ΔÂ, and what
they do together, ¼·(Δλ/r)·ΔB̂·ΔÂ·diag(w), as ``interaction``. *Ranks*: the terms i, sorted in every matrix by size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from dwatlas.adapters._products import ProductAdapter
from dwatlas.adapters.base import Pair
from dwatlas.delta.ranked import steps
from dwatlas.models.anatomy import Anatomy, Site

if TYPE_CHECKING:
    from torch import Tensor

    from dwatlas.delta.algebra import Factored
    from dwatlas.delta.factors import Product
    from dwatlas.train.checkpoint import Checkpoint

SMALLEST_NORM = 1e-4
"""Below it a direction is not normalised to one but divided by this, as PEFT does."""
PARTS = {
    "strengths": "strengths",
    "directions": "directions",
    "lambda": "values",
    "output-directions": "left",
    "input-directions": "right",
    "interaction": "interaction",
}
"""Components, and what they are of a contrast of products."""


class Delora(ProductAdapter):
    """Low-rank adaptation with normalised directions and one trained strength per matrix."""

    kind: Literal["delora"] = "delora"
    strength: float = Field(
        15, gt=0, description="λ at the start. A change of a matrix begins near λ/√(r·inputs) of its size."
    )

    peft: ClassVar = "DeloraConfig"

    def trainable(self, site: Site) -> int:
        return self.r * sum(site.shape) + 1

    def settings(self, anatomy: Anatomy, seed: int) -> dict[str, object]:
        return {"r": self.r, "delora_lambda": self.strength}

    def product(self, pole: Checkpoint, site: Site, weights: Mapping[str, Tensor]) -> Product:
        """B̂·(λ/r)·Â·diag(w) of a pole."""
        from dwatlas.delta.factors import Product

        left, right = pole.get(site.path, "delora_B"), pole.get(site.path, "delora_A")
        left = left / left.norm(dim=0).clamp(min=SMALLEST_NORM)
        right = right / right.norm(dim=1, keepdim=True).clamp(min=SMALLEST_NORM)
        strength = pole.get(site.path, "delora_lambda") / self.r
        return Product(left, strength.expand(self.r), right * pole.get(site.path, "delora_w_norm"))

    def coordinates(self, anatomy: Anatomy) -> dict[str, tuple[str, ...]]:
        names = tuple(PARTS)
        return {"strengths": names[:2], "factors": names[2:], "ranks": steps("rank", self.r)}

    def part(self, component: str, pair: Pair, site: Site) -> Factored:
        pairing = self.pairing(pair, site)
        return getattr(pairing, PARTS[component]) if component in PARTS else pairing.step(component)
