r"""PEANuT: weight-aware neural tweakers (Zhong et al. 2024, arXiv:2410.01870): a small network reads the base weight
and writes its change.

θ = W + τ with τ = s·B·Hᵀ, where H [in, r] = f(Wᵀ·Aᵀ), A [r, out] and B [out, r] trained, f the activation. With
``depth`` n, n encoders and n decoders [r, r] follow: H ← f(H·Eᵢᵀ) for each encoder, then H ← f(H·Dᵢᵀ) + what the i-th
encoder from the end was given. B is zero at the start. Not linear in what is trained, but once trained a fixed matrix
of rank ≤ r for each pole: dW = s·(B⁺H⁺ᵀ − B⁻H⁻ᵀ) has rank ≤ 2r.

Coordinates. *Ranks*, the hidden units: s·(b_i⁺h_i⁺ᵀ − b_i⁻h_i⁻ᵀ), sorted in every matrix by size. *Sides*
(``delta.factors``): ``B-side`` s·ΔB·H̄ᵀ, and ``hidden-side`` s·B̄·ΔHᵀ with all that is trained before B.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from dwatlas.adapters._products import ProductAdapter, two_factors
from dwatlas.models.anatomy import Anatomy, Site

if TYPE_CHECKING:
    from torch import Tensor

    from dwatlas.delta.factors import Product
    from dwatlas.train.checkpoint import Checkpoint


class Peanut(ProductAdapter):
    """A small network from the base weight to its change."""

    kind: Literal["peanut"] = "peanut"
    depth: int = Field(0, ge=0, description="Encoders, and as many decoders, between A and B.")
    activation: Literal["relu", "gelu", "silu", "tanh", "sigmoid"] = Field("relu", description="The activation f.")
    scale: float = Field(1.0, gt=0, description="s, the factor in front of the change.")

    peft: ClassVar = "PeanutConfig"
    sides: ClassVar = ("hidden-side", "B-side")

    def trainable(self, site: Site) -> int:
        return 2 * self.r * (site.shape[0] + self.depth * self.r)

    def settings(self, anatomy: Anatomy, seed: int) -> dict[str, object]:
        return {"r": self.r, "depth": self.depth, "act_fn": self.activation, "scaling": self.scale}

    def product(self, pole: Checkpoint, site: Site, weights: Mapping[str, Tensor]) -> Product:
        import torch

        f = getattr(torch.nn.functional, self.activation)
        hidden, given = f(weights[site.name].double().T @ pole.get(site.path, "peanut_A.weight").T), []
        for layer in range(self.depth):
            given.append(hidden)
            hidden = f(hidden @ pole.get(site.path, f"peanut_encoders.{layer}.weight").T)
        for layer in range(self.depth):
            hidden = f(hidden @ pole.get(site.path, f"peanut_decoders.{layer}.weight").T) + given[-1 - layer]
        return two_factors(self.scale * pole.get(site.path, "peanut_B.weight"), hidden.T)
