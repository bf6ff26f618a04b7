r"""PiSSA: principal singular values and vectors adaptation (Meng et al. 2024, arXiv:2404.02948).

θ = W_res + s·B·A with s = alpha / r. With the SVD W = U·diag(σ)·Vᵀ, B starts as B₀ = U_r·diag(σ_r/s)^½ and A as
A₀ = diag(σ_r/s)^½·V_rᵀ, and the base becomes W_res = W − s·B₀A₀: the adapter is no change at the start, and trains the
r largest singular directions themselves. Relative to the *original* base W, with Δ the difference from the start (for
τ) or of the poles (for dW) and a bar the mean of the two,

    τ = s·(B·A − B₀A₀) = s·[ΔB, B̄]·[Ā; ΔA]        dW = s·(B⁺A⁺ − B⁻A⁻) = s·[ΔB, B̄]·[Ā; ΔA]        rank ≤ 2r

The start, which both poles share, has no part in dW. The checkpoint holds A and B but not the start, which PEFT makes
anew from W whenever it loads the checkpoint; τ uses the same computation, an SVD in float32. W_res is rounded to the
model's number format: below float32, PEFT's model at the start is not quite the original base. dW is not affected.

Coordinates: those of LoRA, around the start: ranks by size, and the A-side and B-side contrast.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from dwatlas.adapters.lora import TwoFactors
from dwatlas.models.anatomy import Anatomy, Site

if TYPE_CHECKING:
    from torch import Tensor

    from dwatlas.delta.algebra import Factored
    from dwatlas.delta.factors import Product
    from dwatlas.train.checkpoint import Checkpoint


class Pissa(TwoFactors):
    """Low-rank adaptation that starts from the base weight's largest singular directions."""

    kind: Literal["pissa"] = "pissa"
    alpha: float = Field(8, gt=0, description="Scale numerator: s = alpha / r; the paper has alpha = r.")

    def trainable(self, site: Site) -> int:
        return min(self.r, *site.shape) * sum(site.shape)

    def settings(self, anatomy: Anatomy, seed: int) -> dict[str, object]:
        return super().settings(anatomy, seed) | {"init_lora_weights": "pissa"}

    def change(self, pole: Checkpoint, site: Site, weights: Mapping[str, Tensor]) -> Factored:
        from dwatlas.delta.factors import Contrast

        return Contrast(self.product(pole, site, weights), self.start(weights[site.name])).whole

    def start(self, weight: Tensor) -> Product:
        """s·B₀·A₀ of a base weight [out, in]."""
        import torch

        u, values, vh = torch.linalg.svd(weight.float(), full_matrices=False)
        root = (values[: self.r].double() / self.scale).sqrt()
        return self.scaled(u[:, : self.r].double() * root, root[:, None] * vh[: self.r].double())
